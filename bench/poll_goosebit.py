# SPDX-License-Identifier: Apache-2.0
"""goosebit, the peer that polls are held to: a server with hawkBit's device API, from PyPI, in an environment of its own.

It gets what it is made for: plain HTTP, its default database, registered devices, no access log. As in our fleets, there is
a release, rolled out to all, and all devices run it. An idle poll is ``GET /DEFAULT/controller/v1/<device>``, answered with
nothing to follow but the next time to ask.
"""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from random import Random

from bench.poll_load import PATIENCE_S, Answer, Line, expect, request
from bench.poll_rounds import pinned
from surefoot.model.errors import TransportError
from tests.interop.programs import Programs

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "goosebit.lock"
ENVIRONMENT = ROOT / ".venv-goosebit"

_LINES = 64
_CONFIGURATION = """\
[tool.aerich]
tortoise_orm = "goosebit.db.config.TORTOISE_CONF"
location = "{migrations}"
src_folder = "{folder}"
"""
_ROLLOUT = """\
INSERT INTO software (id, uri, size, hash, version) VALUES (1, 'file:///thermostat.swu', 1, '0', '1.0.0');
INSERT INTO software_compatibility (software_id, hardware_id) SELECT 1, id FROM hardware WHERE model = 'thermostat-v1';
INSERT INTO rollout (name, feed, software_id) VALUES ('thermostat', 'default', 1);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running goosebit and who calls it.

    Attributes:
        pid: Its process.
        pollers: Connections, on each of which any registered device may poll.
    """

    pid: int
    pollers: Sequence["Poller"]


class Poller:
    """A connection on which registered devices poll, each time another one."""

    def __init__(self, line: Line, requests: Sequence[bytes], chance: Random) -> None:
        """Draw from ``requests``, the polls of all devices, by ``chance``."""
        self.line = line
        self._requests = requests
        self._chance = chance

    def request(self) -> bytes:
        """Return the poll of a device drawn at random."""
        return self._chance.choice(self._requests)

    def check(self, answer: Answer) -> None:
        """Nothing is to be done, or it was no idle poll."""
        expect(answer, HTTPStatus.OK, "goosebit's poll")
        if json.loads(answer.body)["_links"]:
            raise TransportError(f"goosebit's poll was not idle: {answer.body[:200]!r}.")


def installed(say: Callable[[str], None]) -> Path:
    """Return the interpreter of goosebit's environment, which is made when it is not there or the lock has changed.

    Raises:
        TransportError: It cannot be installed.
    """
    python, mark = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    lock = sha256(LOCK.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == lock:
        return python
    say(f"goosebit is installed into {ENVIRONMENT.name}")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(ENVIRONMENT))
    _run(str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes", "-r", str(LOCK))
    mark.write_text(lock)
    return python


@contextmanager
def goosebit(folder: Path, python: Path, *, devices: int, core: int, chance: Random, say: Callable[[str], None]) -> Iterator[Peer]:
    """Run goosebit on one core with registered devices; all but its environment is ended and gone with the block.

    Args:
        folder: An empty folder for its database.
        python: The interpreter of its environment.
        devices: How many devices are registered.
        core: Where it runs.
        chance: Draws the device of each poll.
        say: Is told how far it is.

    Raises:
        TransportError: It cannot be started, or answers something else than expected.
    """
    with Programs(folder) as programs, ExitStack() as stack:
        pid, port = _start(programs, python, core)
        lines = [stack.enter_context(closing(_connect(port))) for _ in range(_LINES)]
        say(f"{devices:,} devices register at goosebit")
        polls = [_register(lines[0], f"thermostat-{n:07}") for n in range(devices)]
        _roll_out(folder / "db.sqlite3")
        yield Peer(pid=pid, pollers=[Poller(line, polls, chance) for line in lines])


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise TransportError(f"{' '.join(command)} ended with status {done.returncode}: {done.stdout}")


def _start(programs: Programs, python: Path, core: int) -> tuple[int, int]:
    folder = programs.folder
    (folder / "artifacts").mkdir()
    port = _free_port()
    programs.environment |= {
        "GOOSEBIT_DB_URI": f"sqlite://{folder}/db.sqlite3",
        "GOOSEBIT_ARTIFACTS_DIR": programs.at("artifacts"),
        "GOOSEBIT_PORT": str(port),
    }
    (migrations,) = ENVIRONMENT.glob("lib/python*/site-packages/goosebit/db/migrations")
    (folder / "pyproject.toml").write_text(_CONFIGURATION.format(migrations=migrations, folder=folder))
    # Our own PYTHONPATH would put our packages into its environment.
    programs.run("-c", programs.at("pyproject.toml"), "upgrade", by=(str(python.with_name("aerich")),), without=["PYTHONPATH"])
    words = ["goosebit:app", "--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--timeout-keep-alive", "600"]
    with pinned(core):
        process = programs.start("goosebit", "-m", "uvicorn", *words, by=(str(python),), without=["PYTHONPATH"])
    programs.wait_for("goosebit", lambda: _answers(port))
    return process.pid, port


def _register(line: Line, device: str) -> bytes:
    """Let a device say what it is, and return its poll."""
    path = f"/DEFAULT/controller/v1/{device}"
    poll = request("GET", path)
    expect(line.ask(poll), HTTPStatus.OK, "goosebit's first poll")
    data = {"hw_boardname": "thermostat-v1", "hw_revision": "1", "sw_version": "1.0.0"}
    body = json.dumps({"id": "", "status": {"result": {"finished": "success"}, "execution": "closed", "details": []}, "data": data})
    expect(line.ask(request("PUT", f"{path}/configData", body=body.encode())), HTTPStatus.OK, "goosebit's registration")
    return poll


def _roll_out(database: Path) -> None:
    """Roll out what the devices say they run; as rows, since an upload would have to be a whole signed image."""
    with closing(sqlite3.connect(database, timeout=PATIENCE_S)) as connection:
        connection.executescript(_ROLLOUT)


def _answers(port: int) -> bool:
    try:
        with closing(_connect(port)) as line:
            return line.ask(request("GET", "/login")).status < HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, TransportError):
        return False


def _connect(port: int) -> Line:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Line(connection)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
