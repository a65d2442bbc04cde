# SPDX-License-Identifier: Apache-2.0
"""Filters: which devices are meant, as comparisons of what they are, joined by ``and`` and ``or`` (RSQL).

``surefoot.fleet.rsql`` has the grammar, ``surefoot.fleet.field`` what there is to compare, ``surefoot.fleet.comparison`` what each
comparison means. ``surefoot.server.db.filter`` asks a database the same question.
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from surefoot.fleet.comparison import Comparison, compare, holds
from surefoot.fleet.field import Traits, shown
from surefoot.fleet.rsql import Joint, Tree, clause_at, error_at, leaves, mapped, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Comparisons and how they are joined, and the text they were read from; without a tree, every device is meant."""

    text: str = ""
    tree: Tree[Comparison] | None = None

    @property
    def comparisons(self) -> list[Comparison]:
        """Return every comparison, in the order of the text."""
        return [] if self.tree is None else list(leaves(self.tree))


EVERYTHING = Filter()


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        FilterError: It cannot be read, or compares a field with what it cannot hold; the message shows where.
    """
    tree = read(text)
    return Filter(text=text, tree=None if tree is None else mapped(tree, lambda clause: compare(text, clause)))


def matches(wanted: Filter, traits: Traits, now: datetime) -> bool:
    """Say whether a device is meant at this moment."""
    return wanted.tree is None or _fits(wanted.tree, traits, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A comparison that does not hold for a device.

    Attributes:
        name: The field.
        clause: The comparison as written.
        value: What the device has there; nothing when it has nothing.
    """

    name: str
    clause: str
    value: str | None


def misses(wanted: Filter, traits: Traits, now: datetime) -> list[Miss]:
    """Return the comparisons for which a device is not meant: of parts that must all hold, those that do not; of choices, each."""
    if wanted.tree is None:
        return []
    return [
        Miss(name=one.name, clause=clause_at(wanted.text, one.place), value=shown(one.name, traits))
        for one in _failing(wanted.tree, traits, now)
    ]


def names(wanted: Filter) -> set[str]:
    """Return the fields that a filter compares."""
    return {comparison.name for comparison in wanted.comparisons}


_NEAR = 0.7
"""How like two names are when one is taken for a slip of the other, from 0 to 1: 'site' is none of 'state'."""


def check_names(wanted: Filter, known: Collection[str]) -> None:
    """See that a filter compares only fields that there are.

    Args:
        wanted: The filter.
        known: Every name there is, the built-in ones among them.

    Raises:
        FilterError: One is unknown; names the nearest.
    """
    for comparison in wanted.comparisons:
        if comparison.name not in known:
            near = difflib.get_close_matches(comparison.name, sorted(known), n=1, cutoff=_NEAR)
            there = f"There are: {', '.join(sorted(known)[:20])}. Others are given: 'surefoot device set DEVICE {comparison.name}=VALUE'."
            hint = f"Did you mean '{near[0]}'?" if near else there
            raise error_at(wanted.text, comparison.place, f"no device has an attribute '{comparison.name}'", hint)


def _failing(tree: Tree[Comparison], traits: Traits, now: datetime) -> list[Comparison]:
    if _fits(tree, traits, now):
        return []
    return [one for part in tree.parts for one in _failing(part, traits, now)] if isinstance(tree, Joint) else [tree]


def _fits(tree: Tree[Comparison], traits: Traits, now: datetime) -> bool:
    if isinstance(tree, Joint):
        return (any if tree.is_any else all)(_fits(part, traits, now) for part in tree.parts)
    return holds(tree, traits, now)
