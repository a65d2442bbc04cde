# SPDX-License-Identifier: Apache-2.0
"""Builds: runs a recipe's commands in a clean environment and turns what they make into a bundle.

The same recipe, files and build id give the same bytes:

- Commands see ``PATH`` and ``HOME`` of the caller, the variables of ``command_environment``, umask 022, and nothing else.
- Components are sorted by name; an image of several is an ``archive`` of ``<component>/<file>``.
- Nothing reads a clock or a random number; the build id is an argument.
"""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from surefoot.model import record
from surefoot.model.digest import Digest, digest_of, from_hex
from surefoot.model.errors import FormatError, RecipeError
from surefoot.model.manifest import Component, Image, Manifest, ReleaseIndex, ReleaseNotes, built_at
from surefoot.release.archive import PIECE_BYTES, Member, write_archive
from surefoot.release.bundle import entry_of
from surefoot.release.draft import draft_bundle
from surefoot.release.layout import INDEX, PROVENANCE, SBOM, image_file
from surefoot.release.provenance import ExternalParameters, Material, make_predicate
from surefoot.release.recipe import Part, RecipeFile, fill, image_parts
from surefoot.release.sbom import Ingredient, Subject, make_sbom

_TAIL_BYTES = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a build needs besides its recipe.

    Attributes:
        build_id: Name of this build; the only thing that two builds of the same files may differ in.
        release_counter: The security epoch.
        environment: The caller's environment, of which commands see ``PATH`` and ``HOME``.
        tool_version: The version of Surefoot, for the provenance.
    """

    build_id: str
    release_counter: int
    environment: Mapping[str, str]
    tool_version: str


def build(source: RecipeFile, target: Path, settings: Settings) -> None:
    """Build a recipe into a bundle.

    Args:
        source: The recipe; its commands run in its folder.
        target: A folder that does not exist or is empty, or a name that ends in ``.tar``. It appears whole or not at all.
        settings: Build id, counter and environment.

    Raises:
        RecipeError: A command fails, or a component is missing, changed, or outside the recipe's folder; names file, line and key.
        InvalidInput: There is something at ``target`` already.
        StoreError: ``target`` cannot be written.
    """
    with draft_bundle(target) as draft:
        (draft / "images").mkdir()
        manifests: list[Manifest] = []
        ingredients: list[Ingredient] = []
        materials: list[Material] = []
        for hardware in sorted(source.recipe.hardware):
            for variant in sorted(source.recipe.variants):
                fit = _Fit(source=source, settings=settings, hardware=hardware, variant=variant)
                manifest = _build_image(fit, draft)
                manifests.append(manifest)
                ingredients += _ingredients(fit, manifest)
                materials += _materials(fit, manifest)
        _write_metadata(draft, manifests, _bill(source, settings, ingredients), _predicate(source, settings, materials))


def command_environment(settings: Settings, *, hardware: str, variant: str, version: str) -> dict[str, str]:
    """Return all that a build command sees of the world."""
    instant = built_at(settings.build_id)
    return {
        "PATH": settings.environment.get("PATH", os.defpath),
        "HOME": settings.environment.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(int(instant.timestamp())) if instant else "0",
        "PYTHONHASHSEED": "0",
        "HARDWARE": hardware,
        "VARIANT": variant,
        "VERSION": version,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """One hardware in one variant: what one image is made for."""

    source: RecipeFile
    settings: Settings
    hardware: str
    variant: str

    def key(self, part: Part, field: str) -> str:
        return f"components[{self.source.recipe.components.index(part)}].{field}"

    def filled(self, text: str) -> str:
        return fill(text, hardware=self.hardware, variant=self.variant)

    def error(self, part: Part, field: str, message: str, hint: str) -> RecipeError:
        return self.source.error(self.key(part, field), message, hint=hint)


def _build_image(fit: _Fit, draft: Path) -> Manifest:
    recipe = fit.source.recipe
    for part in recipe.components:
        if part.build:
            _run(fit, part)
    image = draft / "images" / "draft"
    hashes = _write_image(fit, image_parts(recipe), image)
    for part in recipe.components:
        if part.name not in hashes:
            with _open(fit, part) as file:
                hashes[part.name] = digest_of(_pieces(file))
    for part in recipe.components:
        _compare(fit, part, hashes[part.name])
    with image.open("rb") as file:
        digest = digest_of(_pieces(file))
    manifest = _manifest(fit, hashes, Image(size=image.stat().st_size, hash=digest))
    image.rename(draft / image_file(digest))
    return manifest


def _run(fit: _Fit, part: Part) -> None:
    command = fit.filled(part.build)
    environment = command_environment(fit.settings, hardware=fit.hardware, variant=fit.variant, version=fit.source.recipe.version)
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=fit.source.path.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o022,
            check=False,
        )
        if done.returncode:
            ending = f"exited with status {done.returncode}" if done.returncode > 0 else f"was ended by signal {-done.returncode}"
            message = f"the build of '{part.name}' for {fit.hardware} {fit.variant} {ending}: {command}"
            raise fit.error(part, "build", message, f"It said last:\n{_tail(output)}")


def _tail(output: BinaryIO) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return output.read().decode(errors="replace").strip() or "(nothing)"


def _open(fit: _Fit, part: Part) -> BinaryIO:
    folder = Path(os.path.realpath(fit.source.path.parent))
    path = folder / fit.filled(part.path)
    if not Path(os.path.realpath(path)).is_relative_to(folder):
        raise fit.error(part, "path", f"{path} leads outside the recipe's folder.", "Put the file itself there, not a link.")
    if not path.is_file():
        hint = "Check that 'build' makes it." if part.build else "Put it there, or say in 'build' how it is made."
        raise fit.error(part, "path", f"there is no file {path}, which component '{part.name}' names.", hint)
    try:
        return path.open("rb")
    except OSError as error:
        raise fit.error(part, "path", f"cannot read {path}: {error.strerror}.", "Make it readable.") from error


def _write_image(fit: _Fit, parts: list[Part], image: Path) -> dict[str, Digest]:
    """Write the image and return the digests of its parts, each hashed as its bytes are written."""
    hashes: dict[str, Digest] = {}
    by_member = {f"{part.name}/{Path(fit.filled(part.path)).name}": part for part in parts}

    def pieces(member: Member) -> Iterator[bytes]:
        part, sha256 = by_member[member.name], hashlib.sha256()
        with _open(fit, part) as file:
            for piece in _pieces(file):
                sha256.update(piece)
                yield piece
        hashes[part.name] = from_hex(sha256.hexdigest())

    members = [_member(fit, part, name) for name, part in by_member.items()]
    with image.open("wb") as file:
        if len(members) == 1:
            file.writelines(pieces(members[0]))
            return hashes
        try:
            write_archive(file, members, pieces)
        except FormatError as error:
            raise fit.source.error("components", error.message, hint=error.hint) from error
    return hashes


def _member(fit: _Fit, part: Part, name: str) -> Member:
    with _open(fit, part) as file:
        status = os.fstat(file.fileno())
    # The owner's bit alone: those of group and others depend on the umask of whoever made the file.
    return Member(name=name, size=status.st_size, is_program=bool(status.st_mode & 0o100))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _compare(fit: _Fit, part: Part, digest: Digest) -> None:
    if part.hash is not None and part.hash != digest:
        message = f"component '{part.name}', {fit.filled(part.path)}, has been changed: it hashes to {digest}, the recipe says {part.hash}."
        raise fit.error(part, "hash", message, "Restore the file, or write down the new hash if the change is meant.")


def _manifest(fit: _Fit, hashes: Mapping[str, Digest], image: Image) -> Manifest:
    recipe = fit.source.recipe
    parts = sorted(recipe.components, key=lambda part: part.name)
    return Manifest(
        product=recipe.product,
        version=recipe.version,
        build_id=fit.settings.build_id,
        variant=fit.variant,
        release_counter=fit.settings.release_counter,
        target_hardware=[fit.hardware],
        min_bootloader_version=recipe.min_bootloader_version,
        components=[Component(name=p.name, version=p.version, hash=hashes[p.name], updatable=p.updatable) for p in parts],
        image=image,
        metadata=ReleaseNotes(release_notes=recipe.release_notes, required=recipe.required),
        data_format=recipe.data_format,
        requires=recipe.requires,
        revert_to=recipe.revert_to,
        breaking=recipe.breaking,
    )


def _ingredients(fit: _Fit, manifest: Manifest) -> Iterator[Ingredient]:
    hashes = {component.name: component.hash for component in manifest.components}
    for part in fit.source.recipe.components:
        yield Ingredient(
            image=f"{fit.hardware}-{fit.variant}",
            name=part.name,
            version=part.version,
            hash=hashes[part.name],
            license=part.license,
            supplier=part.supplier,
            updatable=part.updatable,
            depends_on=tuple(part.depends_on),
        )


def _materials(fit: _Fit, manifest: Manifest) -> Iterator[Material]:
    hashes = {component.name: component.hash for component in manifest.components}
    for part in fit.source.recipe.components:
        yield Material(path=fit.filled(part.path), hash=hashes[part.name], component=part.name, version=part.version)


def _bill(source: RecipeFile, settings: Settings, ingredients: list[Ingredient]) -> bytes:
    recipe = source.recipe
    subject = Subject(product=recipe.product, version=recipe.version, build_id=settings.build_id, built_at=built_at(settings.build_id))
    return make_sbom(subject, ingredients)


def _predicate(source: RecipeFile, settings: Settings, materials: list[Material]) -> bytes:
    recipe = source.recipe
    parameters = ExternalParameters(
        recipe=source.digest,
        product=recipe.product,
        version=recipe.version,
        build_id=settings.build_id,
        release_counter=settings.release_counter,
        hardware=sorted(recipe.hardware),
        variants=sorted(recipe.variants),
    )
    return make_predicate(parameters, settings.tool_version, materials)


def _write_metadata(draft: Path, manifests: list[Manifest], bill: bytes, predicate: bytes) -> None:
    any_manifest = manifests[0]
    index = ReleaseIndex(
        product=any_manifest.product,
        version=any_manifest.version,
        build_id=any_manifest.build_id,
        manifests=[entry_of(manifest) for manifest in manifests],
        sbom=digest_of(bill),
        provenance=digest_of(predicate),
    )
    for entry, manifest in zip(index.manifests, manifests, strict=True):
        (draft / entry.file).write_bytes(record.to_pretty_json(manifest))
    (draft / SBOM).write_bytes(bill)
    (draft / PROVENANCE).write_bytes(predicate)
    (draft / INDEX).write_bytes(record.to_pretty_json(index))
