# SPDX-License-Identifier: Apache-2.0
"""A device that verifies everything polls a server on which anything happens, in any order."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from surefoot.fleet.attempt import Attempt
from surefoot.model.event import EventType
from surefoot.trust.repository import refresh, versions
from surefoot.trust.verify import verify
from tests.server.office import DEVICE, event, open_office


class PollingDevice(RuleBasedStateMachine):
    """The device keeps what it verified and the ETag, and nothing else; now and then it loses the ETag."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = tempfile.mkdtemp()
        self.stack.callback(shutil.rmtree, folder)
        self.office = self.stack.enter_context(open_office(Path(folder)))
        self.director = self.office.repositories.trusted_director()
        self.image = self.office.repositories.trusted_image()
        self.etag, self.seq, self.releases = "", 0, list[str]()
        self.ordered: Attempt | None = None

    @initialize()
    def publish_first(self) -> None:
        self.publish()

    @precondition(lambda self: len(self.releases) < 6)
    @rule()
    def publish(self) -> None:
        self.releases.append(f"1.{len(self.releases) + 1}.0")
        self.office.add_release(self.releases[-1], self.releases[-1].encode())

    @rule(data=st.data())
    def order(self, data: st.DataObject) -> None:
        self.ordered = self.office.order(data.draw(st.sampled_from(self.releases)))

    @rule(hours=st.integers(1, 70))
    def pass_time(self, hours: int) -> None:
        self.office.pass_time(hours=hours)
        repositories = self.office.repositories
        repositories.image |= (changed := refresh(repositories.image, repositories.online, self.office.now))
        self.office.ledger.put_metadata("image", changed, versions(changed))
        self.office.poll_verb.reload()

    @precondition(lambda self: self.ordered is not None)
    @rule(kind=st.sampled_from([EventType.DOWNLOAD_STARTED, EventType.INSTALL_FAILED, EventType.ROLLBACK_COMPLETED]))
    def report(self, kind: EventType) -> None:
        assert self.ordered is not None
        self.seq += 1
        self.office.report(event(self.seq, kind, self.ordered))
        if kind is not EventType.DOWNLOAD_STARTED:
            self.ordered = None

    @rule()
    def lose_the_etag(self) -> None:
        self.etag = ""

    @rule()
    def poll(self) -> None:
        if self.office.is_idle(self.etag):
            return
        self.etag, answer = self.office.poll(self.etag)
        verdict = verify(
            director=self.director,
            image=self.image,
            fetched_director=answer.metadata.director,
            fetched_image=answer.metadata.image,
            device_id=DEVICE,
            now=self.office.now,
        )
        self.director, self.image = dict(verdict.director), dict(verdict.image)
        found = None if verdict.ordered is None else (verdict.ordered.order.assignment_id, verdict.ordered.hash)
        assert found == (None if self.ordered is None else (self.ordered.assignment_id, self.ordered.hash))

    @invariant()
    def at_most_one_attempt_is_open(self) -> None:
        attempt = self.office.ledger.open_attempt(DEVICE)
        assert (attempt and attempt.assignment_id) == (self.ordered and self.ordered.assignment_id)

    def teardown(self) -> None:
        self.stack.close()


PollingDevice.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestPollingDevice = PollingDevice.TestCase
