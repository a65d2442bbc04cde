# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust new-key`` and ``show-key``: one key, in a file or on a token, and its public part."""

import argparse
from collections.abc import Callable
from pathlib import Path

from securesystemslib.signer import Key

from surefoot.cli.key_secrets import KeySecrets, read_secret
from surefoot.model.errors import InvalidInput
from surefoot.trust.key_file import public_pem, write_public
from surefoot.trust.signer import generate, open_signer, write_key

_SECRETS = KeySecrets(may_ask=True)


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot trust``."""
    maker = add_parser("new-key", help="make one key, in an encrypted file or on a token", description="Make one key (ECDSA P-256).")
    maker.add_argument("key", metavar="KEY", help="a path, or a 'pkcs11:' URI with 'object=NAME'")
    protection = maker.add_mutually_exclusive_group()
    protection.add_argument("--passphrase-file", type=Path, metavar="FILE", help="its first line encrypts the key; else you are asked")
    protection.add_argument("--no-passphrase", action="store_true", help="leave the key in the clear")
    maker.add_argument("--out", type=Path, metavar="FILE", help="where its public part goes (beside a file KEY.pub; else printed)")
    maker.set_defaults(run=_new_key)
    shower = add_parser("show-key", help="say a key's id, and write its public part", description="Say a key's id, and its public part.")
    shower.add_argument("key", metavar="KEY", help="a path or a URI")
    shower.add_argument("--out", type=Path, metavar="FILE", help="write the public part there instead of printing it")
    shower.set_defaults(run=_show_key)


def _new_key(arguments: argparse.Namespace) -> int:
    if arguments.key.startswith("pkcs11:"):
        if arguments.passphrase_file or arguments.no_passphrase:
            raise InvalidInput("A key on a token has no passphrase; the token has a PIN.", hint="Leave the option out.")
        _show(_on_token(arguments.key), arguments.out)
        return 0
    path = Path(arguments.key.removeprefix("pem:"))
    public_path = arguments.out or path.with_suffix(".pub")
    _require_free(path, public_path)
    signer = generate()
    write_key(path, signer, _passphrase(arguments, path))
    _show(signer.public_key, public_path)
    return 0


def _show_key(arguments: argparse.Namespace) -> int:
    _show(open_signer(arguments.key, _SECRETS).public_key, arguments.out)
    return 0


def _on_token(uri: str) -> Key:
    try:
        from surefoot.trust.hsm import generate_on_token  # noqa: PLC0415  # an extra that few need
    except ModuleNotFoundError as error:
        raise InvalidInput("Keys on tokens need packages that are not installed.", hint="Install surefoot[hsm].") from error
    return generate_on_token(uri, _SECRETS).public_key


def _require_free(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise InvalidInput(f"There is something at {path} already.", hint="Name another file; keys are never overwritten.")


def _passphrase(arguments: argparse.Namespace, path: Path) -> str | None:
    if arguments.no_passphrase:
        return None
    if arguments.passphrase_file:
        return read_secret(arguments.passphrase_file)
    return _SECRETS.new_secret(f"{path.stem}.passphrase")


def _show(key: Key, out: Path | None) -> None:
    print(f"key {key.keyid}, {key.scheme}")
    if out is None:
        print(public_pem(key).decode(), end="")
    else:
        write_public(out, key)
        print(f"public part: {out}")
