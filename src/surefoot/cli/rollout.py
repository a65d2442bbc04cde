# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout``: every verb, each group of them from its own module."""

import argparse

from surefoot.cli import paths, rollout_decide, rollout_manage, rollout_show, rollout_simulate


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``surefoot rollout``."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    rollout_manage.add_verbs(verbs.add_parser)
    rollout_show.add_verbs(verbs.add_parser)
    rollout_decide.add_verbs(verbs.add_parser)
    paths.add_rollout_verb(verbs.add_parser)
    rollout_simulate.add_verbs(verbs.add_parser)
