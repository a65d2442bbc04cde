# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust init``: who signs what, from the first day on.

Two folders come out of it: the *keys folder*, with what people sign with or have signed, which belongs on no server, and the server's
data folder with the online keys. Keys that nobody brings are made. Once all is signed, which is at once when all keys are made
here, the server's folder gets its first metadata too.
"""

import argparse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key

from surefoot.cli.first_metadata import write_first
from surefoot.cli.key_secrets import KeySecrets
from surefoot.cli.keys_folder import KeysFolder, new_folder, require_free, write_new
from surefoot.cli.proposals import describe, lay, open_proposals, sign_here
from surefoot.cli.role_names import given_key, product_name
from surefoot.cli.settling import settle
from surefoot.model.errors import InvalidInput
from surefoot.trust.changes import called
from surefoot.trust.founding import Authority, found
from surefoot.trust.key_file import write_public
from surefoot.trust.offline import ROOT_THRESHOLD
from surefoot.trust.proposal import Proposal
from surefoot.trust.signer import generate, open_signer

_ROOTS = ("image-root", "director-root")
_TARGETS = "image-targets"
_MADE = {**dict.fromkeys(_ROOTS, 3), _TARGETS: 2}
_NEEDED = {**dict.fromkeys(_ROOTS, ROOT_THRESHOLD), _TARGETS: 2}
_ONLINE = ("image-snapshot", "image-timestamp", "director-targets", "director-snapshot", "director-timestamp")


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb of this module to ``surefoot trust``."""
    parser = add_parser("init", help="make both roots, and the keys that nobody brings")
    parser.add_argument("--keys", type=Path, required=True, help="new folder for the offline keys; keep it off the server")
    parser.add_argument("--data", type=Path, required=True, help="the server's data folder")
    parser.add_argument(
        "--product", action="append", default=[], metavar="NAME", type=product_name, help="a product to release; may be given again"
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="ROLE=HOLDER:FILE.pub",
        help="somebody's own key for image-root, director-root, image-targets or product-NAME; may be given again",
    )
    parser.add_argument("--threshold", action="append", default=[], metavar="ROLE=N", help="how many must sign; may be given again")
    parser.add_argument(
        "--online", action="append", default=[], metavar="ROLE=URI", help="an online key that is there already, as 'pkcs11:…'; likewise"
    )
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    now, online_folder, metadata = datetime.now(UTC), arguments.data / "keys", arguments.data / "metadata"
    products = list(dict.fromkeys(arguments.product))
    roles = [*_ROOTS, _TARGETS, *(f"product-{product}" for product in products)]
    brought = _brought(arguments.key, roles)
    thresholds = {role: _number(role, text) for role, text in _once(arguments.threshold, roles, "--threshold").items()}
    uris = _once(arguments.online, _ONLINE, "--online")
    _require_apart(arguments.keys, arguments.data)
    for place in (arguments.keys, online_folder, metadata):
        require_free(place)
    with new_folder(arguments.keys) as draft, new_folder(online_folder) as online:
        keys = KeysFolder(path=draft)
        authorities = {role: _authority(keys, role, brought.get(role, []), thresholds.get(role)) for role in roles}
        authorities |= {role: Authority(keys=(_online_key(online, role, uris.get(role)),)) for role in _ONLINE}
        lay(keys, [sign_here(keys, proposal) for proposal in _first(authorities, products, now)])
        settle(keys, now)
        is_whole = not open_proposals(keys)
        if is_whole:
            write_first(keys, online, metadata, now)
    _tell(arguments, {role: authorities[role] for role in brought}, is_whole=is_whole)
    return 0


def _brought(words: list[str], roles: list[str]) -> dict[str, list[Key]]:
    keys: dict[str, list[Key]] = {}
    for word in words:
        role, text = _split(word, roles, "--key", "HOLDER:FILE.pub")
        keys.setdefault(role, []).append(given_key(text))
    return keys


def _once(words: list[str], roles: list[str] | tuple[str, ...], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        role, text = _split(word, roles, option, "N" if option == "--threshold" else "URI")
        if role in found:
            raise InvalidInput(f"{option} is given twice for {role}.", hint="Give it once for each role.")
        found[role] = text
    return found


def _split(word: str, roles: list[str] | tuple[str, ...], option: str, what: str) -> tuple[str, str]:
    role, equals, text = word.partition("=")
    if not equals or role not in roles:
        raise InvalidInput(
            f"{option} {role[:40]!r} names no role that this can be said of.",
            hint=f"Write {option} ROLE={what}; the roles are {', '.join(roles)}.",
        )
    return role, text


def _number(role: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(f"{text[:80]!r} is no number of signatures for {role}.", hint=f"Write --threshold {role}=2.")
    return int(text)


def _require_apart(keys: Path, data: Path) -> None:
    """Refuse offline keys in the server's folder: whoever steals the server would own the fleet."""
    offline_folder, server_folder = keys.resolve(), data.resolve()
    if offline_folder.is_relative_to(server_folder) or server_folder.is_relative_to(offline_folder):
        raise InvalidInput(
            f"The offline keys ({keys}) and the server's data ({data}) must lie outside each other.",
            hint="Name another folder with --keys.",
        )


def _authority(keys: KeysFolder, role: str, brought: list[Key], threshold: int | None) -> Authority:
    own = brought or [signer.public_key for signer in keys.make(role, _MADE.get(role, 1))]
    return Authority(keys=tuple(own), threshold=_NEEDED.get(role, 1) if threshold is None else threshold)


def _online_key(folder: Path, role: str, uri: str | None) -> Key:
    if uri is None:
        made = generate()
        write_new(folder / f"{role}.pem", made.private_bytes, 0o600)
        return made.public_key
    if not uri.startswith("pkcs11:"):
        raise InvalidInput(
            f"--online {role} takes the key of a token.",
            hint="Write 'pkcs11:…'; put a key of another kind in its place later (docs/keys.md).",
        )
    key = open_signer(uri, KeySecrets(may_ask=True)).public_key
    write_new(folder / f"{role}.uri", f"{uri}\n".encode(), 0o600)
    write_public(folder / f"{role}.pub", key)
    return key


def _first(authorities: Mapping[str, Authority], products: list[str], now: datetime) -> list[Proposal]:
    image, director = (
        {role.removeprefix(place): authority for role, authority in authorities.items() if role.startswith(place)}
        for place in ("image-", "director-")
    )
    return found(image, director, {product: authorities[f"product-{product}"] for product in products}, now)


def _tell(arguments: argparse.Namespace, named: Mapping[str, Authority], *, is_whole: bool) -> None:
    if not named.keys() & set(_ROOTS):
        print(f"Two roots, each with {_MADE[_ROOTS[0]]} keys of which {ROOT_THRESHOLD} must sign, ECDSA P-256.")
    for role, authority in named.items():
        print(f"{role}: {authority.threshold} of {len(authority.keys)} must sign: {', '.join(called(key) for key in authority.keys)}")
    print(f"Offline keys: {arguments.keys} (move them off this machine: whoever has two root keys owns the fleet)")
    if is_whole:
        print(f"Online keys and metadata: {arguments.data}")
        print(f"Next: surefoot serve --data {arguments.data}")
        return
    print(f"Online keys: {arguments.data}/keys")
    for path, proposal in open_proposals(KeysFolder(path=arguments.keys)).items():
        print(f"{path} waits: {describe(proposal)}")
    print("Next: send each to who may sign: surefoot trust sign FILE --key KEY")
    print(f"Then: surefoot trust publish FILE --keys {arguments.keys} --data {arguments.data}")
