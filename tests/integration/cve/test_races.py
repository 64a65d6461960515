"""Races against the resolution of paths inside the rootfs (CVE-2021-30465, CVE-2023-27561, CVE-2024-45310,
CVE-2025-31133, CVE-2025-52565). An attacker may write to a volume, and keeps exchanging a directory in it with a
symlink to the host. Meanwhile the test creates containers that mount, make or hide something there.

Whichever of the two a create finds, nothing may be mounted, made or seen outside of the rootfs. PYRUNC_TEST_RACES says
how often the exchanged mount target is tried; the others are tried a tenth as often.

Seen to fail, with PYRUNC_TEST_RACES=100: with resolve of csrc/init/paths.c without RESOLVE_IN_ROOT, on the path
relative to the rootfs, and open_component without O_NOFOLLOW (all but nested-copyup); with O_NOFOLLOW taken out of
copy_entry and copy_directory in csrc/init/copyup.c (nested-copyup).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.effort import times
from tests.support.race import exchanging
from tests.support.runtime import Runtime

TIMES = times(60, 500, "PYRUNC_TEST_RACES")

# Prints what the attacker wants to see: the host's canary, at the places where the races may have put it.
LOOK = (
    "find /volume /tmp . -name canary; cat canary /volume/dir/canary /volume/dir/*/canary 2>/dev/null; "
    "cat /proc/self/mountinfo"
)

# Changes a bundle for create number N, and returns how many mounts the target must then have.
Setup = Callable[[Bundle, int], int]


def _mounts(bundle: Bundle, number: int) -> int:
    """Existing targets and targets to be made, for every way to mount."""
    source = str(bundle.rootfs / "srv")
    bundle.mount("/volume/dir", "bind", source, "bind")
    bundle.mount("/volume/dir/there", "tmpfs", "tmpfs")
    bundle.mount(f"/volume/dir/d{number}/below", "bind", source, "rbind", "ro")
    bundle.mount(f"/volume/dir/f{number}", "bind", source + "/file", "bind")
    return 4


def _cwd(bundle: Bundle, number: int) -> int:
    bundle.process["cwd"] = "/volume/dir/there" if number % 2 else f"/volume/dir/cwd{number}"
    return 0


def _device(bundle: Bundle, number: int) -> int:
    bundle.linux["devices"] = [{"path": f"/volume/dir/n{number}", "type": "c", "major": 1, "minor": 3}]
    return 0


def _hidden(bundle: Bundle, number: int) -> int:
    bundle.linux["readonlyPaths"] = ["/volume/dir/there"]
    bundle.linux["maskedPaths"] = ["/volume/dir/there"]
    return 2


def _copyup(bundle: Bundle, number: int) -> int:
    bundle.mount("/volume/dir", "tmpfs", "tmpfs", "tmpcopyup")
    return 1


def _nested_copyup(bundle: Bundle, number: int) -> int:
    bundle.mount("/volume", "tmpfs", "tmpfs", "tmpcopyup")
    return 0


@pytest.mark.own("1.1 has the flaws")
@pytest.mark.parametrize(
    ("setup", "count"),
    [
        pytest.param(_mounts, TIMES, id="mount"),
        pytest.param(_cwd, TIMES // 10, id="cwd"),
        pytest.param(_device, TIMES // 10, id="device"),
        pytest.param(_hidden, TIMES // 10, id="hidden"),
        pytest.param(_copyup, TIMES // 10, id="copyup"),
        pytest.param(_nested_copyup, TIMES // 10, id="nested-copyup"),
    ],
)
def test_directory_and_symlink_exchanged(runtime: Runtime, bundle: Bundle, setup: Setup, count: int) -> None:
    outside = runtime.work / "outside"
    (outside / "there").mkdir(parents=True)
    for folder in (outside, outside / "there"):
        (folder / "canary").write_text("of the host\n")
    before = _tree(str(outside))
    volume = runtime.work / "volume"
    (volume / "dir/there").mkdir(parents=True)
    (volume / "link").symlink_to("../" * 20 + str(outside).lstrip("/"))
    # The link's target inside of the rootfs.
    (bundle.rootfs / str(outside).lstrip("/") / "there").mkdir(parents=True)
    bundle.mount("/volume", "bind", str(volume), "bind")
    common = list(bundle.mounts)
    bundle.sh(LOOK)
    id = runtime.new_id()
    made = 0
    with exchanging(volume / "dir", volume / "link"):
        for number in range(count):
            bundle.config["mounts"] = list(common)
            expected = setup(bundle, number)
            result = runtime.run(bundle, ok=False, id=id)
            assert "canary" not in result.out, result
            assert "of the host" not in result.out, result
            if mounts := host.mountinfo(result.out):
                made += 1
                # During the exchange the directory may have the link's name.
                inside = [mount.point for mount in mounts if mount.point.startswith(("/volume/", str(outside)))]
                assert len(inside) == expected, inside
    assert made, "no container has been made"
    assert _tree(str(outside)) == before
    assert not host.mounts_of(str(outside))
    runtime.assert_nothing_left()


def _tree(path: str) -> list[tuple[str, list[str], list[str]]]:
    return sorted(os.walk(path))
