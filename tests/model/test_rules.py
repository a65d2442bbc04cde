# SPDX-License-Identifier: Apache-2.0
"""Version rules: a row for each sentence about them, and what holds whatever the releases are."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.model.manifest import Manifest, Requires, must_match
from surefoot.model.rules import Approval, Rule, Running, may_install, needed_approval, permits
from surefoot.model.version import parse
from tests.strategies import neighbours, runnings
from tests.trust.repositories import manifest

ALL = frozenset(Approval)


def runs(version: str = "1.1.0", **changes: object) -> Running:
    facts: dict[str, Any] = {
        "hardware": "thermostat-v1",
        "bootloader_version": "2.0.0",
        "product": "thermostat",
        "version": version,
        "release_counter": 2,
    }
    return Running(**(facts | changes))


def wants(version: str, **changes: object) -> Manifest:
    return structs.replace(manifest(version, b"image", counter=2), **changes)


@dataclass(frozen=True)
class Case:
    """A step, what was approved, and the rule that forbids it, if one does."""

    running: Running
    wanted: Manifest
    rule: Rule | None
    approvals: frozenset[Approval] = frozenset()
    says: str = ""


MAJOR, BREAKING = frozenset({Approval.MAJOR}), frozenset({Approval.BREAKING})

CASES = {
    "a patch always": Case(runs(), wants("1.1.1"), None),
    "a patch even when it is marked breaking": Case(runs(), wants("1.1.1", breaking=True), None),
    "out of a pre-release": Case(runs("1.1.0-rc.1"), wants("1.1.0"), None),
    "a minor": Case(runs(), wants("1.2.0"), None),
    "several minors at once": Case(runs(), wants("1.9.3"), None),
    "a minor marked breaking": Case(runs(), wants("1.2.0", breaking=True), Rule.BREAKING, says="marked as breaking"),
    "a minor marked breaking, approved": Case(runs(), wants("1.2.0", breaking=True), None, BREAKING),
    "a minor marked breaking, approved as something else": Case(runs(), wants("1.2.0", breaking=True), Rule.BREAKING, MAJOR),
    "a major": Case(runs(), wants("2.0.0"), Rule.MAJOR, says="from 1.1.0 to 2.0.0 is a major update"),
    "a pre-release of a major": Case(runs(), wants("2.0.0-rc.1"), Rule.MAJOR),
    "the first major": Case(runs("0.9.0"), wants("1.0.0"), Rule.MAJOR),
    "a major, approved": Case(runs(), wants("2.0.0"), None, MAJOR),
    "a major, approved as something else": Case(runs(), wants("2.0.0", breaking=True), Rule.MAJOR, BREAKING),
    "a major marked breaking needs the one approval": Case(runs(), wants("2.0.0", breaking=True), None, MAJOR),
    "down a patch by default": Case(runs("1.1.5"), wants("1.1.0"), None),
    "down a minor by default": Case(runs(), wants("1.0.9"), Rule.REVERT_TO, ALL, says="does not allow going back to 1.0.9"),
    "down a minor where the running release says so": Case(runs(revert_to="minor"), wants("1.0.9"), None),
    "down a minor where the wanted release says so": Case(runs(), wants("1.0.9", revert_to="minor"), Rule.REVERT_TO, ALL),
    "down a patch where the running release says none": Case(runs("1.1.5", revert_to="none"), wants("1.1.0"), Rule.REVERT_TO, ALL),
    "down to a listed version, over a major": Case(runs("2.0.0", revert_to=["1.1.0"]), wants("1.1.0"), None),
    "down to a version that is not listed": Case(runs("2.0.0", revert_to=["1.1.0"]), wants("1.1.1"), Rule.REVERT_TO, ALL),
    "down at a lower counter": Case(runs("1.1.5", release_counter=3), wants("1.1.0"), Rule.RELEASE_COUNTER, ALL, says="2 is below 3"),
    "up at a lower counter": Case(runs(release_counter=3), wants("1.2.0"), Rule.RELEASE_COUNTER, ALL),
    "down below the data format": Case(runs("1.1.5", data_format=2), wants("1.1.0", data_format=1), Rule.DATA_FORMAT, ALL),
    "up to a release without a data format": Case(runs(data_format=2), wants("1.2.0"), Rule.DATA_FORMAT, ALL, says="none is below"),
    "down at the data format": Case(runs("1.1.5", data_format=2), wants("1.1.0", data_format=2), None),
    "from a version that the release does not take": Case(
        runs(), wants("1.3.0", requires=Requires(from_=">=1.2.0")), Rule.REQUIRES, ALL, says="only be installed from >=1.2.0"
    ),
    "from a version that it takes": Case(runs("1.2.0"), wants("1.3.0", requires=Requires(from_=">=1.2.0")), None),
    "an older bootloader": Case(
        runs(bootloader_version="0.9.0"), wants("1.1.1"), Rule.BOOTLOADER, ALL, says="needs bootloader 1.0.0; this board has 0.9.0"
    ),
    "other hardware": Case(runs(hardware="thermostat-v2"), wants("1.1.1"), Rule.HARDWARE, ALL, says="for thermostat-v1"),
    "another product": Case(runs(product="lamp"), wants("1.1.1"), Rule.PRODUCT, ALL),
    "a version that cannot be compared": Case(runs("1.1.0-01"), wants("1.2.0"), Rule.UNREADABLE, ALL, says="not a semantic version"),
    "a range that cannot be read": Case(runs(), wants("1.2.0", requires=Requires(from_="newest")), Rule.UNREADABLE, ALL, says="newest"),
    "what runs": Case(runs(), wants("1.1.0"), Rule.SAME_VERSION, ALL, says="runs 1.1.0 already"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_each_sentence_about_versions_is_a_rule(case: Case) -> None:
    verdict = permits(case.running, case.wanted, approvals=case.approvals)
    assert (verdict.rule, verdict.is_permitted) == (case.rule, case.rule is None)
    assert case.says in verdict.reason
    assert bool(verdict.reason) is (case.rule is not None)


ONLY_THE_SERVER = {Rule.SAME_VERSION, Rule.MAJOR, Rule.BREAKING}


@given(runnings(), neighbours(), st.frozensets(st.sampled_from(Approval)))
def test_the_device_judges_as_the_server_does_but_for_what_people_decide(
    running: Running, wanted: Manifest, approvals: frozenset[Approval]
) -> None:
    verdict = permits(running, wanted, approvals=approvals)
    assert may_install(running, must_match(wanted)) == may_install(running, wanted)
    assert may_install(running, wanted).is_permitted is (verdict.is_permitted or verdict.rule in ONLY_THE_SERVER)


@given(runnings(), neighbours())
def test_nothing_leads_to_itself(running: Running, wanted: Manifest) -> None:
    assert not permits(running, structs.replace(wanted, version=running.version), approvals=ALL).is_permitted


@given(runnings(), neighbours())
def test_no_step_lowers_counter_or_data_format_and_a_lower_version_is_one_that_the_running_release_names(
    running: Running, wanted: Manifest
) -> None:
    if permits(running, wanted, approvals=ALL).is_permitted:
        assert wanted.release_counter >= running.release_counter
        assert (wanted.data_format or 0) >= (running.data_format or 0)
        from_, to = parse(running.version), parse(wanted.version)
        same = {"none": 0, "patch": to.minor == from_.minor and to.major == from_.major, "minor": to.major == from_.major}
        allowed = wanted.version in running.revert_to if isinstance(running.revert_to, list) else same[running.revert_to]
        assert to >= from_ or allowed


@given(runnings(), neighbours())
def test_more_approvals_never_forbid_and_the_one_that_is_needed_is_enough(running: Running, wanted: Manifest) -> None:
    with_all = permits(running, wanted, approvals=ALL)
    needed = needed_approval(running.version, wanted)
    assert permits(running, wanted, approvals=frozenset() if needed is None else {needed}) == with_all
    if needed is not None and with_all.is_permitted:
        assert permits(running, wanted).rule == needed.value
