# SPDX-License-Identifier: Apache-2.0
"""A TPM 2.0 in software (swtpm), behind a real resource manager on a D-Bus of its own."""

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from jeepney import MatchRule
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.interop.programs import SOURCES

SETTINGS = SOURCES / "integration" / "tpm2" / "openssl.cnf"

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""
_NAME = "com.intel.tss2.Tabrmd"
_TIMEOUT_S = 30


class Tpm:
    """The TPM, from entering to leaving; ``environment`` lets a process use it through OpenSSL."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in ``folder``."""
        self._folder = folder
        self._stack = ExitStack()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        folder = self._folder
        (folder / "bus.conf").write_text(_BUS.format(socket=folder / "bus"))
        daemon = self._start("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile", "--print-address=1")
        assert daemon.stdout is not None
        bus = daemon.stdout.readline().decode().strip().partition(",guid=")[0]
        port = self._chip()
        with open_dbus_connection(bus) as connection:
            rule = MatchRule(type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged")
            Proxy(message_bus, connection).AddMatch(rule)
            with connection.filter(rule, bufsize=100) as changes:
                chip = f"--tcti=swtpm:host=127.0.0.1,port={port}"
                self._start("env", f"DBUS_SESSION_BUS_ADDRESS={bus}", "tpm2-abrmd", "--session", "--allow-root", chip)
                while connection.recv_until_filtered(changes, timeout=_TIMEOUT_S).body[0] != _NAME:
                    pass
        self.environment = {
            "DBUS_SESSION_BUS_ADDRESS": bus,
            "TPM2OPENSSL_TCTI": "tabrmd:bus_type=session",
            "OPENSSL_CONF": str(SETTINGS),
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _chip(self) -> int:
        """Start the TPM, and return its port when it answers; its control port is the next one."""
        port = _two_free_ports()
        (self._folder / "state").mkdir()
        ports = [
            "--server",
            f"type=tcp,port={port},bindaddr=127.0.0.1",
            "--ctrl",
            f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
        ]
        pid = self._folder / "swtpm.pid"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder / 'state'}", "--flags", "not-need-init,startup-clear"]
        # It has its ports when the command that puts it into the background returns.
        subprocess.run([*command, *ports, "--daemon", "--pid", f"file={pid}"], check=True, capture_output=True)
        self._stack.callback(lambda: subprocess.run(["kill", pid.read_text().strip()], check=False))
        return port

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._stack.callback(_end, process)
        return process


def _two_free_ports() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = int(first.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()
