"""linux.intelRdt. No machine of the tests has resctrl: the unit tests have the rest, on a directory of the same
form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.own("1.1 ignores an empty intelRdt, and words it otherwise")
@pytest.mark.parametrize("rdt", [{}, {"closID": "/"}, {"l3CacheSchema": "L3:0=f"}, {"enableMonitoring": True}])
def test_without_resctrl(runtime: Runtime, bundle: Bundle, rdt: dict[str, Any]) -> None:
    if "resctrl" in Path("/proc/mounts").read_text():
        pytest.skip("resctrl is mounted here")
    bundle.linux["intelRdt"] = rdt
    line = runtime.refuse(bundle).last_line
    assert "intelRdt is specified in config, but Intel RDT is not enabled" in line
    assert " at /linux/intelRdt; on a machine that has it: mount -t resctrl" in line
