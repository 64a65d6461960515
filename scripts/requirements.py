"""Print what pyproject.toml wants: the build's, pyrunc's own and its developers' packages, one a line.

Usage: requirements.py [EXTRA…]    or only what these extras want
"""

import sys
import tomllib
from pathlib import Path

with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
    project = tomllib.load(file)
extras = project["project"]["optional-dependencies"]
wanted = []
if not sys.argv[1:]:
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
for name in sys.argv[1:] or ["dev"]:
    wanted += extras[name]
print("\n".join(dict.fromkeys(wanted)))
