# SPDX-License-Identifier: Apache-2.0
"""A revert on 60 boards in virtual time, some of which lose power on the way: each board the real agent, the server's real verbs."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from surefoot.model.digest import digest_of
from surefoot.rollout.plan import Gates, Plan, Stage, Status
from surefoot.rollout.risk import Kind
from surefoot.server.services.rollouts import Verb
from surefoot.simulator.board import Behaviour, SketchedProgram, load_sketch
from surefoot.simulator.program import Program
from surefoot.simulator.world import Cut, Fate
from tests.server.campaign import Campaign
from tests.simulator.town import FACTORY, Town, open_town

BOARDS = [f"d-{number:02}" for number in range(60)]
PLAN = Plan(
    release="thermostat 1.0.1",
    kind=Kind.FLAGS,
    stages=[Stage(name="all", batches=["50%", "100%"], soak="1d")],
    gate=Gates(),
    watch="1h",
    deadline="2h",
    on_halt="revert",
)
DAY_S = 86_400


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    def tick(now: datetime) -> None:
        opened.office.now = now
        Campaign(office=opened.office).advance()

    with open_town(tmp_path, tick=tick, tick_s=60, interval_s=600) as opened:
        opened.office.add_release("1.0.0", FACTORY)
        opened.services.images[digest_of(FACTORY)] = FACTORY
        yield opened


def weak(content: bytes) -> Program:
    """Return how programs start on a board that bears nothing but what left the factory."""
    return load_sketch(content) if content == FACTORY else SketchedProgram(Behaviour.UNHEALTHY)


def versions(town: Town) -> dict[str, str]:
    return {device_id: board.runner.state.running.version for device_id, board in town.world.boards.items() if board.runner is not None}


def test_boards_that_were_updated_run_what_they_ran_before_and_the_others_never_did_anything(town: Town) -> None:
    chance = random.Random(7)  # noqa: S311  # the same disasters every time
    for number, serial in enumerate(BOARDS):
        fate = Fate(cuts=[Cut(after=chance.randrange(20, 400), off_s=300.0)]) if number % 4 == 0 else None
        town.settle_dormant(serial, ahead_s=number * 10, fate=fate, load=weak if number == 17 else load_sketch)
    town.release("1.0.1", Behaviour.GOOD)
    campaign = Campaign(office=town.office)
    campaign.begin(PLAN)
    assert town.world.run(lambda: campaign.counts().ended == 30, at_most_s=DAY_S)
    updated = {device_id for device_id, version in versions(town).items() if version == "1.0.1"}
    assert 28 <= len(updated) <= 30
    campaign.steer(Verb.HALT, "it drains batteries")
    back = replace(campaign, rollout_id=2)
    assert town.world.run(lambda: back.status is Status.FINISHED, at_most_s=3 * DAY_S), back.decisions()[-1].decision
    assert set(versions(town).values()) == {"1.0.0"}
    assert {attempt.device_id for attempt in back.attempts()} == updated
    assert {attempt.device_id for attempt in campaign.attempts()} >= updated
    assert len({attempt.device_id for attempt in campaign.attempts()}) == 30
    assert (back.counts(), back.made_again() > 5) == (back.recounted(), True)
    running = town.office.connection.execute("SELECT version, count(*) FROM device WHERE device_id LIKE 'd-__' GROUP BY version")
    assert running.fetchall() == [("1.0.0", 60)]
