# SPDX-License-Identifier: Apache-2.0
"""What an idle poll and an event cost the server, at a thousand devices and at a hundred thousand, beside goosebit's poll.

Two servers with their fleets and goosebit run at the same time on one core, and take turns; what is counted is the processor
time of each one's process tree by request. Ours are called over mutual TLS, by devices spread at random over the fleet, each
on a connection of its own that is kept; an event is answered when it is durable. The peer is called over plain HTTP.
"""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from bench.poll_fleet import Fleet, seed
from bench.poll_goosebit import goosebit, installed
from bench.poll_rounds import Work, cores, median_us, pinned
from bench.poll_server import under_load
from bench.rows import Row, compared

FLEETS = {"1k": 1_000, "100k": 100_000}
SAMPLED = 1_000
"""Devices of each fleet that call: half of them poll, the others report."""

ROUNDS = 5
TIMES_LESS = 40
"""How many times less than goosebit's an idle poll is to cost."""

FLAT = 1.3
"""What 100,000 devices may cost, of what 1,000 do."""

_POLL_VOLLEYS = 150
_EVENT_VOLLEYS = 60
_PEER_VOLLEYS = 8
_PEER_DEVICES = 1_000


def measure(run: str) -> list[Row]:
    """Return a row for each kind of request at each size of fleet, and one for the peer."""
    chance, at = Random(1), cores()  # noqa: S311  # draws devices, not secrets; the same ones in every run
    works: dict[str, Work] = {}
    # First of all: without the peer, the rest would be made for nothing.
    python = installed(_say)
    with TemporaryDirectory(prefix="surefoot-bench-") as name, ExitStack() as stack:
        fleets = {size: _seeded(Path(name) / size, devices, chance) for size, devices in FLEETS.items()}
        (Path(name) / "goosebit").mkdir()
        peer = stack.enter_context(
            goosebit(Path(name) / "goosebit", python, devices=_PEER_DEVICES, core=at.server, chance=chance, say=_say)
        )
        for size, fleet in fleets.items():
            server = stack.enter_context(under_load(fleet, core=at.server, say=_say))
            works[f"idle-poll-{size}"] = Work(pid=server.pid, callers=server.pollers, volleys=_POLL_VOLLEYS)
            works[f"event-{size}"] = Work(pid=server.pid, callers=server.reporters, volleys=_EVENT_VOLLEYS)
        works["idle-poll-goosebit"] = Work(pid=peer.pid, callers=peer.pollers, volleys=_PEER_VOLLEYS)
        with pinned(at.generator):
            return rows(median_us(works, rounds=ROUNDS, chance=chance, say=_say), run)


def rows(found: Mapping[str, float], run: str) -> list[Row]:
    """Return the rows for what each kind of request was found to cost, in microseconds by name.

    Sizes of fleet are held to one another, an event to an idle poll, and the peer to us: its ratio says how many times we are cheaper.
    """
    poll, event, peer = found["idle-poll-1k"], found["event-1k"], found["idle-poll-goosebit"]
    flat = f"1,000 devices (flat: at most {FLAT})"
    held_to = {
        "idle-poll-1k": (f"goosebit's poll / {TIMES_LESS}", peer / TIMES_LESS),
        "idle-poll-100k": (flat, poll),
        "event-1k": ("an idle poll", poll),
        "event-100k": (flat, event),
        "idle-poll-goosebit": (f"our idle poll, 1,000 devices (aim: at least {TIMES_LESS})", poll),
    }
    return [
        compared(f"poll/{what}", found[what], "µs", against=against, figure=figure, run=run) for what, (against, figure) in held_to.items()
    ]


def _seeded(data: Path, devices: int, chance: Random) -> Fleet:
    _say(f"a fleet of {devices:,} is made")
    return seed(data, devices=devices, sampled=SAMPLED, now=datetime.now(UTC), chance=chance, say=_say)


def _say(text: str) -> None:
    print(f"poll: {text}", file=sys.stderr, flush=True)
