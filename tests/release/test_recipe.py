# SPDX-License-Identifier: Apache-2.0
"""Recipes: every key works, every mistake is named with file, line and key."""

from pathlib import Path

import pytest

from surefoot.model.errors import InvalidInput, RecipeError
from surefoot.release.recipe import Recipe, image_parts, read_recipe
from tests.release.firmware import RECIPE, lay_out

MINIMAL = """\
firmware:
  product: lamp
  version: "1.0.0"
  hardware: [lamp-v1]
  components:
    - { name: app, version: "1", path: app.bin, license: MIT }
"""


def recipe_of(folder: Path, text: str) -> Recipe:
    path = folder / "firmware.yaml"
    path.write_text(text)
    return read_recipe(path).recipe


def test_every_key_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(lay_out(tmp_path / "p")).recipe
    assert (recipe.hardware, recipe.variants) == (["esp32-v2", "esp32-v3"], ["release", "debug"])
    assert (recipe.release_counter, recipe.data_format, recipe.min_bootloader_version) == (4, 2, "2.1.0")
    assert recipe.requires is not None
    assert recipe.requires.from_ == ">=1.1.0"
    assert [part.updatable for part in recipe.components] == [False, True, True]


def test_product_version_hardware_and_components_are_enough(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, MINIMAL)
    assert (recipe.variants, recipe.min_bootloader_version, recipe.revert_to, recipe.required) == (["release"], "0.0.0", "patch", False)


def test_the_image_is_all_updatable_components_or_the_one_that_is_named(tmp_path: Path) -> None:
    assert [part.name for part in image_parts(recipe_of(tmp_path, RECIPE))] == ["application", "config"]
    assert [part.name for part in image_parts(recipe_of(tmp_path, RECIPE + "  image: config\n"))] == ["config"]


MISTAKES = [
    ("product: thermostat", "prodct: thermostat", 2, "unknown key 'prodct' in 'firmware'. Did you mean 'product'?"),
    ("firmware:", "firmwear:", 1, "unknown key 'firmwear'. Did you mean 'firmware'?"),
    ("supplier:", "suplier:", 24, "unknown key 'suplier' in 'firmware.components[1]'. Did you mean 'supplier'?"),
    ("      license: CC0-1.0\n", "", 26, "the key 'license' is missing in 'firmware.components[2]'."),
    ('"1.2.3"\n  build_id', "1.2\n  build_id", 3, "'firmware.version' must be a text, not a number. Write it in quotes."),
    ('"1.2.3"\n  build_id', '"1.2"\n  build_id', 3, "'firmware.version' must be a semantic version like 1.2.3"),
    ('"20251124-143022-9f3a1c"', "../x", 4, "'firmware.build_id' must be up to 64 letters, digits"),
    ("release_counter: 4", "release_counter: 0", 5, "'firmware.release_counter': Expected a whole number >= 1"),
    ("release_counter: 4", "release_counter: four", 5, "'firmware.release_counter' must be a whole number or nothing, not a text."),
    ('"2.1.0"\n  hardware', "2.1\n  hardware", 7, "'firmware.min_bootloader_version' must be a text, not a number. Write it in quotes."),
    ("[esp32-v2, esp32-v3]", "[]", 8, "'firmware.hardware' is a list of at least 1, and this one is shorter"),
    ("[esp32-v2, esp32-v3]", "esp32-v2", 8, "'firmware.hardware' must be a list, not a text."),
    ("[esp32-v2, esp32-v3]", "[ESP32]", 8, "'firmware.hardware[0]' must be up to 64 lower-case letters, digits"),
    ("[esp32-v2, esp32-v3]", "[a, b, a]", 8, "'hardware[2]': 'a' is there twice."),
    ("esp32-v3]\n  variants: [release, debug]", f"{'b' * 64}]\n  variants: [{'c' * 30}]", 8, "is longer than 85 characters."),
    ("[release, debug]", "[debug, debug]", 9, "'variants[1]': 'debug' is there twice."),
    (
        "hardware: [esp32-v2, esp32-v3]\n  variants: [release, debug]",
        "hardware: [a, a-b]\n  variants: [b-c, c]",
        9,
        "'a-b-c' is there twice.",
    ),
    ('">=1.1.0"', '"~1.1.0"', 10, "'requires.from': '~1.1.0' is not a semantic version. Write a range like"),
    ("{ from:", "{ form:", 10, "unknown key 'form' in 'firmware.requires'. Did you mean 'from'?"),
    ("revert_to: patch", "revert_to: major", 11, "'firmware.revert_to' must be one of minor, none, patch."),
    ("name: config", "name: application", 26, "'components[2]': 'application' is there twice."),
    ("license: MIT", "license: Beer", 17, "'components[0].license': 'Beer' is no SPDX licence expression."),
    ("license: MIT", 'license: " "', 17, "is no SPDX licence expression."),
    ("path: boot.bin", "path: ../boot.bin", 15, "'components[0].path': '../boot.bin' does not stay inside the recipe's folder."),
    ("path: boot.bin", "path: /boot.bin", 15, "'/boot.bin' does not stay inside the recipe's folder."),
    ("path: boot.bin", "path: .", 15, "'.' does not stay inside the recipe's folder."),
    ("path: boot.bin", 'path: "{board}.bin"', 15, "'components[0].path': '{board}' is no placeholder."),
    ("out/{hardware} &&", "out/${HARDWARE} &&", 21, "'components[1].build': '{HARDWARE}' is no placeholder."),
    ("sha256:", "sha512:", 16, "'firmware.components[0].hash' must be 'sha256:' and 64 lower-case hex digits."),
    ("depends_on: [config]", "depends_on: [konfig]", 25, "'components[1].depends_on[0]': 'konfig' is not another component."),
    ("depends_on: [config]", "depends_on: [application]", 25, "'application' is not another component."),
    ("required: false", "required: no", 31, "'firmware.required' must be true or false, not a text."),
    ("required: false", "required: false\n  image: bootloader", 32, "'image': 'bootloader' is not an updatable component."),
    ("  required: false\n", "  required: false\n  required: true\n", 32, "the key 'required' is given twice."),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), MISTAKES)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in RECIPE
    with pytest.raises(InvalidInput) as caught:
        recipe_of(tmp_path, RECIPE.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path}/firmware.yaml, line {line}: ")
    assert message in str(caught.value)


def test_an_image_needs_an_updatable_component(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="line 5: 'components': none of them is updatable"):
        recipe_of(tmp_path, MINIMAL.replace("license: MIT", "license: MIT, updatable: false"))


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"Cannot read the recipe .*nothing\.yaml: No such file"):
        read_recipe(tmp_path / "nothing.yaml")
