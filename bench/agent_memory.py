# SPDX-License-Identifier: Apache-2.0
"""How much memory a real agent takes while it installs a large image from a real server over mutual TLS.

The agent is a process of its own that can import the bare dependency set alone. Its resident memory is read from the kernel:
once while it polls and finds nothing, and the most it ever had from the order until it asks for the reboot.
"""

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.rows import Row, compared
from surefoot.model.errors import DeviceError
from tests.interop.bare import INTERPRETER, link_bare
from tests.interop.programs import Programs

IMAGE_MIB = 64
CEILING_MIB = 16.0

_PRODUCT = "large"
_HARDWARE = "board-v1"
_DEVICE = "m-1"
_FACTORY_BYTES = 64 * 1024
_IDLE_POLLS = 3
_MIB = 1024 * 1024
_RECIPE = """\
firmware:
  product: {product}
  version: "{version}"
  hardware: [{hardware}]
  components:
    - {{ name: application, version: "{version}", path: application-{version}.bin, license: Apache-2.0 }}
"""


def measure(run: str, *, image_mib: int = IMAGE_MIB) -> list[Row]:
    """Return the agent's peak while installing against what it takes idle, and the difference against its ceiling."""
    with TemporaryDirectory() as name, Programs(Path(name)) as programs:
        _prepare(programs, image_mib * _MIB)
        idle, peak = _install(programs)
    what = f"{image_mib} MiB"
    return [
        compared(f"agent-memory/installing {what}, most resident", peak, "MiB", against="the same process, idle", figure=idle, run=run),
        compared(f"agent-memory/growth while installing {what}", peak - idle, "MiB", against="ceiling", figure=CEILING_MIB, run=run),
    ]


def _prepare(programs: Programs, size: int) -> None:
    """Publish a small release and a large one, and enrol a board that has left the factory with the small one."""
    programs.start_server(_PRODUCT)
    _release(programs, "1.0.0", _FACTORY_BYTES)
    _release(programs, "1.1.0", size)
    board, offer = programs.at("board"), programs.at("enrol.json")
    flash = ["--bundle", programs.at("1.0.0"), "--hardware", _HARDWARE, "--serial", _DEVICE, "--slot-bytes", str(size)]
    programs.run("simulate", "flash", board, *flash)
    programs.run("token", "new", _DEVICE, "--hardware", _HARDWARE, "-o", offer)
    programs.run("agent", "enroll", "--with", offer, "--config", f"{board}/agent.toml")
    (programs.folder / "board" / "run").mkdir()


def _release(programs: Programs, version: str, size: int) -> None:
    recipe = programs.folder / f"firmware-{version}.yaml"
    recipe.write_text(_RECIPE.format(product=_PRODUCT, version=version, hardware=_HARDWARE))
    (programs.folder / f"application-{version}.bin").write_bytes(secrets.token_bytes(size))
    programs.release(recipe, version)


def _install(programs: Programs) -> tuple[float, float]:
    """Run the agent through the installation; return what it takes idle and its peak from then on, in MiB."""
    bare = link_bare(programs.folder / "bare")
    command = ["-m", "surefoot", "agent", "run", "--verbose", "--config", programs.at("board/agent.toml")]
    agent = programs.start("agent", *command, by=INTERPRETER, more={"PYTHONPATH": str(bare), "SUREFOOT_SLOT": "a"})
    programs.wait_for("idle polls", lambda: programs.log("agent").count("-> idle") >= _IDLE_POLLS)
    idle = _status_mib(agent.pid, "VmRSS")
    _forget_peak(agent.pid)
    programs.run("device", "order", _DEVICE, _PRODUCT, "1.1.0")
    reboot = programs.folder / "board" / "run" / "reboot"
    programs.wait_for("the agent to ask for a reboot", reboot.exists)
    return idle, _status_mib(agent.pid, "VmHWM")


def _forget_peak(pid: int) -> None:
    # "5" sets the peak back to what is resident now (proc(5)).
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_mib(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise DeviceError(f"The kernel does not say {key} of a process.", hint="Measure on Linux.")
