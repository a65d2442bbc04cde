# SPDX-License-Identifier: Apache-2.0
"""Fields: what a filter may ask of a device, of which kind each is, and the keys by which values have an order.

- A key is a number or a text that sorts as the values do, so that memory and database compare the same thing, and an index holds it.
- What has no key (a version that is none, a word where a number is asked for) is in no order: no comparison of order holds for it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from surefoot.model.attribute import COMPONENT
from surefoot.model.errors import FormatError
from surefoot.model.version import precedence

GROUP = "group"
TAG = "tag"
TAGS = "tags"
"""The attribute that holds a device's tags."""

_NUMBER = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,6}))?")


class Kind(Enum):
    """What a field holds."""

    TEXT = "a text"
    ATTRIBUTE = "a text, or a number where it is one"
    VERSION = "a version"
    TIME = "a time"
    AGE = "a duration"
    WORDS = "words"


_KINDS = {
    "bootloader_version": Kind.VERSION,
    "device_id": Kind.TEXT,
    "enrolled_at": Kind.TIME,
    GROUP: Kind.WORDS,
    "hardware": Kind.TEXT,
    "last_seen": Kind.TIME,
    "product": Kind.TEXT,
    "seen_within": Kind.AGE,
    "state": Kind.TEXT,
    TAG: Kind.WORDS,
    "version": Kind.VERSION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """All that filters look at of one device.

    Attributes:
        attributes: The effective ones, the built-in ones among them.
        groups: Those it is in.
        enrolled_at: RFC 3339 UTC.
        last_seen: RFC 3339 UTC; empty when it was never seen.
    """

    attributes: Mapping[str, str]
    groups: Collection[str] = ()
    enrolled_at: str = ""
    last_seen: str = ""


def kind_of(name: str) -> Kind:
    """Return what a field holds: the named ones are of their kind, components are versions, all others attributes."""
    return _KINDS.get(name) or (Kind.VERSION if name.startswith(COMPONENT) else Kind.ATTRIBUTE)


def shown(name: str, traits: Traits) -> str | None:
    """Return what a device has in a field, in words for people; nothing when it has nothing there."""
    match kind_of(name):
        case Kind.TIME if name != "last_seen":
            return traits.enrolled_at or None
        case Kind.TIME | Kind.AGE:
            return traits.last_seen or None
        case Kind.WORDS:
            return ", ".join(traits.groups if name == GROUP else words(traits.attributes.get(TAGS, ""))) or None
        case _:
            return traits.attributes.get(name) or None


@lru_cache(maxsize=1_000)
def version_key(text: str) -> str | None:
    """Return the key of a version; nothing for a text that is none. A fleet runs few versions, so they are remembered."""
    try:
        return precedence(text)
    except FormatError:
        return None


def number_key(text: str) -> int | None:
    """Return the key of a decimal number, its millionths; nothing for other texts, and for more than 12 digits or 6 decimals."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, part = match.groups()
    return int(f"{sign}{whole}{part or '':0<6}")


def words(text: str) -> list[str]:
    """Return the words of a list with commas between them, sorted."""
    return sorted({word.strip() for word in text.split(",")} - {""})


def keys(attributes: Mapping[str, str]) -> dict[str, str | int | list[str]]:
    """Return what a database keeps beside a device's attributes: the key of each that has one, and the tags."""
    found: dict[str, str | int | list[str]] = {TAG: words(attributes.get(TAGS, ""))}
    for name, value in attributes.items():
        key = version_key(value) if kind_of(name) is Kind.VERSION else number_key(value)
        if key is not None and kind_of(name) in (Kind.VERSION, Kind.ATTRIBUTE):
            found[name] = key
    return found
