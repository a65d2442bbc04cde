# SPDX-License-Identifier: Apache-2.0
"""The network between a board and the services, in virtual time: slow, absent, and lossy in both directions.

- A request may be lost before the services see it; an answer may be lost after they took the request, so that the board must
  ask again for what has been done; a download may break in the middle.
- Whatever happens is drawn from a stream of numbers that is passed in: the same stream, the same weather.
- Time passes on the board's clock while it waits for an answer or for the end of its patience.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from surefoot.agent.download import Response
from surefoot.agent.transport import Polled
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, from_hex
from surefoot.model.errors import FormatError, TransportError
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.simulator.clock import VirtualClock

Chance = Callable[[], float]
"""Draws the next number, evenly from 0 up to but not including 1."""

_T = TypeVar("_T")


class Services(Protocol):
    """The server's verbs for devices; ``now`` is true time, whatever a board's own clock says."""

    def poll(self, device_id: DeviceId, etag: str, now: datetime) -> Polled:
        """Answer what changed for a device since ``etag``."""
        ...

    def report(self, device_id: DeviceId, batch: EventBatch, now: datetime) -> Acknowledgement:
        """Take a batch of events; it is stored when this returns."""
        ...

    def artifact(self, device_id: DeviceId, digest: Digest, offset: int) -> Response:
        """Return the bytes of an image from ``offset`` on."""
        ...


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without any network, in seconds from the start of the world."""

    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What the network of a board is like; the default is fair.

    Attributes:
        lost_requests: Share of requests that never arrive, 0..1.
        lost_answers: Share of answers that never arrive, though the services took the request, 0..1.
        cut_downloads: Share of downloads that break somewhere in the middle, 0..1.
        latency_s: The shortest and the longest time from a request to its answer.
        patience_s: How long the board waits for an answer that does not come.
        outages: When there is no network.
    """

    lost_requests: float = 0.0
    lost_answers: float = 0.0
    cut_downloads: float = 0.0
    latency_s: tuple[float, float] = (0.0, 0.0)
    patience_s: float = 30.0
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a board has for a server: the port ``surefoot.agent.transport.Server``.

    Attributes:
        device_id: Who calls, as its certificate would say.
        services: Who is called.
        clock: The board's; its monotonic side is the time of the world, in seconds from ``epoch``.
        epoch: The start of the world, aware UTC.
        weather: What the network is like.
        chance: The stream that everything is drawn from.
    """

    device_id: DeviceId
    services: Services
    clock: VirtualClock
    epoch: datetime
    weather: Weather
    chance: Chance

    def poll(self, etag: str) -> Polled:
        """Implement ``Server``."""
        return self._ask(lambda: self.services.poll(self.device_id, etag, self.now()))

    def send(self, batch: EventBatch) -> Acknowledgement:
        """Implement ``Server``."""
        return self._ask(lambda: self.services.report(self.device_id, batch, self.now()))

    def open(self, url: str, offset: int) -> Response:
        """Implement ``Server``; the last part of the URL is the digest."""
        digest = _digest_in(url)
        answer = self._ask(lambda: self.services.artifact(self.device_id, digest, offset))
        if not self._happens(self.weather.cut_downloads):
            return answer
        return replace(answer, chunks=_cut(answer.chunks, self.chance))

    def now(self) -> datetime:
        """Return true time."""
        return self.epoch + timedelta(seconds=self.clock.monotonic())

    def _ask(self, ask: Callable[[], _T]) -> _T:
        if self._is_out() or self._happens(self.weather.lost_requests):
            raise self._silence()
        shortest_s, longest_s = self.weather.latency_s
        latency_s = shortest_s if shortest_s == longest_s else shortest_s + (longest_s - shortest_s) * self.chance()
        self.clock.sleep(latency_s / 2)
        answer = ask()
        self.clock.sleep(latency_s / 2)
        if self._is_out() or self._happens(self.weather.lost_answers):
            raise self._silence()
        return answer

    def _is_out(self) -> bool:
        now_s = self.clock.monotonic()
        return any(outage.begin_s <= now_s < outage.end_s for outage in self.weather.outages)

    def _happens(self, share: float) -> bool:
        # Fair weather draws nothing, so that adding a fault elsewhere does not change this board's.
        return share > 0 and self.chance() < share

    def _silence(self) -> TransportError:
        self.clock.sleep(self.weather.patience_s)
        return TransportError("Nobody answered.")


def _digest_in(url: str) -> Digest:
    try:
        return from_hex(url.rpartition("/")[2])
    except FormatError as error:
        raise TransportError(f"{url[:100]!r} names no image.") from error


def _cut(chunks: Iterator[bytes], chance: Chance) -> Iterator[bytes]:
    """Yield some of the bytes, then break off."""
    for chunk in chunks:
        if chance() < 0.5:  # noqa: PLR2004  # in each chunk as likely as not
            yield chunk[: int(len(chunk) * chance())]
            break
        yield chunk
    raise TransportError("The connection broke off.")
