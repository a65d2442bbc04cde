# SPDX-License-Identifier: Apache-2.0
"""A journal outlives the agent that wrote it: a newer agent reads an older one's, and after a fallback an older one reads a newer one's."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from surefoot.agent.home import JOURNAL, open_journal
from surefoot.agent.journal import SCHEMA, Journal, peek, salvage
from surefoot.agent.state import Phase, State
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.errors import DeviceError, JournalLostError
from surefoot.model.record import to_plain
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.moments import A, B

FROZEN = (Path(__file__).parent / "journals" / "schema-1.0.journal").read_bytes()
"""What schema 1.0 looked like: never to be written anew."""


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line.partition(b" ")[2]) for line in data.splitlines()]


def file_of(entries: list[dict[str, Any]]) -> bytes:
    payloads = [json.dumps(entry).encode() for entry in entries]
    return b"".join(b"%08x %s\n" % (zlib.crc32(payload), payload) for payload in payloads)


def made_newer(value: object) -> object:
    """Return JSON in which every object but an event's facts has a field more."""
    if isinstance(value, dict):
        return {name: part if name == "data" else made_newer(part) for name, part in value.items()} | {"from_the_future": {"x": [1]}}
    return [made_newer(part) for part in value] if isinstance(value, list) else value


def newer(schema: str) -> bytes:
    first, *others = lines(FROZEN)
    return file_of([made_newer(entry) for entry in ({**first, "schema": schema}, *others)])  # type: ignore[misc]  # dicts stay dicts


def opened(data: bytes) -> tuple[SimulatedFlash, Journal[State]]:
    flash = SimulatedFlash()
    replace_file(flash, JOURNAL, data)
    return flash, open_journal(flash)


def standing(journal: Journal[State]) -> object:
    return journal.id, journal.next_seq, [to_plain(event) for event in journal.pending], to_plain(journal.state)


def test_the_oldest_schema_is_still_read() -> None:
    _, journal = opened(FROZEN)
    state = journal.state
    assert state is not None
    assert (state.phase, state.slot, state.running.version, state.fallback) == (Phase.TRIAL, A, "1.0.0", None)
    assert state.attempt is not None
    assert (state.attempt.slot, state.attempt.boots, state.attempt.order.windows[0].zone) == (B, 1, "Europe/Berlin")
    assert (journal.id, journal.next_seq, [event.seq for event in journal.pending]) == ("0123456789abcdef0123456789abcdef", 4, [2, 3])


@pytest.mark.parametrize("schema", ["1.1", "1.999"])
def test_an_older_agent_reads_what_it_knows_of_a_newer_journal_and_goes_on_with_it(schema: str) -> None:
    flash, journal = opened(newer(schema))
    assert standing(journal) == standing(opened(FROZEN)[1])
    assert (first := lines(read_file(flash, JOURNAL) or b"")[0])["schema"] == SCHEMA, "what it writes is of its own schema"
    assert "from_the_future" not in json.dumps(first)
    assert journal.state is not None
    journal.append(structs.replace(journal.state, etag="7"))
    again = open_journal(flash)
    assert again.state is not None
    assert (again.state.etag, again.next_seq) == ("7", 4)


def test_a_status_reads_a_newer_journal_and_leaves_it_as_it_is() -> None:
    flash = SimulatedFlash()
    replace_file(flash, JOURNAL, newer("1.1"))
    found = peek(flash, JOURNAL, State)
    assert found is not None
    assert (found.state.phase, found.pending) == (Phase.TRIAL, 2)
    assert read_file(flash, JOURNAL) == newer("1.1")


def open_it(flash: SimulatedFlash) -> object:
    return open_journal(flash)


def peek_at_it(flash: SimulatedFlash) -> object:
    return peek(flash, JOURNAL, State)


@pytest.mark.parametrize("read", [open_it, peek_at_it])
def test_a_journal_of_another_major_schema_is_refused_and_not_taken_for_a_lost_one(read: Callable[[SimulatedFlash], object]) -> None:
    flash = SimulatedFlash()
    replace_file(flash, JOURNAL, newer("2.0"))
    with pytest.raises(DeviceError, match=r"is of schema 2\.0; this agent reads 1\.x\. Boot the release whose agent wrote it") as refused:
        read(flash)
    assert not isinstance(refused.value, JournalLostError)
    assert read_file(flash, JOURNAL) == newer("2.0"), "the agent that wrote it reads it again"


@pytest.mark.parametrize("schema", ["", "1", "0.1", "1.0.0", "one"])
def test_a_schema_that_is_none_is_damage(schema: str) -> None:
    with pytest.raises(JournalLostError, match="Line 1 of the journal"):
        opened(newer(schema))


def test_what_an_older_agent_knows_must_still_be_right() -> None:
    wrong = lines(newer("1.1"))
    wrong[-1]["state"]["running"]["version"] = "soon"
    with pytest.raises(JournalLostError, match="version"):
        opened(file_of(wrong))


def test_every_state_that_can_be_read_is_found_in_a_damaged_journal() -> None:
    flash = SimulatedFlash()
    whole = newer("1.1").splitlines(keepends=True)
    replace_file(flash, JOURNAL, b"\0" * 700 + b"\n" + whole[1] + whole[2] + whole[3].replace(b"a", b"b") + whole[4])
    assert [state.phase for state in salvage(flash, JOURNAL, State)] == [Phase.IDLE, Phase.TRIAL]
    assert salvage(SimulatedFlash(), JOURNAL, State) == []
