# SPDX-License-Identifier: Apache-2.0
"""Packs the thermostat into one executable file, the same bytes every time.

The recipes call it with the release's version and behaviour. It uses the standard library alone, stores files in the order of
their names, uncompressed (compressors differ between versions of zlib) and with one fixed time.
"""

import argparse
import os
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
FIRST_ZIP_DAY = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Write the image that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default=os.environ.get("VERSION"), help="version of the release (default: $VERSION)")
    parser.add_argument("--behaviour", default="good", choices=sorted(path.stem for path in (FOLDER / "behaviours").glob("*.py")))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    files = {str(path.relative_to(FOLDER / "app")): path.read_bytes() for path in (FOLDER / "app").rglob("*.py")}
    files["thermostat/behaviour.py"] = (FOLDER / "behaviours" / f"{arguments.behaviour}.py").read_bytes()
    files["thermostat/config.json"] = (FOLDER / "config.json").read_bytes()
    files["thermostat/version.txt"] = arguments.version.encode()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    pack(files, arguments.output)


def pack(files: dict[str, bytes], output: Path) -> None:
    """Write ``files``, by name, as a zip archive that Python runs."""
    with output.open("wb") as image:
        image.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(image, "a", zipfile.ZIP_STORED) as archive:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, FIRST_ZIP_DAY)
                entry.create_system = 3
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, files[name])
    output.chmod(0o755)


if __name__ == "__main__":
    main()
