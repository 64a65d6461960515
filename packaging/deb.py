"""Write what makes a tree a Debian package: `deb.py --link static|shared --version VERSION TREE`.

DEBIAN/control names the libraries and the Python that the tree needs: those of the release that this runs on.
usr/share/doc/pyrunc/copyright names the licence of pyrunc and of all that is in the package besides.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.metadata import Distribution, PackageMetadata, PackagePath, distributions
from pathlib import Path

MODULES = "usr/lib/pyrunc/modules"

# What the programs have in them of others: by how the launcher is linked, and the init in any case.
LINKED = {
    "static": "Files: usr/bin/pyrunc\nCopyright: the CPython, glibc and musl authors\n"
    "License: Apache-2.0 and PSF-2.0 and LGPL-2.1-or-later and MIT\n",
    "shared": "Files: usr/bin/pyrunc\nCopyright: the pyrunc developers, the musl authors\n"
    "License: Apache-2.0 and MIT\n",
}  # fmt: skip
CORE = (
    f"Files: {MODULES}/pyrunc/_core*.so\nCopyright: the pyrunc developers, the musl authors\n"
    "License: Apache-2.0 and MIT\n"
)


def python() -> str:
    """This interpreter's version as packages are named by it, such as 3.13."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def glibc() -> str:
    """The C library's version; what is linked here may need symbols of it."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1]


def debian_version(version: str) -> str:
    """A version in Debian's form: 0.2.0-dev is 0.2.0~dev, which is older than 0.2.0 (deb-version(7))."""
    return version.replace("-", "~", 1)


def control(version: str, link: str, size: int) -> str:
    """The file DEBIAN/control (deb-control(5)). version: by SemVer; size: the files', in KiB."""
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    depends = [f"libc6 (>= {glibc()})", "libcap2", "libseccomp2", f"python{python()}"]
    if link == "shared":
        depends.append(f"libpython{python()}")
    return (
        f"Package: pyrunc\nVersion: {debian_version(version)}\nArchitecture: {architecture}\n"
        "Maintainer: the pyrunc developers <pyrunc@localhost>\n"
        f"Installed-Size: {size}\nDepends: {', '.join(depends)}\nRecommends: procps, uidmap\n"
        "Section: admin\nPriority: optional\n"
        "Description: OCI low-level container runtime\n"
        " Starts containers by the OCI runtime specification, in place of runc.\n"
    )


def licence(facts: PackageMetadata) -> str:
    """The licence that a distribution's core metadata names; a text of several lines is none."""
    named = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier", []) if line.startswith("License ::")]
    found = [*facts.get_all("License-Expression", []), *facts.get_all("License", []), ", ".join(named)]
    return next((text for text in found if text and "\n" not in text), "see its metadata")


def module_part(tree: Path, module: Distribution) -> str:
    """The paragraph of a dependency: its files, its licence, and where in the package the licence's text is."""
    if module.read_text("RECORD") is None:  # installed by setuptools itself, which names the modules only
        names = [PackagePath(name) for name in (module.read_text("top_level.txt") or "").split()]
    else:
        names = [path for path in module.files or [] if (tree / MODULES / path).exists()]
    tops = sorted({path.parts[0] for path in names})
    files = " ".join(f"{MODULES}/{top}" + ("/*" if (tree / MODULES / top).is_dir() else "*") for top in tops)
    texts = [path for path in names if path.name.upper().startswith(("LICEN", "COPYING"))]
    return (
        f"Files: {files}\nCopyright: the {module.name} authors\nLicense: {licence(module.metadata)}\n"
        f"Comment: {module.name} {module.version}" + "".join(f"\n text: /{MODULES}/{path}" for path in texts) + "\n"
    )


def copyright_file(tree: Path, link: str) -> str:
    """The copyright file, machine-readable (copyright-format 1.0)."""
    form = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
    modules = sorted(distributions(path=[str(tree / MODULES)]), key=lambda module: module.name)
    return "\n".join([
        f"Format: {form}\nUpstream-Name: pyrunc\n",
        "Files: *\nCopyright: the pyrunc developers\nLicense: Apache-2.0\n",
        LINKED[link],
        CORE,
        *(module_part(tree, module) for module in modules if module.name != "pyrunc"),
        "License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n",
    ])  # fmt: skip


def main() -> None:
    """Read the command line and write both files."""
    parser = argparse.ArgumentParser(description="Write what makes a tree a Debian package.")
    parser.add_argument("--link", choices=sorted(LINKED), required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("tree", type=Path)
    args = parser.parse_args()
    document = args.tree / "usr/share/doc/pyrunc/copyright"
    document.parent.mkdir(parents=True)
    document.write_text(copyright_file(args.tree, args.link))
    size = sum(path.lstat().st_size + 1023 >> 10 for path in args.tree.rglob("*") if path.is_file())
    (args.tree / "DEBIAN").mkdir()
    (args.tree / "DEBIAN/control").write_text(control(args.version, args.link, size))


if __name__ == "__main__":
    main()
