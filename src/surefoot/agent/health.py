# SPDX-License-Identifier: Apache-2.0
"""Health: which probes of the release that runs hold, which do not, and for how long all that are required have done so.

- A probe that cannot be evaluated fails, and so does one that was not looked at yet: doubt holds.
- Between two looks nothing is known; look a few times within the time that must be held.
- A broker that was reached before the update and not yet since is ``lost``, and not ``failing``; one that was not reached before,
  or that no required probe looks at any longer, holds nothing back. Its outage is not the release's.
- A look takes as long as its probes do, but once one has taken long, the others wait for the next look: the agent's own work
  is never held up by more than ``LOOK_S`` and one time-out.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3

from surefoot.agent.clock import Clock
from surefoot.agent.probes.bounded import Bounded
from surefoot.agent.probes.heartbeat import FileHeart, SocketHeart
from surefoot.agent.probes.mqtt import ask_mqtt
from surefoot.agent.probes.network import ask_http, ask_tcp
from surefoot.agent.probes.settings import (
    CommandProbe,
    DiskProbe,
    HeartbeatProbe,
    HttpProbe,
    MemoryProbe,
    MqttProbe,
    Probe,
    ProcessProbe,
    TcpProbe,
    UnitProbe,
    broker_of,
)
from surefoot.agent.probes.system import RunCommand, ask_command, ask_disk, ask_memory, ask_process, ask_unit, run_command

LOOK_S = 1.0
"""How long a look may have taken when it goes on to the next probe."""

_MARGIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the release is doing.

    Attributes:
        healthy_s: How long every required probe has held without a break, brokers apart; 0 when one fails.
        failing: What is wrong with the first of them that fails, in words; empty when none does.
        lost: What is wrong with the first required broker that is owed and not reached, in words; empty when there is none.
        ailing: What is wrong with the first probe that is not required and fails, in words; empty when none does.
        reached: The brokers that are reached.
        has_held: Whether all required probes have held at once since they were looked at first, brokers apart.
    """

    healthy_s: float
    failing: str
    lost: str = ""
    ailing: str = ""
    reached: frozenset[str] = frozenset()
    has_held: bool = False


class Monitor:
    """Looks at the probes when they are due, and remembers what they said. With no probes at all, they hold."""

    def __init__(self, probes: Sequence[Probe], clock: Clock, folder: Path, run: RunCommand = run_command) -> None:
        """Watch ``probes``, whose relative paths start at ``folder``; commands are run by ``run``."""
        self._probes, self._folder, self._run = tuple(probes), folder, run
        self._clock = clock
        self._http = urllib3.PoolManager(num_pools=4, maxsize=1)
        self._sockets: list[SocketHeart] = []
        self._begin()

    def _begin(self) -> None:
        self._watched = [Watched(probe, self._asker(probe, self._folder, self._run)) for probe in self._probes]
        self._holding_since: float | None = None
        self._has_held = False

    @property
    def brokers(self) -> frozenset[str]:
        """The brokers that are required: what is reached of them before an update is owed after it."""
        return frozenset(watched.broker for watched in self._watched if watched.broker and watched.probe.required)

    def check(self, owed: Collection[str] = (), *, pace_s: float = 0.0) -> Health:
        """Look at every probe that is due, and say how all are doing.

        Args:
            owed: The brokers that were reached before the update and have not been since.
            pace_s: How often to look at a probe that does not say so itself.
        """
        begun_s = now_s = self._clock.monotonic()
        for watched in sorted(self._watched, key=lambda each: each.due_s(pace_s)):
            if watched.due_s(pace_s) > now_s or now_s - begun_s > LOOK_S:
                break
            watched.look(now_s)
            now_s = self._clock.monotonic()
        return self._judged(owed, now_s)

    def reached(self) -> frozenset[str]:
        """Look at every required broker now, due or not, and return those that are reached."""
        brokers = [watched for watched in self._watched if watched.broker in self.brokers]
        for watched in brokers:
            watched.look(self._clock.monotonic())
        return frozenset(watched.broker for watched in brokers if not watched.said)

    def rest_s(self, *, pace_s: float) -> float:
        """Return in how many seconds the next probe is due, if those are looked at every ``pace_s`` that do not say so."""
        now_s = self._clock.monotonic()
        return max(0.0, min((watched.due_s(pace_s) - now_s for watched in self._watched), default=pace_s))

    def close(self) -> None:
        """Give back what connections and sockets the probes kept."""
        self._http.clear()
        for heart in self._sockets:
            heart.close()
        self._sockets.clear()

    def begin_anew(self) -> None:
        """Forget what was seen, and listen anew: for what is started after this call, which may say so at once, and only once."""
        self.close()
        self._begin()

    def _judged(self, owed: Collection[str], now_s: float) -> Health:
        plain = [watched for watched in self._watched if not watched.broker]
        brokers = [watched for watched in self._watched if watched.broker]
        failing = _first(watched for watched in plain if watched.probe.required)
        if failing:
            self._holding_since = None
        elif self._holding_since is None:
            self._holding_since = now_s
        self._has_held = self._has_held or not failing
        return Health(
            healthy_s=0.0 if self._holding_since is None else now_s - self._holding_since,
            failing=failing,
            lost=_first(watched for watched in brokers if watched.probe.required and watched.broker in owed),
            ailing=_first(watched for watched in self._watched if not watched.probe.required),
            reached=frozenset(watched.broker for watched in brokers if watched.is_looked_at and not watched.wrong),
            has_held=self._has_held,
        )

    def _asker(self, probe: Probe, folder: Path, run: RunCommand) -> Callable[[], str]:
        clock = self._clock
        match probe:
            case ProcessProbe():
                return lambda: ask_process(probe, folder)
            case HeartbeatProbe():
                heart = self._heart(probe, folder)
                return lambda: heart.ask(clock.monotonic())
            case HttpProbe():
                return lambda: ask_http(self._http, probe, folder)
            case TcpProbe():
                return lambda: ask_tcp(probe)
            case MqttProbe():
                return lambda: ask_mqtt(probe, folder, clock)
            case UnitProbe():
                return lambda: ask_unit(probe, folder, run)
            case CommandProbe():
                return lambda: ask_command(probe, folder, run)
            case DiskProbe():
                return lambda: ask_disk(probe, folder)
            case MemoryProbe():
                return lambda: ask_memory(probe)

    def _heart(self, probe: HeartbeatProbe, folder: Path) -> FileHeart | SocketHeart:
        if probe.path:
            return FileHeart(probe, folder)
        heart = SocketHeart(probe, folder, self._clock)
        self._sockets.append(heart)
        return heart


class Watched:
    """One probe, and what it said.

    Attributes:
        probe: The probe.
        broker: What its broker is called; empty when it is none's.
        said: What was wrong at the last look; empty when nothing was.
    """

    def __init__(self, probe: Probe, ask: Callable[[], str]) -> None:
        """Look by ``ask``, which returns what is wrong, or nothing."""
        self.probe = probe
        self.broker = broker_of(probe)
        self.said = f"The {probe.__struct_config__.tag} probe has not been looked at yet."
        self.is_looked_at = False
        self._ask = ask
        self._bounded = Bounded(f"The {probe.__struct_config__.tag} probe")
        self._looked_s = 0.0
        self._failures = 0
        self._has_held = False

    @property
    def wrong(self) -> str:
        """What is wrong with the probe, once it has failed often enough in a row; empty while it holds."""
        return "" if self._has_held and self._failures < self.probe.failures else self.said

    def due_s(self, pace_s: float) -> float:
        """Return when it is due, by the monotonic clock."""
        if not self.is_looked_at:
            return float("-inf")
        return self._looked_s + (pace_s if self.probe.interval_s is None else self.probe.interval_s)

    def look(self, now_s: float) -> None:
        """Look at it, for no longer than it may take."""
        # What has a time-out of its own says more, and is let do so.
        self.said = self._bounded.call(self._ask, self.probe.timeout_s + _MARGIN_S)
        self.is_looked_at, self._looked_s = True, now_s
        self._failures = self._failures + 1 if self.said else 0
        self._has_held = self._has_held or not self.said


def _first(watched: Iterable[Watched]) -> str:
    return next((each.wrong for each in watched if each.wrong), "")
