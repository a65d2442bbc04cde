# SPDX-License-Identifier: Apache-2.0
"""The ledger: every trial is entered once, under the correction of its moment, whatever happens between looks."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.record import from_json, to_json
from surefoot.rollout.evidence import Counts, Tally, total
from surefoot.rollout.ledger import Ledger, acknowledged, contradiction, enter, is_worth_keeping

CELLS = [("v1", "eu"), ("v1", "us"), ("v2", "eu")]
STEP = st.fixed_dictionaries(
    {name: st.integers(0, 5) for name in ("succeeded", "failed", "rolled_back", "late_bad", "late_good", "due", "relapsed", "unhealthy")}
)
LOOKS = st.lists(st.tuples(st.sampled_from(CELLS), STEP, st.integers(0, 1), st.integers(0, 3), st.integers(1, 7_200)), max_size=12)


def tallies(counts: dict[tuple[int, str, str], Counts]) -> list[Tally]:
    return [Tally(stage=stage, hardware=hardware, region=region, counts=one) for (stage, hardware, region), one in counts.items()]


@given(LOOKS)
def test_what_is_entered_adds_up_to_what_was_counted_and_each_part_has_the_correction_of_its_moment(
    looks: list[tuple[tuple[str, str], dict[str, int], int, int, int]],
) -> None:
    ledger, counts, now = Ledger(), dict[tuple[int, str, str], Counts](), 1_000
    reported, hours = Counter[tuple[str, str, int]](), Counter[tuple[str, str]]()
    for (hardware, region), step, stage, correction, seconds in looks:
        before = {cell: total(one for key, one in counts.items() if key[1:] == cell).running for cell in CELLS}
        now += seconds
        more = Counts(**step, offered=20, started=20)
        counts[stage, hardware, region] = counts.get((stage, hardware, region), Counts()).plus(more)
        for cell in CELLS:
            hours[cell] += before[cell] * seconds if ledger.at else 0
        ledger = from_json(to_json(enter(ledger, tallies(counts), {region: correction}, now)), Ledger, what="ledger")
        reported[hardware, region, correction] += more.reported
        assert enter(ledger, tallies(counts), {region: correction}, now) == ledger
    entered = {(cell.hardware, cell.region, entry.correction): entry.trials for cell in ledger.cells for entry in cell.entries}
    assert {key: trials.reported for key, trials in entered.items() if trials.reported} == {key: n for key, n in reported.items() if n}
    for known in ledger.cells:
        counted = total(one for key, one in counts.items() if key[1:] == (known.hardware, known.region))
        assert sum(entry.trials.failed for entry in known.entries) == counted.failed + counted.rolled_back + counted.late_bad
        assert sum(entry.trials.relapsed for entry in known.entries) == counted.relapsed
        assert sum(entry.trials.due for entry in known.entries) == counted.due
        assert sum(entry.trials.hours for entry in known.entries) == pytest.approx(hours[known.hardware, known.region] / 3_600)


def one(**counts: int) -> list[Tally]:
    return [Tally(stage=0, hardware="v1", counts=Counts(**counts))]


@pytest.mark.parametrize(
    ("later", "says"),
    [
        ({"succeeded": 9, "failed": 1, "due": 4}, "'reported' counts 1 less than before"),
        ({"succeeded": 11, "failed": 0, "due": 4}, "'failed' counts 1 less than before"),
        ({"succeeded": 10, "failed": 1, "due": 3}, "'due' counts 1 less than before"),
        ({"succeeded": 10, "failed": 1, "silent": 5, "due": 4}, "5 attempts are silent of 4 whose deadline has passed"),
        ({"succeeded": 10, "failed": 1, "due": 4}, ""),
    ],
)
def test_counts_that_go_back_contradict_it(later: dict[str, int], says: str) -> None:
    ledger = enter(Ledger(), one(succeeded=10, failed=1, due=4), {}, 1_000)
    assert contradiction(ledger, one(**later)) == says


def test_a_cell_that_is_gone_contradicts_it() -> None:
    assert contradiction(enter(Ledger(), one(succeeded=1), {}, 1_000), []) == "'reported' counts 1 less than before"


def test_who_resumes_has_seen_the_counts_as_they_are() -> None:
    ledger = acknowledged(one(succeeded=9, failed=1), 1_000)
    assert contradiction(ledger, one(succeeded=9, failed=1)) == ""
    ledger = enter(ledger, one(succeeded=10, failed=1), {}, 4_600)
    (entry,) = ledger.cells[0].entries
    assert (entry.trials.reported, entry.trials.failed, entry.trials.hours) == (1, 0, 9.0)


def test_a_clock_that_goes_back_adds_no_hours_and_loses_none() -> None:
    ledger = enter(Ledger(), one(succeeded=2), {}, 10_000)
    back = enter(ledger, one(succeeded=2), {}, 9_000)
    assert (back.at, back.cells) == (10_000, ledger.cells)
    assert enter(back, one(succeeded=2), {}, 13_600).cells[0].entries[0].trials.hours == 2.0


def test_a_few_device_hours_alone_are_not_worth_a_write() -> None:
    ledger = enter(Ledger(), one(succeeded=2), {}, 10_000)
    assert not is_worth_keeping(ledger, enter(ledger, one(succeeded=2), {}, 10_200))
    assert is_worth_keeping(ledger, enter(ledger, one(succeeded=2), {}, 10_300))
    assert is_worth_keeping(ledger, enter(ledger, one(succeeded=3), {}, 10_001))
