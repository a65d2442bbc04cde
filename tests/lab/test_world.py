# SPDX-License-Identifier: Apache-2.0
"""What the lab asks of a board's story once an order has ended; the machine itself is not switched on here."""

from typing import Any

import pytest

from lab.tools import LabError
from lab.world import check_story

END = "update.health.ok"


def story(*types: str, runs: str = "1.1.0", first: int = 1, gap: int = 0) -> dict[str, Any]:
    """Return a story of two orders; ``types`` are the events of the newer one, ``gap`` is left out between the last two."""
    old = [{"seq": first, "type": END, "assignment_id": 1}]
    new = [{"seq": first + 1 + number, "type": kind, "assignment_id": 2} for number, kind in enumerate(types)]
    if gap:
        new[-1]["seq"] = int(str(new[-1]["seq"])) + gap
    return {
        "assignments": [{"assignment_id": 2}, {"assignment_id": 1}],
        "events": [{"event": event} for event in [*old, *new]],
        "device": {"report": {"version": runs}},
    }


def test_one_end_and_the_right_release_are_as_they_must_be() -> None:
    check_story(story("update.download.started", END), "1.1.0")


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (story("update.download.started"), "0 ends"),
        (story(END, "update.rollback.completed"), "2 ends"),
        (story("update.download.started", END, gap=1), "gaps"),
        (story(END, gap=-1), "twice"),
        (story(END, runs="1.0.0"), "runs 1.0.0"),
    ],
    ids=["no end", "two ends", "an event is missing", "one number twice", "another release"],
)
def test_a_board_that_tells_something_else_is_noticed(told: dict[str, Any], wrong: str) -> None:
    with pytest.raises(LabError, match=wrong):
        check_story(told, "1.1.0")
