# SPDX-License-Identifier: Apache-2.0
"""Recipes: what a release is made of, read from ``firmware.yaml`` and checked before anything is built.

- ``{hardware}`` and ``{variant}`` are the only placeholders, in ``build`` and in ``path``; nothing else stands in braces.
- A path never leaves the recipe's folder.
- Every component says its licence as an SPDX expression, since the bill of materials must.
- The image is the one updatable component, or the one that ``image`` names, or an archive of all updatable ones.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec
from cyclonedx.spdx import is_expression
from msgspec import Meta

from surefoot.document import MAX_BYTES, Document, convert, parse
from surefoot.model import version as versions
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import FormatError, RecipeError
from surefoot.model.manifest import BuildId, Counter, Requires
from surefoot.model.record import Name, Record, Text
from surefoot.model.version import RevertTo, SemVer

_PLACEHOLDERS = ("{hardware}", "{variant}")
_BRACES = re.compile(r"\{[^{}]*\}")

# Leaves room for "manifest-" and ".json" in the 100 bytes that a ustar header has for a name.
_MAX_PAIR = 85

_Line = Annotated[str, Meta(min_length=1, max_length=200)]


class Part(Record, frozen=True, kw_only=True):
    """One component of the recipe.

    Attributes:
        name: Its name, also in manifest and bill of materials.
        version: Its own version, in whatever scheme it uses.
        path: The file, relative to the recipe; with placeholders, one per hardware or variant.
        license: An SPDX licence expression.
        build: A shell command that makes the file; empty when the file is simply there.
        hash: What the file must hash to; for files that are checked in or fetched.
        supplier: Who made it.
        updatable: Whether it goes into the image; else it is only listed.
        depends_on: Names of other components that it needs.
    """

    name: Name
    version: _Line
    path: _Line
    license: _Line
    build: Annotated[str, Meta(max_length=10_000)] = ""
    hash: Digest | None = None
    supplier: Annotated[str, Meta(max_length=200)] = ""
    updatable: bool = True
    depends_on: list[Name] = []


class Recipe(Record, frozen=True, kw_only=True):
    """The block ``firmware`` of a recipe file.

    Attributes:
        image: Name of the updatable component that is the image, when it contains the others.
    """

    product: Name
    version: SemVer
    hardware: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    components: Annotated[list[Part], Meta(min_length=1, max_length=1_000)]
    variants: Annotated[list[Name], Meta(min_length=1, max_length=20)] = msgspec.field(default_factory=lambda: ["release"])
    build_id: BuildId | None = None
    release_counter: Counter | None = None
    data_format: Counter | None = None
    min_bootloader_version: SemVer = "0.0.0"
    requires: Requires | None = None
    revert_to: RevertTo = "patch"
    breaking: bool = False
    release_notes: Text = ""
    required: bool = False
    image: Name | None = None


class _File(Record, frozen=True, kw_only=True):
    firmware: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFile:
    """A recipe with the place it was read from.

    Attributes:
        path: The file; its folder is where commands run and paths begin.
        recipe: What it says.
        document: Where it says it.
        digest: The digest of the file.
    """

    path: Path
    recipe: Recipe
    document: Document
    digest: Digest

    def error(self, key: str, message: str, *, hint: str = "") -> RecipeError:
        """Return an error that names the place of ``key``, which is written ``components[0].path``."""
        return RecipeError(f"{self.document.place(f'$.firmware.{key}')}: '{key}': {message}", hint=hint)


def read_recipe(path: Path) -> RecipeFile:
    """Read and check a recipe; nothing that it names is looked at yet.

    Raises:
        RecipeError: The file cannot be read, or contradicts itself.
        FormatError: It is not of the form of a recipe; names file, line and key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.", hint="Name a recipe file.") from error
    document = parse(data, file=str(path))
    source = RecipeFile(path=path, recipe=convert(document, _File).firmware, document=document, digest=digest_of(data))
    _check_names(source)
    _check_rules(source)
    for index, part in enumerate(source.recipe.components):
        _check_part(source, part, f"components[{index}]")
    return source


def fill(text: str, *, hardware: str, variant: str) -> str:
    """Return ``text`` with its placeholders filled in."""
    return text.replace("{hardware}", hardware).replace("{variant}", variant)


def image_parts(recipe: Recipe) -> list[Part]:
    """Return the components whose bytes go into the image, sorted by name; one means that it is the image."""
    parts = [part for part in recipe.components if part.updatable and recipe.image in (None, part.name)]
    return sorted(parts, key=lambda part: part.name)


def _check_names(source: RecipeFile) -> None:
    recipe = source.recipe
    _refuse_repeats(source, "hardware", recipe.hardware)
    _refuse_repeats(source, "variants", recipe.variants)
    _refuse_repeats(source, "components", (part.name for part in recipe.components))
    pairs = [f"{hardware}-{variant}" for hardware in recipe.hardware for variant in recipe.variants]
    _refuse_repeats(source, "variants", pairs)
    if len(max(pairs, key=len)) > _MAX_PAIR:
        raise source.error("hardware", f"'{max(pairs, key=len)}' is longer than {_MAX_PAIR} characters.", hint="Shorten it.")


def _refuse_repeats(source: RecipeFile, key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise source.error(f"{key}[{index}]", f"'{name}' is there twice.", hint="Give each its own name.")
        seen.add(name)


def _check_rules(source: RecipeFile) -> None:
    recipe = source.recipe
    if recipe.requires is not None:
        try:
            versions.is_in_range(recipe.version, recipe.requires.from_)
        except FormatError as error:
            raise source.error("requires.from", error.message, hint="Write a range like '>=1.1.0 <2.0.0'.") from error
    updatable = [part.name for part in recipe.components if part.updatable]
    if not updatable:
        raise source.error("components", "none of them is updatable.", hint="An image needs at least one.")
    if recipe.image is not None and recipe.image not in updatable:
        raise source.error("image", f"'{recipe.image}' is not an updatable component.", hint=f"Name one of: {', '.join(updatable)}.")


def _check_part(source: RecipeFile, part: Part, key: str) -> None:
    for field, text in (("build", part.build), ("path", part.path)):
        strange = [found for found in _BRACES.findall(text) if found not in _PLACEHOLDERS]
        if strange:
            raise source.error(
                f"{key}.{field}", f"'{strange[0]}' is no placeholder.", hint="Use {hardware} or {variant}, nothing else in braces."
            )
    path = PurePosixPath(part.path)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise source.error(
            f"{key}.path", f"'{part.path}' does not stay inside the recipe's folder.", hint="Write a path relative to the recipe."
        )
    # The library takes an empty text for a valid expression.
    if not part.license.strip() or not is_expression(part.license):
        raise source.error(
            f"{key}.license", f"'{part.license}' is no SPDX licence expression.", hint="Write it like MIT or 'MIT OR Apache-2.0'."
        )
    known = {other.name for other in source.recipe.components} - {part.name}
    for index, name in enumerate(part.depends_on):
        if name not in known:
            raise source.error(
                f"{key}.depends_on[{index}]", f"'{name}' is not another component.", hint=f"Known: {', '.join(sorted(known))}."
            )
