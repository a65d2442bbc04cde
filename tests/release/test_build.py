# SPDX-License-Identifier: Apache-2.0
"""Builds: complete, refused when something is wrong, and never half there."""

import io
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from surefoot.model.digest import digest_of
from surefoot.model.errors import RecipeError
from surefoot.model.manifest import built_at
from surefoot.release.build import Settings, build, command_environment
from surefoot.release.bundle import read_bundle, verify_bundle
from surefoot.release.recipe import read_recipe
from tests.release.firmware import RECIPE, SETTINGS, built, lay_out

ONE = RECIPE + "  image: application\n"


def test_one_image_and_one_manifest_for_each_hardware_and_variant(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    verify_bundle(bundle)
    assert [(entry.hardware, entry.variant) for entry in bundle.index.manifests] == [
        ("esp32-v2", "debug"),
        ("esp32-v2", "release"),
        ("esp32-v3", "debug"),
        ("esp32-v3", "release"),
    ]
    assert len({manifest.image.hash for manifest in bundle.manifests.values()}) == 4


def test_the_manifest_says_what_the_recipe_says_with_computed_hashes(tmp_path: Path) -> None:
    manifest = built(tmp_path).manifests["manifest-esp32-v3-release.json"]
    assert (manifest.release_counter, manifest.data_format, manifest.min_bootloader_version) == (4, 2, "2.1.0")
    assert manifest.metadata.release_notes == "Security patch for CVE-2025-1234"
    assert {(c.name, c.hash, c.updatable) for c in manifest.components} == {
        ("application", digest_of(b"application\nesp32-v3 release 1.2.3\n"), True),
        ("bootloader", digest_of(b"boot\n"), False),
        ("config", digest_of(b"{}\n"), True),
    }


def test_an_image_of_several_components_is_an_archive_of_them(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    image = b"".join(bundle.image_pieces(bundle.manifests["manifest-esp32-v2-debug.json"]))
    with tarfile.open(fileobj=io.BytesIO(image)) as archive:
        assert archive.getnames() == ["application/debug.bin", "config/default.json"]


def test_an_image_of_one_component_is_that_component(tmp_path: Path) -> None:
    bundle = built(tmp_path, recipe=ONE)
    image = b"".join(bundle.image_pieces(bundle.manifests["manifest-esp32-v2-debug.json"]))
    assert image == b"application\nesp32-v2 debug 1.2.3\n"


def test_images_of_the_same_content_are_kept_once(tmp_path: Path) -> None:
    bundle = built(tmp_path, recipe=ONE.replace('echo "$HARDWARE $VARIANT $VERSION"', "true"))
    assert sum(name.startswith("images/") for name in bundle.files.sizes()) == 1


def test_a_component_of_many_pieces_is_read_whole(tmp_path: Path) -> None:
    source = read_recipe(lay_out(tmp_path / "project", ONE))
    (tmp_path / "project" / "app.txt").write_bytes(b"x" * 3_000_000)
    build(source, tmp_path / "bundle", SETTINGS)
    bundle = read_bundle(tmp_path / "bundle")
    verify_bundle(bundle)
    assert all(manifest.image.size > 3_000_000 for manifest in bundle.manifests.values())


def break_nothing(_: Path) -> None:
    """Leave the project as it is."""


def change_a_byte(project: Path) -> None:
    (project / "boot.bin").write_bytes(b"boot\r")


def remove_a_component(project: Path) -> None:
    (project / "config" / "default.json").unlink()


def make_a_component_a_folder(project: Path) -> None:
    remove_a_component(project)
    (project / "config" / "default.json").mkdir()


def lead_outside(project: Path) -> None:
    remove_a_component(project)
    (project / "config" / "default.json").symlink_to("/etc/hostname")


BREAKS = [
    (change_a_byte, RECIPE, 16, "component 'bootloader', boot.bin, has been changed: it hashes to sha256:"),
    (remove_a_component, RECIPE, 28, "config/default.json, which component 'config' names. Put it there"),
    (make_a_component_a_folder, RECIPE, 28, "there is no file"),
    (lead_outside, RECIPE, 28, "leads outside the recipe's folder"),
    (break_nothing, RECIPE.replace("build: 'mkdir", "build: 'echo oh dear; exit 7; mkdir"), 21, "exited with status 7: echo oh dear"),
    (break_nothing, RECIPE.replace("build: 'mkdir", "build: 'kill -9 $$; mkdir"), 21, "was ended by signal 9"),
    (break_nothing, RECIPE.replace("build: 'mkdir", "build: 'exit 0; mkdir"), 22, "Check that 'build' makes it."),
    (break_nothing, RECIPE.replace("{variant}.bin", f"{'x' * 100}.bin"), 12, "does not fit an archive"),
]


@pytest.mark.parametrize(("damage", "recipe", "line", "message"), BREAKS)
def test_what_cannot_be_built_is_named_and_leaves_nothing(
    tmp_path: Path, damage: Callable[[Path], None], recipe: str, line: int, message: str
) -> None:
    path = lay_out(tmp_path / "project", recipe)
    damage(tmp_path / "project")
    with pytest.raises(RecipeError) as caught:
        build(read_recipe(path), tmp_path / "out" / "bundle", SETTINGS)
    assert str(caught.value).startswith(f"{path}, line {line}: 'components")
    assert message in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["project"]


def test_a_failed_build_shows_what_its_command_said(tmp_path: Path) -> None:
    path = lay_out(tmp_path / "project", RECIPE.replace("build: 'mkdir", "build: 'echo one; echo two >&2; exit 7; mkdir"))
    with pytest.raises(RecipeError) as caught:
        build(read_recipe(path), tmp_path / "bundle", SETTINGS)
    assert caught.value.hint == "It said last:\none\ntwo"


def test_a_command_sees_nothing_but_what_is_written_down(tmp_path: Path) -> None:
    recipe = ONE.replace('(cat app.txt; echo "$HARDWARE $VARIANT $VERSION")', "env -u PWD -u SHLVL -u _ -u OLDPWD")
    noisy = Settings(
        build_id="x",
        release_counter=1,
        environment={**SETTINGS.environment, "SECRET": "1", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"},
        tool_version="0.1.0",
    )
    build(read_recipe(lay_out(tmp_path / "project", recipe)), tmp_path / "bundle", noisy)
    bundle = read_bundle(tmp_path / "bundle")
    seen = b"".join(bundle.image_pieces(bundle.manifests["manifest-esp32-v2-debug.json"])).decode().splitlines()
    wanted = command_environment(noisy, hardware="esp32-v2", variant="debug", version="1.2.3")
    assert sorted(seen) == sorted(f"{name}={value}" for name, value in wanted.items())
    assert (wanted["SOURCE_DATE_EPOCH"], wanted["LC_ALL"], wanted["TZ"]) == ("0", "C.UTF-8", "UTC")


@pytest.mark.parametrize(
    ("build_id", "instant"),
    [
        ("20251124-143022-9f3a1c", datetime(2025, 11, 24, 14, 30, 22, tzinfo=UTC)),
        ("20251124-143022", datetime(2025, 11, 24, 14, 30, 22, tzinfo=UTC)),
        ("20251324-143022-9f3a1c", None),
        ("20251124-1430229", None),
        ("nightly", None),
    ],
)
def test_a_build_id_names_a_time_or_none(build_id: str, instant: datetime | None) -> None:
    assert built_at(build_id) == instant


def test_the_umask_of_the_caller_reaches_neither_commands_nor_the_bundle(tmp_path: Path) -> None:
    source = read_recipe(lay_out(tmp_path / "project", ONE.replace('echo "$HARDWARE $VARIANT $VERSION"', "umask")))
    before = os.umask(0o077)
    try:
        build(source, tmp_path / "bundle", SETTINGS)
    finally:
        os.umask(before)
    bundle = read_bundle(tmp_path / "bundle")
    assert all(b"".join(bundle.image_pieces(manifest)) == b"application\n0022\n" for manifest in bundle.manifests.values())
    assert {path.stat().st_mode & 0o777 for path in bundle.path.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (bundle.path, bundle.path / "images")} == {0o755}
