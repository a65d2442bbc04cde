# SPDX-License-Identifier: Apache-2.0
"""``surefoot group add|remove|list|show``: devices that belong together, under a name that plans can use."""

import argparse
from typing import Any

from surefoot.cli.device import print_devices
from surefoot.cli.operator import add_options, client, segment


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    adding = verbs.add_parser("add", help="put devices into a group", description="Put devices into a group; it need not be there before.")
    adding.set_defaults(run=_add)
    removing = verbs.add_parser("remove", help="take devices out of a group", description="Take devices out of a group.")
    removing.set_defaults(run=_remove)
    for verb in (adding, removing):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("devices", metavar="DEVICE_ID", nargs="+")
    listing = verbs.add_parser("list", help="list groups", description="List groups.")
    listing.set_defaults(run=_list)
    showing = verbs.add_parser("show", help="list the devices of a group", description="List the devices of a group.")
    showing.add_argument("name", metavar="NAME")
    showing.add_argument("--json", action="store_true", help="as JSON, one device a line")
    showing.set_defaults(run=_show)
    for verb in (adding, removing, listing, showing):
        add_options(verb)


def _add(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    for device_id in arguments.devices:
        calls.put(_member(arguments.name, device_id))
        print(f"{device_id} is in group {arguments.name}.")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    for device_id in arguments.devices:
        calls.delete(_member(arguments.name, device_id))
        print(f"{device_id} is no longer in group {arguments.name}.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for group in client(arguments).get("groups", dict[str, Any])["groups"]:
        print(f"{group['name']:<32} {group['devices']} {'device' if group['devices'] == 1 else 'devices'}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    print_devices(client(arguments), f"groups/{segment(arguments.name)}/devices", {}, as_json=arguments.json)
    return 0


def _member(group: str, device_id: str) -> str:
    return f"groups/{segment(group)}/devices/{segment(device_id)}"
