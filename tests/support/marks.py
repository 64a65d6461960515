"""Marks of tests that need something of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

numa = pytest.mark.skipif(
    not Path("/proc/self/numa_maps").exists(), reason="this kernel has no NUMA (no /proc/PID/numa_maps)"
)
