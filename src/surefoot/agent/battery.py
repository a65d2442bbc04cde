# SPDX-License-Identifier: Apache-2.0
"""Whether the battery has enough for an install: what Linux says under ``/sys/class/power_supply``, and a pure rule about it.

- Every battery that the device runs on must have the least that is asked for; those of things plugged into it do not count.
- Doubt holds: where a battery was asked for and none can be read, no update starts, and the server is told why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from surefoot.agent.interlock import Inhibitor
from surefoot.model.record import Record

_ENOUGH = {"Charging", "Full"}


class InterlockRule(Record, frozen=True, kw_only=True):
    """The table ``[interlock]``.

    Attributes:
        battery_min_percent: The least charge with which an update starts; nothing asks for none.
        charging_is_enough: Whether a device that is charging, or runs from the mains, may start with less.
        power_supply: Where the kernel tells of batteries.
    """

    battery_min_percent: Annotated[int, Meta(ge=1, le=100)] | None = None
    charging_is_enough: bool = False
    power_supply: str = "/sys/class/power_supply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """One power supply as the kernel tells it; empty is what it does not tell.

    Attributes:
        name: What it is called: ``BAT0``.
        kind: ``Battery``, ``Mains``, ``USB`` …
        scope: ``Device`` for the battery of something plugged in.
        capacity: Charge in percent.
        status: ``Charging``, ``Discharging``, ``Full`` …
        online: ``1`` when it feeds the device.
    """

    name: str
    kind: str = ""
    scope: str = ""
    capacity: str = ""
    status: str = ""
    online: str = ""


def battery_hold(supplies: Sequence[Supply], rule: InterlockRule) -> str:
    """Return why no update may start now, one line; empty when the power is no reason."""
    least = rule.battery_min_percent
    if least is None or (rule.charging_is_enough and any(map(_feeds, supplies))):
        return ""
    batteries = [each for each in supplies if each.kind == "Battery" and each.scope != "Device"]
    if not batteries:
        return f"no battery can be read in {rule.power_supply}"
    for each in batteries:
        percent = _percent(each.capacity)
        if percent is None:
            return f"the charge of {each.name} cannot be read"
        if percent < least:
            return f"{each.name} has less than {least} %"
    return ""


def read_supplies(folder: Path) -> list[Supply]:
    """Return what the kernel tells of each power supply, by name; nothing of what cannot be read."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        Supply(
            name=path.name,
            kind=_text(path / "type"),
            scope=_text(path / "scope"),
            capacity=_text(path / "capacity"),
            status=_text(path / "status"),
            online=_text(path / "online"),
        )
        for path in paths
    ]


def battery_inhibitors(rule: InterlockRule) -> list[Inhibitor]:
    """Return the battery as somebody who lets no update start, if it is one now; it is not read unless that is asked for."""
    if rule.battery_min_percent is None:
        return []
    why = battery_hold(read_supplies(Path(rule.power_supply)), rule)
    return [Inhibitor(name="battery", reason=why, is_measured=True)] if why else []


def _feeds(supply: Supply) -> bool:
    if supply.kind == "Battery":
        return supply.scope != "Device" and supply.status in _ENOUGH
    return supply.scope != "Device" and supply.online == "1"


def _percent(text: str) -> int | None:
    is_percent = text.isascii() and text.isdigit() and len(text) <= len("100") and int(text) <= 100  # noqa: PLR2004  # percent
    return int(text) if is_percent else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()[:40]
    except OSError:
        return ""
