# SPDX-License-Identifier: Apache-2.0
"""``surefoot release retire`` and ``restore``: move a release between the live ones and the archive, in the keys folder.

The next publication of the product carries it to the server.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from surefoot.cli.keys_folder import open_keys
from surefoot.trust.layout import restore, retire
from surefoot.trust.tree import leaf_named

_VERBS = {
    "retire": (retire, "order a release no more, but keep it for devices that run it"),
    "restore": (restore, "take a retired release back"),
}


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot release``."""
    for verb, (_, text) in _VERBS.items():
        parser = add_parser(verb, help=text, description=f"{text.capitalize()}.")
        parser.add_argument("product", metavar="PRODUCT")
        parser.add_argument("version", metavar="VERSION")
        parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the folder that 'surefoot trust init' made")
        parser.set_defaults(run=_move, verb=verb)


def _move(arguments: argparse.Namespace) -> int:
    keys, product = open_keys(arguments.keys), arguments.product
    signers = keys.signers_for_product(product)
    files = {**keys.roles_of(product), "targets.json": keys.metadata("targets.json")}
    change, _ = _VERBS[arguments.verb]
    changed = change(files, product, arguments.version, signers, datetime.now(UTC))
    keys.keep(changed)
    keys.note_moved(product, {leaf_named(name.removesuffix(".json")) for name in changed})
    print(f"{arguments.verb.capitalize()}d {product} {arguments.version}: {len(changed)} role file(s) signed.")
    print(f"Next: sign a release of {product} and publish it with --keys {arguments.keys}; it carries this to the server.")
    return 0
