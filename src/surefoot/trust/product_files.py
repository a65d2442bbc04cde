# SPDX-License-Identifier: Apache-2.0
"""All role files of one product as one thing that people sign: the product's role, its bins, and their archives.

- Other keys of a product mean that each of these files is signed anew: a file that only the old keys signed is worth nothing.
- Each delegates with the product's own keys and threshold, and with no others.
- Files of roles that fell out of use (when bins doubled) are left as they are: nothing leads to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from securesystemslib.signer import Key
from tuf.api.metadata import Delegations, TargetFile, Targets

from surefoot.model.errors import MetadataError
from surefoot.trust.layout import archive_delegations, archive_of, bins_delegations, bits_of, leaves
from surefoot.trust.metadata import Files, expiry, product_role, read, sign_with, verified
from surefoot.trust.tree import images_of


def reachable(files: Files, product: str) -> list[str]:
    """Return the names of the role files of a product that its role leads to, parents first.

    Raises:
        MetadataError: One that is delegated is missing, or cannot be read.
    """
    found = [product]
    for leaf in leaves(product, bits_of(_read(files, product))):
        archive = archive_of(leaf)
        delegations = _read(files, leaf).delegations
        has_archive = delegations is not None and archive in (delegations.roles or {})
        found += [role for role in (leaf, archive) if role not in found and (role == leaf or has_archive)]
    for role in found:
        _read(files, role)
    return [f"{role}.json" for role in found]


def renewed(files: Files, product: str, now: datetime) -> dict[str, bytes]:
    """Return the next version of every role file of a product, with the same images, as yet without signatures.

    Args:
        files: Its role files, and the top-level targets whose keys for the product count from now on.
        product: The product.
        now: When; the expiry is counted from it.

    Raises:
        SignatureError: The targets know no such product.
        MetadataError: As for ``reachable``.
    """
    keys, threshold = product_role(read(files["targets.json"], Targets, name="targets.json").signed, product)
    fresh: dict[str, bytes] = {}
    for name in reachable(files, product):
        metadata = read(files[name], Targets, name=name)
        metadata.signed.version += 1
        metadata.signed.expires = expiry("targets", now)
        metadata.signed.delegations = _delegations(product, name, metadata.signed, keys, threshold)
        fresh[name] = sign_with(metadata, [])
    return fresh


def require_own_keys(files: Files, product: str, targets: Targets) -> None:
    """Refuse role files of a product that let other keys than the product's, or fewer of them, sign for any of its images.

    Raises:
        MetadataError: One does; or as for ``reachable``.
    """
    keys, threshold = product_role(targets, product)
    for name in reachable(files, product):
        signed = _read(files, name.removesuffix(".json"))
        if signed.delegations != _delegations(product, name, signed, keys, threshold):
            raise MetadataError(
                f"{name} lets others sign for {product} than the top-level targets do.", hint="Sign nothing; ask whoever proposed it."
            )


def require_whole(files: Files, product: str, targets: Targets) -> None:
    """Verify all role files of a product as a device does, and that they are laid out as they must be.

    Raises:
        SignatureError: One is not signed as its delegation asks.
        MetadataError: One is missing, or lists what it may not.
    """
    top = verified(files[f"{product}.json"], Targets, targets, product, name=f"{product}.json")
    require_own_keys(files, product, targets)
    images_of(files, product, top)


def retirements(files: Files) -> dict[str, bool]:
    """Return by version whether a release's images stand in an archive, of the given role files of one product."""
    return {path.split("/")[1]: is_retired for path, (_, is_retired) in _images(files).items()}


def differences(before: Files, after: Files) -> Iterator[str]:
    """Say in sentences which images of a product come, go, change, or are retired or live again; then how many there are."""
    old, new = _images(before), _images(after)
    yield from (f"Release {path!r} is added." for path in sorted(new.keys() - old.keys()))
    yield from (f"Release {path!r} is DROPPED." for path in sorted(old.keys() - new.keys()))
    for path in sorted(old.keys() & new.keys()):
        (was, was_retired), (will, is_retired) = old[path], new[path]
        if was != will:
            yield f"Release {path!r} is CHANGED."
        if was_retired != is_retired:
            yield f"Release {path!r} is {'retired' if is_retired else 'LIVE AGAIN'}."


def counted(files: Files) -> Iterator[str]:
    """Say how many images are listed, and in how many files; nothing of no files."""
    images = _images(files)
    retired = sum(is_retired for _, is_retired in images.values())
    among = f", {retired} of them retired" if retired else ""
    if files:
        yield f"Then {len(images)} releases are listed{among}{f', in {len(files)} files' if len(files) > 1 else ''}."


def enumerated(files: Files) -> Iterator[str]:
    """Say of every image what it is."""
    for path, (target, is_retired) in sorted(_images(files).items()):
        hashes = ", ".join(f"{name}:{value}" for name, value in target.hashes.items())
        yield f"Then {path!r} is a {'retired ' if is_retired else ''}release: {target.length} bytes, {hashes}."


def _delegations(product: str, name: str, signed: Targets, keys: Mapping[str, Key], threshold: int) -> Delegations | None:
    """Return what a role file is to delegate with these keys; what it delegates to is what it delegates to now."""
    if signed.delegations is None:
        return None
    bits = bits_of(signed)
    return bins_delegations(product, bits, keys, threshold) if bits else archive_delegations(name.removesuffix(".json"), keys, threshold)


def _images(files: Files) -> dict[str, tuple[TargetFile, bool]]:
    ordered: Sequence[str] = sorted(files, key=lambda name: name.endswith("+archive.json"))
    return {
        path: (entry, name.endswith("+archive.json"))
        for name in ordered
        for path, entry in read(files[name], Targets, name=name).signed.targets.items()
    }


def _read(files: Files, role: str) -> Targets:
    name = f"{role}.json"
    if name not in files:
        raise MetadataError(f"{name} is delegated and missing.", hint="Take the folder of keys back from its backup.")
    return read(files[name], Targets, name=name).signed
