# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust withdraw``: take a proposal back, with those that were made with it."""

import argparse
from collections.abc import Callable
from pathlib import Path

from surefoot.cli.keys_folder import open_keys
from surefoot.cli.settling import withdraw


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb of this module to ``surefoot trust``."""
    says = "take back a proposal, and those made with it"
    parser = add_parser("withdraw", help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("file", type=Path, metavar="FILE", help="an open proposal of the folder, or its name")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the keys folder")
    parser.set_defaults(run=_withdraw)


def _withdraw(arguments: argparse.Namespace) -> int:
    for path in withdraw(open_keys(arguments.keys), arguments.file):
        print(f"{path} is taken back.")
    return 0
