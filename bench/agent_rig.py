# SPDX-License-Identifier: Apache-2.0
"""A real agent for benchmarks: a process that can import the bare dependency set alone, on an enrolled board, beside a real server.

What it takes is read from the kernel.
"""

import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

from surefoot.model.errors import DeviceError
from tests.interop.bare import INTERPRETER, link_bare
from tests.interop.programs import Programs

PRODUCT, DEVICE = "large", "m-1"
NEXT = "1.1.0"
"""The release that can be ordered; the board has left the factory with another."""

MIB = 1024 * 1024

_HARDWARE = "board-v1"
_FACTORY, _FACTORY_BYTES = "1.0.0", 64 * 1024
_RECIPE = """\
firmware:
  product: {product}
  version: "{version}"
  hardware: [{hardware}]
  components:
    - {{ name: application, version: "{version}", path: application-{version}.bin, license: Apache-2.0 }}
"""


def prepare(programs: Programs, *, image_bytes: int = _FACTORY_BYTES, poll_s: int = 1) -> None:
    """Start a server that wants polls each ``poll_s`` seconds, publish a small release and one of ``image_bytes``, and enrol a board."""
    programs.start_server(PRODUCT, poll_s=poll_s)
    _release(programs, _FACTORY, _FACTORY_BYTES)
    _release(programs, NEXT, image_bytes)
    board, offer = programs.at("board"), programs.at("enrol.json")
    flash = [
        "--bundle",
        programs.at(_FACTORY),
        "--hardware",
        _HARDWARE,
        "--serial",
        DEVICE,
        "--slot-bytes",
        str(max(image_bytes, _FACTORY_BYTES)),
    ]
    programs.run("simulate", "flash", board, *flash)
    programs.run("token", "new", DEVICE, "--hardware", _HARDWARE, "-o", offer)
    programs.run("agent", "enroll", "--with", offer, "--config", f"{board}/agent.toml")
    (programs.folder / "board" / "run").mkdir()


def start(programs: Programs, *, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the board's agent from slot a; ``more`` are further environment variables for it."""
    bare = link_bare(programs.folder / "bare")
    command = ["-m", "surefoot", "agent", "run", "--verbose", "--config", programs.at("board/agent.toml")]
    environment = {"PYTHONPATH": str(bare), "SUREFOOT_SLOT": "a", **(more or {})}
    return programs.start("agent", *command, by=INTERPRETER, more=environment)


def polls(programs: Programs) -> int:
    """Return how many polls have found nothing so far."""
    return programs.log("agent").count("-> idle")


def status_mib(pid: int, key: str) -> float:
    """Return a figure of ``/proc/PID/status`` in MiB: ``VmRSS`` is resident now, ``VmHWM`` the most that was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise DeviceError(f"The kernel does not say {key} of a process.", hint="Measure on Linux.")


def forget_peak(pid: int) -> None:
    """Let ``VmHWM`` begin anew."""
    # "5" sets the peak back to what is resident now (proc(5)).
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_s(pid: int) -> float:
    """Return the processor time of all of a process's threads so far, in seconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _release(programs: Programs, version: str, size: int) -> None:
    recipe = programs.folder / f"firmware-{version}.yaml"
    recipe.write_text(_RECIPE.format(product=PRODUCT, version=version, hardware=_HARDWARE))
    (programs.folder / f"application-{version}.bin").write_bytes(secrets.token_bytes(size))
    programs.release(recipe, version)
