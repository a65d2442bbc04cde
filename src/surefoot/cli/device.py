# SPDX-License-Identifier: Apache-2.0
"""``surefoot device list|show|why|set|order|cancel|unquarantine|revoke``: the fleet, one device, and what it should run."""

import argparse
import json
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from surefoot.cli.edit import add_edit_options, edit
from surefoot.cli.operator import OperatorClient, add_options, client, segment
from surefoot.model.attribute import BUILT_IN
from surefoot.model.errors import InvalidInput
from surefoot.model.record import parse_utc
from surefoot.model.rules import Approval
from surefoot.model.version import parse
from surefoot.schedule.words import clock_words
from surefoot.schedule.zones import zone

_PAGE = 500
_SHOWN_EVENTS = 20
_CANCEL = "Withdraw the order of a device that has not started it. If a rollout made it, the device is quarantined for that release."
_UNQUARANTINE = "Let rollouts offer a device again the releases that it failed with too often, or that were withdrawn from it."
_APPROVALS = {Approval.MAJOR: "a higher major version", Approval.BREAKING: "a minor that is marked as breaking"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _configure_list(verbs.add_parser("list", help="list devices", description="List devices."))
    _configure_show(verbs.add_parser("show", help="show one device", description="Show one device, its assignments and events."))
    _configure_why(
        verbs.add_parser("why", help="say why a device did or did not update", description="Say why a device did or did not update.")
    )
    _configure_set(verbs.add_parser("set", help="give a device attributes", description="Give a device attributes, or take them back."))
    _configure_order(verbs.add_parser("order", help="order a release for a device", description="Order a release for a device."))
    cancelling = verbs.add_parser("cancel", help="withdraw an order that was not started", description=_CANCEL)
    _configure_act(cancelling, _cancel)
    freeing = verbs.add_parser("unquarantine", help="let rollouts offer a device again what it failed with", description=_UNQUARANTINE)
    _configure_act(freeing, _unquarantine)
    _configure_revoke(
        verbs.add_parser(
            "revoke", help="let a device's key in no longer", description="End all certificates of a device whose key is lost."
        )
    )


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filter", default="", help="only these, as in: site==berlin and version<1.2.0")
    parser.add_argument("--json", action="store_true", help="as JSON, one device a line")
    add_options(parser)
    parser.set_defaults(run=_list)


def _configure_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id", metavar="DEVICE_ID")
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")
    add_options(parser)
    parser.set_defaults(run=_show)


def _configure_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id", metavar="DEVICE_ID")
    parser.add_argument("--rollout", metavar="N", type=int, help="for this rollout alone")
    parser.add_argument("--json", action="store_true", help="with all evidence, as JSON")
    add_options(parser)
    parser.set_defaults(run=_why)


def _configure_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id", metavar="DEVICE_ID")
    parser.add_argument("attributes", metavar="NAME=VALUE", nargs="*", help="what to give it; wins over what the device reports")
    parser.add_argument("--unset", metavar="NAME", action="append", default=[], help="take a given attribute back")
    add_edit_options(parser)
    add_options(parser)
    parser.set_defaults(run=_set)


def _configure_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id", metavar="DEVICE_ID")
    parser.add_argument("release", metavar="RELEASE", nargs="+", help="1.1.0, or: thermostat 1.1.0")
    parser.add_argument("--variant", default="release", help="(%(default)s)")
    for approval, what in _APPROVALS.items():
        parser.add_argument(
            f"--approve-{approval}",
            dest="approvals",
            action="append_const",
            const=approval,
            default=[],
            help=f"approve {what}; your name is kept",
        )
    parser.add_argument("--any-time", action="store_true", help="install it whatever maintenance windows the device has")
    add_options(parser)
    parser.set_defaults(run=_order)


def _configure_act(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("device_id", metavar="DEVICE_ID")
    parser.add_argument("--why", default="", help="one sentence for those who read it later")
    add_options(parser)
    parser.set_defaults(run=run)


def _configure_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device_id", metavar="DEVICE_ID")
    add_options(parser)
    parser.set_defaults(run=_revoke)


def _list(arguments: argparse.Namespace) -> int:
    query = {"filter": arguments.filter} if arguments.filter else {}
    print_devices(client(arguments), "devices", query, as_json=arguments.json)
    return 0


def print_devices(calls: OperatorClient, path: str, query: Mapping[str, str], *, as_json: bool) -> None:
    """Print the devices that a path of the API lists, a page at a time: as a table, or one JSON object a line."""
    row = "{:<32} {:<20} {:<10} {:<28} {}"
    after = ""
    while True:
        page = calls.get(path, dict[str, Any], after=after, limit=_PAGE, **query)
        if not after and not as_json:
            print(row.format("DEVICE", "HARDWARE", "STATE", "RUNS", "LAST SEEN"))
        for device in page["devices"]:
            columns = (device["device_id"], device["hardware"], device["state"], _runs(device), device.get("last_seen") or "never")
            print(json.dumps(device, sort_keys=True) if as_json else row.format(*columns))
        after = page["next"]
        if not after:
            return


def _show(arguments: argparse.Namespace) -> int:
    story = _story(client(arguments), arguments.device_id)
    if arguments.json:
        print(json.dumps(story, indent=1, sort_keys=True))
        return 0
    device = story["device"]
    print(f"{device['device_id']}  {device['hardware']}  {device['state']}")
    print(f"runs       {_runs(device)}")
    print(f"last seen  {device.get('last_seen') or 'never'}")
    if story["groups"]:
        print(f"groups     {', '.join(story['groups'])}")
    for line in story["consents"]:
        print(consent_line(line["group"], line["consent"]))
    for told in story["divergences"]:
        print(f"copied?    event {told['event']['seq']} of journal {told['journal']} was told in two ways, {told['received_at']}")
    for name, value in story["attributes"].items():
        if name not in BUILT_IN:
            print(f"attribute  {name}={value}{' (given)' if name in device.get('given', {}) else ''}")
    for setback in story["setbacks"]:
        print(_setback(setback))
    for attempt in story["assignments"]:
        ended = f"{attempt['outcome']} {attempt['ended_at']}" if "outcome" in attempt else "open"
        print(f"assignment {attempt['assignment_id']}  {attempt['product']} {attempt['version']}  ordered {attempt['issued_at']}  {ended}")
    for stored in reversed(story["events"][:_SHOWN_EVENTS]):
        event = stored["event"]
        print(f"{event['at']}  {event['type']}  {json.dumps(event.get('data', {}), sort_keys=True)}")
    return 0


def _setback(setback: Mapping[str, Any]) -> str:
    release, failures = f"{setback['product']} {setback['version']}", setback.get("failures", 0)
    if "quarantined_at" in setback:
        why = (
            f"withdrawn by {setback['quarantined_by']}"
            if "quarantined_by" in setback
            else f"it failed {'once' if failures == 1 else f'{failures} times'}"
        )
        return (
            f"quarantine {release} since {setback['quarantined_at']}: {why}; ends with: surefoot device unquarantine {setback['device_id']}"
        )
    again = f"; tried again from {setback['retry_at']}" if "retry_at" in setback else ""
    return f"setback    {release} failed {failures} times{again}"


def _cancel(arguments: argparse.Namespace) -> int:
    path = f"devices/{segment(arguments.device_id)}/cancel"
    attempt = client(arguments).post(path, {"why": arguments.why}, dict[str, Any])
    release = f"{attempt['product']} {attempt['version']}"
    print(f"{arguments.device_id}: {release} was withdrawn.")
    if "rollout_id" in attempt:
        print(f"No rollout offers it {release} again until: surefoot device unquarantine {arguments.device_id}")
    return 0


def _unquarantine(arguments: argparse.Namespace) -> int:
    path = f"devices/{segment(arguments.device_id)}/unquarantine"
    releases = client(arguments).post(path, {"why": arguments.why}, dict[str, list[str]])["releases"]
    print(f"{arguments.device_id}: rollouts may offer it {', '.join(releases)} again.")
    return 0


def _why(arguments: argparse.Namespace) -> int:
    query = {} if arguments.rollout is None else {"rollout": arguments.rollout}
    told = client(arguments).get(f"devices/{segment(arguments.device_id)}/why", dict[str, Any], **query)
    if arguments.json:
        print(json.dumps(told, indent=1, sort_keys=True))
        return 0
    seen = f"last seen {told['last_seen']}" if told["last_seen"] else "never seen"
    print(f"{told['device_id']}  runs {told['runs'] or 'what it never said'}; {seen}{' (offline)' if told['is_offline'] else ''}")
    if not told["lines"]:
        print("No rollout is there, and nobody ordered anything for it.")
    for line in told["lines"]:
        whose = "ordered by a person" if line["rollout_id"] is None else f"rollout {line['rollout_id']}"
        print(f"{line['release']}  ({', '.join(filter(None, (whose, line['name'])))})")
        _say_folded(line["answer"]["sentence"])
        if line["next"]["words"]:
            _say_folded(f"next: {coming_line(line['next'], told['zone'])}")
    return 0


def _say_folded(words: str) -> None:
    print(textwrap.fill(words, 100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))


def coming_line(coming: Mapping[str, str], zone_name: str) -> str:
    """Return what happens next to a device, after when: in UTC, and on the clocks of its zone."""
    if not coming["at"]:
        return coming["words"]
    there = "" if zone_name == "UTC" else f", {clock_words(parse_utc(coming['at']), zone(zone_name), zone_name)}"
    return f"{coming['at']}{there}: {coming['words']}"


def consent_line(what: str, said: dict[str, Any]) -> str:
    """Return what the people of a device said about a group, as one line."""
    until = f"until {said['until']}" if said["until"] else "for good"
    return f"{'opted in' if said['is_in'] else 'opted out':<10} {what} {until}, as {said['who']} said ({said['by']}, {said['at']})"


def _set(arguments: argparse.Namespace) -> int:
    wanted = dict(_attribute(words) for words in arguments.attributes)
    if not wanted and not arguments.unset:
        raise InvalidInput("Nothing is to be set.", hint="Write for example site=berlin, or --unset site.")
    calls = client(arguments)
    given = _story(calls, arguments.device_id)["device"].get("given", {})
    missing = [name for name in arguments.unset if name not in given]
    if missing:
        raise InvalidInput(f"Device {arguments.device_id} was not given an attribute '{missing[0]}'.", hint="See 'surefoot device show'.")
    kept = {name: value for name, value in given.items() if name not in arguments.unset}
    path, value = f"devices/{segment(arguments.device_id)}/attributes", {"attributes": {**kept, **wanted}}
    if not edit(calls, arguments, ("PUT", path, value)):
        return 0
    print(
        f"{arguments.device_id} was given: {' '.join(f'{name}={value}' for name, value in sorted({**kept, **wanted}.items())) or 'nothing'}"
    )
    return 0


def _attribute(words: str) -> tuple[str, str]:
    name, sign, value = words.partition("=")
    if not sign:
        raise InvalidInput(f"{words!r} gives no value.", hint=f"Write {words}=VALUE, or --unset {words}.")
    return name, value


def _revoke(arguments: argparse.Namespace) -> int:
    answer = client(arguments).post(f"devices/{segment(arguments.device_id)}/revoke", {}, dict[str, Any])
    print(f"{arguments.device_id}: {answer['certificates']} certificate(s) revoked; with its present key it is let in no more.")
    print(f"To take it back: surefoot token new {arguments.device_id} --hardware {answer['hardware']} -o enrol.json")
    return 0


def _order(arguments: argparse.Namespace) -> int:
    request = {
        "variant": arguments.variant,
        "approvals": arguments.approvals,
        "ignores_windows": arguments.any_time,
        **_release(arguments.release),
    }
    attempt = client(arguments).post(f"devices/{segment(arguments.device_id)}/order", request, dict[str, Any])
    print(f"{attempt['device_id']} is to run {attempt['product']} {attempt['version']} (assignment {attempt['assignment_id']}).")
    starts = "downloads at its next poll and installs in its window" if attempt.get("starts_at_install") else "starts at its next poll"
    print(f"It {starts}; follow it with: surefoot device show {attempt['device_id']}")
    return 0


def _story(calls: OperatorClient, device_id: str) -> dict[str, Any]:
    return calls.get(f"devices/{segment(device_id)}", dict[str, Any])


def _release(words: list[str]) -> dict[str, str]:
    match [part for word in words for part in word.split()]:
        case [version]:
            return {"version": str(parse(version))}
        case [product, version]:
            return {"product": product, "version": str(parse(version))}
        case _:
            raise InvalidInput(f"{' '.join(words)!r} is not a release.", hint="Write 1.1.0, or: thermostat 1.1.0.")


def _runs(device: dict[str, Any]) -> str:
    report = device.get("report")
    return f"{report['product']} {report['version']}" if report else "not said"
