# SPDX-License-Identifier: Apache-2.0
"""Words: how decisions speak of batches and of numbers of devices."""

from surefoot.rollout.plan import Rollout


def batch_words(rollout: Rollout) -> str:
    """Return how to speak of the open batch: ``stage general, batch 2 of 6 (5%)``."""
    stage = rollout.open_stage
    if len(stage.batches) == 1:
        return f"stage {stage.name}"
    return f"stage {stage.name}, batch {rollout.batch + 1} of {len(stage.batches)} ({stage.batches[rollout.batch]})"


def capital(text: str) -> str:
    """Return a sentence with a capital."""
    return f"{text[:1].upper()}{text[1:]}"


def devices(number: int, which: str = "") -> str:
    """Return ``1 device`` or ``7 devices``; ``which`` stands between, with a blank after it."""
    return f"{number} {which}{'device' if number == 1 else 'devices'}"
