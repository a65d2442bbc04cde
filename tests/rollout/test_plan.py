# SPDX-License-Identifier: Apache-2.0
"""Plans: what their words mean, and which contradict themselves."""

import msgspec
import pytest
from hypothesis import given
from msgspec import structs

from surefoot.model.duration import seconds
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import from_json, from_plain, to_json
from surefoot.rollout.flaw import check_plan
from surefoot.rollout.plan import WHOLE, Bounds, Gates, Plan, Rollout, SimpleGate, Stage, hundredths
from tests.strategies import plans

PLAN = Plan(release="thermostat 1.2.3")


@given(plans())
def test_a_plan_that_can_be_is_taken_and_survives_being_stored(plan: Plan) -> None:
    check_plan(plan)
    assert from_json(to_json(plan), Plan, what="plan") == plan


def test_a_plan_needs_nothing_but_its_release() -> None:
    plan = from_plain({"release": "thermostat 1.2.3"}, Plan, what="plan")
    check_plan(plan)
    assert (plan.product, plan.version, plan.deadline_s, plan.start_within_s) == ("thermostat", "1.2.3", 14_400, 86_400)


@pytest.mark.parametrize(("text", "value"), [("0%", 0), ("0.5%", 50), ("0.05%", 5), ("1%", 100), ("12.34%", 1_234), ("100%", WHOLE)])
def test_a_percentage_is_a_whole_number_of_hundredths(text: str, value: int) -> None:
    assert hundredths(text) == value


@pytest.mark.parametrize(("text", "value"), [("0s", 0), ("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800)])
def test_a_duration_is_a_whole_number_of_seconds(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "-5%", "101%", "100.5%", "0.005%", "5 %", "5%\n", "5.%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        from_plain({"warn": text, "pause": "5%"}, Bounds, what="bounds")


@pytest.mark.parametrize("text", ["", "6", "06h", "1.5h", "-1s", "6h\n", "1w", "1h30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        from_plain({"release": "thermostat 1.2.3", "deadline": text}, Plan, what="plan")


@pytest.mark.parametrize(
    "text", ["", "thermostat", "1.2.3", "thermostat 1.2", "thermostat  1.2.3", "Thermostat 1.2.3", "thermostat 1.2.3\n"]
)
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        from_plain({"release": text}, Plan, what="plan")


def with_stage(**words: object) -> Plan:
    return structs.replace(PLAN, stages=[msgspec.convert({"name": "general", **words}, Stage)])


def with_gate(**words: Bounds) -> Plan:
    return structs.replace(PLAN, gate=Gates(simple=structs.replace(SimpleGate(), **words)))


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (with_stage(batches=["10%", "5%", "100%"]), r"'rollout\.stages\[0\]\.batches': 10%, 5%, 100% do not grow"),
        (with_stage(batches=["10%", "10.00%", "100%"]), "do not grow"),
        (with_stage(batches=["0%", "100%"]), "do not grow"),
        (with_stage(batches=["50%"]), "they end at 50%"),
        (with_stage(soak="31d"), r"'rollout\.stages\[0\]\.soak': it is longer than 30 days"),
        (structs.replace(PLAN, stages=[Stage(name="a"), Stage(name="a")]), r"'rollout\.stages\[1\]\.name': there is a stage 'a' already"),
        (with_gate(rollback_rate=Bounds(warn="6%", pause="5%")), r"gate\.simple\.rollback_rate': it warns at 6%"),
        (with_gate(health_failure_rate=Bounds(warn="2%", pause="1%")), r"gate\.simple\.health_failure_rate': it warns at 2%"),
        (structs.replace(PLAN, deadline="59s"), r"'rollout\.deadline': it is not between a minute and 30 days"),
        (structs.replace(PLAN, start_within="31d"), r"'rollout\.start_within': it is not between"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_and_the_key_named(plan: Plan, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_plan(plan)


def test_a_rollout_says_which_stage_and_share_are_open() -> None:
    rollout = Rollout(plan=with_stage(batches=["1%", "50%", "100%"]), batch=1)
    assert (rollout.open_stage.name, rollout.share) == ("general", 5_000)
