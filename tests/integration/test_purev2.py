"""The tests with the mark `purev2`, again with a pure cgroup2 hierarchy at /sys/fs/cgroup."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import host
from tests.support.runtime import REPOSITORY

SCRIPT = """
import os, sys
from tests import purev2
purev2.enter()
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
"""


@pytest.mark.own("the tests can be run there by hand")
@pytest.mark.skipif(host.cgroup2_mount() == "/sys/fs/cgroup", reason="this host is a pure cgroup2 one already")
def test_marked_tests_in_a_pure_cgroup2_namespace() -> None:
    done = subprocess.run(
        [
            sys.executable, "-c", SCRIPT, "-q", "-m", "purev2", "-p", "no:cacheprovider", "--tb=short",
            str(REPOSITORY / "tests/integration"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]
    passed = int(done.stdout.strip().splitlines()[-1].split(" passed")[0].split()[-1])
    assert passed > 30, done.stdout
