# SPDX-License-Identifier: Apache-2.0
"""Sequence: a stage by region is walked as a stage for each, and nobody is left out."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.fleet.field import Traits
from surefoot.fleet.filter import matches, parse
from surefoot.rollout.flaw import flaw
from surefoot.rollout.plan import Plan, Stage
from surefoot.rollout.sequence import both, draft, walked

NOW = datetime(2026, 11, 24, tzinfo=UTC)
BY_REGION = Stage(name="general", audience="tag==new", order_by=[{"region": ["eu", "North America"]}], batches=["10%", "100%"], soak="1h")
PLAN = Plan(release="thermostat 1.2.3", stages=[Stage(name="canary", group="canary"), BY_REGION])


def test_a_stage_by_region_is_walked_region_by_region_each_with_its_batches_and_the_others_last() -> None:
    canary, *parts = walked(PLAN.stages)
    assert canary == PLAN.stages[0]
    assert [(part.name, part.audience) for part in parts] == [
        ("general-eu", "(tag==new) and (region=='eu')"),
        ("general-north-america", "(tag==new) and (region=='North America')"),
        ("general-others", "(tag==new) and (region=out=('eu','North America'))"),
    ]
    assert {(tuple(part.batches), part.soak) for part in parts} == {(("10%", "100%"), "1h")}


def test_walking_what_is_walked_changes_nothing() -> None:
    assert walked(walked(PLAN.stages)) == walked(PLAN.stages)


def test_a_rollout_keeps_what_people_wrote_only_where_it_is_walked_otherwise() -> None:
    assert draft(PLAN).written == PLAN.stages
    plain = structs.replace(PLAN, stages=PLAN.stages[:1])
    assert (draft(plain).written, draft(plain).plan) == ([], plain)


REGIONS = st.lists(st.text(st.sampled_from("aeiou' \\\"(),;*=.-"), min_size=1, max_size=5), min_size=1, max_size=4, unique=True)


@given(REGIONS, st.none() | st.text(st.sampled_from("aeiou' \\\"(),;*=.-"), min_size=1, max_size=5))
def test_every_device_belongs_to_exactly_one_part_whatever_its_region_is_called(regions: list[str], own: str | None) -> None:
    attributes = {} if own is None else {"region": own}
    parts = walked([Stage(name="general", order_by=[{"region": regions}])])
    fit = [index for index, part in enumerate(parts) if matches(parse(part.audience), Traits(attributes=attributes), NOW)]
    assert fit == [regions.index(own) if own in regions else len(regions)]


def test_both_of_two_filters_means_who_both_mean() -> None:
    assert [both("", ""), both("a==1 or b==1", ""), both("", "c==1")] == ["", "a==1 or b==1", "c==1"]
    wanted = parse(both("a==1 or b==1", "c==1 or d==1"))
    assert matches(wanted, Traits(attributes={"a": "1", "d": "1"}), NOW)
    assert not matches(wanted, Traits(attributes={"a": "1"}), NOW)


def test_a_stage_may_not_become_more_stages_than_a_plan_has() -> None:
    many = Stage(name="a", order_by=[{"site": [f"s-{number}" for number in range(49)]}])
    assert flaw(Plan(release="thermostat 1.2.3", stages=[many])) is None
    found = flaw(Plan(release="thermostat 1.2.3", stages=[structs.replace(many, group="g"), Stage(name="b")]))
    assert found is not None
    assert found.message == "they are walked as 51 stages"
