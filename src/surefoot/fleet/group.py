# SPDX-License-Identifier: Apache-2.0
"""Groups: who is in one, by name or by filter, and what the people of a device say to that.

- A fixed group has the devices that operators named; a group by filter those that its filter means. No name is both.
- Somebody who may speak for a device opts it in or out, until a time: an opt-out wins over everything, an opt-in over the rest.
- A filter of a group asks for what a device is, not for the time or for other groups: who is in it then changes only when the
  device does, and no group leads back to itself.
"""

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from surefoot.fleet.comparison import holds
from surefoot.fleet.field import GROUP, Traits
from surefoot.fleet.filter import Filter, parse
from surefoot.fleet.rsql import error_at
from surefoot.model.record import Record, parse_utc

_NOT_LASTING = {"last_seen", "seen_within"}


class Joins(StrEnum):
    """Which rollouts a device comes into that begins to belong to a group by filter after they were created."""

    NOW = "now"
    NEXT_ROLLOUT = "next-rollout"


class GroupRule(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What a group by filter is.

    Attributes:
        filter: Which devices are in it.
        joins: ``next-rollout``: stages of rollouts that were created before a device joined do not come to it.
    """

    filter: str
    joins: Joins = Joins.NEXT_ROLLOUT


class Consent(Record, frozen=True, kw_only=True):
    """What was said for one device about one group.

    Attributes:
        is_in: Whether it is to be in; else it is to be out.
        who: Who said so: the device's owner, a customer.
        until: When that ends, RFC 3339 UTC; empty means never. An opt-out holds until it is taken away, since that may start an update.
        by: The operator who wrote it down.
        at: When, RFC 3339 UTC.
        is_named: Whether operators have named the device as a member of this fixed group; so it is when the consent ends.
    """

    is_in: bool
    who: str
    until: str
    by: str
    at: str
    is_named: bool = False

    def holds(self, now: datetime) -> bool:
        """Say whether it counts."""
        return not self.is_in or not self.is_over(now)

    def is_over(self, now: datetime) -> bool:
        """Say whether its time has passed."""
        return bool(self.until) and now >= parse_utc(self.until)


def belongs(consent: Consent | None, now: datetime, *, is_named: bool, is_meant: bool) -> bool:
    """Say whether a device is in a group: named by operators, or meant by its filter, unless its people say otherwise."""
    if consent is not None and consent.holds(now):
        return consent.is_in
    return is_named or is_meant


def rule_filter(rule: GroupRule) -> Filter:
    """Return the filter of a group.

    Raises:
        FilterError: It cannot be read, is empty, or asks for a time or a group; the message shows where.
    """
    wanted = parse(rule.filter)
    if wanted.tree is None:
        raise error_at(rule.filter, 0, "nothing is compared", "Write which devices are in the group, as in site==berlin.")
    for comparison in wanted.comparisons:
        if comparison.name in _NOT_LASTING:
            hint = "Put that into the audience of the plan, which is looked at when a device's turn comes."
            raise error_at(rule.filter, comparison.place, f"'{comparison.name}' changes by itself, and no group is made of it", hint)
        if comparison.name == GROUP:
            raise error_at(rule.filter, comparison.place, "a group is not made of groups", "Write what its devices have in common.")
    return wanted


def is_asked_for(group: str, wanted: Filter, now: datetime) -> bool:
    """Say whether a filter asks who is in a group, or who is not."""
    member = Traits(attributes={}, groups=[group])
    return any(one.name == GROUP and holds(replace(one, is_negated=False), member, now) for one in wanted.comparisons)
