# SPDX-License-Identifier: Apache-2.0
"""``surefoot release build|verify|show`` as people use them."""

import re
from pathlib import Path

import pytest

from surefoot.cli.main import main
from surefoot.model.manifest import Manifest
from surefoot.release.bundle import read_bundle
from surefoot.release.draft import add_signed
from tests.release.firmware import lay_out


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "project")


def edit(recipe: Path, old: str, new: str) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))


def any_manifest(bundle: Path) -> Manifest:
    return next(iter(read_bundle(bundle).manifests.values()))


def test_build_prints_digest_images_and_what_to_do_next(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"Bundle {read_bundle(tmp_path / 'out').digest}"
    assert sum(line.startswith("image ") for line in lines) == 4
    assert lines[-1] == f"Next: surefoot release sign {tmp_path}/out --keys DIR"


def test_the_build_id_of_the_command_line_wins(recipe: Path, tmp_path: Path) -> None:
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "out"), "--build-id", "mine"]) == 0
    assert read_bundle(tmp_path / "out").index.build_id == "mine"


def test_a_build_without_an_id_gets_one_from_clock_and_chance(recipe: Path, tmp_path: Path) -> None:
    edit(recipe, '  build_id: "20251124-143022-9f3a1c"\n', "")
    for name in ("1", "2"):
        assert main(["release", "build", str(recipe), "-o", str(tmp_path / name)]) == 0
    ids = {read_bundle(tmp_path / name).index.build_id for name in ("1", "2")}
    assert len(ids) == 2
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", build_id) for build_id in ids)


@pytest.mark.parametrize(("written", "previous", "counter"), [("", None, 1), ("", 4, 4), ("  release_counter: 6\n", 4, 6)])
def test_the_counter_is_the_recipe_s_or_the_last_release_s_or_1(
    recipe: Path, tmp_path: Path, written: str, previous: int | None, counter: int
) -> None:
    words = ["release", "build", str(recipe), "-o"]
    if previous:
        assert main([*words, str(tmp_path / "last")]) == 0
    edit(recipe, "  release_counter: 4\n", written)
    more = ["--previous", str(tmp_path / "last")] if previous else []
    assert main([*words, str(tmp_path / "out"), *more]) == 0
    assert any_manifest(tmp_path / "out").release_counter == counter


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("release_counter: 4", "release_counter: 3", "line 5: 'release_counter': 3 is lower than 4"),
        ("product: thermostat", "product: lamp", "is a release of thermostat, not of lamp"),
    ],
)
def test_a_release_that_does_not_follow_the_last_one_is_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, old: str, new: str, message: str
) -> None:
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "last")]) == 0
    edit(recipe, old, new)
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "out"), "--previous", str(tmp_path / "last")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("supplier:", "suplier:", "line 24: unknown key 'suplier' in 'firmware.components[1]'. Did you mean 'supplier'?"),
        ('"1.2.3"\n  build_id', "1.2\n  build_id", "line 3: 'firmware.version' must be a text, not a number. Write it in quotes."),
        ("path: boot.bin", "path: bot.bin", "line 15: 'components[0].path': there is no file"),
        ("path: boot.bin", "path: app.txt", "line 16: 'components[0].hash': component 'bootloader', app.txt, has been changed"),
    ],
)
def test_a_bad_recipe_is_one_sentence_and_status_2_and_leaves_nothing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, old: str, new: str, message: str
) -> None:
    edit(recipe, old, new)
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "out")]) == 2
    assert f"surefoot: {recipe}, {message}" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["project"]


def test_a_bad_build_id_is_refused(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "out"), "--build-id", "../x"]) == 2
    assert "'../x' is no build id. Write up to 64 letters, digits" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_refused(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "build", str(recipe), "-o", str(recipe.parent)]) == 2
    assert "is not empty. Empty it, or choose another one." in capsys.readouterr().err
    assert (tmp_path / "project" / "boot.bin").exists()


def test_verify_names_the_file_that_was_changed(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "out"
    assert main(["release", "build", str(recipe), "-o", str(bundle)]) == 0
    assert main(["release", "verify", str(bundle)]) == 0
    image = next((bundle / "images").iterdir())
    image.write_bytes(image.read_bytes().replace(b"application", b"applicatiom", 1))
    assert main(["release", "verify", str(bundle)]) == 1
    assert f"images/{image.name} has been changed" in capsys.readouterr().err


def test_a_rebuild_of_the_same_sources_is_the_same(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(recipe, "  release_counter: 4\n", "")
    assert main(["release", "build", str(recipe), "-o", str(tmp_path / "out.tar")]) == 0
    add_signed(read_bundle(tmp_path / "out.tar"), {"thermostat.json": b"{}"})
    assert main(["release", "verify", str(tmp_path / "out.tar"), "--rebuild", str(recipe)]) == 0
    (recipe.parent / "app.txt").write_bytes(b"Application\n")
    assert main(["release", "verify", str(tmp_path / "out.tar"), "--rebuild", str(recipe)]) == 1
    printed = capsys.readouterr()
    assert "differs: manifest-esp32-v2-debug.json\n" in printed.out
    assert "signed" not in printed.out.replace("release sign", "")


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "required",
            "required",
            ["  installs over      >=1.1.0", "  may revert to      patch", "  notes              Security patch for CVE-2025-1234"],
        ),
        ('  requires: { from: ">=1.1.0" }\n', "", ["  installs over      any version"]),
        ("revert_to: patch", "revert_to: [1.2.2, 1.1.0]", ["  may revert to      1.2.2, 1.1.0"]),
        ('  release_notes: "Security patch for CVE-2025-1234"\n', "", ["  signed             no"]),
    ],
)
def test_show_says_what_a_bundle_holds(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, old: str, new: str, lines: list[str]
) -> None:
    edit(recipe, old, new)
    main(["release", "build", str(recipe), "-o", str(tmp_path / "out")])
    capsys.readouterr()
    assert main(["release", "show", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert set(lines) <= set(shown)
    assert any(line.startswith("component bootloader 2.1.0 (not updatable) sha256:") for line in shown)
