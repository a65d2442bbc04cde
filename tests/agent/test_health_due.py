# SPDX-License-Identifier: Apache-2.0
"""When probes are looked at, how often one must fail, and what required, optional and brokers' probes hold back."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from surefoot.agent.health import LOOK_S, Monitor
from surefoot.agent.probes.settings import CommandProbe, Probe, TcpProbe
from surefoot.agent.watch import PACE_S, Watch
from surefoot.simulator.clock import VirtualClock


class Commands:
    """Commands that a test lets fail, and take their time, by their first word."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.failing: set[str] = set()
        self.takes_s: dict[str, float] = {}
        self.asked: list[tuple[float, str]] = []

    def run(self, command: Sequence[str], _folder: Path, _timeout_s: float) -> str:
        self.asked.append((self.clock.monotonic(), command[0]))
        self.clock.sleep(self.takes_s.get(command[0], 0))
        return f"{command[0]} fails." if command[0] in self.failing else ""

    def names(self) -> list[str]:
        asked, self.asked = self.asked, []
        return [name for _, name in asked]


@pytest.fixture
def commands() -> Commands:
    return Commands(VirtualClock())


def monitor(commands: Commands, *probes: Probe) -> Monitor:
    return Monitor(probes, commands.clock, Path(), commands.run)


def probe(name: str, **settings: object) -> CommandProbe:
    return CommandProbe(command=[name], **settings)  # type: ignore[arg-type]  # a test's short hand


def test_each_probe_is_looked_at_when_its_interval_is_over_and_others_as_often_as_is_said(commands: Commands) -> None:
    it = monitor(commands, probe("slow", interval_s=60), probe("usual"))
    it.check(pace_s=20)
    for _ in range(12):
        commands.clock.sleep(10)
        it.check(pace_s=20)
    times = {name: [at_s for at_s, asked in commands.asked if asked == name] for name in ("slow", "usual")}
    assert times == {"slow": [0, 60, 120], "usual": [0, 20, 40, 60, 80, 100, 120]}


def test_the_next_look_is_known(commands: Commands) -> None:
    it = monitor(commands, probe("slow", interval_s=60), probe("usual"))
    assert it.rest_s(pace_s=20) == 0
    it.check(pace_s=20)
    commands.clock.sleep(5)
    assert it.rest_s(pace_s=20) == 15
    assert it.rest_s(pace_s=90) == 55
    assert monitor(commands).rest_s(pace_s=20) == 20


def test_a_probe_that_has_held_may_fail_less_than_so_often_in_a_row(commands: Commands) -> None:
    it = monitor(commands, probe("shaky", failures=3))
    commands.failing = {"shaky"}
    assert it.check().failing == "shaky fails.", "it has never held"
    commands.failing = set()
    it.check()
    commands.failing = {"shaky"}
    said = []
    for _ in range(3):
        commands.clock.sleep(1)
        found = it.check()
        said.append((found.failing, found.healthy_s))
    assert said == [("", 1), ("", 2), ("shaky fails.", 0)]


def test_a_probe_that_was_not_looked_at_fails(commands: Commands) -> None:
    commands.takes_s = {"long": LOOK_S + 1}
    it = monitor(commands, probe("long"), probe("other"))
    assert it.check().failing == "The command probe has not been looked at yet."
    assert it.check().failing == ""


def test_a_look_that_took_long_leaves_the_others_for_the_next_and_none_is_forgotten(commands: Commands) -> None:
    commands.takes_s = {"one": LOOK_S + 1, "two": LOOK_S + 1}
    it = monitor(commands, probe("one"), probe("two"), probe("three"))
    looks = []
    for _ in range(4):
        it.check()
        looks.append(commands.names())
    assert looks == [["one"], ["two"], ["three", "one"], ["two"]]


def test_what_is_not_required_is_only_told(commands: Commands) -> None:
    it = monitor(commands, probe("must"), probe("may", required=False))
    commands.failing = {"may"}
    it.check()
    commands.clock.sleep(5)
    found = it.check()
    assert (found.failing, found.ailing, found.healthy_s) == ("", "may fails.", 5)
    commands.failing = {"must"}
    found = it.check()
    assert (found.failing, found.ailing, found.healthy_s) == ("must fails.", "", 0)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def broker(port: int, **settings: bool) -> TcpProbe:
    return TcpProbe(host="127.0.0.1", port=port, broker=True, **settings)


def test_a_broker_is_lost_only_when_it_is_owed_and_holds_nothing_else_back(commands: Commands) -> None:
    it = monitor(commands, broker(1), probe("must"))
    name = "the broker 127.0.0.1:1"
    found = it.check()
    assert (found.failing, found.lost, found.reached) == ("", "", frozenset())
    found = it.check([name])
    assert (found.failing, found.lost) == ("", "127.0.0.1:1 takes no connection: Connection refused.")
    assert it.reached() == frozenset()


def test_a_broker_that_is_not_required_is_told_and_not_lost(commands: Commands) -> None:
    it = monitor(commands, broker(1, required=False))
    assert it.brokers == frozenset()
    found = it.check(["the broker 127.0.0.1:1"])
    assert (found.lost, found.ailing) == ("", "127.0.0.1:1 takes no connection: Connection refused.")


def test_a_broker_that_is_reached_is_named_due_or_not(commands: Commands, port: int) -> None:
    it = monitor(commands, broker(port), broker(1))
    assert it.reached() == it.check().reached == {f"the broker 127.0.0.1:{port}"}


def test_an_optional_broker_that_is_reached_before_an_update_is_not_owed_after_it(commands: Commands, port: int) -> None:
    it = monitor(commands, broker(port, required=False), broker(1))
    assert it.reached() == frozenset()
    assert it.brokers == {"the broker 127.0.0.1:1"}


def test_a_broker_that_was_never_looked_at_is_not_reached(commands: Commands, port: int) -> None:
    commands.takes_s = {"long": LOOK_S + 1}
    it = monitor(commands, probe("long"), broker(port))
    assert it.check().reached == frozenset()
    assert it.check().reached == {f"the broker 127.0.0.1:{port}"}


def test_a_watch_without_vitals_looks_and_counts_nothing(commands: Commands) -> None:
    with closing(monitor(commands, probe("must"))) as it:
        watch = Watch(it, commands.clock)
        assert watch.look(None, pace_s=PACE_S) is None
        assert watch.counted(None) is None
        assert commands.names() == ["must"]
        assert watch.rest_s() == PACE_S
