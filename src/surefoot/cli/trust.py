# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust``: make the two repositories, delegate a product, say what is trusted.

Two folders come out of ``init``: the *keys folder* with what people sign with, which belongs on no server, and the server's
data folder with the online keys and the first published metadata.
"""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Targets

from surefoot.cli import trust_change, trust_key, trust_publish, trust_sign
from surefoot.cli.keys_folder import KeysFolder, new_folder, open_keys, write_new
from surefoot.cli.proposals import describe, open_proposals
from surefoot.model.errors import InvalidInput
from surefoot.model.record import Name
from surefoot.trust import offline
from surefoot.trust.metadata import read
from surefoot.trust.repository import OnlineSigners, initial
from surefoot.trust.signer import generate

_ROOT_KEYS = 3
_TARGETS_KEYS = 2
_TAKEN = {"director-root", "signatures", "provenance.dsse"}
_ONLINE = ("image-snapshot", "image-timestamp", "director-targets", "director-snapshot", "director-timestamp")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    init = verbs.add_parser("init", help="make all keys and both roots")
    init.add_argument("--keys", type=Path, required=True, help="new folder for the offline keys; keep it off the server")
    init.add_argument("--data", type=Path, required=True, help="the server's data folder")
    init.add_argument(
        "--product", action="append", default=[], metavar="NAME", type=_product, help="a product to release; may be given again"
    )
    init.set_defaults(run=_init)
    adding = verbs.add_parser("add-product", help="let another product be released")
    adding.add_argument("product", type=_product)
    adding.add_argument("--keys", type=Path, required=True)
    adding.set_defaults(run=_add_product)
    status = verbs.add_parser("status", help="show roles, keys, thresholds, versions and expiry")
    status.add_argument("--keys", type=Path, required=True)
    status.set_defaults(run=_status)
    for module in (trust_change, trust_sign, trust_publish, trust_key):
        module.add_verbs(verbs.add_parser)


def _product(text: str) -> str:
    try:
        name = msgspec.convert(text, Name)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{text[:80]!r} is no name for a product.",
            hint="Use up to 64 lower-case letters, digits, dots, hyphens and underscores, beginning with a letter or digit.",
        ) from error
    if name in _TAKEN:
        raise InvalidInput(
            f"'{name}' cannot be the name of a product: a file beside its metadata is called that.", hint="Choose another name."
        )
    return name


def _init(arguments: argparse.Namespace) -> int:
    _require_apart(arguments.keys, arguments.data)
    online_folder, metadata_folder = arguments.data / "keys", arguments.data / "metadata"
    with new_folder(arguments.keys) as offline_keys, new_folder(online_folder) as online_keys, new_folder(metadata_folder) as metadata:
        _fill(KeysFolder(path=offline_keys), online_keys, metadata, list(dict.fromkeys(arguments.product)), datetime.now(UTC))
    print(f"Two roots, each with {_ROOT_KEYS} keys of which {offline.ROOT_THRESHOLD} must sign, ECDSA P-256.")
    print(f"Offline keys: {arguments.keys} (move them off this machine: whoever has two root keys owns the fleet)")
    print(f"Online keys and metadata: {arguments.data}")
    print(f"Next: surefoot serve --data {arguments.data}")
    return 0


def _require_apart(keys: Path, data: Path) -> None:
    """Refuse offline keys in the server's folder: whoever steals the server would own the fleet."""
    offline_folder, server_folder = keys.resolve(), data.resolve()
    if offline_folder.is_relative_to(server_folder) or server_folder.is_relative_to(offline_folder):
        raise InvalidInput(
            f"The offline keys ({keys}) and the server's data ({data}) must lie outside each other.",
            hint="Name another folder with --keys.",
        )


def _fill(keys: KeysFolder, online_keys: Path, metadata: Path, products: list[str], now: datetime) -> None:
    online = {name: generate() for name in _ONLINE}
    image = _image_repository(keys, online, products, now)
    director_keys = {role: [online[f"director-{role}"].public_key] for role in ("targets", "snapshot", "timestamp")}
    director_root = offline.create_root(keys.make("director-root", _ROOT_KEYS), director_keys, now, thresholds={})
    keys.keep({name: data for name, data in image.items() if name not in {"snapshot.json", "timestamp.json"}})
    keys.keep({"director-root.json": director_root})
    for name, data in image.items():
        write_new(metadata / "image" / name, data, 0o644)
    write_new(metadata / "director" / "root.json", director_root, 0o644)
    for name, signer in online.items():
        write_new(online_keys / f"{name}.pem", signer.private_bytes, 0o600)


def _image_repository(keys: KeysFolder, online: Mapping[str, CryptoSigner], products: list[str], now: datetime) -> dict[str, bytes]:
    roots, targets = keys.make("image-root", _ROOT_KEYS), keys.make("image-targets", _TARGETS_KEYS)
    released = {product: keys.make(f"product-{product}", 1)[0] for product in products}
    public = {
        "targets": [signer.public_key for signer in targets],
        "snapshot": [online["image-snapshot"].public_key],
        "timestamp": [online["image-timestamp"].public_key],
    }
    return initial(
        offline.create_root(roots, public, now, thresholds={"targets": _TARGETS_KEYS}),
        offline.create_targets(targets, {product: signer.public_key for product, signer in released.items()}, now),
        {product: offline.create_product(signer, now) for product, signer in released.items()},
        OnlineSigners(snapshot=online["image-snapshot"], timestamp=online["image-timestamp"]),
        now,
    )


def _add_product(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    keys = open_keys(arguments.keys)
    before = keys.metadata("targets.json")
    targets = keys.signers_for_targets()
    signer = generate()
    after = offline.add_product(before, arguments.product, signer.public_key, targets, now)
    write_new(keys.path / f"product-{arguments.product}-1.pem", signer.private_bytes, 0o600)
    keys.keep({"targets.json": after, f"{arguments.product}.json": offline.create_product(signer, now)})
    print(f"The product {arguments.product} may be released with {arguments.keys}/product-{arguments.product}-1.pem.")
    print("Next: surefoot release sign BUNDLE; its publication carries the new delegation to the server.")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    keys = open_keys(arguments.keys)
    now = datetime.now(UTC)
    print(f"{'role':<22}{'version':>8}{'keys':>6}{'needs':>7}  expires")
    for label, name in (("image root", "root.json"), ("director root", "director-root.json")):
        root = read(keys.metadata(name), Root, name=name).signed
        role = root.roles["root"]
        print(f"{label:<22}{root.version:>8}{len(role.keyids):>6}{role.threshold:>7}  {_until(root.expires, now)}")
    root = read(keys.metadata("root.json"), Root, name="root.json").signed
    targets = read(keys.metadata("targets.json"), Targets, name="targets.json").signed
    role = root.roles["targets"]
    print(f"{'image targets':<22}{targets.version:>8}{len(role.keyids):>6}{role.threshold:>7}  {_until(targets.expires, now)}")
    roles = {} if targets.delegations is None else targets.delegations.roles or {}
    for product, delegated in sorted(roles.items()):
        signed = read(keys.metadata(f"{product}.json"), Targets, name=f"{product}.json").signed
        label = f"product {product}"
        print(f"{label:<22}{signed.version:>8}{len(delegated.keyids):>6}{delegated.threshold:>7}  {_until(signed.expires, now)}")
    for path, proposal in open_proposals(keys).items():
        print(f"open: {path}: {describe(proposal)}")
    return 0


def _until(expires: datetime, now: datetime) -> str:
    days = (expires - now).days
    return f"{expires:%Y-%m-%d} (in {days} days)" if expires > now else f"{expires:%Y-%m-%d} (EXPIRED: sign it again)"
