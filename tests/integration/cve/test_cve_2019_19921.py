"""CVE-2019-19921: /proc of the image is a symlink into a volume, in which the attacker has a procfs of its choice.

Seen to fail: with the error "must be mounted on ordinary directory" taken out of csrc/init/steps_mounts.c.
"""

from __future__ import annotations

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_are_ordinary_directories(runtime: Runtime, bundle: Bundle, name: str) -> None:
    volume = runtime.work / "volume"
    (volume / name / "self/attr").mkdir(parents=True)
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to(f"/volume/{name}")
    bundle.mounts.insert(0, {"destination": "/volume", "type": "bind", "source": str(volume), "options": ["bind"]})
    if name == "sys":
        bundle.mount("/sys", "sysfs", "sysfs", "ro")
    result = runtime.refuse(bundle)
    assert "must be mounted on ordinary directory" in result.last_line
