"""Print the packages that pyproject.toml requires, one a line.

Usage: requirements.py [WHAT…]    `build`: what the build and pyrunc require; any other word: an extra of that name;
                                  without a word: `build dev`
"""

import sys
import tomllib
from pathlib import Path

with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
    project = tomllib.load(file)
known = {
    "build": project["build-system"]["requires"] + project["project"]["dependencies"],
    **project["project"]["optional-dependencies"],
}
wanted = [line for name in sys.argv[1:] or ["build", "dev"] for line in known[name]]
print("\n".join(dict.fromkeys(wanted)))
