"""Make a tree the content of a .deb: `deb.py --link static|shared --version VERSION --maintainer NAME [--homepage URL]
TREE`.

DEBIAN/control names the libraries and the Python that the tree needs: those of the release on which this script runs.
Debian's policy has modules compiled where the package is installed (DEBIAN/postinst). usr/share/doc/pyrunc/copyright
names the licence of pyrunc and of everything else in the package; changelog.gz has CHANGELOG.md's newest section.
$SOURCE_DATE_EPOCH is the package's time.
"""

from __future__ import annotations

import argparse
import email.utils
import gzip
import os
import re
import subprocess
import sys
import textwrap
from importlib.metadata import Distribution, PackageMetadata, PackagePath, distributions
from pathlib import Path

MODULES = "usr/lib/pyrunc/modules"
CHANGES = Path(__file__).resolve().parent.parent / "CHANGELOG.md"

# py3compile and py3clean are in every installation of Python (python3-minimal).
SCRIPTS = {
    "postinst": f'#!/bin/sh\nset -e\nif [ "$1" = configure ]; then\n'
    f"    py3compile -p pyrunc /{MODULES}\nfi\n",
    "prerm": "#!/bin/sh\nset -e\npy3clean -p pyrunc\n",
}  # fmt: skip

# Lintian's complaints about what is intended here: an override is the only way to give the reason.
OVERRIDES = """\
# The launcher is static so that it starts in a millisecond and its memory can be a snapshot (docs/launcher.md).
pyrunc: statically-linked-binary [usr/bin/pyrunc]
"""

# What the programs contain of other projects: by how the launcher is linked, and the init in any case.
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
    """This interpreter's version in the form of package names, such as 3.13."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def glibc() -> str:
    """The C library's version; a program that is linked here may need symbols of it."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1]


def debian_version(version: str) -> str:
    """A version in Debian's form: 0.2.0-dev is 0.2.0~dev, which is older than 0.2.0 (deb-version(7))."""
    return version.replace("-", "~", 1)


def control(version: str, link: str, size: int, maintainer: str, homepage: str = "") -> str:
    """The file DEBIAN/control (deb-control(5)). version: by SemVer; size: that of all files, in KiB."""
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    depends = [f"libc6 (>= {glibc()})", "libcap2", "libseccomp2", f"python{python()}", "python3"]
    if link == "shared":
        depends.append(f"libpython{python()}")
    return (
        f"Package: pyrunc\nVersion: {debian_version(version)}\nArchitecture: {architecture}\n"
        f"Maintainer: {maintainer}\n"
        f"Installed-Size: {size}\nDepends: {', '.join(depends)}\nRecommends: procps, uidmap\n"
        "Section: admin\nPriority: optional\n"
        + (f"Homepage: {homepage}\n" if homepage else "")
        + "Description: OCI low-level container runtime\n"
        " Starts containers by the OCI runtime specification, in place of runc: it has\n"
        " runc's commands, options and exit codes, and starts faster. It can show what\n"
        " a start will do, how long each step took, and why it failed.\n"
        " .\n"
        " `pyrunc integrate` adds it to containerd, Docker, Podman and CRI-O.\n"
    )


def changelog(version: str, maintainer: str, changes: str, time: int) -> str:
    """A changelog in Debian's form (deb-changelog(5)), with the newest section of CHANGELOG.md. time: in seconds."""
    section = re.split(r"^## ", changes, flags=re.MULTILINE)[1]
    bullets = re.findall(r"^- ((?:.+\n)(?:  .+\n)*)", section, re.MULTILINE)
    lines = [
        textwrap.fill(" ".join(text.split()), 78, initial_indent="  * ", subsequent_indent="    ",
                      break_long_words=False, break_on_hyphens=False)
        for text in bullets
    ]  # fmt: skip
    head = f"pyrunc ({debian_version(version)}) unstable; urgency=medium\n\n"
    return head + "\n".join(lines) + f"\n\n -- {maintainer}  {email.utils.formatdate(time)}\n"


def compressed(text: str) -> bytes:
    """Data as `gzip -9n` compresses it."""
    return gzip.compress(text.encode(), 9, mtime=0)


def compress_pages(tree: Path) -> None:
    """Compress the manual pages."""
    for page in sorted((tree / "usr/share/man").rglob("*.8")):
        page.with_name(page.name + ".gz").write_bytes(compressed(page.read_text()))
        page.unlink()


def relative_link(tree: Path) -> None:
    """Make the interpreter a relative symlink, as Debian's policy demands within a directory such as /usr."""
    link = tree / "usr/lib/pyrunc/bin/python3"
    target = os.path.relpath(link.readlink(), "/usr/lib/pyrunc/bin")
    link.unlink()
    link.symlink_to(target)


def write_documents(tree: Path, link: str, version: str, maintainer: str) -> None:
    """Write the files that Debian's policy demands in usr/share/doc, and lintian's overrides."""
    documents = tree / "usr/share/doc/pyrunc"
    documents.mkdir(parents=True)
    (documents / "copyright").write_text(copyright_file(tree, link))
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or CHANGES.stat().st_mtime)
    text = changelog(version, maintainer, CHANGES.read_text(), time)
    (documents / "changelog.gz").write_bytes(compressed(text))
    if link == "static":
        overrides = tree / "usr/share/lintian/overrides/pyrunc"
        overrides.parent.mkdir(parents=True)
        overrides.write_text(OVERRIDES)


def licence(facts: PackageMetadata) -> str:
    """The licence in a distribution's core metadata, if it is a name and not a text of several lines."""
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
        "Files: *\nCopyright: 2026 the pyrunc developers\nLicense: Apache-2.0\n",
        LINKED[link],
        CORE,
        *(module_part(tree, module) for module in modules if module.name != "pyrunc"),
        "License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n",
    ])  # fmt: skip


def main() -> None:
    """Read the command line and write both files."""
    parser = argparse.ArgumentParser(description="Make a tree a Debian package.")
    parser.add_argument("--link", choices=sorted(LINKED), required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--maintainer", required=True)
    parser.add_argument("--homepage", default="")
    parser.add_argument("tree", type=Path)
    args = parser.parse_args()
    compress_pages(args.tree)
    relative_link(args.tree)
    write_documents(args.tree, args.link, args.version, args.maintainer)
    size = sum(path.lstat().st_size + 1023 >> 10 for path in args.tree.rglob("*") if path.is_file())
    (args.tree / "DEBIAN").mkdir()
    text = control(args.version, args.link, size, args.maintainer, args.homepage)
    (args.tree / "DEBIAN/control").write_text(text)
    for name, script in SCRIPTS.items():
        (args.tree / "DEBIAN" / name).write_text(script)
        (args.tree / "DEBIAN" / name).chmod(0o755)


if __name__ == "__main__":
    main()
