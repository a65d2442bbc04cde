# SPDX-License-Identifier: Apache-2.0
"""Rollouts to 10,000 boards in virtual time: each board the real agent, the server's real verbs on a real database.

Where harm comes from is drawn once, by a seed that was not chosen for what comes of it. That one device in twenty is bad is the
hardest case for plain percentages, which pause above the very same 5 %: with these disasters they let 228 devices of the general
stage resolve first. The default gate adds up what was seen in all stages, and needs 151.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from msgspec import structs
from sqlalchemy import create_engine

from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.rollout.ceiling import ceiling
from surefoot.rollout.decision import Pause
from surefoot.rollout.evidence import Counts
from surefoot.rollout.plan import DEFAULT, Gates, Plan, Stage, Status
from surefoot.server.db.catalogue import SqlCatalogue
from surefoot.server.db.groups import add
from surefoot.server.services.catalogue import StoredDecision
from surefoot.server.services.rollouts import Verb
from surefoot.simulator.board import Behaviour, SketchedProgram, load_sketch
from surefoot.simulator.program import Load, Program
from surefoot.simulator.world import Cut, Fate
from tests.server.campaign import Campaign
from tests.simulator.town import FACTORY, Town, open_town, ship

Figures = Callable[[str, object], None]

SEED = 1
FLEET = 10_000
CANARIES, PILOTS = 20, 100
INTERVAL_S, TICK_S = 600, 60
DAY_S = 86_400
DEVICES = [f"d-{number:05}" for number in range(FLEET)]
PLAN = Plan(
    release="thermostat 1.1.0",
    stages=[
        Stage(name="canary", group="canary", soak="10m"),
        Stage(name="pilot", group="pilot", soak="10m"),
        Stage(name="general", batches=["1%", "5%", "25%", "100%"], soak="10m"),
    ],
    gate=Gates(),
    watch="0s",
    deadline="1h",
)


@dataclass
class Fleet:
    """A town of 10,000 that have been idle for long, and a rollout to them."""

    town: Town
    campaign: Campaign

    def populate(self, *, fates: dict[str, Fate] | None = None, loads: dict[str, Load] | None = None) -> None:
        for number, serial in enumerate(DEVICES):
            ahead_s = INTERVAL_S * number / FLEET
            load = (loads or {}).get(serial, load_sketch)
            self.town.settle_dormant(serial, ahead_s=ahead_s, fate=(fates or {}).get(serial), load=load)
        early = random.Random(SEED + 1).sample(DEVICES, CANARIES + PILOTS)  # noqa: S311  # the same fleet every time
        for number, serial in enumerate(early):
            add(self.campaign.connection, "canary" if number < CANARIES else "pilot", DeviceId(serial))

    def tick(self, now: datetime) -> None:
        self.town.office.now = now
        self.campaign.advance()

    def run(self, until: Status) -> bool:
        return self.town.world.run(lambda: self.campaign.status is until, at_most_s=2 * DAY_S)

    def pass_hours(self, hours: int) -> None:
        self.town.world.run(lambda: False, at_most_s=hours * 3_600)

    def running(self) -> dict[str, str]:
        """Return what each board that was woken, and has power, runs as it says."""
        boards = self.town.world.boards.items()
        return {device_id: board.runner.state.running.version for device_id, board in boards if board.runner is not None}

    def figures(self, what: str) -> str:
        world, exposed = self.town.world, self.campaign.counts().started
        hours = world.now_s / 3_600
        return f"{what}: {exposed} of {FLEET} devices exposed, {hours:.1f} h in virtual time, {self.town.services.polls} polls"


@contextmanager
def open_fleet(folder: Path) -> Iterator[Fleet]:
    def tick(now: datetime) -> None:
        fleet.tick(now)

    with open_town(folder, tick=tick, tick_s=TICK_S, interval_s=INTERVAL_S) as town:
        fleet = Fleet(town=town, campaign=Campaign(office=town.office, census_step=1_000))
        yield fleet


def spoilt(behaviour: Behaviour) -> Load:
    """Return how programs start on a board on which everything but what left the factory behaves like that."""

    def load(content: bytes) -> Program:
        return load_sketch(content) if content == FACTORY else SketchedProgram(behaviour)

    return load


def operations_at_work(folder: Path) -> tuple[int, int]:
    """Return between which operations of a board the server knows that it has begun, and not yet how that ended."""
    with open_town(folder) as town:
        town.shipped = ship(town.office, keeps_log=True)
        board = town.settle(DEVICES[0])
        first = board.flash.operations
        town.release("1.1.0", Behaviour.GOOD)
        town.order("1.1.0", DEVICES[0])
        assert town.world.run(lambda: "" not in town.outcomes(DEVICES[0]), at_most_s=DAY_S)
        numbers = {
            name: [n for n, line in enumerate(board.flash.log) if line.endswith(f" effect {name}")] for name in ("download", "report")
        }
        return numbers["download"][0] - first, numbers["report"][-1] - first


def quota(paused: StoredDecision) -> int:
    """Return how many devices the plan let into the stages and the batch that were open when a rollout paused."""
    earlier = (CANARIES, PILOTS)[: paused.rollout.stage]
    return sum(earlier) + (ceiling(paused.rollout, paused.evidence) or FLEET)


def test_a_release_that_five_percent_of_10_000_boards_do_not_bear_is_stopped_early(tmp_path: Path, record_property: Figures) -> None:
    bad = random.Random(SEED).sample(DEVICES, FLEET // 20)  # noqa: S311  # the same disasters every time
    loads = {serial: spoilt((Behaviour.CRASHES, Behaviour.UNHEALTHY)[number % 2]) for number, serial in enumerate(bad)}
    with open_fleet(tmp_path) as fleet:
        campaign = fleet.campaign
        fleet.populate(loads=loads)
        fleet.town.release("1.1.0", Behaviour.GOOD)
        campaign.begin(structs.replace(PLAN, gate=DEFAULT))
        assert fleet.run(Status.PAUSED)
        paused = campaign.decisions()[-1]
        assert isinstance(paused.decision, Pause)
        assert paused.decision.cause == "evidence_failed"
        assert "in the whole fleet, 7 of 147 updated devices failed or rolled back" in paused.decision.reason
        fleet.pass_hours(1)
        campaign.steer(Verb.HALT, "one board in twenty does not come up with it")
        fleet.pass_hours(1)
        record_property("figure", fleet.figures("rollout with 5 % bad devices"))

        attempts, running, boards = campaign.attempts(), fleet.running(), fleet.town.world.boards
        exposed = {attempt.device_id for attempt in attempts if attempt.is_started}
        harmed = {attempt.device_id for attempt in attempts if attempt.outcome is Outcome.ROLLED_BACK}
        assert campaign.status is Status.HALTED
        assert len(exposed) <= len(attempts) <= quota(paused) <= FLEET // 40
        assert max(attempt.issued_at for attempt in attempts) < paused.at
        assert harmed == exposed & set(bad)
        assert {boards[device_id].boots[-1][1] for device_id in harmed} == {digest_of(FACTORY)}
        assert {device_id for device_id, version in running.items() if version == "1.1.0"} == exposed - harmed
        assert campaign.counts() == campaign.recounted()
        assert campaign.counts().open == 0
        assert campaign.made_again() > 10


def test_a_rollout_to_10_000_boards_finishes_and_names_the_one_percent_that_fell_silent(tmp_path: Path, record_property: Figures) -> None:
    chance = random.Random(SEED)  # noqa: S311  # the same disasters every time
    silent = chance.sample(DEVICES, FLEET // 100)
    (tmp_path / "one").mkdir()
    first, last = operations_at_work(tmp_path / "one")
    fates = {serial: Fate(cuts=[Cut(after=chance.randrange(first, last), off_s=math.inf)]) for serial in silent}
    with open_fleet(tmp_path) as fleet:
        campaign = fleet.campaign
        fleet.populate(fates=fates)
        fleet.town.release("1.1.0", Behaviour.GOOD)
        campaign.begin(PLAN)
        assert fleet.run(Status.FINISHED)
        record_property("figure", fleet.figures("rollout with 1 % silent devices"))

        # The last deadlines have not passed yet, but those of everybody who fell silent have.
        due = campaign.counts().due
        whole = Counts(offered=FLEET, started=FLEET, succeeded=FLEET - len(silent), silent=len(silent), due=due)
        assert campaign.counts() == campaign.recounted() == whole
        assert len(silent) <= due <= FLEET
        assert fleet.running() == dict.fromkeys(set(DEVICES) - set(silent), "1.1.0")
        assert campaign.decisions()[-1].decision.reason == "Finished: 9900 of 10000 attempts went well. 100 went silent."
        assert campaign.made_again() > 20
        rollout_id = campaign.rollout_id
    assert named(tmp_path, rollout_id, Outcome.SILENT) == set(silent)


def named(folder: Path, rollout_id: int, outcome: Outcome) -> set[str]:
    """Return the devices that operators are shown under this outcome, page by page."""
    engine = create_engine(f"sqlite:///{folder / 'db'}")
    catalogue, found, after = SqlCatalogue(engine), set[str](), 0
    while True:
        page = catalogue.rollout_devices(rollout_id, outcome, after, 30)
        found |= {line.device_id for line in page.devices}
        after = page.next
        if not after:
            break
    engine.dispose()
    return found
