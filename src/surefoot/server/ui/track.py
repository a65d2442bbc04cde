# SPDX-License-Identifier: Apache-2.0
"""The track of a rollout: its stages and batches in order, how far each one is, and what became of its devices."""

from enum import StrEnum

from surefoot.model.record import Record
from surefoot.rollout.evidence import Counts, Evidence
from surefoot.rollout.plan import WHOLE, Rollout, Stage, Status


class Pass(StrEnum):
    """Whether the rollout has passed a stage or a batch, stands at it, was halted at it, or has it before it."""

    DONE = "done"
    OPEN = "open"
    HALTED = "halted"
    TO_COME = "to come"


_AT = {Pass.OPEN, Pass.HALTED}


class Span(Record, frozen=True, kw_only=True):
    """A part of a bar; ``start`` and ``width`` are in hundredths of a percent of it."""

    kind: str
    devices: int
    start: int
    width: int


class BatchStep(Record, frozen=True, kw_only=True):
    """One batch: its share as the plan writes it, and in hundredths of a percent."""

    share: str
    edge: int
    standing: Pass


class StageStep(Record, frozen=True, kw_only=True):
    """One stage of the track; ``population`` is nothing until its devices are counted, or when that is past."""

    name: str
    group: str
    soak: str
    standing: Pass
    counts: Counts
    population: int | None
    spans: list[Span]
    batches: list[BatchStep]


def track(rollout: Rollout, evidence: Evidence) -> list[StageStep]:
    """Return the steps of a rollout in the order they are walked."""
    return [_step(rollout, evidence, index, stage) for index, stage in enumerate(rollout.plan.stages)]


def spans(counts: Counts, whole: int) -> list[Span]:
    """Return the parts of a bar of ``whole`` devices: good, harmed, silent, still open; the rest of it is empty."""
    parts = (
        ("good", counts.succeeded),
        ("harmed", counts.failed + counts.rolled_back),
        ("silent", counts.silent),
        ("open", max(0, counts.open)),
    )
    found, before = [], 0
    for kind, devices in parts:
        if devices:
            start, end = (before * WHOLE // whole, min(WHOLE, (before + devices) * WHOLE // whole))
            found.append(Span(kind=kind, devices=devices, start=start, width=max(0, end - start)))
        before += devices
    return found


def _step(rollout: Rollout, evidence: Evidence, index: int, stage: Stage) -> StageStep:
    counts = evidence.of_stage(index)
    standing = _standing(rollout, index, rollout.stage)
    # The devices counted for the last stage are those of all stages before it too: past, what was offered is its whole.
    population = evidence.population if standing in _AT else None
    return StageStep(
        name=stage.name,
        group=stage.group or "",
        soak=stage.soak if isinstance(stage.soak, str) else ", ".join(stage.soak),
        standing=standing,
        counts=counts,
        population=population,
        spans=spans(counts, max(population or 0, counts.offered, 1)),
        batches=_batches(rollout, stage, standing),
    )


def _batches(rollout: Rollout, stage: Stage, standing: Pass) -> list[BatchStep]:
    return [
        BatchStep(share=share, edge=edge, standing=_standing(rollout, index, rollout.batch) if standing in _AT else standing)
        for index, (share, edge) in enumerate(zip(stage.batches, stage.shares, strict=True))
    ]


def _standing(rollout: Rollout, index: int, at: int) -> Pass:
    if not rollout.has_begun or index > at:
        return Pass.TO_COME
    if index < at or rollout.status is Status.FINISHED:
        return Pass.DONE
    return Pass.HALTED if rollout.status is Status.HALTED else Pass.OPEN
