# SPDX-License-Identifier: Apache-2.0
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from surefoot.model.event import EventType
from surefoot.model.record import parse_utc
from surefoot.model.window import Window
from surefoot.simulator.board import Behaviour, UnverifiedBootError
from surefoot.simulator.flash import Damage, SimulatedFlash
from tests.powerfail.cuts import Cut, check, every_cut, operations, survive
from tests.powerfail.pocket import Plan
from tests.powerfail.snapshots import cut_everywhere
from tests.powerfail.worlds import KINDS, Story
from tests.trust.repositories import NOW

PLANS = {behaviour: Plan.to(behaviour) for behaviour in Behaviour}


@pytest.mark.parametrize("behaviour", Behaviour)
def test_without_a_power_cut_an_update_ends_as_its_release_behaves(behaviour: Behaviour) -> None:
    world = PLANS[behaviour].world()
    world.run_to_the_end()
    world.check(commits=behaviour is Behaviour.GOOD)


def test_a_good_update_tells_its_whole_story_in_order() -> None:
    world = PLANS[Behaviour.GOOD].world()
    world.run_to_the_end()
    assert [kind for kind in world.server.story() if kind is not EventType.DOWNLOAD_PROGRESS] == [
        EventType.CHECK_STARTED,
        EventType.CHECK_COMPLETED,
        EventType.DOWNLOAD_STARTED,
        EventType.DOWNLOAD_COMPLETED,
        EventType.INSTALL_STARTED,
        EventType.INSTALL_COMPLETED,
        EventType.REBOOT_STARTED,
        EventType.REBOOT_COMPLETED,
        EventType.HEALTH_OK,
    ]
    assert world.server.story().count(EventType.DOWNLOAD_PROGRESS) == 9


@pytest.mark.parametrize("behaviour", Behaviour)
def test_a_power_cut_at_every_operation_leaves_a_board_that_boots_and_converges(
    behaviour: Behaviour, record_property: Callable[[str, object], None]
) -> None:
    story = Story.of(*KINDS[0], behaviour)
    survived = cut_everywhere(story, seeds=1, pairs=0, chance=random.Random(1))  # noqa: S311  # no pairs
    assert survived.operations == len(operations(story.plan))
    record_property(
        "figure", f"{behaviour} update: power cut at each of {survived.operations} operations, {survived.singles} single cuts survived"
    )


def test_a_power_cut_at_every_operation_of_an_update_that_waits_starts_it_neither_early_nor_never() -> None:
    # 09:02 to 09:32 in Berlin: the image is here at once, and what a cut costs still leaves time for the install.
    opens_at = NOW + timedelta(minutes=2)
    plan = Plan.to(Behaviour.GOOD, [Window(start="09:02", length="30m", zone="Europe/Berlin")])
    for cut in every_cut(plan):
        world = survive(plan, cut)
        world.check(commits=True)
        (started,) = [event for event in world.server.events.values() if event.type == EventType.INSTALL_STARTED]
        assert parse_utc(started.at) >= opens_at, f"{cut}: it started at {started.at}"


class ForgetfulFlash(SimulatedFlash):
    """Flash on which syncing the other slot does nothing, as with an agent that forgot to."""

    def sync(self, path: str, inode: int) -> None:
        if path == "slots/b.img":
            self.count(f"sync {path}, in vain")
        else:
            super().sync(path, inode)


def test_an_installation_without_sync_would_be_caught() -> None:
    plan = PLANS[Behaviour.GOOD]
    late = [cut for cut in every_cut(plan) if cut.damage is Damage.LOST and not cut.in_half][-40:]
    assert UnverifiedBootError in {_failure(plan, cut) for cut in late}


def _failure(plan: Plan, cut: Cut) -> type[AssertionError] | None:
    try:
        check(plan, Behaviour.GOOD, cut, flash=ForgetfulFlash)
    except AssertionError as error:
        return type(error)
    return None


WRITES = {
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "shutil.move",
    "subprocess.Popen",
    "socket.connect",
}
WATCH: list[str] = []
IS_WATCHING = [False]


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not IS_WATCHING[0]:
        return
    if event in WRITES:
        WATCH.append(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & 3:
        WATCH.append(f"open {arguments[0]!r}")


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Give what goes around the storage port while the block runs: the interpreter itself tells."""
    WATCH.clear()
    IS_WATCHING[0] = True
    try:
        yield WATCH
    finally:
        IS_WATCHING[0] = False


@pytest.mark.parametrize("behaviour", Behaviour)
def test_no_write_of_the_agent_goes_around_the_storage_port(behaviour: Behaviour) -> None:
    world = PLANS[behaviour].world()
    with watched() as around:
        world.run_to_the_end()
    assert around == []


def test_a_write_around_the_storage_port_would_be_seen(tmp_path: Path) -> None:
    with watched() as around:
        (tmp_path / "state").write_text("around")
        (tmp_path / "state").rename(tmp_path / "moved")
    assert [line.split()[0] for line in around] == ["open", "os.rename"]
