# SPDX-License-Identifier: Apache-2.0
"""``surefoot release``: every verb, each group of them from its own module."""

import argparse

from surefoot.cli import paths, release_build, release_publish, release_retire


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``surefoot release``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    release_build.add_verbs(verbs.add_parser)
    release_publish.add_verbs(verbs.add_parser)
    release_retire.add_verbs(verbs.add_parser)
    paths.add_release_verb(verbs.add_parser)
