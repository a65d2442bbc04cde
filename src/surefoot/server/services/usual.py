# SPDX-License-Identifier: Apache-2.0
"""What is usual for devices of each hardware and region: learned from finished rollouts, and told to those that run.

How long an install takes is learned from every install that went well, as it is reported.
"""

from collections.abc import Sequence

from surefoot.fleet.install_time import with_install
from surefoot.rollout import tolerance
from surefoot.rollout.evidence import Baseline
from surefoot.rollout.ledger import Cell, Trials
from surefoot.rollout.plan import Rollout
from surefoot.server.services.ports import Ledger, Reads
from surefoot.server.services.rollout_store import Known


def baselines(ledger: Ledger, product: str) -> list[Baseline]:
    """Return what is usual, each segment drawn towards the fleet's rates while little is known of it."""
    return usual(ledger.rollouts.baselines(product))


def usual(known: Sequence[Known]) -> list[Baseline]:
    """Return what is usual in each segment, from what is remembered of all segments of a product."""
    failed = _rate(sum(one.failed for one in known), sum(one.reported for one in known))
    silent = _rate(sum(one.silent for one in known), sum(one.due for one in known))
    late = _rate(sum(one.relapsed for one in known), sum(one.hours for one in known))
    return [
        Baseline(
            hardware=one.hardware,
            region=one.region,
            failed=min(1.0, tolerance.usual(one.failed, one.reported, failed)),
            silent=min(1.0, tolerance.usual(one.silent, one.due, silent)),
            late=tolerance.usual(one.relapsed, one.hours, late),
        )
        for one in known
    ]


def learn(ledger: Ledger, rollout: Rollout) -> None:
    """Remember what a finished rollout showed, unless it was ever paused, or took devices back: their release was none to learn from."""
    if rollout.was_paused or rollout.reverts is not None:
        return
    before = {(one.hardware, one.region): one for one in ledger.rollouts.baselines(rollout.plan.product)}
    rates = {(one.hardware, one.region): one for one in baselines(ledger, rollout.plan.product)}
    for cell in rollout.ledger.cells:
        if cell.hardware not in rollout.excluded:
            known = before.get((cell.hardware, cell.region), Known(hardware=cell.hardware, region=cell.region))
            ledger.rollouts.put_baseline(rollout.plan.product, _taught(known, cell, rates.get((cell.hardware, cell.region))))


def learn_install(ledger: Ledger, product: str, hardware: str, took_s: int) -> None:
    """Remember how long one install took."""
    ledger.put_install_times(product, hardware, with_install(ledger.install_times(product, hardware), took_s))


def install_s(reads: Reads, product: str, hardware: str, least_s: int) -> int:
    """Return how long an order is to say that an install takes: what people said, or what is usual there when that is longer.

    What is learned asks for more room in a window than people did, never for less.
    """
    return max(least_s, reads.install_times(product, hardware).usual_s or 0)


def _taught(known: Known, cell: Cell, usual: Baseline | None) -> Known:
    trials = Trials()
    for entry in cell.entries:
        # What control accounted for teaches nothing about the devices.
        if not entry.correction:
            trials = trials.plus(entry.trials)
    failed, reported = tolerance.taught(known.failed, known.reported, trials.failed, trials.reported, tolerance.failed(usual))
    silent, due = tolerance.taught(known.silent, known.due, trials.silent, trials.due, tolerance.silent(usual))
    late, hours = tolerance.taught(known.relapsed, known.hours, trials.relapsed, trials.hours, tolerance.late(usual))
    return Known(
        hardware=known.hardware, region=known.region, reported=reported, failed=failed, due=due, silent=silent, hours=hours, relapsed=late
    )


def _rate(bad: float, trials: float) -> float:
    return bad / trials if trials else 0.0
