# SPDX-License-Identifier: Apache-2.0
"""How fast an image may come, and that who tries again does not do so in step with everybody else."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.download import Downloader, DownloadTarget, InterruptedDownloadError, Response
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.rate import Bucket
from surefoot.agent.runner import Runner
from surefoot.model.digest import digest_of
from surefoot.model.slot import SlotName
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.test_runner import Story, drive, story

IMAGE = bytes(range(256)) * 1_000
RATE = 20_000


@given(
    rate=st.integers(1_024, 10**7),
    pieces=st.lists(st.tuples(st.integers(0, 65_536), st.floats(0, 100)), min_size=1, max_size=50),
)
def test_what_is_taken_never_exceeds_the_rate_by_more_than_a_burst_and_the_piece_on_its_way(
    rate: int, pieces: list[tuple[int, float]]
) -> None:
    bucket, now_s, taken = Bucket(rate), 0.0, 0
    for count, idle_s in pieces:
        assert taken <= rate * (now_s + 1) + 1
        taken += count
        now_s += bucket.take(count, now_s)
        assert taken <= rate * (now_s + 1) + 1
        now_s += idle_s


@given(st.lists(st.integers(1, 65_536), min_size=1, max_size=50))
def test_who_waits_as_told_is_not_slower_than_the_rate(counts: list[int]) -> None:
    bucket, now_s = Bucket(RATE), 0.0
    for total in accumulate(counts):
        now_s += bucket.take(counts[0], now_s)
        counts = counts[1:]
        assert now_s <= max(0.0, total / RATE - 1) + 0.001


class Pipe:
    """A peer that has all of an image at hand."""

    def open(self, url: str, offset: int) -> Response:  # noqa: ARG002  # the port's
        pieces = (IMAGE[at : at + 10_000] for at in range(offset, len(IMAGE), 10_000))
        return Response(status=206, start=offset, total=len(IMAGE), chunks=pieces, close=lambda: None)


def fetch(rate: int | None, within_s: float = 10_000) -> tuple[int, VirtualClock]:
    clock = VirtualClock()
    slots = SlotFiles(SimulatedFlash(), {SlotName.A: "a", SlotName.B: "b"}, 10**6)
    target = DownloadTarget(urls=("https://server/x",), size=len(IMAGE), hash=digest_of(IMAGE), slot=SlotName.B)
    downloader = Downloader(Pipe(), slots, clock, None if rate is None else Bucket(rate))
    try:
        return downloader.step(target, 0, len(IMAGE), within_s=within_s), clock
    except InterruptedDownloadError as error:
        return error.received, clock


def test_an_image_comes_as_fast_as_it_may_and_no_faster() -> None:
    received, clock = fetch(RATE)
    assert received == len(IMAGE)
    assert len(IMAGE) / RATE - 1 <= clock.monotonic() <= len(IMAGE) / RATE
    assert fetch(None)[1].monotonic() == 0


def test_a_limit_does_not_hold_a_download_beyond_its_deadline() -> None:
    received, clock = fetch(1_024, within_s=50)
    assert 0 < received < len(IMAGE)
    assert clock.monotonic() <= 52


def away(chance: float) -> Story:
    it = story(away=(-1, 10_000))
    runner: Runner = it.runner(chance=lambda: chance)
    drive(runner, lambda _: it.clock.monotonic() > 5_000)
    return it


def test_a_pause_before_another_try_is_shortened_by_chance_and_never_lengthened() -> None:
    assert away(0.0).clock.waits[:5] == [1, 2, 4, 8, 16]
    assert away(1.0).clock.waits[:5] == [0.5, 1, 2, 4, 8]
    assert max(away(1.0).clock.waits) == 150


def test_the_servers_own_interval_is_kept_to_the_second() -> None:
    it = story()
    it.run()
    told: list[float] = []
    runner = it.runner(it.world.board.boots[-1][0], chance=lambda: 1.0, will_wake=told.append)
    drive(runner, lambda _: it.clock.monotonic() > 5_000)
    assert set(told) - {0.0} == {300}
