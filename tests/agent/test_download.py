# SPDX-License-Identifier: Apache-2.0
"""Downloads: resumed after anything, and never more, fewer or other bytes than were signed."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.agent.download import MIN_PROGRESS_BYTES, PATIENCE_S, Downloader, DownloadTarget, InterruptedDownloadError, Response
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.storage import read_file
from surefoot.model.digest import digest_of
from surefoot.model.errors import CorruptDownloadError, RefusedDownloadError, SpaceError, TransportError
from surefoot.model.slot import SlotName
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash

B = SlotName.B
SLOT = "slots/b.img"
IMAGE = bytes(range(251)) * 300
URL = "https://example.org/image"
TARGET = DownloadTarget(urls=(URL,), size=len(IMAGE), hash=digest_of(IMAGE), slot=B)


@dataclass(slots=True, kw_only=True)
class Peer:
    """A server in memory.

    Attributes:
        body: What it serves.
        chunk: Bytes in a piece.
        breaks_after: For each connection in turn, after how many bytes it breaks; then it holds.
        ends_after: The same, but the body just ends.
        ignores_ranges: Whether it always sends everything.
        states_total: Whether it says how long the file is.
        status: The status it answers with, when it is not the right one.
        shift: Bytes it sends from before what was asked for.
    """

    body: bytes = IMAGE
    chunk: int = 1000
    breaks_after: list[int] = field(default_factory=list)
    ends_after: list[int] = field(default_factory=list)
    ignores_ranges: bool = False
    states_total: bool = True
    status: int | None = None
    shift: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    connections: int = 0

    def open(self, url: str, offset: int) -> Response:
        self.asked.append((url, offset))
        start = 0 if self.ignores_ranges else offset - self.shift
        self.connections += 1
        return Response(
            status=self.status or (200 if start == 0 else 206),
            start=start,
            total=len(self.body) if self.states_total else None,
            chunks=self._chunks(start),
            close=self._close,
        )

    def _close(self) -> None:
        self.connections -= 1

    def _chunks(self, start: int) -> Iterator[bytes]:
        broken = self.breaks_after.pop(0) if self.breaks_after else len(self.body)
        ended = self.ends_after.pop(0) if self.ends_after else len(self.body)
        yield b""
        for sent in range(0, min(broken, ended), self.chunk):
            yield self.body[start + sent : start + min(sent + self.chunk, broken, ended)]
        if broken < len(self.body):
            raise TransportError("The connection was reset.")


@dataclass(slots=True)
class SlowPeer:
    """A server that sends the image at some rate, one small piece a time."""

    clock: VirtualClock
    bytes_per_s: float
    chunk: int = 100

    def open(self, url: str, offset: int) -> Response:  # noqa: ARG002  # the port's
        return Response(status=206, start=offset, total=len(IMAGE), chunks=self._chunks(offset), close=lambda: None)

    def _chunks(self, start: int) -> Iterator[bytes]:
        for begin in range(start, len(IMAGE), self.chunk):
            self.clock.sleep(self.chunk / self.bytes_per_s)
            yield IMAGE[begin : begin + self.chunk]


class DeadPeer:
    def open(self, url: str, offset: int) -> Response:
        raise TransportError(f"{url} cannot be reached from {offset}.")


def slots_on(flash: SimulatedFlash, capacity_bytes: int = 1_000_000) -> SlotFiles:
    return SlotFiles(flash, {SlotName.A: "slots/a.img", B: SLOT}, capacity_bytes)


def in_tenths(downloader: Downloader, received: int = 0) -> Iterator[int]:
    """Ask for a tenth after the other, as the machine does; give what is durable."""
    while received < TARGET.size:
        received = downloader.step(TARGET, received, received + TARGET.size // 10 + 1)
        yield received


def test_an_image_arrives_in_steps_over_one_connection() -> None:
    flash, peer = SimulatedFlash(), Peer()
    slots = slots_on(flash)
    assert len(list(in_tenths(Downloader(peer, slots, VirtualClock())))) == 10
    assert peer.asked == [(URL, 0)]
    assert peer.connections == 0
    slots.verify(B, TARGET.size, TARGET.hash)


def test_what_a_step_returns_is_durable() -> None:
    flash = SimulatedFlash()
    downloader = Downloader(Peer(), slots_on(flash), VirtualClock())
    received = downloader.step(TARGET, 0, 10_001)
    assert received == 10_001
    assert read_file(flash.power_cycle(Damage.LOST), SLOT) == IMAGE[:10_001]


def test_bytes_are_written_in_whole_blocks() -> None:
    flash = SimulatedFlash()
    Downloader(Peer(chunk=777), slots_on(flash), VirtualClock()).step(TARGET, 0, TARGET.size)
    writes = [line.split("+")[1] for line in flash.log if " write " in line]
    assert writes == ["4096"] * (TARGET.size // 4096) + [str(TARGET.size % 4096)]


def test_another_process_goes_on_where_the_first_stopped() -> None:
    flash, peer = SimulatedFlash(), Peer()
    received = Downloader(peer, slots_on(flash), VirtualClock()).step(TARGET, 0, 20_000)
    assert Downloader(peer, slots_on(flash), VirtualClock()).step(TARGET, received, TARGET.size) == TARGET.size
    assert [offset for _, offset in peer.asked] == [0, 20_000]
    assert read_file(flash, SLOT) == IMAGE


def test_a_finished_download_is_checked_again_without_asking_anybody() -> None:
    flash = SimulatedFlash()
    Downloader(Peer(), slots_on(flash), VirtualClock()).step(TARGET, 0, TARGET.size)
    assert Downloader(DeadPeer(), slots_on(flash), VirtualClock()).step(TARGET, TARGET.size, TARGET.size) == TARGET.size


def test_a_changed_prefix_is_found_at_the_end_and_discarded() -> None:
    flash = SimulatedFlash()
    received = Downloader(Peer(), slots_on(flash), VirtualClock()).step(TARGET, 0, 20_000)
    flash.open(SLOT).write_at(5, b"!")
    with pytest.raises(CorruptDownloadError, match="and not the signed"):
        Downloader(Peer(), slots_on(flash), VirtualClock()).step(TARGET, received, TARGET.size)
    assert read_file(flash, SLOT) == b""


def test_a_prefix_that_is_gone_is_corrupt() -> None:
    flash = SimulatedFlash()
    with pytest.raises(CorruptDownloadError, match="lost bytes"):
        Downloader(Peer(), slots_on(flash), VirtualClock()).step(TARGET, 20_000, TARGET.size)


def test_what_an_earlier_larger_image_left_is_cut_off() -> None:
    flash = SimulatedFlash()
    flash.open(SLOT, create=True).write_at(0, b"old" * 100_000)
    Downloader(Peer(), slots_on(flash), VirtualClock()).step(TARGET, 0, TARGET.size)
    assert read_file(flash, SLOT) == IMAGE


def test_a_broken_connection_names_what_is_durable() -> None:
    flash = SimulatedFlash()
    peer = Peer(breaks_after=[12_345])
    downloader = Downloader(peer, slots_on(flash), VirtualClock())
    with pytest.raises(InterruptedDownloadError) as caught:
        downloader.step(TARGET, 0, TARGET.size)
    assert caught.value.received == 12_345
    assert read_file(flash.power_cycle(Damage.LOST), SLOT) == IMAGE[:12_345]
    assert peer.connections == 0


def test_an_unreachable_peer_is_an_interruption_without_progress() -> None:
    with pytest.raises(InterruptedDownloadError, match="cannot be reached") as caught:
        Downloader(DeadPeer(), slots_on(SimulatedFlash()), VirtualClock()).step(TARGET, 0, 5000)
    assert (caught.value.received, caught.value.code) == (0, "transport")


def test_no_url_is_a_refusal() -> None:
    target = DownloadTarget(urls=(), size=5, hash=digest_of(b"hello"), slot=B)
    with pytest.raises(RefusedDownloadError, match="no place"):
        Downloader(Peer(), slots_on(SimulatedFlash()), VirtualClock()).step(target, 0, 5)


def test_each_new_connection_tries_the_next_url() -> None:
    peer = Peer(breaks_after=[10, 10, 10])
    downloader = Downloader(peer, slots_on(SimulatedFlash()), VirtualClock())
    target = DownloadTarget(urls=("one", "two"), size=TARGET.size, hash=TARGET.hash, slot=B)
    for received in (0, 10, 20):
        with pytest.raises(InterruptedDownloadError):
            downloader.step(target, received, TARGET.size)
    assert peer.asked == [("one", 0), ("two", 10), ("one", 20)]


def test_a_peer_that_ignores_ranges_is_listened_to_from_the_start() -> None:
    flash = SimulatedFlash()
    peer = Peer(ignores_ranges=True, breaks_after=[12_345])
    downloader = Downloader(peer, slots_on(flash), VirtualClock())
    with pytest.raises(InterruptedDownloadError):
        downloader.step(TARGET, 0, TARGET.size)
    assert downloader.step(TARGET, 12_345, TARGET.size) == TARGET.size
    assert read_file(flash, SLOT) == IMAGE


@pytest.mark.parametrize("status", [204, 302, 408, 429, 500])
def test_another_status_is_an_interruption(status: int) -> None:
    with pytest.raises(InterruptedDownloadError, match=f"status {status}"):
        Downloader(Peer(status=status), slots_on(SimulatedFlash()), VirtualClock()).step(TARGET, 0, 5000)


@pytest.mark.parametrize("status", [400, 403, 404, 410, 416])
def test_a_peer_that_will_not_give_the_image_refuses_it(status: int) -> None:
    with pytest.raises(RefusedDownloadError, match=f"status {status}"):
        Downloader(Peer(status=status), slots_on(SimulatedFlash()), VirtualClock()).step(TARGET, 0, 5000)


def test_another_range_than_asked_for_is_an_interruption() -> None:
    flash = SimulatedFlash()
    received = Downloader(Peer(), slots_on(flash), VirtualClock()).step(TARGET, 0, 20_000)
    with pytest.raises(InterruptedDownloadError, match="from 19990 and not from 20000"):
        Downloader(Peer(shift=10), slots_on(flash), VirtualClock()).step(TARGET, received, TARGET.size)
    assert read_file(flash, SLOT) == IMAGE[:20_000]


@pytest.mark.parametrize("states_total", [True, False])
@pytest.mark.parametrize("body", [IMAGE + b"!", IMAGE[:-1] + b"!", b"?" + IMAGE[1:]])
def test_other_bytes_are_discarded(body: bytes, *, states_total: bool) -> None:
    flash = SimulatedFlash()
    peer = Peer(body=body, states_total=states_total)
    with pytest.raises(CorruptDownloadError):
        Downloader(peer, slots_on(flash), VirtualClock()).step(TARGET, 0, TARGET.size)
    assert read_file(flash, SLOT) == b""
    assert peer.connections == 0


@pytest.mark.parametrize("chunk", [1, 1000, len(IMAGE), len(IMAGE) + 4096])
def test_no_byte_past_the_size_is_written(chunk: int) -> None:
    flash = SimulatedFlash()
    image = IMAGE[:10_000]
    target = DownloadTarget(urls=(URL,), size=len(image), hash=digest_of(image), slot=B)
    with pytest.raises(CorruptDownloadError, match="more than 10000 bytes"):
        Downloader(Peer(states_total=False, chunk=chunk), slots_on(flash), VirtualClock()).step(target, 0, len(image))
    written = [line.rsplit(" ", 1)[1].split("+") for line in flash.log if " write " in line]
    assert max(int(offset) + int(size) for offset, size in written) == 10_000


def test_a_body_that_ends_early_is_first_an_interruption_and_then_corrupt() -> None:
    flash = SimulatedFlash()
    peer = Peer(ends_after=[5000, 0], states_total=False)
    downloader = Downloader(peer, slots_on(flash), VirtualClock())
    with pytest.raises(InterruptedDownloadError, match="ended before the image") as caught:
        downloader.step(TARGET, 0, TARGET.size)
    assert caught.value.received == 5000
    with pytest.raises(CorruptDownloadError, match="no bytes after 5000"):
        downloader.step(TARGET, 5000, TARGET.size)
    assert read_file(flash, SLOT) == b""


def test_trouble_after_the_last_byte_does_not_matter() -> None:
    flash = SimulatedFlash()
    body = IMAGE + b"never sent"
    peer = Peer(body=body, states_total=False, breaks_after=[len(IMAGE)])
    assert Downloader(peer, slots_on(flash), VirtualClock()).step(TARGET, 0, TARGET.size) == TARGET.size


def test_an_image_larger_than_the_slot_is_refused_before_anything_is_written() -> None:
    flash = SimulatedFlash()
    with pytest.raises(SpaceError, match=f"{len(IMAGE)} bytes, slot b holds 1000"):
        Downloader(Peer(), slots_on(flash, capacity_bytes=1000), VirtualClock()).step(TARGET, 0, TARGET.size)
    assert flash.operations == 0


def test_a_full_disk_ends_the_download_and_the_connection() -> None:
    flash, peer = SimulatedFlash(capacity_bytes=20_000), Peer()
    with pytest.raises(SpaceError):
        Downloader(peer, slots_on(flash), VirtualClock()).step(TARGET, 0, TARGET.size)
    assert peer.connections == 0


def test_discarding_empties_the_slot_and_starts_anew() -> None:
    flash, peer = SimulatedFlash(), Peer()
    downloader = Downloader(peer, slots_on(flash), VirtualClock())
    downloader.step(TARGET, 0, 20_000)
    downloader.discard(B)
    assert read_file(flash.power_cycle(Damage.LOST), SLOT) == b""
    assert peer.connections == 0


def test_another_image_replaces_the_one_under_way() -> None:
    flash, peer = SimulatedFlash(), Peer(states_total=False)
    downloader = Downloader(peer, slots_on(flash), VirtualClock())
    downloader.step(TARGET, 0, 20_000)
    small = DownloadTarget(urls=(URL,), size=100, hash=digest_of(IMAGE[:100]), slot=B)
    peer.body = IMAGE[:100]
    assert downloader.step(small, 0, 100) == 100
    assert read_file(flash, SLOT) == IMAGE[:100]
    assert peer.connections == 0


def test_an_empty_image_is_an_empty_slot() -> None:
    flash = SimulatedFlash()
    target = DownloadTarget(urls=(), size=0, hash=digest_of(b""), slot=B)
    assert Downloader(DeadPeer(), slots_on(flash), VirtualClock()).step(target, 0, 0) == 0


@settings(max_examples=60, deadline=None)
@given(
    chunk=st.integers(1, 20_000),
    breaks=st.lists(st.integers(1, 40_000), max_size=5),
    step=st.integers(1_000, 100_000),
    ignores_ranges=st.booleans(),
    states_total=st.booleans(),
)
def test_any_chunks_breaks_and_steps_end_in_the_image(
    *, chunk: int, breaks: list[int], step: int, ignores_ranges: bool, states_total: bool
) -> None:
    flash = SimulatedFlash()
    peer = Peer(chunk=chunk, breaks_after=breaks, ignores_ranges=ignores_ranges, states_total=states_total)
    downloader, received = Downloader(peer, slots_on(flash), VirtualClock()), 0
    while received < TARGET.size:
        before = received
        try:
            received = downloader.step(TARGET, received, received + step)
        except InterruptedDownloadError as error:
            received = error.received
        assert received >= before
    assert read_file(flash, SLOT) == IMAGE
    assert peer.connections == 0


@pytest.mark.parametrize("damage", Damage)
def test_a_cut_at_every_operation_is_resumed_from_the_last_step(damage: Damage) -> None:
    whole = SimulatedFlash()
    list(in_tenths(Downloader(Peer(), slots_on(whole), VirtualClock())))
    for cut_at in range(1, whole.operations + 1):
        flash = SimulatedFlash()
        flash.cut_at, flash.cut_in_half = cut_at, cut_at % 2 == 0
        received = 0
        with suppress(PowerCut):
            for received in in_tenths(Downloader(Peer(), slots_on(flash), VirtualClock())):  # noqa: B007  # the last one is wanted
                pass
        after = flash.power_cycle(damage, seed=cut_at)
        list(in_tenths(Downloader(Peer(), slots_on(after), VirtualClock()), received))
        assert read_file(after, SLOT) == IMAGE, after.log


# --- peers that are slow ----------------------------------------------------------------------------------------------------


def test_a_peer_that_drips_is_left_and_what_came_is_kept() -> None:
    flash, clock = SimulatedFlash(), VirtualClock()
    with pytest.raises(InterruptedDownloadError, match=r"too slow: 1[0-9]{2} bytes") as raised:
        Downloader(SlowPeer(clock, bytes_per_s=1, chunk=1), slots_on(flash), clock).step(TARGET, 0, TARGET.size)
    assert raised.value.received == int(clock.monotonic()) == PATIENCE_S + 1
    assert read_file(flash, SLOT) == IMAGE[: raised.value.received]


@pytest.mark.parametrize(
    ("bytes_per_s", "is_enough"), [(MIN_PROGRESS_BYTES / PATIENCE_S * 1.02, True), (MIN_PROGRESS_BYTES / PATIENCE_S * 0.98, False)]
)
def test_a_peer_need_only_be_so_fast(bytes_per_s: float, *, is_enough: bool) -> None:
    clock = VirtualClock()
    downloader = Downloader(SlowPeer(clock, bytes_per_s), slots_on(SimulatedFlash()), clock)
    if is_enough:
        assert downloader.step(TARGET, 0, TARGET.size) == TARGET.size
        return
    with pytest.raises(InterruptedDownloadError, match="too slow"):
        downloader.step(TARGET, 0, TARGET.size)


def test_what_the_device_does_with_the_bytes_is_not_the_peers_fault() -> None:
    clock = VirtualClock()
    received, downloader = 0, Downloader(Peer(), slots_on(SimulatedFlash()), clock)
    while received < TARGET.size:
        received = downloader.step(TARGET, received, received + 10_000)
        clock.sleep(1000)


def test_a_step_ends_when_its_time_is_over_however_fast_the_peer_is() -> None:
    clock = VirtualClock()
    downloader = Downloader(SlowPeer(clock, bytes_per_s=1000), slots_on(SimulatedFlash()), clock)
    with pytest.raises(InterruptedDownloadError, match="time for the image is over") as raised:
        downloader.step(TARGET, 0, TARGET.size, within_s=10)
    assert 10_000 <= raised.value.received <= 10_200


@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_length_stated_by_the_peer_that_is_not_the_signed_one_ends_the_download_at_once(wrong_by: int) -> None:
    class Liar(Peer):
        def open(self, url: str, offset: int) -> Response:
            return replace(super().open(url, offset), total=len(IMAGE) + wrong_by)

    with pytest.raises(CorruptDownloadError, match="bytes and not"):
        Downloader(Liar(), slots_on(SimulatedFlash()), VirtualClock()).step(TARGET, 0, TARGET.size)
