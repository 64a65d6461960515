"""The path of a container's cgroup: path_for against runc itself, with cgroup2 alone. Needs root and runc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc.libcontainer.cgroup import files
from pyrunc.libcontainer.plan import host
from tests import purev2
from tests.support.bundle import BUSYBOX, Bundle, make_rootfs

RUNC = shutil.which("runc") or ""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not RUNC, reason="needs runc"),
    pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="needs busybox-static"),
]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    make_rootfs(tmp_path / "template")
    bundle = Bundle(tmp_path / "bundle", tmp_path / "template")
    # no cgroup namespace: the container sees its path from the hierarchy's root
    bundle.process["args"] = ["cat", "/proc/self/cgroup"]
    return bundle


@pytest.mark.parametrize("own", ["/", "/TOP/user/session"])
@pytest.mark.parametrize(
    "spec_path", ["", "/TOP/a/b", "/TOP//a/./c/../d/", "/../../TOP/up", "TOP/rel", "../../TOP/rel-up", "TOP/x/.."]
)
def test_as_runc_has_it(bundle: Bundle, spec_path: str, own: str) -> None:
    top = f"pyrunc-test-paths-{os.getpid()}"
    spec_path = spec_path.replace("TOP", top)
    if spec_path:
        bundle.linux["cgroupsPath"] = spec_path
    bundle.write()
    container = f"{top}-c"

    def inside() -> None:
        own_directory = "/sys/fs/cgroup" + own.replace("TOP", top)
        os.makedirs(own_directory, exist_ok=True)
        Path(own_directory, "cgroup.procs").write_text("0")
        try:
            expected = files.path_for(spec_path, container, host.gather()).removeprefix("/sys/fs/cgroup")
            assert host.own_cgroup(_run(bundle, container)) == expected
        finally:
            Path("/sys/fs/cgroup/cgroup.procs").write_text("0")
            files.remove(f"/sys/fs/cgroup/{top}")

    purev2.run(inside)


def _run(bundle: Bundle, container: str) -> str:
    """The container's output."""
    result = subprocess.run(
        [RUNC, "--root", str(bundle.path / "state"), "run", "--bundle", str(bundle.path), container],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
