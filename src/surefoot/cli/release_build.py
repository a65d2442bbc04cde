# SPDX-License-Identifier: Apache-2.0
"""``surefoot release build``, ``verify`` and ``show``: from a recipe to a bundle that can be believed."""

import argparse
import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from surefoot.cli.release_signatures import require_signed_by_folder, require_signed_by_root
from surefoot.model.errors import DigestError, FormatError, InvalidInput, RecipeError
from surefoot.model.manifest import BuildId, Manifest
from surefoot.model.record import from_plain
from surefoot.release.build import Settings, build
from surefoot.release.bundle import Bundle, read_bundle, verify_bundle
from surefoot.release.layout import SIGNED
from surefoot.release.provenance import read_predicate
from surefoot.release.recipe import RecipeFile, read_recipe


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot release``."""
    maker = add_parser("build", help="build a recipe into a bundle", description="Build a recipe into a bundle.")
    maker.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe, a YAML file")
    maker.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where to: a new or empty folder, or a name ending in .tar"
    )
    maker.add_argument(
        "--build-id", metavar="ID", help="name of this build; the same id gives the same bytes (default: from clock and chance)"
    )
    maker.add_argument("--previous", type=Path, metavar="BUNDLE", help="the last release, whose release_counter is taken over")
    maker.set_defaults(run=_build)
    checker = add_parser("verify", help="check every byte of a bundle", description="Check every byte of a bundle.")
    checker.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or .tar")
    checker.add_argument("--rebuild", type=Path, metavar="RECIPE", help="build this recipe again and compare byte for byte")
    trusted = checker.add_mutually_exclusive_group()
    trusted.add_argument("--keys", type=Path, metavar="DIR", help="check its signatures against this folder of keys")
    trusted.add_argument("--root", type=Path, metavar="FILE", help="check its signatures against this root of the image repository")
    checker.set_defaults(run=_verify)
    viewer = add_parser("show", help="say what a bundle holds", description="Say what a bundle holds.")
    viewer.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or .tar")
    viewer.set_defaults(run=_show)


def _build(arguments: argparse.Namespace) -> int:
    source = read_recipe(arguments.recipe)
    previous = read_bundle(arguments.previous) if arguments.previous else None
    settings = Settings(
        build_id=_build_id(arguments.build_id or source.recipe.build_id or _new_build_id()),
        release_counter=_counter(source, previous),
        environment=os.environ,
        tool_version=version("surefoot"),
    )
    build(source, arguments.output, settings)
    bundle = read_bundle(arguments.output)
    print(f"Built {_title(bundle)} into {arguments.output}")
    print(f"Bundle {bundle.digest}")
    _print_images(bundle)
    print(f"Next: surefoot release sign {shlex.quote(str(arguments.output))} --keys DIR")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle)
    verify_bundle(bundle)
    print(f"Bundle {bundle.digest}")
    print(f"{_title(bundle)}: every file is as {arguments.bundle} says.")
    _check_signatures(bundle, arguments)
    if arguments.rebuild:
        differing = _rebuild(bundle, arguments.rebuild)
        for name in differing:
            print(f"differs: {name}")
        if differing:
            raise DigestError(
                f"{arguments.bundle}: {len(differing)} files differ from what {arguments.rebuild} builds.",
                hint="Take the sources of that release; then find what the build reads besides them: a clock, a path, a folder's order.",
            )
        print(f"{arguments.rebuild} builds the same bytes again.")
    return 0


def _check_signatures(bundle: Bundle, arguments: argparse.Namespace) -> None:
    if arguments.keys:
        require_signed_by_folder(bundle, arguments.keys)
    elif arguments.root:
        require_signed_by_root(bundle, arguments.root, datetime.now(UTC))
    else:
        print("Signatures were NOT checked: name what you trust with --keys DIR (a folder of keys) or --root FILE (an image root).")
        return
    print(f"Signed by the keys of {bundle.index.product}: the role, {len(bundle.manifests)} manifest(s), the provenance.")


def _show(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle)
    manifest = next(iter(bundle.manifests.values()))
    print(_title(bundle))
    print(f"  bundle             {bundle.digest}")
    print(f"  release counter    {manifest.release_counter}")
    print(f"  bootloader         {manifest.min_bootloader_version} or newer")
    print(f"  installs over      {manifest.requires.from_ if manifest.requires else 'any version'}")
    print(f"  may revert to      {manifest.revert_to if isinstance(manifest.revert_to, str) else ', '.join(manifest.revert_to)}")
    print(f"  signed             {', '.join(sorted(bundle.signed)) or 'no'}")
    if manifest.metadata.release_notes:
        print(f"  notes              {manifest.metadata.release_notes}")
    _print_images(bundle)
    for component in manifest.components:
        print(f"component {component.name} {component.version}{'' if component.updatable else ' (not updatable)'} {component.hash}")
    return 0


def _build_id(text: str) -> BuildId:
    try:
        return from_plain(text, BuildId, what="--build-id")
    except FormatError as error:
        raise InvalidInput(f"{text!r} is no build id.", hint="Write up to 64 letters, digits, dots, hyphens and underscores.") from error


def _new_build_id() -> str:
    return f"{datetime.now(tz=UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _counter(source: RecipeFile, previous: Bundle | None) -> int:
    wanted = source.recipe.release_counter
    if previous is None:
        return wanted or 1
    last = _any_manifest(previous)
    if last.product != source.recipe.product:
        raise RecipeError(
            f"{previous.path} is a release of {last.product}, not of {source.recipe.product}.",
            hint="Name the last release of this product.",
        )
    if wanted is not None and wanted < last.release_counter:
        raise source.error(
            "release_counter", f"{wanted} is lower than {last.release_counter}, that of {previous.path}.", hint="It only ever goes up."
        )
    return wanted or last.release_counter


def _rebuild(bundle: Bundle, recipe: Path) -> list[str]:
    source = read_recipe(recipe)
    settings = Settings(
        build_id=bundle.index.build_id,
        release_counter=source.recipe.release_counter or _any_manifest(bundle).release_counter,
        environment=os.environ,
        # The proof is about what the sources give; a newer Surefoot may give it too.
        tool_version=read_predicate(bundle.provenance).build_definition.internal_parameters.tool_version,
    )
    with tempfile.TemporaryDirectory() as folder:
        build(source, Path(folder) / "again", settings)
        return list(_differences(bundle, read_bundle(Path(folder) / "again")))


def _differences(one: Bundle, other: Bundle) -> Iterator[str]:
    names = {name for name in [*one.files.sizes(), *other.files.sizes()] if not name.startswith(SIGNED)}
    for name in sorted(names):
        if one.files.sizes().get(name) != other.files.sizes().get(name) or any(
            mine != theirs for mine, theirs in zip(one.files.pieces(name), other.files.pieces(name), strict=True)
        ):
            yield name


def _any_manifest(bundle: Bundle) -> Manifest:
    return next(iter(bundle.manifests.values()))


def _title(bundle: Bundle) -> str:
    return f"{bundle.index.product} {bundle.index.version}, build {bundle.index.build_id}"


def _print_images(bundle: Bundle) -> None:
    for entry in bundle.index.manifests:
        image = bundle.manifests[entry.file].image
        print(f"image {entry.hardware} {entry.variant} {image.size} bytes {image.hash}")
