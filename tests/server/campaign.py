# SPDX-License-Identifier: Apache-2.0
"""A campaign: one rollout on an office, as the server conducts it, and what is stored of it."""

import asyncio
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime

from surefoot.fleet.attempt import Attempt
from surefoot.model.digest import Digest, digest_of
from surefoot.model.event import EventType
from surefoot.model.record import from_json, parse_utc
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Decision
from surefoot.rollout.evidence import Control, Counts, counts_of, total
from surefoot.rollout.plan import Gates, Plan, Stage, Status
from surefoot.server.db.survey import census, watch
from surefoot.server.services.advance import Lookout, advance_all
from surefoot.server.services.attempts import facts
from surefoot.server.services.audience import audience_of
from surefoot.server.services.catalogue import StoredDecision
from surefoot.server.services.rollout_store import Census, StoredRollout
from surefoot.server.services.rollouts import SteerRequest, Verb, create, steer
from tests.server.office import Office, event

OLD_IMAGE = digest_of(b"old image")
PLAN = Plan(
    release="thermostat 1.1.0",
    stages=[Stage(name="canary", group="canary", soak="10s"), Stage(name="general", batches=["25%", "100%"], soak="10s")],
    gate=Gates(),
    watch="0s",
    deadline="10m",
    start_within="1h",
)


@dataclass
class Campaign:
    office: Office
    rollout_id: int = 0
    census_step: int = 7
    seqs: dict[str, int] = field(default_factory=dict)

    @property
    def connection(self) -> sqlite3.Connection:
        return self.office.connection

    def begin(self, plan: Plan = PLAN) -> None:
        self.draft(plan)
        self.steer(Verb.START)

    def draft(self, plan: Plan) -> None:
        office = self.office
        self.rollout_id = asyncio.run(
            create(plan, "salt", by="ann", write=office.do, kinds=office.catalogue().kinds, now=office.now)
        ).rollout_id

    def steer(self, verb: Verb, why: str = "", of: str = "", *, by: str = "ann", at: str = "", keeps: bool = False) -> Decision:
        said = SteerRequest(why=why, of=of, at=at, keeps=keeps)
        return asyncio.run(steer(self.rollout_id, verb, said, by=by, write=self.office.do, now=self.office.now))

    def advance(self, **duration: float) -> None:
        self.office.pass_time(**duration)

        assert asyncio.run(advance_all(self.office.do, Lookout(self), self.office.now)) == []

    async def count(self, stored: StoredRollout, now: datetime) -> Census:
        audience = audience_of(self.office.ledger, stored, now)
        return census(
            self.connection, stored, lambda candidate, stage: audience.image_for(candidate, stage) is not None, step=self.census_step
        )

    async def watch(self, stored: StoredRollout, now: datetime) -> list[Control]:
        return watch(self.connection, stored, now, 900)

    def open_attempts(self) -> list[Attempt]:
        rows = self.connection.execute("SELECT body FROM assignment WHERE outcome IS NULL ORDER BY assignment_id")
        return [from_json(body, Attempt, what="attempt") for (body,) in rows]

    def tell(self, attempt: Attempt, *kinds: EventType, running: Digest | None = None) -> None:
        for kind in kinds:
            seq = self.seqs[attempt.device_id] = self.seqs.get(attempt.device_id, 0) + 1
            self.office.report(event(seq, kind, attempt), running=running, device_id=attempt.device_id)

    def succeed(self, attempt: Attempt) -> None:
        self.tell(attempt, EventType.DOWNLOAD_STARTED)
        self.tell(attempt, EventType.HEALTH_OK, running=attempt.hash)

    def fail(self, attempt: Attempt) -> None:
        self.tell(attempt, EventType.DOWNLOAD_STARTED)
        self.tell(attempt, EventType.ROLLBACK_COMPLETED, running=OLD_IMAGE)

    @property
    def stored(self) -> StoredRollout:
        found = self.office.ledger.rollouts.rollout(self.rollout_id)
        assert found is not None
        return found

    @property
    def status(self) -> Status:
        return self.stored.rollout.status

    def counts(self) -> Counts:
        return total(tally.counts for tally in self.office.ledger.rollouts.tallies(self.rollout_id))

    def decisions(self) -> list[StoredDecision]:
        rows = self.connection.execute("SELECT body FROM decision WHERE rollout_id = ? ORDER BY number", (self.rollout_id,))
        return [from_json(body, StoredDecision, what="decision") for (body,) in rows]

    def attempts(self) -> list[Attempt]:
        rows = self.connection.execute("SELECT body FROM assignment WHERE rollout_id = ? ORDER BY assignment_id", (self.rollout_id,))
        return [from_json(body, Attempt, what="attempt") for (body,) in rows]

    def recounted(self) -> Counts:
        return total(counts_of(facts(attempt)) for attempt in self.attempts())

    def made_again(self) -> int:
        """See that every decision of the engine follows from what is stored with it; return how many there are."""
        made = [stored for stored in self.decisions() if not getattr(stored.decision, "by", "")]
        for stored in made:
            assert decide(stored.rollout, stored.evidence, parse_utc(stored.at)) == stored.decision
        return len(made)
