# SPDX-License-Identifier: Apache-2.0
"""The default gate: what segments say, who the culprit is, and how many may be at risk."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.default_gate import Reading, at_risk, budget, canaries, little_known
from surefoot.rollout.evidence import Baseline, Counts, Evidence, Share
from surefoot.rollout.finding import PAUSE_AT, Segment, Stream
from surefoot.rollout.ledger import Cell, Entry, Ledger, Trials

SHARES = {"v1": 50, "v2": 25, "v3": 15, "v4": 7, "v5": 3}
REGIONS = {"af": 40, "as": 30, "eu": 20, "us": 10}
FLEET = Evidence(
    audience=[
        Share(hardware=hardware, region=region, devices=share * part)
        for hardware, share in SHARES.items()
        for region, part in REGIONS.items()
    ]
)
STREAM_WEIGHTS = {Stream.FAILED: 0.5, Stream.SILENT: 0.3, Stream.LATE: 0.2}


def cell(hardware: str, region: str, correction: int = 0, hours: float = 0.0, **trials: int) -> Cell:
    return Cell(hardware=hardware, region=region, entries=[Entry(correction=correction, trials=Trials(hours=hours, **trials))])


def everywhere(reported: int, failed: int = 0, *, but: str = "", bad: int = 0) -> Ledger:
    """As many in each cell; of hardware ``but``, ``bad`` failed in each."""
    cells = [
        cell(hardware, region, reported=reported, failed=bad if hardware == but else failed, due=reported)
        for hardware in SHARES
        for region in REGIONS
    ]
    return Ledger(at=1, cells=cells)


def test_the_example_of_the_specification_is_said_in_its_words() -> None:
    ledger = Ledger(at=1, cells=[cell("rev-C", "eu", reported=260, failed=9)])
    audience = [Share(hardware="rev-C", region="eu", devices=300), Share(hardware="rev-B", region="eu", devices=9_700)]
    evidence = Evidence(audience=audience, baselines=[Baseline(hardware="rev-C", region="eu", failed=0.003)])
    (finding,) = (one for one in Reading(ledger, evidence, []).findings if one.segment == Segment("rev-C"))
    # Its weight: that of all hardware, shared by two.
    assert math.floor(finding.odds / 0.15) == 385
    assert finding.sentence() == (
        "on hardware rev-C, 9 of 260 updated devices failed or rolled back; at most 1.6 would be normal for these devices right now "
        "(past releases and devices not yet updated). A healthy release would look this bad less than once in 58 rollouts; "
        "the limit is once in 100"
    )


def test_odds_beyond_doubt_are_not_said_to_the_last_digit() -> None:
    (finding,) = (one for one in Reading(everywhere(100, 90), FLEET, []).findings if one.segment == Segment())
    assert "less than once in a million rollouts;" in finding.sentence()


def test_streams_are_weighed_as_published() -> None:
    """By the definition: half on failures, and nothing was tried of silence and lateness."""
    finding = next(
        one for one in Reading(Ledger(cells=[cell("v1", "eu", reported=30, failed=2)]), FLEET, []).findings if one.segment == Segment()
    )
    weights = (0.10, 0.15, 0.15, 0.15, 0.15, 0.10, 0.10, 0.10)
    shares = [0.005 + 0.995 * excess for excess in (0.005, 0.01, 0.02, 0.05, 0.10, 0.30, 0.60, 0.95)]
    failed = sum(w * (p / 0.005) ** 2 * ((1 - p) / 0.995) ** 28 for w, p in zip(weights, shares, strict=True))
    assert finding.odds == pytest.approx(0.4 * (0.5 * failed + 0.3 + 0.2))


@pytest.mark.parametrize(
    ("tried", "says"),
    [
        (cell("v1", "", reported=40, failed=9), "9 of 40 updated devices failed or rolled back; at most 0.2 "),
        (cell("v1", "", due=40, silent=9), "9 of 40 updated devices went silent past their deadline; at most 0.4 "),
        (cell("v1", "", hours=2_000.0, relapsed=9), "9 updated devices were harmed later, in 2,000 device-hours; at most 0.2 "),
    ],
)
def test_each_stream_speaks_in_its_own_words(tried: Cell, says: str) -> None:
    loudest = Reading(Ledger(cells=[tried]), FLEET, []).loudest
    assert loudest is not None
    assert loudest.odds >= PAUSE_AT
    assert f"in the whole fleet, {says}" in loudest.sentence()


def test_the_weights_of_all_segments_add_up_to_one() -> None:
    """With nothing tried every e-value is 1, and its odds are its weight."""
    findings = Reading(everywhere(0), FLEET, []).findings
    assert len(findings) == 1 + 5 + 4 + 20
    assert sum(finding.odds for finding in findings) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.sampled_from([0, 20])), min_size=1, max_size=6))
def test_the_fleet_says_what_its_cells_say_together(parts: list[tuple[int, int, int]]) -> None:
    spread = [cell(f"v{i}", "eu", correction, reported=n + bad, failed=bad) for i, (n, bad, correction) in enumerate(parts)]
    by_correction = {0: [0, 0], 20: [0, 0]}
    for good, bad, correction in parts:
        by_correction[correction][0] += good + bad
        by_correction[correction][1] += bad
    entries = [Entry(correction=c, trials=Trials(reported=n, failed=bad)) for c, (n, bad) in by_correction.items()]
    together = Ledger(cells=[Cell(hardware="v0", region="eu", entries=entries)])
    both = [
        next(one for one in Reading(ledger, FLEET, []).findings if one.segment == Segment()) for ledger in (Ledger(cells=spread), together)
    ]
    assert both[0].log_e == pytest.approx(both[1].log_e)


def test_an_outage_makes_trials_uninformative() -> None:
    calm, outage = ([cell("v1", "eu", correction, reported=60, failed=12, due=60, silent=12)] for correction in (0, 77))
    loud, quiet = (Reading(Ledger(cells=cells), FLEET, []).loudest for cells in (calm, outage))
    assert loud is not None
    assert quiet is not None
    assert loud.odds > PAUSE_AT > 1 > quiet.odds


@pytest.mark.parametrize("hardware", ["v5", "v4", "v3", "v2"])
def test_hardware_that_always_fails_is_the_culprit(hardware: str) -> None:
    reading = Reading(everywhere(10, but=hardware, bad=10), FLEET, [])
    assert reading.loudest is not None
    assert reading.loudest.odds >= PAUSE_AT
    assert reading.culprits() == [hardware]


@pytest.mark.parametrize(
    "ledger",
    [
        everywhere(10, but="v1", bad=10),  # half of the fleet
        everywhere(10, failed=3),  # everybody
        everywhere(10, failed=1, but="v5", bad=10),  # the rest is not well either
        Ledger(cells=[cell("v5", "eu", reported=6, failed=6)]),  # of the rest nothing was heard
        Ledger(cells=[cell("v5", "eu", due=6, silent=6), cell("v1", "eu", reported=5)]),  # the rest's deadlines have not passed
    ],
)
def test_nobody_is_the_culprit_when_it_is_not_a_small_part_or_the_rest_has_not_done_well(ledger: Ledger) -> None:
    reading = Reading(ledger, FLEET, [])
    assert reading.loudest is not None
    assert reading.loudest.odds >= PAUSE_AT
    assert reading.culprits() == []


def test_two_culprits_are_found_together_and_with_those_before_them_are_no_third_of_the_fleet() -> None:
    cells = [cell(hardware, "eu", reported=20, failed=20 if hardware in ("v4", "v5") else 0) for hardware in SHARES]
    assert Reading(Ledger(cells=cells), FLEET, []).culprits() == ["v4", "v5"]
    assert Reading(Ledger(cells=cells), FLEET, ["v2"]).culprits() == []


def test_excluded_hardware_is_left_out_of_everything() -> None:
    ledger = everywhere(10, but="v5", bad=10)
    without = Ledger(at=1, cells=[one for one in ledger.cells if one.hardware != "v5"])
    reading, clean = Reading(ledger, FLEET, ["v5"]), Reading(without, FLEET, [])
    assert [(one.segment, one.log_e) for one in reading.findings] == [(one.segment, one.log_e) for one in clean.findings]
    assert reading.known == 160


@pytest.mark.parametrize(("fleet", "devices"), [(1, 1), (10, 1), (50, 2), (200, 10), (10_000, 10), (100_000, 100), (1_000_000, 250)])
def test_a_release_of_which_nothing_is_known_may_harm_few(fleet: int, devices: int) -> None:
    assert budget(fleet) == Reading(Ledger(), Evidence(population=fleet), []).most_at_risk(is_slow=False) == devices


def test_every_good_device_lets_more_be_risked_and_every_bad_one_fewer() -> None:
    million = Evidence(audience=[Share(hardware="v1", devices=1_000_000)])

    def most(reported: int, failed: int = 0, silent: int = 0) -> int:
        trials = Trials(reported=reported, failed=failed, due=reported, silent=silent)
        return Reading(Ledger(cells=[Cell(hardware="v1", entries=[Entry(trials=trials)])]), million, []).most_at_risk(is_slow=False)

    assert [most(reported) for reported in (0, 100, 1_000, 100_000)] == [250, 5_498, 62_500, 62_500]
    assert most(100) > most(100, failed=1) > most(100, failed=2)
    assert most(100) > most(100, silent=2) > most(100, silent=50) >= 250


def test_slow_is_a_fifth_of_a_percent_within_the_same_bounds() -> None:
    for fleet, devices in ((10, 1), (200, 10), (10_000, 20), (100_000, 200), (1_000_000, 250)):
        evidence = Evidence(audience=[Share(hardware="v1", devices=fleet)])
        assert Reading(Ledger(cells=[cell("v1", "", reported=5_000, due=5_000)]), evidence, []).most_at_risk(is_slow=True) == devices


@pytest.mark.parametrize(
    ("known", "number"), [(0, 300), (999, 300), (1_000, 60)], ids=["nothing is known", "little is known", "much is known"]
)
def test_at_risk_is_who_started_and_at_first_who_may_start_at_any_moment(known: int, number: int) -> None:
    assert at_risk(Counts(offered=1_300, started=1_060, succeeded=990, failed=10), known) == number


@pytest.mark.parametrize(("reported", "due"), [(900, 40), (40, 900)])
def test_how_devices_fare_is_known_when_they_reported_and_their_deadline_passed(reported: int, due: int) -> None:
    assert Reading(Ledger(cells=[cell("v1", "eu", reported=reported, due=due)]), FLEET, []).known == 40


def test_the_first_batch_tries_ten_of_each_hardware_or_one_in_twenty_of_a_small_fleet() -> None:
    assert [canaries(hardware, FLEET) for hardware in (*SHARES, "v9")] == [10] * 5 + [0]
    small = Evidence(audience=[Share(hardware="v1", region="eu", devices=38), Share(hardware="v2", devices=2)])
    assert [canaries(hardware, small) for hardware in ("v1", "v2")] == [2, 2]


def test_of_hardware_with_under_three_reports_nothing_is_known() -> None:
    ledger = Ledger(cells=[Cell(hardware="v1", seen=Trials(reported=3)), Cell(hardware="v2", seen=Trials(reported=2))])
    assert little_known(ledger, FLEET, ["v5"]) == [("v2", 2), ("v3", 0), ("v4", 0)]
