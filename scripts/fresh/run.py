"""Run `make demo`, `make install` and `make test` on a fresh Debian, as a contributor does on a new machine.

`run.py bookworm|trixie|sid unit|python|packages|full|launcher PYTEST_ARGUMENT…`, as root. The machine is a copy of what
debian.py makes, entered by enter.py, with a clone of the working tree in /root (mode 0700). `unit` runs the unit tests,
`full` all tests. `python` runs the unit tests and those that depend on the version of Python, with the installed
launcher, which must have its snapshot. `packages` installs the result of this machine's `make wheel` before the fresh
machine has a compiler, then makes the packages there, installs the .deb and removes it; it does not run pytest.
`launcher` only builds the launcher, and copies it to build/fresh/VERSION/bin/pyrunc; VERSION is that of Python. All
commands run under nohup: SIGHUP is ignored, and there is no terminal. The exit code is that of the first command that
fails.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from checkout import CLONE, clone
from debian import RELEASES, copy, downloads, network
from machine import cgroup, remove
from machine import words as machine_words

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guest"))

from cache import REPOSITORY, GuestError

# Where the log of a run is.
LOG = "/root/log"

SCRIPT = """
set -eu
say() { printf '\\n== %s\\n' "$*"; }
say "$(. /etc/os-release; echo "$PRETTY_NAME"), $(python3 --version)"
say make demo
make demo
say make install
make install
(cd / && pyrunc --version)
if [ "$SNAPSHOT" = 1 ]; then
    test -e build/launcher/pyrunc.section || { echo "the launcher has no snapshot" >&2; exit 1; }
    export PYRUNC_TEST_RUNTIME=/usr/local/bin/pyrunc
fi
say make test
exec make test PYTEST="$PYTEST"
"""

# A user's commands with the packages, up to a container. The wheel is the host's, and must have been made.
PACKAGES_SCRIPT = """
set -eu
say() { printf '\\n== %s\\n' "$*"; }
try() {
    say "$1: $("$1" --version | head -n 1)"
    "$1" features | grep -q '"ociVersionMin"'
    rm -rf /tmp/bundle
    mkdir -p /tmp/bundle/rootfs/bin
    cp /bin/busybox /tmp/bundle/rootfs/bin/sh
    (cd /tmp/bundle && "$1" spec && sed -i -e 's/"terminal": true/"terminal": false/' \\
        -e 's/"sh"/"sh", "-c", "echo it runs"/' config.json && "$1" run first | grep -x 'it runs')
}
say "$(. /etc/os-release; echo "$PRETTY_NAME"), $(python3 --version)"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends python3-venv busybox-static > /dev/null
! command -v gcc
python3 -m venv /opt/venv
/opt/venv/bin/pip install -q --disable-pip-version-check /root/wheel/*.whl
try /opt/venv/bin/pyrunc
say make dist
apt-get install -qq -y --no-install-recommends lintian > /dev/null
make dist > /tmp/dist.log 2>&1 || { cat /tmp/dist.log >&2; exit 1; }
(cd build/dist && sha256sum --check --strict SHA256SUMS)
lintian --allow-root --fail-on error,warning build/dist/*.deb
say the .deb
apt-get install -qq -y --no-install-recommends ./build/dist/*.deb > /dev/null
try /usr/bin/pyrunc
man_page=/usr/share/man/man8/pyrunc-integrate.8.gz
gzip -t "$man_page" || [ ! -e "$man_page" ] # a minimal Debian leaves out manual pages
ls /usr/lib/pyrunc/modules/pyrunc/__pycache__/*.pyc > /dev/null
apt-get purge -qq -y pyrunc > /dev/null
! ls -d /usr/lib/pyrunc /usr/bin/pyrunc 2> /dev/null
say the tar
tar -xzf build/dist/*.tar.gz -C /opt
try "$(ls -d /opt/pyrunc-*)/bin/pyrunc"
"""

# The launcher alone, for `make bench-pythons`.
LAUNCHER_SCRIPT = "make build launcher > /tmp/build.log 2>&1 || { cat /tmp/build.log >&2; exit 1; }"
LAUNCHER = "build/launcher/pyrunc"

SCRIPTS = {"packages": PACKAGES_SCRIPT, "launcher": LAUNCHER_SCRIPT}
KINDS = ("unit", "python", "packages", "full", "launcher")

# The tests that depend on the version of Python: unit tests, tests of the launcher, and a container's whole life.
PYTHON_TESTS = (
    "tests/unit", "tests/integration/test_launcher_import.py", "tests/integration/test_snapshot.py",
    "tests/integration/test_lifecycle.py", "tests/integration/test_run.py", "tests/integration/test_exec.py",
)  # fmt: skip


def pytest_words(tests: str, given: list[str]) -> list[str]:
    """pytest's arguments: those that `tests` stands for, unless the caller gives its own."""
    chosen = any(not word.startswith("-") and (REPOSITORY / word.partition("::")[0]).exists() for word in given)
    return given if tests == "full" or chosen else [*(PYTHON_TESTS if tests == "python" else ["tests/unit"]), *given]


def follow(machine: subprocess.Popen[bytes], log: Path) -> int:
    """Print the log as it grows until the machine ends. The log is a file: a container could keep a pipe open."""
    with log.open("rb") as file:
        while True:
            code = machine.poll()
            while data := file.read(65536):
                sys.stdout.buffer.write(data)
            sys.stdout.flush()
            if code is not None:
                return code
            time.sleep(0.2)


def run(codename: str, script: str, variables: dict[str, str], work: Path) -> int:
    """Make the machine in `work`, run a shell script in the clone, and return the script's exit code."""
    root = work / "root"
    copy(codename, root)
    clone(root / CLONE.lstrip("/"))
    for wheel in (REPOSITORY / "build/dist").glob("*.whl"):
        (root / "root/wheel").mkdir(exist_ok=True)
        shutil.copy(wheel, root / "root/wheel")
    (root / "root").chmod(0o700)
    log = root / LOG.lstrip("/")
    log.touch()
    binds = [
        (downloads(f"apt-{codename}"), root / "var/cache/apt/archives"), (downloads("pip"), root / "root/.cache/pip"),
    ]  # fmt: skip
    for _, place in binds:
        place.mkdir(parents=True, exist_ok=True)
    group = cgroup()
    words = ["setpriv", "--pdeathsig", "KILL"]
    words += machine_words(root, CLONE, group, ("nohup", "sh", "-c", script), binds)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root", "LANG": "C.UTF-8", **network(), **variables,
    }  # fmt: skip
    with log.open("wb") as output:
        machine = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        return follow(machine, log)
    finally:
        machine.kill()  # this kills process 1 too (unshare --kill-child), and process 1 all others
        machine.wait()
        if group is not None:
            remove(group)


def main() -> int:
    """Run what sys.argv asks for."""
    if len(sys.argv) < 3 or sys.argv[1] not in RELEASES or sys.argv[2] not in KINDS:
        raise GuestError(f"usage: run.py {'|'.join(RELEASES)} {'|'.join(KINDS)} PYTEST_ARGUMENT…")
    codename, tests, *given = sys.argv[1:]
    if tests == "packages" and not list((REPOSITORY / "build/dist").glob("*.whl")):
        raise GuestError("there is no wheel in build/dist: make wheel")
    if os.geteuid() != 0:
        raise GuestError("root is needed to make a machine")
    work = Path(tempfile.mkdtemp(prefix=f"pyrunc-fresh-{codename}-"))
    start = time.monotonic()
    try:
        variables = {"PYTEST": shlex.join(pytest_words(tests, given)), "SNAPSHOT": str(int(tests == "python"))}
        code = run(codename, SCRIPTS.get(tests, SCRIPT), variables, work)
        if tests == "launcher" and code == 0:
            built = work / "root" / CLONE.lstrip("/") / LAUNCHER
            target = REPOSITORY / "build/fresh" / RELEASES[codename] / "bin"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(built, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    how = "passed" if code == 0 else f"failed with exit code {code}"
    print(f"pyrunc-fresh: Debian {codename}, {tests}: {how} after {time.monotonic() - start:.0f} s", flush=True)
    return code


def leave(number: int, frame: FrameType | None) -> None:
    """End the machine too when a signal comes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, leave)
    try:
        sys.exit(main())
    except GuestError as error:
        sys.exit(f"pyrunc-fresh: {error}")
