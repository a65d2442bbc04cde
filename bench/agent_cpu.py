# SPDX-License-Identifier: Apache-2.0
"""How much of a processor a real agent takes that polls every five minutes and finds nothing.

- What one poll costs is measured over many quick ones, each over a connection of its own: after five minutes none is left open.
- What waiting costs is measured of an agent that was just told to wait for five minutes.
"""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench.agent_rig import cpu_s, polls, prepare, start
from bench.forgetful import forgetful
from bench.rows import Row, compared
from surefoot.model.record import from_json
from surefoot.server.app import Addresses
from tests.interop.programs import Programs

POLL_S = 300
CEILING_PERCENT = 0.1
POLLS = 60
WAIT_S = 30.0

_WARM_POLLS = 3
_SETTLE_S = 2.0


def measure(run: str, *, count: int = POLLS, wait_s: float = WAIT_S) -> list[Row]:
    """Return the share of one processor that the agent takes, against its ceiling, and the two parts that it is made of."""
    waiting = _waiting(wait_s)
    poll_s = _poll(count, waiting)
    percent = 100 * (waiting + poll_s / POLL_S)
    budget_ms = CEILING_PERCENT / 100 * POLL_S * 1000
    return [
        compared("agent-cpu/one poll, connection and all", poll_s * 1000, "ms", against="ceiling", figure=budget_ms, run=run),
        compared("agent-cpu/waiting", 100 * waiting, "%", against="ceiling", figure=CEILING_PERCENT, run=run),
        compared(f"agent-cpu/polling each {POLL_S} s", percent, "%", against="ceiling", figure=CEILING_PERCENT, run=run),
    ]


def _waiting(wait_s: float) -> float:
    """Return the share of a processor that an agent takes between two polls."""
    with TemporaryDirectory() as name, Programs(Path(name)) as programs:
        prepare(programs, poll_s=POLL_S)
        agent = start(programs)
        programs.wait_for("the first poll", lambda: polls(programs) > 0)
        threading.Event().wait(_SETTLE_S)
        before_s, began_s = cpu_s(agent.pid), time.monotonic()
        threading.Event().wait(wait_s)
        return (cpu_s(agent.pid) - before_s) / (time.monotonic() - began_s)


def _poll(count: int, waiting: float) -> float:
    """Return the processor time of one poll, in seconds, without the waiting between them."""
    with TemporaryDirectory() as name, Programs(Path(name)) as programs:
        prepare(programs)
        addresses = from_json((programs.folder / "server" / "server.json").read_bytes(), Addresses, what="server.json")
        with forgetful(urlsplit(addresses.device_url).port or 0) as relay:
            agent = start(programs, more={"SUREFOOT_SERVER_OVERRIDE": f"https://localhost:{relay.port}"})
            programs.wait_for("warm polls", lambda: polls(programs) >= _WARM_POLLS)
            before_s, began_s, first = cpu_s(agent.pid), time.monotonic(), relay.connections
            programs.wait_for("more polls", lambda: relay.connections >= first + count, patience_s=3 * count)
            spent_s = cpu_s(agent.pid) - before_s - waiting * (time.monotonic() - began_s)
            made = relay.connections - first
            programs.stop("agent")
            del programs.running["agent"]
    return spent_s / made
