"""CVE-2024-45310: if the runtime makes a missing mount target by its path, a symlink or a race has it make empty files
and directories on the host.

Seen to fail: with resolve and make_in_root of csrc/init/paths.c replaced by openat and mkdirat on the path as it is.
"""

from __future__ import annotations

import os

import pytest

from tests.support.bundle import Bundle
from tests.support.race import exchanging
from tests.support.runtime import Runtime


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("way", ["absolute", "climbing"])
def test_missing_target_behind_a_symlink(runtime: Runtime, bundle: Bundle, kind: str, way: str) -> None:
    victim = runtime.work / "victim"
    victim.mkdir()
    source = runtime.work / "source"
    source.mkdir() if kind == "directory" else source.write_text("")
    (bundle.rootfs / "link").symlink_to(str(victim) if way == "absolute" else "../" * 20 + str(victim).lstrip("/"))
    for target in ("/link/made", "/link/made-too/below"):
        bundle.mount(target, "bind", str(source), "bind")
    runtime.run(bundle, ok=False)
    assert os.listdir(victim) == []
    runtime.assert_nothing_left()


@pytest.mark.own("1.1 has the flaw")
def test_missing_target_while_its_parent_is_exchanged(runtime: Runtime, bundle: Bundle) -> None:
    victim = runtime.work / "victim"
    victim.mkdir()
    (bundle.rootfs / "dir").mkdir()
    (bundle.rootfs / "link").symlink_to("../" * 20 + str(victim).lstrip("/"))
    (runtime.work / "file").write_text("")
    with exchanging(bundle.rootfs / "dir", bundle.rootfs / "link"):
        for number in range(10):
            bundle.mounts[3:] = []
            bundle.mount(f"/dir/a{number}/b", "bind", str(runtime.work / "file"), "bind")
            bundle.mount(f"/dir/c{number}/d", "tmpfs", "tmpfs")
            runtime.run(bundle, ok=False)
    assert os.listdir(victim) == []
    runtime.assert_nothing_left()
