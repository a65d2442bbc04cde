# SPDX-License-Identifier: Apache-2.0
"""What a request costs a server: processor time of its whole process tree, in rounds that take turns.

- Rounds are interleaved, so that whatever disturbs the machine disturbs all servers alike, and the median is taken.
- The servers run on one core and the load generator on another, so that neither waits for the other's time slice.
- The kernel counts in ticks of 10 ms: a turn must be long enough that one tick does not matter.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.poll_load import Callers, fire
from surefoot.model.errors import DeviceError

_US = 1_000_000
_TICK_US = _US / os.sysconf("SC_CLK_TCK")
_UTIME, _AFTER_CSTIME = 11, 15  # after the name in proc_pid_stat(5): own time and that of children waited for, user and system


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Where who runs: two different cores where the machine has them."""

    server: int
    generator: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of request to one server.

    Attributes:
        pid: The server's process.
        callers: Who asks.
        volleys: How many volleys make a turn.
    """

    pid: int
    callers: Callers
    volleys: int


def cores() -> Cores:
    """Return the cores to use, of those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(server=allowed[0], generator=allowed[-1])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and every process started in the block, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def median_us(works: Mapping[str, Work], *, rounds: int, chance: Random, say: Callable[[str], None]) -> dict[str, float]:
    """Return the median processor time in microseconds that one request of each work costs its server.

    Args:
        works: What to ask, by name; each has one turn beforehand that is not counted.
        rounds: How many times each work gets its turn.
        chance: Draws the devices.
        say: Is told how far it is.
    """
    for work in works.values():
        _turn_us(work, chance)
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name, work in works.items():
            found[name].append(_turn_us(work, chance))
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {turns[-1]:,.1f} µs" for name, turns in found.items()))
    return {name: statistics.median(turns) for name, turns in found.items()}


def tree_us(pid: int) -> float:
    """Return the processor time that a process, its children and theirs have taken so far, in microseconds.

    Raises:
        DeviceError: There is no such process, or no ``/proc``.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [word for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    except OSError as error:
        raise DeviceError(f"The kernel does not say what process {pid} took: {error.strerror}.", hint="Measure on Linux.") from error
    return sum(map(int, fields[_UTIME:_AFTER_CSTIME])) * _TICK_US + sum(tree_us(int(child)) for child in children)


def _turn_us(work: Work, chance: Random) -> float:
    before = tree_us(work.pid)
    requests = fire(work.callers, volleys=work.volleys, chance=chance)
    return (tree_us(work.pid) - before) / requests
