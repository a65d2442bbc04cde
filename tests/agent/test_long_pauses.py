# SPDX-License-Identifier: Apache-2.0
"""Whoever waits long, for room or for the rate of a download, is not taken for one who hangs: a watchdog would reset the board."""

from typing import Any, cast

import pytest

from surefoot.agent.download import Response
from surefoot.agent.installers.port import Installer
from surefoot.agent.pulse import Unheard
from surefoot.agent.rate import Bucket
from surefoot.agent.runner import Runner
from surefoot.agent.state import Phase
from surefoot.agent.storage import File
from surefoot.model.digest import Digest
from surefoot.model.slot import SlotName
from surefoot.simulator.board import Behaviour, SketchedProgram
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.test_full_disk import FailingFlash
from tests.agent.test_runner import Story, drive, story

STALLED_S = 180.0
PROGRAM = SketchedProgram(Behaviour.GOOD)


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


class Slowest:
    """Slots that take as long as they say that they may, and longer than the agent may go without a beat."""

    def __init__(self, slots: Installer, clock: VirtualClock) -> None:
        self.slots, self.clock = slots, clock
        self.capacity_bytes = slots.capacity_bytes
        self.close = slots.close

    def install_s(self, size: int) -> float:
        return 1800.0 + self.read_s(size)

    def read_s(self, size: int) -> float:
        return self.slots.read_s(size)

    def writer(self, slot: SlotName) -> File:
        return SlowFile(self.slots.writer(slot), self.clock)

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        self.clock.sleep(self.install_s(size))
        self.slots.install(slot, size, digest)

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        self.clock.sleep(self.read_s(size))
        self.slots.verify(slot, size, digest)

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        self.clock.sleep(self.read_s(size))
        return self.slots.running_digest(slot, size)


class SlowFile:
    """A file of which any read takes 200 s."""

    def __init__(self, file: File, clock: VirtualClock) -> None:
        self.file, self.clock = file, clock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever a file has
        return getattr(self.file, name)

    def read_at(self, offset: int, size: int) -> bytes:
        self.clock.sleep(200)
        return self.file.read_at(offset, size)


def test_who_fills_or_reads_a_slot_says_before_how_long_that_takes() -> None:
    """RAUC or a script installs for half an hour; an agent that was started again reads first what it has of the download."""
    it = story(flash=SimulatedFlash(), breaks_after=[2 * 4096])
    pulse = Impatient(it.clock)

    def runner() -> Runner:
        slots = cast("Installer", Slowest(it.world.board.parts(PROGRAM, SlotName.A).slots, it.clock))
        return it.runner(pulse=pulse, slots=slots, reboot=lambda: None)

    first = runner()
    drive(first, lambda _: first.state.attempt is not None and first.state.attempt.received > 0)
    begun_s = it.clock.monotonic()
    again = runner()
    drive(again, lambda _: again.state.phase is Phase.REBOOTING)
    assert it.clock.monotonic() - begun_s > 200 + 1800 + 3 * 300, "it does take that long"
    assert pulse.longest_s <= STALLED_S


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
