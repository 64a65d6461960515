"""Write what is in a package as CycloneDX: `sbom.py --link static|shared --version VERSION --modules DIRECTORY FILE`.

The metadata of the ordinary build's modules names the Python packages. dpkg-query names the Debian packages of what is
linked into programs or copied beside them; without dpkg-query the document names these libraries without a version.
$SOURCE_DATE_EPOCH is the document's time, and its serial number follows from its content, so that two builds are equal.

Run it with an interpreter that has cyclonedx-python-lib (the extra `dist` of pyproject.toml).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

# C libraries: the name, the licence by SPDX, the Debian package that it is built from, and the launcher's link with
# which a package contains it ("" for both).
LIBRARIES = (
    ("cpython", "PSF-2.0", f"python{sys.version_info.major}.{sys.version_info.minor}", ""),
    ("glibc", "LGPL-2.1-or-later", "libc6-dev", "static"),
    ("musl", "MIT", "musl-dev", ""),
    ("expat", "MIT", "libexpat1-dev", "static"),
    ("zlib", "Zlib", "zlib1g-dev", "static"),
    ("libseccomp", "LGPL-2.1-only", "libseccomp2", ""),
    ("libcap", "BSD-3-Clause", "libcap2", ""),
)


def debian_version(package: str) -> str | None:
    """The upstream part of an installed Debian package's version; None if dpkg does not know the package."""
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${source:Upstream-Version}", package],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return None
    return re.sub(r"\+(ds|dfsg).*", "", done.stdout) or None if done.returncode == 0 else None


def library(name: str, licence: str, package: str) -> Component:
    """The component of a C library."""
    version = debian_version(package)
    purl = PackageURL("generic", name=name, version=version)
    return component(name, version, licence, purl)


def component(name: str, version: str | None, licence: str, purl: PackageURL) -> Component:
    """A library with its licence: an SPDX id or expression, else the text as it is."""
    return Component(
        type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )  # fmt: skip


def python_package(found: Distribution) -> Component:
    """The component of a Python package; its metadata names the licence."""
    facts = found.metadata
    named = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier", []) if line.startswith("License ::")]
    licences = [*facts.get_all("License-Expression", []), *facts.get_all("License", []), *named]
    licence = next((text for text in licences if text and "\n" not in text), "")
    purl = PackageURL("pypi", name=re.sub(r"[-_.]+", "-", found.name).lower(), version=found.version)
    return component(found.name, found.version, licence, purl)


def document(version: str, link: str, modules: Path, time: int) -> str:
    """The document, as JSON. time: in seconds."""
    purl = PackageURL("generic", name="pyrunc", version=version)
    bom = Bom()
    bom.metadata.timestamp = datetime.fromtimestamp(time, UTC)
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION, name="pyrunc", version=version, purl=purl, bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )  # fmt: skip
    packages = [found for found in distributions(path=[str(modules)]) if found.name != "pyrunc"]
    parts = [python_package(found) for found in sorted(packages, key=lambda found: found.name.lower())]
    parts += [library(name, licence, package) for name, licence, package, only in LIBRARIES if only in ("", link)]
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(bom.metadata.component, parts)
    content = " ".join([str(purl), *sorted(str(part.purl) for part in parts)])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, content)
    text: str = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    return text + "\n"


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description="Write what is in a package.")
    parser.add_argument("--link", choices=("static", "shared"), required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--modules", type=Path, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or args.modules.stat().st_mtime)
    args.file.parent.mkdir(parents=True, exist_ok=True)
    args.file.write_text(document(args.version, args.link, args.modules, time))


if __name__ == "__main__":
    main()
