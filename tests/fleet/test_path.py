# SPDX-License-Identifier: Apache-2.0
"""Paths through releases: what a fleet should see, and that the search finds what trying everything finds."""

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from semver import Version

from surefoot.fleet.path import Path, Step, paths
from surefoot.model.manifest import Manifest, Requires
from surefoot.model.rules import Approval, Rule, Running, needed_approval, permits
from surefoot.model.version import parse
from tests.strategies import neighbours, runnings
from tests.trust.repositories import manifest

ALL = frozenset(Approval)


def runs(version: str, **changes: object) -> Running:
    facts: dict[str, Any] = {
        "hardware": "thermostat-v1",
        "bootloader_version": "1.0.0",
        "product": "thermostat",
        "version": version,
        "release_counter": 1,
    }
    return Running(**(facts | changes))


def release(version: str, requires: str = "", **changes: object) -> Manifest:
    return structs.replace(manifest(version, b"image"), requires=Requires(from_=requires) if requires else None, **changes)


def way(running: Running, version: str, releases: Sequence[Manifest]) -> str:
    """Return a path in short: versions with what must be approved, or the rule that forbids it."""
    path = paths([running], version, releases)[0]
    if path.obstacle is not None:
        return str(path.obstacle.rule)
    return " ".join(step.version + (f"!{step.approval}" if step.approval else "") for step in path.steps)


def test_a_device_goes_through_what_is_required_and_through_nothing_else() -> None:
    releases = [release("1.1.0"), release("1.2.0"), release("1.3.0", ">=1.2.0")]
    assert way(runs("1.0.0"), "1.3.0", releases) == "1.2.0 1.3.0"
    assert way(runs("1.2.0"), "1.3.0", releases) == "1.3.0"
    assert way(runs("1.0.0"), "1.2.0", releases) == "1.2.0"
    assert way(runs("1.3.0"), "1.3.0", releases) == "same_version"


def test_of_ways_that_are_as_short_the_one_over_higher_versions_is_taken() -> None:
    releases = [release("1.2.0"), release("1.2.7"), release("1.2.3"), release("1.3.0", ">=1.2.0")]
    assert way(runs("1.0.0"), "1.3.0", releases) == "1.2.7 1.3.0"


def test_a_way_that_needs_no_approval_is_taken_before_one_that_does_and_what_is_needed_is_named() -> None:
    releases = [release("1.2.0"), release("1.2.9", breaking=True), release("1.3.0", ">=1.2.0"), release("2.0.0", ">=1.3.0")]
    assert way(runs("1.0.0"), "2.0.0", releases) == "1.2.0 1.3.0 2.0.0!major"
    assert way(runs("1.0.0"), "1.2.9", releases) == "1.2.9!breaking"


def test_a_circle_of_releases_that_may_be_reverted_is_walked_once_or_not_at_all() -> None:
    circle = [release("1.1.0", "==1.2.0", revert_to="minor"), release("1.2.0", "!=9.0.0", revert_to="minor"), release("1.3.0", "==1.1.0")]
    assert way(runs("1.0.0"), "1.3.0", circle) == "1.2.0 1.1.0 1.3.0"
    nowhere = [*circle[:2], release("1.3.0", "==1.2.5")]
    assert way(runs("1.0.0"), "1.3.0", nowhere) == "requires"


def test_no_later_release_is_gone_through_to_an_earlier_one() -> None:
    releases = [release("1.0.0"), release("1.3.0"), release("1.5.0", revert_to="minor"), release("2.0.0", revert_to=["1.4.0", "1.3.0"])]
    assert way(runs("1.1.0"), "1.0.0", releases) == "revert_to"
    assert way(runs("1.1.0"), "1.4.0", [*releases, release("1.4.0", ">=2.0.0")]) == "requires"
    down = [release("1.2.0", revert_to="minor"), release("1.0.0", "<1.3.0")]
    assert way(runs("1.3.0", revert_to="minor"), "1.0.0", down) == "1.2.0 1.0.0"


def test_the_reason_is_that_of_the_wanted_release_and_says_when_no_other_one_helps() -> None:
    releases = [release("1.3.0", ">=1.2.0", min_bootloader_version="2.1.0"), release("1.4.0", ">=1.3.0")]
    assert paths([runs("1.2.0")], "1.3.0", releases) == [
        Path(obstacle=permits(runs("1.2.0"), releases[0])),
    ]
    blocked = paths([runs("1.2.0")], "1.4.0", releases)[0]
    assert blocked.obstacle is not None
    assert blocked.obstacle.reason == (
        "Version 1.4.0 can only be installed from >=1.3.0; this device runs 1.2.0. No release that may be ordered leads there."
    )
    assert way(runs("1.2.0", hardware="thermostat-v9"), "1.4.0", releases) == "hardware"


def test_one_device_or_release_that_cannot_be_read_spoils_nothing_for_the_others() -> None:
    releases = [release("1.1.0-01"), release("1.1.0", "newest"), release("1.2.0"), release("1.3.0", ">=1.2.0")]
    kinds = [runs("1.0.0-01"), runs("1.0.0")]
    strange, fine = paths(kinds, "1.3.0", releases)
    assert strange.obstacle is not None
    assert strange.obstacle.rule is Rule.UNREADABLE
    assert fine == Path(steps=[Step(version="1.2.0"), Step(version="1.3.0")])


FLEETS = st.lists(runnings(), min_size=1, max_size=4)
SHELVES = st.lists(neighbours(), min_size=1, max_size=6, unique_by=lambda manifest: manifest.version)


def walks(
    running: Running, wanted: str, releases: Sequence[Manifest], top: Version, been: tuple[str, ...] = ()
) -> Iterator[tuple[Step, ...]]:
    """Try everything: every walk that comes to no release twice, and to none above both its ends."""
    for each in releases:
        if each.version in been or parse(each.version) > top or not permits(running, each, approvals=ALL).is_permitted:
            continue
        step = Step(version=each.version, approval=needed_approval(running.version, each))
        if each.version == wanted:
            yield (step,)
            continue
        there = structs.replace(
            running,
            version=each.version,
            release_counter=max(running.release_counter, each.release_counter),
            data_format=each.data_format,
            revert_to=each.revert_to,
        )
        for further in walks(there, wanted, releases, top, (*been, each.version)):
            yield (step, *further)


@settings(max_examples=300)
@given(FLEETS, SHELVES, st.data())
def test_the_search_finds_what_trying_everything_finds(kinds: list[Running], releases: list[Manifest], data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(releases)).version
    height = {version: place for place, version in enumerate(sorted((each.version for each in releases), key=parse))}

    def worth(walk: Sequence[Step]) -> tuple[int, int, list[int]]:
        return len(walk), sum(step.approval is not None for step in walk), [-height[step.version] for step in walk]

    for kind, path in zip(kinds, paths(kinds, wanted, releases), strict=True):
        top = max(parse(kind.version), parse(wanted))
        tried: list[Sequence[Step]] = [] if kind.version == wanted else list(walks(kind, wanted, releases, top))
        best: Sequence[Step] = min(tried, key=worth) if tried else ()
        assert path.steps == list(best)
        assert (path.obstacle is None) is bool(tried)


@given(FLEETS, SHELVES, st.randoms())
def test_the_order_in_which_releases_are_given_makes_no_difference(kinds: list[Running], releases: list[Manifest], random: Any) -> None:  # noqa: ANN401
    shuffled = list(releases)
    random.shuffle(shuffled)
    wanted = releases[0].version
    assert paths(kinds, wanted, releases) == paths(kinds, wanted, shuffled)
