# SPDX-License-Identifier: Apache-2.0
"""Words for people: events, their data, outcomes and decisions, each with the tone its colour is chosen by.

What a device sent is never trusted: an unknown event is shown by its own name, unknown data as it came, cut to a line.
"""

import re
from collections.abc import Mapping
from typing import Any

from surefoot.model.assignment import Outcome
from surefoot.model.event import EventType
from surefoot.model.record import Record, parse_utc
from surefoot.rollout.decision import Advance, Approve, Decision, Exclude, Halt, Hold, Pause, Resume, Revert, Schedule
from surefoot.rollout.plan import Status
from surefoot.schedule.words import clock_words
from surefoot.schedule.zones import zone

_MOST_LETTERS = 300
_KIB = 1024
_MINUTE_S = 60
_HOUR_S = 3_600

_EVENTS: dict[str, tuple[str, str]] = {
    EventType.CHECK_STARTED: ("Looked for an update", "plain"),
    EventType.CHECK_COMPLETED: ("Checked what was offered", "plain"),
    EventType.DOWNLOAD_STARTED: ("Download began", "plain"),
    EventType.DOWNLOAD_PROGRESS: ("Downloading", "plain"),
    EventType.DOWNLOAD_COMPLETED: ("Download finished", "plain"),
    EventType.DOWNLOAD_FAILED: ("Download failed", "bad"),
    EventType.INSTALL_WAITING: ("Waiting to install", "plain"),
    EventType.INSTALL_STARTED: ("Install began", "plain"),
    EventType.INSTALL_COMPLETED: ("Installed into the other slot", "plain"),
    EventType.INSTALL_FAILED: ("Install failed", "bad"),
    EventType.REBOOT_STARTED: ("Rebooting", "plain"),
    EventType.REBOOT_COMPLETED: ("Booted the new release on trial", "plain"),
    EventType.HEALTH_OK: ("Healthy: the release is kept", "good"),
    EventType.HEALTH_FAILED: ("Unhealthy", "bad"),
    EventType.ROLLBACK_TRIGGERED: ("Going back", "warn"),
    EventType.ROLLBACK_COMPLETED: ("Back on the release before", "warn"),
}
_OUTCOMES: dict[Outcome, tuple[str, str]] = {
    Outcome.SUCCEEDED: ("Succeeded", "done"),
    Outcome.FAILED: ("Failed", "bad"),
    Outcome.ROLLED_BACK: ("Rolled back", "bad"),
    Outcome.SILENT: ("Silent", "warn"),
    Outcome.CANCELLED: ("Withdrawn", "plain"),
    Outcome.SUPERSEDED: ("Superseded", "plain"),
    Outcome.REJECTED: ("Refused by the device", "warn"),
}
_STATUSES: dict[Status, str] = {
    Status.DRAFT: "plain",
    Status.APPROVED: "plain",
    Status.SCHEDULED: "plain",
    Status.RUNNING: "good",
    Status.PAUSED: "warn",
    Status.HALTED: "bad",
    Status.FINISHED: "done",
}


_NAMES = {"seconds": "took"}
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


class Phrase(Record, frozen=True, kw_only=True):
    """A few words and their tone: ``plain``, ``good``, ``warn``, ``bad`` or ``done``."""

    words: str
    tone: str


class Fact(Record, frozen=True, kw_only=True):
    """One entry of an event's data, said for people."""

    name: str
    value: str


def of_event(kind: str) -> Phrase:
    """Return what an event is called."""
    words, tone = _EVENTS.get(kind, (kind, "plain"))
    return Phrase(words=words, tone=tone)


def of_outcome(outcome: Outcome | None, *, is_started: bool) -> Phrase:
    """Return how an attempt ended, or how far it is."""
    if outcome is None:
        return Phrase(words="Under way" if is_started else "Offered", tone="plain")
    words, tone = _OUTCOMES[outcome]
    return Phrase(words=words, tone=tone)


def of_status(status: Status) -> Phrase:
    """Return what a rollout is doing."""
    return Phrase(words=status.value.capitalize(), tone=_STATUSES[status])


def of_decision(decision: Decision) -> Phrase:
    """Return what was decided."""
    match decision:
        case Advance(is_end=True):
            return Phrase(words="Finish", tone="done")
        case Advance(cause="offer"):
            return Phrase(words="Offer", tone="good")
        case Advance(cause="retry"):
            return Phrase(words="Try again", tone="good")
        case Advance():
            return Phrase(words="Advance", tone="good")
        case Hold():
            return Phrase(words="Hold", tone="plain")
        case Pause():
            return Phrase(words="Pause", tone="warn")
        case Exclude():
            return Phrase(words="Exclude", tone="warn")
        case Resume(cause="started"):
            return Phrase(words="Start", tone="good")
        case Resume():
            return Phrase(words="Resume", tone="good")
        case Approve():
            return Phrase(words="Approve", tone="good")
        case Schedule():
            return Phrase(words="Schedule", tone="plain")
        case Halt():
            return Phrase(words="Halt", tone="bad")
        case Revert():
            return Phrase(words="Revert", tone="bad")


def facts(data: object) -> list[Fact]:
    """Return the data of an event, an entry each, in the order it came."""
    if not isinstance(data, Mapping):
        return []
    return [Fact(name=_NAMES.get(name, str(name).replace("_", " ")), value=_value(str(name), value)) for name, value in data.items()]


def pieces(sentence: str) -> list[str]:
    """Return a sentence in pieces: text and instant (RFC 3339 UTC) by turns, beginning and ending with text."""
    return _INSTANT.split(sentence)


def there(at: str, zone_name: str) -> str:
    """Return an instant (RFC 3339 UTC) on the clocks of a zone, with its day of the week, and in UTC."""
    instant = parse_utc(at)
    utc = f"{instant:%Y-%m-%d %H:%M} UTC"
    return utc if zone_name == "UTC" else f"{clock_words(instant, zone(zone_name), zone_name)} = {utc}"


def size(size_bytes: int) -> str:
    """Return a number of bytes: ``512 B``, ``1.5 MiB``."""
    if size_bytes < _KIB:
        return f"{size_bytes} B"
    for unit, factor in (("GiB", _KIB**3), ("MiB", _KIB**2)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / _KIB:.1f} KiB"


def duration(seconds: int) -> str:
    """Return a number of seconds: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min {seconds % _MINUTE_S} s"
    return f"{seconds // _HOUR_S} h {seconds % _HOUR_S // _MINUTE_S} min"


def short_hash(text: str) -> str:
    """Return the first twelve digits of a digest; other text as it is."""
    head, _, digits = text.partition(":")
    return f"{digits[:12]}…" if head == "sha256" and digits else text


def _value(name: str, value: Any) -> str:  # noqa: ANN401  # JSON that a device sent
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value >= 0:
        if name in {"size", "received"}:
            return size(value)
        if name == "seconds":
            return duration(value)
        if name == "percent":
            return f"{value}%"
    if isinstance(value, float) and name == "seconds" and 0 <= value < _MINUTE_S:
        return f"{value:.1f} s"
    text = short_hash(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"
