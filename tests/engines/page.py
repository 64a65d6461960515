"""Write the tables of docs/engines.md: `python -m tests.engines.page`.

The results of the last runs, build/engines/RELEASE.jsonl and build/guest/MACHINE.jsonl, are merged into
tests/engines/results.json, and the tables made from that file. So an engine that has not run since keeps its line. The
tables are between two comments of the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.engines import buildah, buildkit, guests, podman, pods
from tests.engines.checks import CHECKS, NEEDS
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY

PAGE = REPOSITORY / "docs/engines.md"
RUNS = REPOSITORY / "build/engines"
GUEST_RUNS = REPOSITORY / "build/guest"
KEPT = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- tables: make engines-doc -->", "<!-- end of the tables -->"
GUESTS, GUESTS_END = "<!-- guests: make engines-doc -->", "<!-- end of the guests -->"
PROBES, PROBES_END = "<!-- probes: make engines-doc -->", "<!-- end of the probes -->"

# The guests' names.
MACHINES = {"uml": "User-Mode Linux", "qemu": "QEMU"}

# Debian's version numbers.
NUMBERS = {"bookworm": "12", "trixie": "13"}

# Every check by its name.
ALL: Mapping[str, Callable[..., None]] = {
    name: check
    for table in (CHECKS, pods.CHECKS, podman.CHECKS, buildah.CHECKS, buildkit.CHECKS, guests.CHECKS)
    for name, check in table.items()
}

Record = Mapping[str, str]
# `RELEASE KIND`, or `RELEASE GUEST KIND`, to an engine's version and its checks, each with the words of pyrunc and of
# the runtime beside it, and that runtime's name if it is not runc.
Results = dict[str, dict[str, Any]]


def merge(results: Results, release: str, records: Iterable[Record]) -> None:
    """Take the records of a run into the results. Another version of an engine replaces all that was there of it; a
    check that was done without the runtime beside it (QUICK) keeps that runtime's earlier result."""
    for record in records:
        key = " ".join(word for word in (release, record.get("guest", ""), record["kind"]) if word)
        if results.get(key, {}).get("version") != record["version"]:
            results[key] = {"version": record["version"], "checks": {}}
        checks = results[key]["checks"]
        before = checks.get(record["check"], ["", ""])
        peer = record["runc"]
        if record["pyrunc"] == "passed" and not peer:
            peer = before[1]
        name = record.get("peer", "runc")
        checks[record["check"]] = [record["pyrunc"], peer, *([] if name == "runc" else [name])]


def cell(pyrunc: str, peer: str) -> str:
    """The result of one check under one engine, in a word."""
    match pyrunc, peer:
        case "passed", "failed":
            return "pyrunc"
        case "passed", _:
            return "yes"
        case "failed", "failed":
            return "neither"
        case "failed", _:
            return "**no**"
    return "–" if pyrunc == "lacks" else ""


def order(key: str) -> tuple[int, int, int]:
    """The place of an engine in the tables."""
    release, *guest, kind = key.split(" ")
    kinds = list(guests.ENGINES if guest else KINDS)
    return list(NUMBERS).index(release), list(MACHINES).index(guest[0]) if guest else -1, kinds.index(kind)


def counts(checks: Iterable[Sequence[str]]) -> tuple[int, ...]:
    """How many checks there are, and how many have each outcome."""
    found = [(own, other) for own, other, *_ in checks]
    return (
        len(found),
        sum(own == "passed" for own, _ in found),
        sum(own == other == "passed" for own, other in found),
        sum(own == "passed" and other == "failed" for own, other in found),
        sum(own == "failed" and other != "failed" for own, other in found),
        sum(own == other == "failed" for own, other in found),
        sum(own == "lacks" for own, _ in found),
    )


COUNTS = (
    "| version | checks | passed | with the other too | with pyrunc only | with the other only | neither "
    "| no words for it |"
)


def row(key: str, result: Mapping[str, Any]) -> str:
    """The counts of an engine as a line of the first table, or of the guests'."""
    release, *guest, kind = key.split(" ")
    where = MACHINES[guest[0]] if guest else NUMBERS[release]
    return (
        f"| {' | '.join(str(word) for word in (where, kind, result['version'], *counts(result['checks'].values())))} |"
    )


def differences(results: Results, keys: Sequence[str]) -> list[str]:
    """The table of the checks that do not pass with both runtimes everywhere, without an engine that hardly starts with
    the other runtime."""
    found = {key: counts(results[key]["checks"].values()) for key in keys}
    keys = [key for key in keys if found[key][3] <= found[key][0] // 2]
    lines = ["| check | pyrunc only | the other only | neither |", "|---|---|---|---|"]
    for name, check in ALL.items():
        where: dict[str, list[str]] = {"pyrunc": [], "**no**": [], "neither": []}
        for key in keys:
            own, other, *peer = results[key]["checks"].get(name, ("", ""))
            word = cell(own, other)
            if word in where:
                release, *guest, kind = key.split(" ")
                said = f"{kind} {MACHINES[guest[0]] if guest else NUMBERS[release]}"
                where[word].append(f"{said} ({peer[0]})" if peer else said)
        if any(where.values()):
            said = (check.__doc__ or "").splitlines()[0].rstrip(".")
            said += f" (needs {NEEDS[name]})" if name in NEEDS else ""
            lines.append(f"| {said} | {' | '.join(', '.join(each) or ' ' for each in where.values())} |")
    return lines


def tables(results: Results) -> str:
    """The counts of each engine, and the checks that do not pass with both runtimes everywhere."""
    keys = sorted((key for key in results if key.split(" ")[1] in KINDS), key=order)
    heading = [f"| Debian | engine {COUNTS}", "|---|---|---|---|---|---|---|---|---|---|"]
    return "\n".join([*heading, *(row(key, results[key]) for key in keys), "", *differences(results, keys)])


def guest_tables(results: Results) -> str:
    """The same of the guests."""
    keys = sorted((key for key in results if key.split(" ")[1] in MACHINES), key=order)
    heading = [f"| guest | engine {COUNTS}", "|---|---|---|---|---|---|---|---|---|---|"]
    return "\n".join([*heading, *(row(key, results[key]) for key in keys), "", *differences(results, keys)])


def probes(runs: Iterable[Mapping[str, Any]]) -> str:
    """The last run of each runtime of tests/engines/probes.py, a column each."""
    last = {run["runtime"]: run for run in runs}
    order = sorted(last, key=lambda name: (name == "runc", name))
    chosen = [last[name] for name in order]

    def line(title: str, value: Callable[[Mapping[str, Any]], object]) -> str:
        return f"| {title} | {' | '.join(str(value(run)) for run in chosen)} |"

    def course(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda run: f"{run['before'][name]} → {run['probed'][name]}; {run['after'][name]}"

    def memory(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda run: " → ".join(f"{run[when][name] / 1024:.0f}" for when in ("before", "probed"))

    empty = chosen[0]["empty"]
    return "\n".join(
        [
            f"containerd {chosen[0]['containerd']}; before the probes → after them; at the end no pod is left:",
            "",
            f"| | {' | '.join(order)} |",
            "|---|" + "---:|" * len(chosen),
            line("pods", lambda run: run["pods"]),
            line("seconds", lambda run: run["seconds"]),
            line("probes, failed ones", lambda run: f"{run['probes']}, {run['failed']}"),
            line("a probe: median, 99th percentile (ms)", lambda run: f"{run['median']}, {run['p99']}"),
            line("processor time of a probe, all processes (ms)", lambda run: run["cpu"]),
            line(f"processes ({empty['processes']} without a pod)", course("processes")),
            line("descriptors of the shims", course("shim_descriptors")),
            line("descriptors of containerd", course("daemon_descriptors")),
            line(f"mounts ({empty['mounts']} without a pod)", course("mounts")),
            line(f"cgroups ({empty['cgroups']} without a pod)", course("cgroups")),
            line(f"files of state ({empty['files']} without a pod)", course("files")),
            line("private memory of all shims (MiB)", memory("shim_private")),
            line("private memory of containerd (MiB)", memory("daemon_private")),
        ]
    )


def between(page: str, begin: str, end: str, content: str) -> str:
    """The page with this content between two of its comments."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def records(path: Path) -> list[Record]:
    """The records of a run."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> int:
    """Write the results and the page."""
    results: Results = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for release in NUMBERS:
        path = RUNS / f"{release}.jsonl"
        if path.exists():
            merge(results, release, records(path))
    for path in GUEST_RUNS.glob("*.jsonl"):
        for record in records(path):
            merge(results, record["release"], [record])
    if not results:
        print("no results: make test-engines", file=sys.stderr)
        return 1
    for result in results.values():
        # Checks that were renamed or removed since.
        result["checks"] = {name: words for name, words in sorted(result["checks"].items()) if name in ALL}
    KEPT.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    text = between(PAGE.read_text(), BEGIN, END, tables(results))
    if GUESTS in text:
        text = between(text, GUESTS, GUESTS_END, guest_tables(results))
    if (RUNS / "probes.jsonl").exists():
        text = between(text, PROBES, PROBES_END, probes(records(RUNS / "probes.jsonl")))
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
