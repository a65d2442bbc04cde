# SPDX-License-Identifier: Apache-2.0
"""``surefoot group add|remove|define|opt-in|opt-out|opt-end|list|show``: devices that belong together, under a name that plans can use."""

import argparse
import re
from datetime import UTC, datetime
from typing import Any

from surefoot.cli.device import consent_line, print_devices
from surefoot.cli.edit import add_edit_options, edit
from surefoot.cli.operator import OperatorClient, add_options, client, segment
from surefoot.model.record import utc_text

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_REMOVE = "Take devices out of a fixed group. Without a device: remove a group by filter, if no rollout asks for it that is not over."
_OPT_END = "End an opt-in or opt-out before its time. Without a device: end the opt-outs whose time is over, and that wait for this."
_JOINS = {
    "now": "devices that join come into rollouts at once",
    "next-rollout": "devices that join come into rollouts created after that",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    adding = verbs.add_parser("add", help="put devices into a group", description="Put devices into a group; it need not be there before.")
    adding.set_defaults(run=_add)
    removing = verbs.add_parser("remove", help="take devices out of a group, or remove a group by filter", description=_REMOVE)
    removing.set_defaults(run=_remove)
    for verb, number in ((adding, "+"), (removing, "*")):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument("devices", metavar="DEVICE_ID", nargs=number)
        add_edit_options(verb)
    defining = verbs.add_parser("define", help="make a group by filter", description="Make a group by filter, or change its filter.")
    defining.add_argument("name", metavar="NAME")
    defining.add_argument("--filter", required=True, help="which devices are in it, as in: site==berlin and tag==pilot")
    defining.add_argument(
        "--joins",
        choices=["now", "next-rollout"],
        default="next-rollout",
        help="when stages of rollouts take a device along that joins later (%(default)s)",
    )
    add_edit_options(defining)
    defining.set_defaults(run=_define)
    _configure_opts(verbs)
    listing = verbs.add_parser("list", help="list groups", description="List groups.")
    listing.set_defaults(run=_list)
    showing = verbs.add_parser("show", help="list the devices of a group", description="List the devices of a group.")
    showing.add_argument("name", metavar="NAME")
    showing.add_argument("--json", action="store_true", help="as JSON, one device a line")
    showing.set_defaults(run=_show)
    for verb in (adding, removing, defining, listing, showing):
        add_options(verb)


def _configure_opts(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for word, what in (("opt-in", "into a group"), ("opt-out", "out of a group")):
        opting = verbs.add_parser(word, help=f"note that a device's people want it {what}", description=f"Note who wants a device {what}.")
        opting.add_argument("--by", required=True, metavar="WHO", help="who may speak for the device and said so")
        is_in = word == "opt-in"
        opting.add_argument("--until", required=is_in, default="", metavar="DATE", help="when that ends, as in 2027-01-31 (0:00 UTC)")
        add_edit_options(opting)
        opting.set_defaults(run=_opt, is_in=is_in)
        _add_member(opting)
    ending = verbs.add_parser("opt-end", help="end an opt-in or opt-out", description=_OPT_END)
    add_edit_options(ending)
    ending.set_defaults(run=_opt_end)
    _add_member(ending, number="?")


def _add_member(parser: argparse.ArgumentParser, number: str | None = None) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("device_id", metavar="DEVICE_ID", nargs=number)
    add_options(parser)


def _add(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    for device_id in arguments.devices:
        if edit(calls, arguments, ("PUT", _member(arguments.name, device_id), None)):
            print(f"{device_id} is in group {arguments.name}.")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    if not arguments.devices:
        return _remove_group(calls, arguments)
    for device_id in arguments.devices:
        if edit(calls, arguments, ("DELETE", _member(arguments.name, device_id), None)):
            print(f"{device_id} is no longer in group {arguments.name}.")
    return 0


def _remove_group(calls: OperatorClient, arguments: argparse.Namespace) -> int:
    path = f"groups/{segment(arguments.name)}"
    number = calls.get(path, dict[str, Any])["devices"]
    if edit(calls, arguments, ("DELETE", path, None)):
        print(f"Group {arguments.name} is removed; {_devices(number)} {'was' if number == 1 else 'were'} in it.")
    return 0


def _define(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    rule = {"filter": arguments.filter, "joins": arguments.joins}
    if not edit(calls, arguments, ("PUT", f"groups/{segment(arguments.name)}", rule)):
        return 0
    found = calls.get(f"groups/{segment(arguments.name)}", dict[str, Any])
    print(f"Group {arguments.name}: {_devices(found['devices'])}, {_JOINS[arguments.joins]}.")
    return 0


def _opt(arguments: argparse.Namespace) -> int:
    until = f"{arguments.until}T00:00:00Z" if _DAY.fullmatch(arguments.until) else arguments.until
    request = {"is_in": arguments.is_in, "who": arguments.by, "until": until}
    if not edit(client(arguments), arguments, ("PUT", _consent(arguments), request)):
        return 0
    where = f"{'in' if arguments.is_in else 'out of'} group {arguments.name}"
    print(f"{arguments.device_id} is {where} {f'until {until}' if until else 'until that is ended'}, as {arguments.by} said.")
    return 0


def _opt_end(arguments: argparse.Namespace) -> int:
    if arguments.device_id is None:
        if edit(client(arguments), arguments, ("DELETE", f"groups/{segment(arguments.name)}/consents", None)):
            print(f"No opt-out of group {arguments.name} waits any more.")
        return 0
    if edit(client(arguments), arguments, ("DELETE", _consent(arguments), None)):
        print(f"Nothing is said any more for {arguments.device_id} about group {arguments.name}.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for group in client(arguments).get("groups", dict[str, Any])["groups"]:
        print(f"{group['name']:<32} {_devices(group['devices']):<15} {group.get('filter', '')}".rstrip())
    return 0


def _show(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    if not arguments.json:
        _say(calls.get(f"groups/{segment(arguments.name)}", dict[str, Any]))
    print_devices(calls, f"groups/{segment(arguments.name)}/devices", {}, as_json=arguments.json)
    return 0


def _member(group: str, device_id: str) -> str:
    return f"groups/{segment(group)}/devices/{segment(device_id)}"


def _say(group: dict[str, Any]) -> None:
    rule = group["rule"]
    kind = f"by filter: {rule['filter']}\n{'':<10} {_JOINS[rule['joins']]}" if rule else "named one by one"
    print(f"{group['name']:<10} {_devices(group['devices'])}, {kind}")
    for line in group["consents"]:
        print(consent_line(line["device_id"], line["consent"]))
    now = utc_text(datetime.now(UTC))
    over = sum(not line["consent"]["is_in"] and "" < line["consent"]["until"] <= now for line in group["consents"])
    if over:
        print(f"The opt-out of {_devices(over)} is over, and its end would start an update.")
        print(f"Next: surefoot group opt-end {group['name']} --preview")


def _devices(number: int) -> str:
    return f"{number} {'device' if number == 1 else 'devices'}"


def _consent(arguments: argparse.Namespace) -> str:
    return f"groups/{segment(arguments.name)}/consents/{segment(arguments.device_id)}"
