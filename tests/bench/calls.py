"""`make bench-calls`: what a system call costs in a container: recorded, brokered, and in gVisor where runsc is given.

The forms take turns within each round. The program (tests/support/brokered.c) makes a call so many times in a loop and
prints the time of one. Nothing is asserted about a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.bundle import BUSYBOX

REPOSITORY = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- calls -->", "<!-- /calls -->"
POLICY = {
    "sysinfo": {},
    "connect": {"networks": [{"cidr": "127.0.0.0/8"}], "datagrams": True},
    "callsPerSecond": 1_000_000,
}
BROKERED_CALLS = ("sysinfo", "connect")
CALLS = ("getppid", *BROKERED_CALLS)
PLAIN, FILTERED, RECORDED, BROKERED, GVISOR = "plain", "with a filter", "recorded", "broker's filter", "gVisor"
SANDBOX = "sandbox"
SECONDS = 120
# A ruleset of three paths and a port (docs/landlock.md).
LANDLOCK = {
    "ruleset": {"handledAccessFS": ["execute", "read_file", "write_file"], "handledAccessNet": ["connect_tcp"]},
    "rules": {
        "pathBeneath": [
            {"allowedAccess": ["execute", "read_file"], "paths": ["/bin", "/proc"]},
            {"allowedAccess": ["write_file"], "paths": ["/tmp"]},
        ],
        "netPort": [{"allowedAccess": ["connect_tcp"], "ports": [443]}],
    },
}


class Bench:
    """Bundles in a directory, and what was measured: nanoseconds of a call by form and call, and starts in ms."""

    def __init__(self, work: Path, pyrunc: list[str], runsc: str, count: int) -> None:
        self.work = work
        self.pyrunc = [*pyrunc, "--root", str(work / "root")]
        self.runsc = runsc
        self.count = count
        self.times: dict[tuple[str, str], list[float]] = {}
        self.starts: dict[str, list[float]] = {}
        self.landlock: list[float] = []  # microseconds of a start
        self.memory: dict[str, float] = {}
        self.agent = 0.0  # processor time of a brokered call in microseconds
        self._ids = 0
        rootfs = work / "rootfs"
        for name in ("bin", "dev", "proc", "tmp"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, rootfs / "bin/busybox")
        (rootfs / "bin/true").symlink_to("busybox")
        source = REPOSITORY / "tests/support/brokered.c"
        subprocess.run(
            ["musl-gcc", "-static", "-pthread", "-O2", "-o", rootfs / "bin/brokered", source], check=True, cwd=work
        )

    def bundle(self, seccomp: Any, *words: str) -> Path:
        """A bundle of the program's call, with a filter or None."""
        self._ids += 1
        path = self.work / f"bundle{self._ids}"
        path.mkdir()
        (path / "rootfs").symlink_to(self.work / "rootfs")
        config: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": list(words), "env": ["PATH=/bin"], "cwd": "/"},
            "root": {"path": str(self.work / "rootfs"), "readonly": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }
        config["process"]["noNewPrivileges"] = True
        if seccomp is not None:
            config["linux"]["seccomp"] = seccomp
        (path / "config.json").write_text(json.dumps(config))
        return path

    def command(self, form: str, bundle: Path) -> list[str]:
        """The command line that runs a bundle in a form."""
        name = f"bench-calls-{os.getpid()}-{self._ids}"
        if form == RECORDED:
            return [*self.pyrunc, "seccomp", "record", str(bundle), "-o", "/dev/null"]
        if form == GVISOR:
            flags = ["--root", str(self.work / "runsc"), "--ignore-cgroups", "--overlay2=none", "--network=none"]
            return [self.runsc, *flags, "run", "--bundle", str(bundle), name]
        flags = ["--isolation", "sandbox"] if form == SANDBOX else []
        return [*self.pyrunc, "run", *flags, "--bundle", str(bundle), name]

    def measure(self, form: str, call: str, seccomp: Any) -> None:
        """Take the time of a call once."""
        bundle = self.bundle(seccomp, "/bin/brokered", "time", call, str(self.count))
        done = subprocess.run(
            self.command(form, bundle), capture_output=True, text=True, timeout=SECONDS, check=True, cwd=self.work
        )
        nanoseconds, _, failed = done.stdout.split()
        if failed != "0" and form == GVISOR:
            return  # without a network it has no loopback either
        if failed != "0":
            raise SystemExit(f"bench-calls: {form}: {call} failed {failed} times")
        self.times.setdefault((form, call), []).append(float(nanoseconds))

    def start(self, form: str) -> None:
        """Take the time of a whole `run /bin/true` once, in milliseconds."""
        bundle = self.bundle(None, "/bin/true")
        began = time.monotonic()
        subprocess.run(self.command(form, bundle), check=True, timeout=SECONDS, cwd=self.work, capture_output=True)
        self.starts.setdefault(form, []).append((time.monotonic() - began) * 1000)

    def ruleset(self) -> None:
        """Take the time of the steps of a Landlock ruleset in one start, by its timeline."""
        bundle = self.bundle(None, "/bin/true")
        config = json.loads((bundle / "config.json").read_text())
        config["annotations"] = {"org.pyrunc.landlock": json.dumps(LANDLOCK)}
        (bundle / "config.json").write_text(json.dumps(config))
        command = self.command(PLAIN, bundle)
        file = bundle / "timeline.json"
        command[-1:-1] = ["--timeline", str(file)]
        subprocess.run(command, check=True, timeout=SECONDS, cwd=self.work, capture_output=True)
        self.landlock.append(ruleset_time(json.loads(file.read_text())))

    def keep(self, form: str) -> None:
        """Measure the memory of a container that sleeps: PSS in MB of what is not its program."""
        bundle = self.bundle(None, "/bin/busybox", "sleep", "1000")
        with subprocess.Popen(self.command(form, bundle), cwd=self.work, stdout=subprocess.DEVNULL) as process:
            try:
                time.sleep(2)
                self.memory[form] = sum(map(_pss, _below(process.pid))) / 1024
            finally:
                # Not the runtime itself, which removes the container then.
                for pid in reversed(_below(process.pid)[1:]):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
                process.wait(SECONDS)

    @contextlib.contextmanager
    def broker(self) -> Iterator[Any]:
        """A broker; the profile that asks it."""
        socket, config = self.work / "broker.sock", self.work / "broker.json"
        config.write_text(json.dumps({"policies": {"default": POLICY}}))
        words = [*self.pyrunc, "broker", "--socket", str(socket), "--config", str(config)]
        printed = subprocess.run([*words, "--print-profile"], check=True, capture_output=True)
        process = subprocess.Popen([*words[:-5], "--log", "/dev/null", *words[-5:]])
        while not socket.exists() and process.poll() is None:
            time.sleep(0.05)
        before = _processor_time(process.pid)
        try:
            yield json.loads(printed.stdout)
        finally:
            process.terminate()
            # With that of its agents, which it has waited for.
            _, _, usage = os.wait4(process.pid, 0)
            calls = self.count * sum([len(self.times.get((BROKERED, call), ())) for call in BROKERED_CALLS])
            if calls:
                self.agent = (usage.ru_utime + usage.ru_stime - before) * 1e6 / calls

    def text(self) -> str:
        """The tables in Markdown."""
        forms = [form for form in (PLAIN, FILTERED, RECORDED, BROKERED, GVISOR) if (form, "getppid") in self.times]
        lines = ["| ns a call: median (minimum) | " + " | ".join(forms) + " |", "|---|" + "---:|" * len(forms)]
        for call in CALLS:
            cells = [_cell(self.times.get((form, call), [])) for form in forms]
            lines.append(f"| {call} | " + " | ".join(cells) + " |")
        lines += ["", "| | " + " | ".join(self.starts) + " |", "|---|" + "---:|" * len(self.starts)]
        lines.append("| run /bin/true, ms | " + " | ".join([_cell(each) for each in self.starts.values()]) + " |")
        if self.memory:
            cells = [f"{self.memory[form]:.1f}" for form in self.starts]
            lines.append("| PSS of a sleeping container with its runtime, MB | " + " | ".join(cells) + " |")
        if self.landlock:
            lines += ["", f"The steps of a Landlock ruleset of three paths and a port: {_cell(self.landlock)} µs."]
        if self.agent:
            lines += ["", f"Processor time of the broker's agent for a call, its start included: {self.agent:.1f} µs."]
        return "\n".join(lines) + "\n"


def ruleset_time(trace: dict[str, Any]) -> float:
    """The sum of the times of Landlock's steps in a timeline, in microseconds."""
    return float(sum(event["dur"] for event in trace["traceEvents"] if event["name"].startswith("landlock_")))


def _cell(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f})" if values else ""


def _processor_time(pid: int) -> float:
    """The user and system time of a process, in seconds (proc_pid_stat(5))."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _below(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += _below(int(child))
    return found


def _pss(pid: int) -> int:
    """The PSS of a process in KiB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyrunc", default=str(REPOSITORY / "build/bench/usr/bin/pyrunc"))
    parser.add_argument("--runsc", default=shutil.which("runsc") or "", help="gVisor's runtime")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables, and write them to the file that the options name."""
    options = arguments()
    if os.geteuid() != 0:
        raise SystemExit("bench-calls: it starts containers: run it as root")
    with tempfile.TemporaryDirectory(prefix="pyrunc-calls-") as name:
        # The commands run in another directory.
        bench = Bench(Path(name), [str(Path(options.pyrunc).absolute())], options.runsc, options.count)
        runs = [PLAIN, SANDBOX] + ([GVISOR] if options.runsc else [])
        with bench.broker() as profile:
            filters = {PLAIN: None, FILTERED: {"defaultAction": "SCMP_ACT_ALLOW"}, RECORDED: None, BROKERED: profile}
            if options.runsc:
                filters[GVISOR] = None
            for _ in range(options.rounds):
                for call in CALLS:
                    for form, seccomp in filters.items():
                        bench.measure(form, call, seccomp)
                for form in runs:
                    bench.start(form)
                bench.ruleset()
        for form in runs:
            bench.keep(form)
        text = bench.text()
    print(text)
    if options.write:
        from tests.bench import table

        document = options.write.read_text()
        options.write.write_text(table.between_marks(document, text, BEGIN, END))


if __name__ == "__main__":
    main()
