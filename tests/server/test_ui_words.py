# SPDX-License-Identifier: Apache-2.0
"""Tests of the words and bars of the console: what people read is what was counted and sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.acts import resume, start
from surefoot.rollout.evidence import Counts, Evidence, Tally
from surefoot.rollout.plan import WHOLE, Plan, Rollout, Stage, Status
from surefoot.server.ui.phrase import duration, facts, of_decision, of_event, pieces, size
from surefoot.server.ui.track import Pass, spans, track

STAGES = [Stage(name="canary"), Stage(name="pilot", batches=["10%", "50%", "100%"]), Stage(name="general")]


def rollout(status: Status, stage: int = 1, batch: int = 1) -> Rollout:
    return Rollout(plan=Plan(release="lamp 1.0.0", stages=STAGES), status=status, stage=stage, batch=batch)


@pytest.mark.parametrize(
    ("status", "standings"),
    [
        (Status.DRAFT, [Pass.TO_COME, Pass.TO_COME, Pass.TO_COME]),
        (Status.RUNNING, [Pass.DONE, Pass.OPEN, Pass.TO_COME]),
        (Status.PAUSED, [Pass.DONE, Pass.OPEN, Pass.TO_COME]),
        (Status.HALTED, [Pass.DONE, Pass.HALTED, Pass.TO_COME]),
    ],
)
def test_a_track_says_which_stage_is_open(status: Status, standings: list[Pass]) -> None:
    assert [step.standing for step in track(rollout(status), Evidence())] == standings


def test_a_finished_rollout_has_passed_everything() -> None:
    steps = track(rollout(Status.FINISHED, stage=2, batch=0), Evidence())
    assert {batch.standing for step in steps for batch in step.batches} == {Pass.DONE}


def test_the_bar_of_a_finished_rollout_is_full_though_earlier_stages_had_some_of_its_devices() -> None:
    tallies = [
        Tally(stage=stage, hardware="lamp-v1", counts=Counts(offered=number, succeeded=number)) for stage, number in ((1, 3), (2, 7))
    ]
    step = track(rollout(Status.FINISHED, stage=2, batch=0), Evidence(tallies=tallies, population=10))[2]
    assert [(span.kind, span.width) for span in step.spans] == [("good", WHOLE)]
    assert step.population is None


def test_only_the_open_batch_of_the_open_stage_is_open() -> None:
    steps = track(rollout(Status.RUNNING), Evidence())
    assert [batch.share for step in steps for batch in step.batches if batch.standing is Pass.OPEN] == ["50%"]


def test_the_bar_of_the_open_stage_is_of_its_population() -> None:
    tally = Tally(stage=1, hardware="lamp-v1", counts=Counts(offered=20, succeeded=10))
    step = track(rollout(Status.RUNNING), Evidence(tallies=[tally], population=40))[1]
    assert [(span.kind, span.width) for span in step.spans] == [("good", WHOLE // 4), ("open", WHOLE // 4)]


@given(st.lists(st.integers(0, 10**7), min_size=5, max_size=5), st.integers(0, 10**7))
def test_a_bar_has_no_gap_and_does_not_overflow(numbers: list[int], more: int) -> None:
    succeeded, failed, rolled_back, silent, still_open = numbers
    offered = sum(numbers)
    counts = Counts(offered=offered, succeeded=succeeded, failed=failed, rolled_back=rolled_back, silent=silent)
    found = spans(counts, max(1, offered + more))
    assert [span.start for span in found[1:]] == [span.start + span.width for span in found[:-1]]
    assert all(0 <= span.start <= span.start + span.width <= WHOLE for span in found)
    assert sum(span.devices for span in found) == offered
    assert still_open == sum(span.devices for span in found if span.kind == "open")


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")]
)
def test_a_size_is_said_in_its_unit(number: int, words: str) -> None:
    assert size(number) == words


@pytest.mark.parametrize(("seconds", "words"), [(59, "59 s"), (95, "1 min 35 s"), (7_500, "2 h 5 min")])
def test_a_duration_is_said_in_two_units_at_most(seconds: int, words: str) -> None:
    assert duration(seconds) == words


def test_a_start_is_not_called_a_resume() -> None:
    draft, paused = rollout(Status.DRAFT), rollout(Status.PAUSED)
    assert (of_decision(start(draft, "ada")).words, of_decision(resume(paused, "ada", "")).words) == ("Start", "Resume")


@pytest.mark.parametrize(("value", "words"), [(0.42, "0.4 s"), (95, "1 min 35 s"), (-1.0, "-1.0"), (float("nan"), "nan")])
def test_how_long_it_took_is_said_in_seconds(value: float, words: str) -> None:
    assert [fact.value for fact in facts({"seconds": value})] == [words]


def test_an_event_of_a_newer_agent_keeps_its_name() -> None:
    assert of_event("update.dream.started").words == "update.dream.started"


def test_a_sentence_is_cut_at_its_instants() -> None:
    assert pieces("Soaks until 2026-11-24T08:00:00Z.") == ["Soaks until ", "2026-11-24T08:00:00Z", "."]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_device_sends_as_data_is_shown_in_lines_of_bounded_length(data: object) -> None:
    assert all(len(fact.value) <= 301 for fact in facts(data) + facts({"seconds": data, "size": data, "percent": data}))
