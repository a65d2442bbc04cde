# SPDX-License-Identifier: Apache-2.0
"""How the images of one product are spread over role files, so that a device fetches little whatever the catalogue's size.

- The product role lists the live images itself, as long as its file keeps to ``ROLE_BYTES``; then it delegates to hash bins
  ``<product>+bin-<hex>`` (TAP 15) and lists none. A bin whose file would grow past that doubles their number.
- A role that lists live images, here a leaf, delegates to ``<leaf>+archive``, which lists the retired ones. The leaf is searched first, so
  the archive is fetched only for a path that is retired.
- All are signed by the product's keys with its threshold. No product's name has a ``+``, so no two roles share a name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import Struct
from msgspec.json import decode
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, SuccinctRoles, TargetFile, Targets

from surefoot.model.errors import ConflictError, MetadataError, UnknownError
from surefoot.model.manifest import Manifest
from surefoot.model.record import parse_utc
from surefoot.trust.metadata import IMAGE_LIFE, Files, expiry, product_role, read, sign_with
from surefoot.trust.offline import entries

ROLE_BYTES = 65_000
"""How large a file that lists images may be: about 150 of them. A device fetches one such file for an order, two for a retired release."""

_SIGNATURE_BYTES = 1_120  # of RSA with 4,096 bits, the longest
_FIRST_BITS = 3
_MOST_BITS = 16
_NAME = re.compile(r"(?P<product>[a-z0-9][a-z0-9._-]{0,63})(\+bin-[0-9a-f]{1,8})?(?P<archive>\+archive)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """The images of one leaf, by path: live ones, and retired ones in its archive."""

    live: dict[str, TargetFile] = field(default_factory=dict)
    retired: dict[str, TargetFile] = field(default_factory=dict)


def product_of(role: str) -> str | None:
    """Return the product whose role this is; ``None`` for a name outside the alphabet."""
    match = _NAME.fullmatch(role)
    return None if match is None else match["product"]


def archive_of(leaf: str) -> str:
    """Return the name of the role that lists the retired images of a leaf."""
    return f"{leaf}+archive"


def bits_of(targets: Targets) -> int:
    """Return how many bits of a path's hash choose its bin; 0 when the role has no bins, ``MetadataError`` when they are too many."""
    delegations = targets.delegations
    bits = 0 if delegations is None or delegations.succinct_roles is None else delegations.succinct_roles.bit_length
    if bits > _MOST_BITS:
        raise MetadataError(f"A product asks for 2^{bits} bins; 2^{_MOST_BITS} are the most.", hint="Sign again with 'surefoot release'.")
    return int(bits)


def leaves(product: str, bits: int) -> list[str]:
    """Return the names of all leaves of a product."""
    return [product] if bits == 0 else list(_bins(product, bits).get_roles())


def leaf_of(product: str, bits: int, path: str) -> str:
    """Return the name of the leaf that lists a path, or whose archive does."""
    return product if bits == 0 else _bins(product, bits).get_role_for_target(path)


def way_to(product: str, bits: int, path: str, *, is_retired: bool) -> list[str]:
    """Return the roles that a device fetches to verify a path, in the order of its search, without the top-level targets."""
    leaf = leaf_of(product, bits, path)
    way = [product] if leaf == product else [product, leaf]
    return [*way, archive_of(leaf)] if is_retired else way


def bins_delegations(product: str, bits: int, keys: Mapping[str, Key], threshold: int) -> Delegations:
    """Return what the role of a product with bins delegates, to these keys by id."""
    return Delegations(dict(keys), succinct_roles=_bins(product, bits, list(keys), threshold))


def archive_delegations(leaf: str, keys: Mapping[str, Key], threshold: int) -> Delegations:
    """Return what a leaf with an archive delegates, to these keys by id."""
    archive = archive_of(leaf)
    role = DelegatedRole(archive, list(keys), threshold, terminating=False, paths=[f"{product_of(leaf)}/*/*"])
    return Delegations(dict(keys), roles={archive: role})


def read_leaf(files: Files, leaf: str) -> Leaf:
    """Return the images of a leaf from its files; empty when there are none yet."""
    return Leaf(live=_images(files, leaf), retired=_images(files, archive_of(leaf)))


def add_release(files: Files, manifests: Iterable[Manifest], signers: Sequence[Signer], now: datetime) -> dict[str, bytes]:
    """Return the role files of one product that change when these images are listed, by un-versioned name.

    Only the leaves concerned change, but for those past half their life, which are signed again, and for a leaf that grows too
    large, whereupon all are spread anew. Signing the same again changes nothing.

    Args:
        files: The top-level targets and all role files of the product.
        manifests: Images of one product, at least one.
        signers: As many of the product's keys as must sign.
        now: When.

    Raises:
        ConflictError: A path is listed already with other content, or its release is retired.
    """
    listed = list(manifests)
    product = listed[0].product
    found = {entry.path: entry for manifest in listed for entry in entries(manifest)}
    bits = _bits(files, product)
    changed: dict[str, Leaf] = {}
    for path, entry in found.items():
        leaf = leaf_of(product, bits, path)
        images = changed.setdefault(leaf, read_leaf(files, leaf))
        _require_same(images, entry)
        images.live[path] = entry
    return _write(files, product, changed, signers, now)


def retire(files: Files, product: str, version: str, signers: Sequence[Signer], now: datetime) -> dict[str, bytes]:
    """Return the role files that change when a release's images move from the live ones to the archive.

    Raises:
        UnknownError: No image of this release is live.
    """
    return _move(files, product, version, signers, now, is_retired=True)


def restore(files: Files, product: str, version: str, signers: Sequence[Signer], now: datetime) -> dict[str, bytes]:
    """Return the role files that change when a retired release's images are live again.

    Raises:
        UnknownError: No image of this release is retired.
    """
    return _move(files, product, version, signers, now, is_retired=False)


def _move(files: Files, product: str, version: str, signers: Sequence[Signer], now: datetime, *, is_retired: bool) -> dict[str, bytes]:
    start = f"{product}/{version}/"
    changed: dict[str, Leaf] = {}
    for leaf in leaves(product, _bits(files, product)):
        if not any(f'"{start}'.encode() in files.get(f"{name}.json", b"") for name in (leaf, archive_of(leaf))):
            continue
        images = read_leaf(files, leaf)
        source, goal = (images.live, images.retired) if is_retired else (images.retired, images.live)
        moved = {path: source.pop(path) for path in list(source) if path.startswith(start)}
        goal.update(moved)
        if moved:
            changed[leaf] = images
    if not changed:
        raise UnknownError(
            f"No image of {product} {version} is {'live' if is_retired else 'retired'}.", hint="See 'surefoot release list'."
        )
    return _write(files, product, changed, signers, now)


def _write(files: Files, product: str, changed: Mapping[str, Leaf], signers: Sequence[Signer], now: datetime) -> dict[str, bytes]:
    targets = read(files["targets.json"], Targets, name="targets.json").signed
    writer = _Writer(files=files, role=product_role(targets, product), signers=signers, now=now)
    bits = _bits(files, product)
    if not all(writer.fits(leaf, images) for leaf, images in changed.items()):
        all_leaves = {leaf: changed.get(leaf) or read_leaf(files, leaf) for leaf in leaves(product, bits)}
        bits, changed = _spread(product, all_leaves.values(), bits, writer)
    due = {leaf: read_leaf(files, leaf) for leaf in leaves(product, bits) if leaf not in changed and writer.is_due(leaf)}
    written: dict[str, bytes] = {}
    for leaf, images in {**changed, **due}.items():
        written |= writer.leaf(leaf, images)
    return written if bits == 0 else written | writer.delegating(product, bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    files: Files
    role: tuple[dict[str, Key], int]
    signers: Sequence[Signer]
    now: datetime

    def is_due(self, leaf: str) -> bool:
        names = [f"{name}.json" for name in (leaf, archive_of(leaf))]
        return any(self._is_half_spent(self.files[name]) for name in names if name in self.files)

    def leaf(self, name: str, images: Leaf) -> dict[str, bytes]:
        archive = archive_of(name)
        has_archive = bool(images.retired) or f"{archive}.json" in self.files
        written = self._role(archive, images.retired, None) if has_archive else {}
        return written | self._role(name, images.live, archive_delegations(name, *self.role) if has_archive else None)

    def fits(self, name: str, images: Leaf) -> bool:
        """Say whether the files of a leaf keep to ``ROLE_BYTES``; one image alone cannot be spread further."""
        return self._fits(images.live, archive_delegations(name, *self.role)) and self._fits(images.retired, None)

    def delegating(self, product: str, bits: int) -> dict[str, bytes]:
        return self._role(product, {}, bins_delegations(product, bits, *self.role))

    def _fits(self, images: dict[str, TargetFile], delegations: Delegations | None) -> bool:
        if len(images) <= 1:
            return True
        unsigned = sign_with(Metadata(Targets(expires=self.now, targets=images, delegations=delegations)), [])
        return len(unsigned) + _SIGNATURE_BYTES * len(self.signers) <= ROLE_BYTES

    def _role(self, name: str, images: dict[str, TargetFile], delegations: Delegations | None) -> dict[str, bytes]:
        known = self.files.get(f"{name}.json")
        before = None if known is None else read(known, Targets, name=f"{name}.json").signed
        if (
            known is not None
            and before is not None
            and (before.targets, before.delegations) == (images, delegations)
            and not self._is_half_spent(known)
        ):
            return {}
        version = 1 if before is None else before.version + 1
        fresh = Targets(version, expires=expiry("targets", self.now), targets=images, delegations=delegations)
        return {f"{name}.json": sign_with(Metadata(fresh), self.signers)}

    def _is_half_spent(self, data: bytes) -> bool:
        # A thousand bins are looked through at each signing, so only this field of them is read.
        return self.now >= parse_utc(decode(data, type=_Dated).signed.expires) - IMAGE_LIFE["targets"] / 2


def _spread(product: str, found: Iterable[Leaf], bits: int, writer: _Writer) -> tuple[int, dict[str, Leaf]]:
    whole = list(found)
    while True:
        bits = max(_FIRST_BITS, bits + 1)
        spread = {leaf: Leaf() for leaf in leaves(product, bits)}
        roles = _bins(product, bits)
        for images in whole:
            for path, entry in images.live.items():
                spread[roles.get_role_for_target(path)].live[path] = entry
            for path, entry in images.retired.items():
                spread[roles.get_role_for_target(path)].retired[path] = entry
        if bits == _MOST_BITS or all(writer.fits(leaf, images) for leaf, images in spread.items()):
            return bits, spread


class _Expiring(Struct, frozen=True):
    expires: str


class _Dated(Struct, frozen=True):
    signed: _Expiring


def _bits(files: Files, product: str) -> int:
    return bits_of(read(files[f"{product}.json"], Targets, name=f"{product}.json").signed)


def _bins(product: str, bits: int, keyids: list[str] | None = None, threshold: int = 1) -> SuccinctRoles:
    return SuccinctRoles(keyids or [], threshold, bits, f"{product}+bin")


def _images(files: Files, role: str) -> dict[str, TargetFile]:
    data = files.get(f"{role}.json")
    return {} if data is None else dict(read(data, Targets, name=f"{role}.json").signed.targets)


def _require_same(images: Leaf, entry: TargetFile) -> None:
    if entry.path in images.retired:
        raise ConflictError(f"{entry.path} is retired.", hint="Take it back first: 'surefoot release restore PRODUCT VERSION --keys DIR'.")
    if images.live.get(entry.path, entry) != entry:
        raise ConflictError(f"{entry.path} is signed already with other content.", hint="Raise the version and build again.")
