"""The working tree as a clone on another machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guest"))

from cache import REPOSITORY, command

# Where a machine has the clone.
CLONE = "/root/pyrunc"


def clone(target: Path) -> None:
    """Clone the tree, and copy the working directory's changes since the last commit."""
    command("git", "clone", "--quiet", "--no-hardlinks", REPOSITORY, target, what="cloning the tree")
    listed = command(
        "git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard", what="listing files"
    )
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY / name
        if not source.is_symlink() and not source.exists():
            (target / name).unlink(missing_ok=True)
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name, follow_symlinks=False)
