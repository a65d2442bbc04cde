# SPDX-License-Identifier: Apache-2.0
"""The network between a board and the services: what is lost, when, and how long that takes."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle

import pytest

from surefoot.agent.download import Response
from surefoot.agent.transport import Polled
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, digest_of, hex_of
from surefoot.model.errors import TransportError
from surefoot.model.event import Acknowledgement, EventBatch, Position
from surefoot.simulator.clock import DEFAULT_START, VirtualClock
from surefoot.simulator.network import Network, Outage, Weather

IMAGE = b"0123456789"
URL = f"https://server/v1/artifacts/{hex_of(digest_of(IMAGE))}"
BATCH = EventBatch(journal="0123456789abcdef", events=[])


@dataclass
class Taken:
    """Services that remember what they took, and when."""

    calls: list[tuple[str, datetime]] = field(default_factory=list)

    def poll(self, device_id: DeviceId, etag: str, now: datetime) -> Polled:
        self.calls.append((f"poll {device_id} {etag}", now))
        return Polled(next_poll_s=300, answer=None, etag=etag)

    def report(self, device_id: DeviceId, batch: EventBatch, now: datetime) -> Acknowledgement:
        self.calls.append((f"report {device_id}", now))
        return Acknowledgement(acknowledged=Position(journal=batch.journal, seq=0))

    def artifact(self, device_id: DeviceId, digest: Digest, offset: int) -> Response:
        assert (device_id, digest) == ("t-1", digest_of(IMAGE))
        chunks = (IMAGE[start : start + 2] for start in range(offset, len(IMAGE), 2))
        return Response(status=206, start=offset, total=len(IMAGE), chunks=chunks, close=lambda: None)


def drawn(*numbers: float) -> Callable[[], float]:
    stream = cycle(numbers)
    return lambda: next(stream)


def network(taken: Taken, weather: Weather, *numbers: float, clock: VirtualClock | None = None) -> Network:
    return Network(
        device_id=DeviceId("t-1"),
        services=taken,
        clock=clock or VirtualClock(),
        epoch=DEFAULT_START,
        weather=weather,
        chance=drawn(*(numbers or (0.99,))),
    )


def test_in_fair_weather_everything_arrives_and_no_time_passes() -> None:
    taken, clock = Taken(), VirtualClock()
    fair = network(taken, Weather(), clock=clock)
    assert fair.poll("x").etag == "x"
    assert fair.send(BATCH).acknowledged.seq == 0
    assert b"".join(fair.open(URL, 4).chunks) == IMAGE[4:]
    assert ([call for call, _ in taken.calls], clock.monotonic()) == (["poll t-1 x", "report t-1"], 0.0)


def test_a_lost_request_is_not_taken_and_costs_all_patience() -> None:
    taken, clock = Taken(), VirtualClock()
    with pytest.raises(TransportError):
        network(taken, Weather(lost_requests=0.5, patience_s=7), 0.4, clock=clock).send(BATCH)
    assert (taken.calls, clock.monotonic()) == ([], 7.0)


def test_a_lost_answer_was_taken() -> None:
    taken = Taken()
    with pytest.raises(TransportError):
        network(taken, Weather(lost_answers=0.5), 0.4).send(BATCH)
    assert [call for call, _ in taken.calls] == ["report t-1"]


def test_what_is_drawn_at_or_above_the_share_gets_through() -> None:
    weather = Weather(lost_requests=0.5, lost_answers=0.5)
    assert network(Taken(), weather, 0.5).poll("x").etag == "x"


def test_the_services_are_called_half_of_the_latency_later_at_true_time() -> None:
    taken, clock = Taken(), VirtualClock()
    clock.jump(-1_000_000)
    network(taken, Weather(latency_s=(2, 4)), 0.5, clock=clock).poll("x")
    assert (taken.calls[0][1], clock.monotonic()) == (DEFAULT_START + timedelta(seconds=1.5), 3.0)


def test_in_an_outage_nothing_arrives_and_behind_it_everything_does() -> None:
    taken, clock = Taken(), VirtualClock()
    away = network(taken, Weather(outages=(Outage(10, 50),), patience_s=30), clock=clock)
    away.poll("1")
    clock.sleep(15)
    for _ in range(2):
        with pytest.raises(TransportError):
            away.poll("2")
    away.poll("3")
    assert [call for call, _ in taken.calls] == ["poll t-1 1", "poll t-1 3"]


def test_an_outage_swallows_an_answer_on_its_way() -> None:
    taken = Taken()
    with pytest.raises(TransportError):
        network(taken, Weather(latency_s=(4, 4), outages=(Outage(3, 9),))).send(BATCH)
    assert len(taken.calls) == 1


def test_a_cut_download_gives_the_first_bytes_and_breaks() -> None:
    answer = network(Taken(), Weather(cut_downloads=0.5), 0.2, 0.9, 0.3, 0.5).open(URL, 0)
    assert received(answer.chunks) == IMAGE[:3]


def received(chunks: Iterator[bytes]) -> bytes:
    found = bytearray()
    with suppress(TransportError):
        for chunk in chunks:
            found += chunk
        pytest.fail("it did not break")
    return bytes(found)


def test_an_address_without_a_digest_leads_nowhere() -> None:
    with pytest.raises(TransportError):
        network(Taken(), Weather()).open("https://server/other", 0)
