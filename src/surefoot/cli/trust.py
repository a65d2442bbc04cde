# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust``: who may sign what, from the first day on; one module for each thing that can be done about it."""

import argparse

from surefoot.cli import trust_change, trust_init, trust_key, trust_product, trust_publish, trust_sign, trust_status, trust_withdraw


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for module in (trust_init, trust_product, trust_status, trust_change, trust_sign, trust_publish, trust_withdraw, trust_key):
        module.add_verbs(verbs.add_parser)
