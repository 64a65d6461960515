"""Print what pyproject.toml wants: the build's, pyrunc's own and its developers' packages, one a line."""

import tomllib
from pathlib import Path

with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
    project = tomllib.load(file)
wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
for group in project["project"]["optional-dependencies"].values():
    wanted += group
print("\n".join(dict.fromkeys(wanted)))
