# SPDX-License-Identifier: Apache-2.0
"""Events and the device API: the forms that both ends rely on."""

import pytest

from surefoot.model.errors import FormatError
from surefoot.model.event import MAX_BATCH, Acknowledgement, DeploymentEvent, EventBatch, EventType, Position
from surefoot.model.record import from_json, to_json
from surefoot.model.wire import PollAnswer

JOURNAL = "f1c2" * 4


def batch_of(count: int) -> EventBatch:
    events = [DeploymentEvent(seq=n + 1, type=EventType.CHECK_STARTED, at="2026-11-23T08:00:00Z") for n in range(count)]
    return EventBatch(journal=JOURNAL, events=events)


def test_a_batch_of_the_allowed_size_is_read() -> None:
    assert from_json(to_json(batch_of(MAX_BATCH)), EventBatch, what="batch") == batch_of(MAX_BATCH)


def test_a_longer_batch_is_refused() -> None:
    with pytest.raises(FormatError, match="length <= 200"):
        from_json(to_json(batch_of(MAX_BATCH + 1)), EventBatch, what="batch")


def test_the_example_of_the_formats_page_is_read() -> None:
    example = (
        b'{"journal": "f1c2f1c2f1c2f1c2", "events": [{"seq": 41, "type": "update.install.completed", "at": "2026-11-23T08:00:00Z",'
        b' "clock": "synced", "assignment_id": 1234561, "data": {"slot": "b", "hash": "sha256:00", "seconds": 12.4}}]}'
    )
    assert from_json(example, EventBatch, what="batch").events[0].type == EventType.INSTALL_COMPLETED


def test_an_acknowledgement_has_the_form_of_the_formats_page() -> None:
    assert to_json(Acknowledgement(acknowledged=Position(journal=JOURNAL, seq=42))) == (
        b'{"acknowledged":{"journal":"f1c2f1c2f1c2f1c2","seq":42}}'
    )


def test_a_poll_answer_from_a_newer_server_is_read() -> None:
    answer = from_json(b'{"next_poll_s":300,"metadata":{"director":{"timestamp.json":"e30="}},"later":1}', PollAnswer, what="poll")
    assert answer.metadata.director == {"timestamp.json": b"{}"}
