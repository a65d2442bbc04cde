# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust sign``: read in words what is to change, and add one's signature to the file that travels."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from surefoot.cli.key_secrets import KeySecrets
from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.cli.proposals import describe, read_proposal, require_ours, sign_here, write_proposal
from surefoot.cli.trust_change import tell_what_is_next
from surefoot.model.errors import InvalidInput
from surefoot.trust import ceremony
from surefoot.trust.proposal import Proposal
from surefoot.trust.signer import open_signer


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot trust``."""
    says = "read what a proposal changes, and sign it"
    parser = add_parser("sign", help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a '.proposal.json'")
    parser.add_argument("--key", action="append", default=[], metavar="KEY", help="a path or a URI; may be given again")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="a keys folder: compare with it, and sign with its unencrypted keys")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=_sign)


def _sign(arguments: argparse.Namespace) -> int:
    proposal = read_proposal(arguments.file)
    keys, now = open_keys(arguments.keys) if arguments.keys else None, datetime.now(UTC)
    if keys is not None:
        require_ours(keys, proposal, now)
    for sentence in [*ceremony.words(proposal), f"So far: {describe(proposal)}."]:
        print(sentence)
    ceremony.require_unexpired(proposal, now)
    if not arguments.key and keys is None:
        raise InvalidInput("No key is named to sign with; nothing was signed.", hint="Name one with --key, or a folder with --keys.")
    _require_consent(asked=not arguments.yes)
    signed = _signed(proposal, arguments.key, keys)
    write_proposal(arguments.file, signed)
    print(f"Signed. Now: {describe(signed)}.")
    if keys is not None and arguments.file.resolve().parent == (keys.path / "proposals").resolve():
        tell_what_is_next(keys, now)
    elif all(tally.is_met for tally in ceremony.count(signed)):
        goal = "" if proposal.before else " --data DATA"
        print(f"Next, whoever has the keys folder: surefoot trust publish {arguments.file} --keys DIR{goal}")
    else:
        print(f"Next: send {arguments.file} to the next who may sign.")
    return 0


def _signed(proposal: Proposal, uris: list[str], keys: KeysFolder | None) -> Proposal:
    signed = proposal
    for uri in uris:
        signed = ceremony.sign(signed, open_signer(uri, KeySecrets(may_ask=True)))
    if keys is not None and not uris:
        signed = sign_here(keys, signed)
    if signed == proposal:
        raise InvalidInput(
            "None of the keys here has a say in this, or all have signed; nothing was signed.", hint="Name a key with --key."
        )
    return signed


def _require_consent(*, asked: bool) -> None:
    if not asked:
        return
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody is at the terminal to say yes; nothing was signed.", hint="Read the words above, then say '--yes'.")
    if _answer() != "yes":
        raise InvalidInput("Nobody said yes; nothing was signed.", hint="To sign, type the whole word.")


def _answer() -> str:
    try:
        return input("Type yes to sign: ").strip()
    except EOFError:
        return ""
