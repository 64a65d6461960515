"""packaging/Containerfile takes the tar by the name that `make dist` gives it."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_tar_is_taken_by_its_name() -> None:
    (pattern,) = re.findall(r"^ADD (\S+) ", (ROOT / "packaging/Containerfile").read_text(), re.MULTILINE)
    assert "DIST_NAME = pyrunc-$(PACKAGE_VERSION)-$(MACHINE)\n" in (ROOT / "launcher/launcher.mk").read_text()
    names = [f"pyrunc-0.2.0-dev-x86_64{end}" for end in (".tar.gz", ".deb", ".cdx.json")]
    names.append("pyrunc-0.2.0.dev0-cp311-abi3-manylinux_2_34_x86_64.whl")
    assert [name for name in names if fnmatch(name, pattern)] == names[:1]
