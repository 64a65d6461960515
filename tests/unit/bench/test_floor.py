"""The floor carries out the plans that the compiler makes: the container runs, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from tests import purev2
from tests.bench import bundles, engine_bundles, floor
from tests.support.host import wait_for


@pytest.mark.skipif(os.geteuid() != 0, reason="starts containers")
@pytest.mark.parametrize("name", ["small", "large", "kubernetes", "docker"])
def test_the_floor_runs_a_container_and_removes_its_cgroup(tmp_path: Path, name: str) -> None:
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o711)  # the large set's user namespace enters it
    cgroup = f"/floor-{os.getpid()}"

    def carried_out() -> None:
        if name in ("kubernetes", "docker"):
            bundle = getattr(engine_bundles, name)(tmp_path, cgroup)
        else:
            bundle = getattr(bundles, name)(tmp_path)
        steps = floor.record(bundle.short, cgroup.strip("/"), tmp_path / "plan")
        program = floor.build(tmp_path)
        done = subprocess.run([program, steps], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        [line] = [line for line in steps.read_text().splitlines() if line.startswith("cgroup ")]
        assert not Path(line.split()[1]).exists()
        parent = Path("/sys/fs/cgroup" + cgroup)
        if parent.exists():
            parent.rmdir()

    purev2.run(carried_out)


def removed(cgroup: Path) -> bool:
    """Remove a cgroup, unless the process in it has not ended yet."""
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="starts containers")
def test_the_floor_reports_a_step_that_fails(tmp_path: Path) -> None:
    def carried_out() -> None:
        bundle = bundles.small(tmp_path)
        (bundle.short / "rootfs/bin/true").unlink()
        steps = floor.record(bundle.short, f"floor-{os.getpid()}", tmp_path / "plan")
        done = subprocess.run(
            [floor.build(tmp_path), steps], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        wait_for("the end of the init", lambda: removed(Path(f"/sys/fs/cgroup/floor-{os.getpid()}")))
        assert done.returncode == 1
        assert "/bin/true" in done.stderr

    purev2.run(carried_out)
