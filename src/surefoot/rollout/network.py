# SPDX-License-Identifier: Apache-2.0
"""Networks: regions and sites, which bear only so much; and what one rollout has offered in one of them.

A network is written as its kind and its name, as in ``site:berlin``; ``region:`` is all devices without a region. A device is in one of
each kind, and what it fetches counts in both.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, structs

from surefoot.model.record import Record

REGION, SITE = "region", "site"
KINDS = (REGION, SITE)
"""Attributes that name a device's networks, the larger one first."""

EACH = "*"
"""Stands, in a plan, for each network of a kind that is not named there and has a name."""

_Count = Annotated[int, Meta(ge=0)]


class Traffic(Record, frozen=True, kw_only=True):
    """What one rollout has offered in one network; instants are whole seconds since 1970, nothing where nothing is counted.

    Attributes:
        network: Which.
        look_at: When its queue, of devices that wait for room there, is looked at again; 0 when nobody waits.
        offered_last_minute: Offers in the 60 s before now.
        offered_last_hour: Offers in the hour before now.
        offered_bytes: Sizes of the images offered in the span of its limit (``limits.span_s``), added up.
        fetching: Devices that fetch the image, or were offered it in the last hour and have not fetched it yet.
        first_in_minute: When the oldest offer of those of the last minute was made.
        first_in_hour: The same for the last hour.
        first_in_span: The same for the span.
    """

    network: str
    look_at: _Count = 0
    offered_last_minute: _Count = 0
    offered_last_hour: _Count = 0
    offered_bytes: _Count = 0
    fetching: _Count = 0
    first_in_minute: int | None = None
    first_in_hour: int | None = None
    first_in_span: int | None = None


def key_of(kind: str, name: str) -> str:
    """Return how a network is written."""
    return f"{kind}:{name}"


def kind_of(network: str) -> str:
    """Return the kind of a network."""
    return network.partition(":")[0]


def name_of(network: str) -> str:
    """Return the name of a network; empty for the devices that are in none of its kind."""
    return network.partition(":")[2]


def words_of(network: str) -> str:
    """Return a network in words for people."""
    return f"{kind_of(network)} {name_of(network) or '(none)'}"


def all_of(attributes: Mapping[str, str]) -> list[str]:
    """Return the networks of a device with these effective attributes, the largest first."""
    return [key_of(kind, attributes.get(kind, "")) for kind in KINDS]


def offered(traffic: Traffic, size_bytes: int, at: int) -> Traffic:
    """Return the traffic after one more device was offered an image of this size, at this instant."""
    first = {name: at for name in ("first_in_minute", "first_in_hour", "first_in_span") if getattr(traffic, name) is None}
    return structs.replace(
        traffic,
        offered_last_minute=traffic.offered_last_minute + 1,
        offered_last_hour=traffic.offered_last_hour + 1,
        offered_bytes=traffic.offered_bytes + size_bytes,
        fetching=traffic.fetching + 1,
        **first,
    )
