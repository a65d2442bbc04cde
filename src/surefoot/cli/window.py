# SPDX-License-Identifier: Apache-2.0
"""``surefoot window set|show|list|remove``: when installs may start, by device, site, customer and fleet."""

import argparse
from typing import Any

from surefoot.cli.operator import add_options, client, segment
from surefoot.model.errors import InvalidInput
from surefoot.model.record import Record, from_plain, to_plain
from surefoot.model.window import DownloadTime, Window
from surefoot.schedule.nearest import FLEET_KEY, Level, WindowSetting
from surefoot.schedule.words import parse, words_of

_LEVELS = [level.value for level in Level if level is not Level.ROLLOUT]


_WHEN = {DownloadTime.ANY: "at any time", DownloadTime.WINDOW: "in a window"}


class _Told(Record, frozen=True, kw_only=True):
    """What the server says of a device's windows."""

    level: str
    windows: list[Window]
    zone: str
    download: DownloadTime
    notes: list[str]
    opens_at: str = ""
    closes_at: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    setting = verbs.add_parser("set", help="set windows", description="Set the windows of a device, a site, a customer or the fleet.")
    _add_place(setting)
    setting.add_argument("windows", metavar="WINDOW", nargs="*", help="'mon-fri 02:00 3h', or 'daily 01:00 2h Europe/Berlin'")
    setting.add_argument("--timezone", metavar="ZONE", help="zone of the devices there that report none")
    times = [when.value for when in DownloadTime]
    setting.add_argument("--metered-downloads", choices=times, help="when devices there fetch images over a line paid by the byte")
    setting.set_defaults(run=_set)
    showing = verbs.add_parser("show", help="say which windows a device has", description="Say which windows apply to a device, and why.")
    showing.add_argument("device_id", metavar="DEVICE_ID")
    showing.set_defaults(run=_show)
    listing = verbs.add_parser("list", help="list what is set", description="List what is set, nearest level first.")
    listing.set_defaults(run=_list)
    removing = verbs.add_parser("remove", help="remove windows", description="Remove what is set; farther levels then count.")
    _add_place(removing)
    removing.set_defaults(run=_remove)
    for verb in (setting, showing, listing, removing):
        add_options(verb)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", metavar="LEVEL", choices=_LEVELS, help=", ".join(_LEVELS))
    parser.add_argument("key", metavar="KEY", help=f"the device, site or customer; '{FLEET_KEY}' for the fleet")


def _set(arguments: argparse.Namespace) -> int:
    windows = [parse(text) for text in arguments.windows]
    if not windows and not arguments.timezone and not arguments.metered_downloads:
        raise InvalidInput("No window is given.", hint="Write for example: surefoot window set fleet - 'mon-fri 02:00 3h'")
    plain = {"windows": to_plain(windows), "timezone": arguments.timezone, "metered_downloads": arguments.metered_downloads}
    setting = from_plain(plain, WindowSetting, what="--timezone")
    client(arguments).put(_path(arguments), setting)
    print(f"{_place(arguments)}: {_words(setting)}.")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    told = client(arguments).get(f"devices/{segment(arguments.device_id)}/windows", _Told)
    print(f"{arguments.device_id}  zone {told.zone}")
    for window in told.windows:
        print(f"{told.level:<10} {words_of(window)}")
    if not told.windows:
        print("Nobody has set any windows: installs start at any time.")
    if told.windows and told.download is DownloadTime.WINDOW:
        print("download   in a window too: its line is paid by the byte")
    for note in told.notes:
        print(f"note       {note}")
    if told.opens_at:
        print(f"next       from {told.opens_at} to {told.closes_at}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for line in client(arguments).get("windows", dict[str, Any])["windows"]:
        setting = from_plain(line["setting"], WindowSetting, what="windows")
        print(f"{line['level']:<10} {line['key']:<32} {_words(setting)}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    client(arguments).delete(_path(arguments))
    print(f"{_place(arguments)} has no windows of its own any more.")
    return 0


def _path(arguments: argparse.Namespace) -> str:
    return f"windows/{arguments.level}/{segment(arguments.key)}"


def _place(arguments: argparse.Namespace) -> str:
    return "The fleet" if arguments.level == Level.FLEET else f"{arguments.level.capitalize()} {arguments.key}"


def _words(setting: WindowSetting) -> str:
    windows = "; ".join(words_of(window) for window in setting.windows)
    zone = "" if setting.timezone is None else f"time zone {setting.timezone}"
    metered = "" if setting.metered_downloads is None else f"metered downloads {_WHEN[setting.metered_downloads]}"
    return ", ".join(filter(None, (windows, zone, metered)))
