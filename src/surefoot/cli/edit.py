# SPDX-License-Identifier: Apache-2.0
"""Edits that may start updates: previewed with ``--preview``, made with ``--yes`` where devices would be offered a release."""

import argparse
from typing import Any

from surefoot.cli.operator import OperatorClient


def add_edit_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--preview`` and ``--yes``."""
    parser.add_argument("--preview", action="store_true", help="say what would be offered because of it, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do it also when devices would be offered a release because of it")


def edit(calls: OperatorClient, arguments: argparse.Namespace, call: tuple[str, str, object]) -> bool:
    """Preview or make an edit (method, path, value), as the options say; return whether it was made.

    With ``--yes`` the number of a preview is confirmed, so that nothing else is started than what was seen.
    """
    method, path, value = call
    if arguments.preview or arguments.yes:
        effects = calls.edit(method, path, value, dict[str, Any], preview="true")["effects"]
        for effect in effects:
            print(_said(effect))
        if arguments.preview:
            if not effects:
                print("No rollout under way would offer anything else to anybody.")
            return False
        calls.edit(method, path, value, dict[str, Any], confirm=sum(effect["offered"] for effect in effects))
        return True
    calls.edit(method, path, value, dict[str, Any])
    return True


def _said(effect: dict[str, Any]) -> str:
    release, number = effect["release"], effect["rollout_id"]
    said = [f"{_devices(effect['offered'])} would be offered {release} by rollout {number}"] if effect["offered"] else []
    said += [f"{_devices(effect['no_longer'])} would no longer be offered {release} by rollout {number}"] if effect["no_longer"] else []
    return f"{'; '.join(said)}."


def _devices(count: int) -> str:
    return f"{count} {'device' if count == 1 else 'devices'}"
