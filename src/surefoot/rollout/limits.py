# SPDX-License-Identifier: Apache-2.0
"""Limits: how many more devices may be offered a release now, whatever batch and risk allow."""

from collections.abc import Iterator
from dataclasses import dataclass

from surefoot.rollout.evidence import Evidence, total
from surefoot.rollout.plan import Limits

_PORTIONS = 10
"""Into how many portions what a limit allows is dealt out, so that a decision stands for a few seconds and not for one device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What one limit leaves: ``offers`` now, at least ``portion`` unless fewer are wanted; ``reason`` says what uses the rest up."""

    offers: int
    portion: int
    reason: str


def tightest(limits: Limits, evidence: Evidence, wanted: int) -> Room:
    """Return what the limit leaves that holds up ``wanted`` offers most: one that leaves less than a portion, else the least room."""
    rooms = list(_rooms(limits, evidence))
    return next((room for room in rooms if is_held(room, wanted)), min(rooms, key=lambda room: room.offers))


def is_held(room: Room, wanted: int) -> bool:
    """Say whether it is better to wait until there is room for a portion, or for all that are wanted."""
    return room.offers < min(wanted, room.portion)


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
