# SPDX-License-Identifier: Apache-2.0
"""Limits: how many more devices may be offered a release now, whatever batch and risk allow; of all, and in one network.

- A limit of bytes a second is an average: of images offered within a minute, or within the time one image takes at that rate.
- Who was offered it within the hour and has not fetched it may begin at any moment, and counts as fetching.
- A network that is full is looked at again when the oldest of what is counted there drops out, or as soon as one has fetched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from surefoot.model.record import utc_text
from surefoot.rollout.evidence import Evidence, total
from surefoot.rollout.network import Traffic, words_of
from surefoot.rollout.plan import Limits, NetworkLimits

_PORTIONS = 10
"""Into how many portions what a limit allows is dealt out, so that a decision stands for a few seconds and not for one device."""

_MINUTE_S, _HOUR_S = 60, 3_600
_SOONEST_S = 10
"""A full network is looked at again no sooner than this, so that one in which much happens is not looked at all the time."""
_NONE = NetworkLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What one limit leaves: ``offers`` now, at least ``portion`` unless fewer are wanted; ``reason`` says what uses the rest up."""

    offers: int
    portion: int
    reason: str


_UNLIMITED = Room(offers=1_000_000, portion=1, reason="There is no limit.")


def tightest(limits: Limits, evidence: Evidence, wanted: int) -> Room:
    """Return what the limit leaves that holds up ``wanted`` offers most: one that leaves less than a portion, else the least room."""
    rooms = list(_rooms(limits, evidence))
    return next((room for room in rooms if is_held(room, wanted)), min(rooms, key=lambda room: room.offers))


def is_held(room: Room, wanted: int) -> bool:
    """Say whether it is better to wait until there is room for a portion, or for all that are wanted."""
    return room.offers < min(wanted, room.portion)


def room_of(limits: Limits, traffic: Traffic, image_bytes: int) -> Room:
    """Return what the limits of one network leave: the one that leaves less than a portion, else the least room.

    Args:
        limits: Of the plan.
        traffic: What was offered in the network.
        image_bytes: Of the largest image that may be offered.
    """
    rooms = list(_rooms_in(limits.of_network(traffic.network) or _NONE, traffic, image_bytes))
    return next((room for room in rooms if is_full(room)), min(rooms, key=lambda room: room.offers, default=_UNLIMITED))


def is_full(room: Room) -> bool:
    """Say whether a network has less room than a portion."""
    return room.offers < room.portion


def span_s(limits: NetworkLimits, image_bytes: int) -> int:
    """Return over how many seconds the bytes a second of a network are an average: a minute, or what one image takes."""
    return _MINUTE_S if limits.bytes_per_second is None else max(_MINUTE_S, -(-image_bytes // limits.bytes_per_second))


def looked_at_again(limits: Limits, traffic: Traffic, image_bytes: int, now: int) -> int:
    """Return when the queue of a network is looked at next, if nothing is heard from there before; seconds since 1970, as ``now``.

    That is when it was to be looked at, or, when that has come and it is full, when the oldest of what is counted drops out.
    """
    if traffic.look_at > now:
        return traffic.look_at
    own = limits.of_network(traffic.network) or _NONE
    counted = [
        (own.per_minute, traffic.first_in_minute, _MINUTE_S),
        (own.per_hour or own.concurrent_downloads, traffic.first_in_hour, _HOUR_S),
        (own.bytes_per_second, traffic.first_in_span, span_s(own, image_bytes)),
    ]
    frees = [first + within_s for limit, first, within_s in counted if limit is not None and first is not None]
    return max(now + _SOONEST_S, min(frees, default=now + _HOUR_S))


def quotas_now(limits: Limits, evidence: Evidence, now: int) -> dict[str, int]:
    """Return for how many devices there is room in the networks whose queues are to be looked at by now, seconds since 1970."""
    rooms = ((one.network, room_of(limits, one, evidence.image_bytes)) for one in evidence.networks if one.look_at <= now)
    return {network: room.offers for network, room in rooms if not is_full(room)}


def waiting_words(limits: Limits, evidence: Evidence, now: datetime) -> str:
    """Return what devices that wait for room wait for: the limit of the network that is looked at first, what uses it up, and when."""
    first = evidence.networks[0]
    full = room_of(limits, first, evidence.image_bytes)
    at = looked_at_again(limits, first, evidence.image_bytes, int(now.timestamp()))
    where = "one network" if evidence.networks_waiting == 1 else f"{evidence.networks_waiting} networks"
    again = utc_text(datetime.fromtimestamp(at, now.tzinfo))
    return f"Devices in {where} wait for room; in {words_of(first.network)} {full.reason.removesuffix('.')}, looked at again at {again}."


def _rooms_in(limits: NetworkLimits, traffic: Traffic, image_bytes: int) -> Iterator[Room]:
    if limits.per_minute is not None:
        used = traffic.offered_last_minute
        yield _room(limits.per_minute, used, f"within a minute it was offered to {_devices(used)}")
    if limits.per_hour is not None:
        used = traffic.offered_last_hour
        yield _room(limits.per_hour, used, f"within an hour it was offered to {_devices(used)}")
    if limits.concurrent_downloads is not None:
        yield _room(limits.concurrent_downloads, traffic.fetching, f"{_devices(traffic.fetching)} may be fetching it at once")
    if limits.bytes_per_second is not None:
        yield _bytes_room(limits.bytes_per_second, span_s(limits, image_bytes), traffic.offered_bytes, max(1, image_bytes))


def _bytes_room(limit: int, within_s: int, used: int, image_bytes: int) -> Room:
    most = limit * within_s
    reason = f"within {within_s:,} s {used:,} bytes of it were offered; the limit is {limit:,} bytes a second"
    portion = -(-(most // image_bytes) // _PORTIONS)
    return Room(offers=(most - used) // image_bytes, portion=portion, reason=f"{reason}.")


def _rooms(limits: Limits, evidence: Evidence) -> Iterator[Room]:
    yield _room(
        limits.per_minute, evidence.offered_last_minute, f"Within a minute it was offered to {_devices(evidence.offered_last_minute)}"
    )
    if limits.per_hour is not None:
        yield _room(limits.per_hour, evidence.offered_last_hour, f"Within an hour it was offered to {_devices(evidence.offered_last_hour)}")
    if limits.concurrent_downloads is not None:
        counts = total(tally.counts for tally in evidence.tallies)
        # Who was offered it within the hour and has not started may begin to fetch at any moment.
        fetching = evidence.fetching + min(evidence.offered_last_hour, max(0, counts.offered - counts.started - counts.cancelled))
        yield _room(limits.concurrent_downloads, fetching, f"{_devices(fetching)} may be fetching it at once")


def _room(limit: int, used: int, words: str) -> Room:
    return Room(offers=limit - used, portion=-(-limit // _PORTIONS), reason=f"{words}; the limit is {limit}.")


def _devices(number: int) -> str:
    return f"{number} {'device' if number == 1 else 'devices'}"
