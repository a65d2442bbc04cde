# SPDX-License-Identifier: Apache-2.0
"""A small firmware project in a folder, for tests that build."""

import shutil
from pathlib import Path

from surefoot.release.build import Settings, build
from surefoot.release.bundle import Bundle, read_bundle
from surefoot.release.recipe import read_recipe

BUILD_ID = "20251124-143022-9f3a1c"
RECIPE = """\
firmware:
  product: thermostat
  version: "1.2.3"
  build_id: "20251124-143022-9f3a1c"
  release_counter: 4
  data_format: 2
  min_bootloader_version: "2.1.0"
  hardware: [esp32-v2, esp32-v3]
  variants: [release, debug]
  requires: { from: ">=1.1.0" }
  revert_to: patch
  components:
    - name: bootloader
      version: "2.1.0"
      path: boot.bin
      hash: "sha256:deb055d836e44a1dcf0317b0cacac2dbdd36301f82abf787f7849d3f5b916750"
      license: MIT
      updatable: false
    - name: application
      version: "1.2.3"
      build: 'mkdir -p out/{hardware} && (cat app.txt; echo "$HARDWARE $VARIANT $VERSION") > out/{hardware}/{variant}.bin'
      path: "out/{hardware}/{variant}.bin"
      license: Apache-2.0 OR MIT
      supplier: "Example GmbH"
      depends_on: [config]
    - name: config
      version: "1.0.0"
      path: config/default.json
      license: CC0-1.0
  release_notes: "Security patch for CVE-2025-1234"
  required: false
"""

SETTINGS = Settings(build_id=BUILD_ID, release_counter=4, environment={"PATH": "/usr/bin:/bin", "HOME": "/"}, tool_version="0.1.0")


def lay_out(folder: Path, recipe: str = RECIPE) -> Path:
    """Write the project into ``folder`` and return the path of its recipe."""
    (folder / "config").mkdir(parents=True)
    (folder / "boot.bin").write_bytes(b"boot\n")
    (folder / "app.txt").write_bytes(b"application\n")
    (folder / "config" / "default.json").write_bytes(b"{}\n")
    path = folder / "firmware.yaml"
    path.write_text(recipe)
    return path


def built(folder: Path, name: str = "bundle", recipe: str = RECIPE) -> Bundle:
    """Lay the project out in ``folder``, build it beside it, and return the bundle."""
    target = folder / name
    build(read_recipe(lay_out(folder / "project", recipe)), target, SETTINGS)
    return read_bundle(target)


def copy_thermostat(target: Path) -> None:
    """Copy the example, without what was built in it."""
    example = Path(__file__).parents[2] / "examples" / "thermostat"
    for path in example.rglob("*"):
        name = path.relative_to(example)
        if path.is_file() and name.parts[0] != "build":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(example / name, target / name)
