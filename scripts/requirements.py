"""Print packages that pyproject.toml wants, one a line.

Usage: requirements.py [WHAT…]    `build` is what the build and pyrunc want, any other word an extra of that name;
                                  without a word it is `build dev`
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
