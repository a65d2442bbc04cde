# SPDX-License-Identifier: Apache-2.0
"""How much memory a real agent takes, idle and while it installs a large image from a real server over mutual TLS.

Its resident memory is read once while it polls and finds nothing, and the most it ever had from the order until it asks for the reboot.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from bench.agent_rig import DEVICE, MIB, NEXT, PRODUCT, forget_peak, polls, prepare, start, status_mib
from bench.rows import Row, compared
from tests.interop.programs import Programs

IMAGE_MIB = 256
IDLE_CEILING_MIB = 52.0
GROWTH_CEILING_MIB = 16.0

_IDLE_POLLS = 3


def measure(run: str, *, image_mib: int = IMAGE_MIB) -> list[Row]:
    """Return what the agent takes idle, its peak while installing against that, and the difference, each with its ceiling."""
    with TemporaryDirectory() as name, Programs(Path(name)) as programs:
        prepare(programs, image_bytes=image_mib * MIB)
        idle, peak = _install(programs)
    what = f"{image_mib} MiB"
    return [
        compared("agent-memory/idle, resident", idle, "MiB", against="ceiling", figure=IDLE_CEILING_MIB, run=run),
        compared(f"agent-memory/installing {what}, most resident", peak, "MiB", against="the same process, idle", figure=idle, run=run),
        compared(f"agent-memory/growth while installing {what}", peak - idle, "MiB", against="ceiling", figure=GROWTH_CEILING_MIB, run=run),
    ]


def _install(programs: Programs) -> tuple[float, float]:
    """Run the agent through the installation; return what it takes idle and its peak from then on, in MiB."""
    agent = start(programs)
    programs.wait_for("idle polls", lambda: polls(programs) >= _IDLE_POLLS)
    idle = status_mib(agent.pid, "VmRSS")
    forget_peak(agent.pid)
    programs.run("device", "order", DEVICE, PRODUCT, NEXT)
    reboot = programs.folder / "board" / "run" / "reboot"
    programs.wait_for("the agent to ask for a reboot", reboot.exists)
    return idle, status_mib(agent.pid, "VmHWM")
