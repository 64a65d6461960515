"""How many bytecodes the commands of a container's life execute, compared with bytecodes.json.

A bytecode of a process that has just begun takes some 30 ns. tests/support/bytecodes.py counts them, and shows the
functions that execute them. PYRUNC_UPDATE_GOLDEN=1 writes the file.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("bytecodes.json")
# A loop that waits may turn once more: 80 bytecodes. On a busy machine it turns more often: the least of some attempts
# counts.
MARGIN = 1.02
ATTEMPTS = 5
# What a command looks at depends on the kernel; each processor has a masked path; each version has its own bytecodes.
GROUND = {
    "kernel": ".".join(platform.release().split(".")[:2]),
    "processors": os.cpu_count(),
    "python": ".".join(map(str, sys.version_info[:2])),
}


@pytest.mark.own("the counts are pyrunc's")
def test_no_more_bytecodes_than_before() -> None:
    golden = json.loads(GOLDEN.read_text())
    update = bool(os.environ.get("PYRUNC_UPDATE_GOLDEN"))
    if golden["ground"] != GROUND and not update:
        differing = " ".join(sorted(name for name in GROUND if GROUND[name] != golden["ground"][name]))
        pytest.skip(f"the counts were taken with another {differing}")
    if update:
        golden = {"ground": GROUND, "bytecodes": counted()}
        GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")
    more: dict[str, tuple[int, int]] = {}
    for attempt in range(ATTEMPTS):
        found = {
            f"{name} {command}": (count, golden["bytecodes"][name][command])
            for name, counts in counted().items()
            for command, count in counts.items()
            if count > golden["bytecodes"][name][command] * MARGIN
        }
        more = found if not attempt else {what: counts for what, counts in found.items() if what in more}
        if not more:
            return
    assert more == {}


def counted() -> dict[str, dict[str, int]]:
    """The bytecodes of each command, by the names of the bundles."""
    command = [sys.executable, "-OO", "-m", "tests.support.bytecodes", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found
