# SPDX-License-Identifier: Apache-2.0
"""Whoever waits long, for room or for the rate of a download, is not taken for one who hangs: a watchdog would reset the board."""

import pytest

from surefoot.agent.download import Response
from surefoot.agent.pulse import Unheard
from surefoot.agent.rate import Bucket
from surefoot.agent.state import Phase
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.test_full_disk import FailingFlash
from tests.agent.test_runner import Story, drive, story

STALLED_S = 180.0


class Impatient(Unheard):
    """Notes the longest time without a beat."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.longest_s = 0.0
        self.allowed_until_s = STALLED_S

    def beat(self, within_s: float = 0.0) -> None:
        now_s = self.clock.monotonic()
        self.longest_s = max(self.longest_s, now_s - self.allowed_until_s + STALLED_S)
        self.allowed_until_s = now_s + max(within_s, STALLED_S)

    def rest_s(self) -> float:
        return STALLED_S / 3


def beaten(it: Story) -> Impatient:
    pulse = Impatient(it.clock)
    drive(it.runner(pulse=pulse), lambda _: it.clock.monotonic() > 3_000, steps=5_000)
    return pulse


def test_who_waits_for_room_goes_on_beating() -> None:
    flash = FailingFlash(1_000_000, is_read_only=False)
    it = story(flash=flash)
    flash.fails_from = 0
    assert beaten(it).longest_s <= STALLED_S / 3


@pytest.mark.parametrize("chunk_bytes", [5_000, 200_000])
def test_who_waits_for_the_rate_goes_on_beating(chunk_bytes: int) -> None:
    it = story(flash=SimulatedFlash())
    whole = it.world.server.open

    def open_in_pieces(url: str, offset: int) -> Response:
        answer = whole(url, offset)
        data = b"".join(answer.chunks)
        pieces = (data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes))
        return Response(status=206, start=offset, total=answer.total, chunks=pieces, close=answer.close)

    it.world.server.open = open_in_pieces  # type: ignore[method-assign]  # a server with pieces of another size
    pulse = Impatient(it.clock)
    runner = it.runner(pulse=pulse, bucket=Bucket(256), reboot=lambda: None)
    drive(runner, lambda _: runner.state.phase is Phase.REBOOTING)
    assert it.clock.monotonic() > 400, "the rate is kept to"
    assert pulse.longest_s <= STALLED_S / 3
