# SPDX-License-Identifier: Apache-2.0
"""A real RAUC on a D-Bus of its own, with two slots in files and U-Boot's environment in a file."""

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from jeepney import MatchRule
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""

_SYSTEM = """[system]
compatible=thermostat-v1
bootloader=uboot
statusfile={folder}/rauc.status
mountprefix={folder}/mnt

[keyring]
path={folder}/ca.pem

[slot.rootfs.0]
device={folder}/a.img
type=raw
bootname=A

[slot.rootfs.1]
device={folder}/b.img
type=raw
bootname=B
"""

_TOOL = """#!/bin/sh
exec /usr/bin/{tool} -c {config} "$@"
"""

_TIMEOUT_S = 30


class Raucd:
    """The service, from entering to leaving; ``bus`` is the address of its D-Bus."""

    def __init__(self, folder: Path, config: Path) -> None:
        """Keep everything in ``folder``; ``config`` names the environment for the tools that RAUC runs."""
        self._folder = folder
        self._config = config
        self._stack = ExitStack()
        self.bus = ""
        self._services: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._write()
        daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._folder / 'bus.conf'}", "--nofork", "--nopidfile", "--print-address=1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stack.callback(_end, daemon)
        assert daemon.stdout is not None
        self.bus = daemon.stdout.readline().strip().partition(",guid=")[0]
        with open_dbus_connection(self.bus) as connection:
            rule = MatchRule(type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged")
            Proxy(message_bus, connection).AddMatch(rule)
            with connection.filter(rule, bufsize=100) as changes:
                service = self._service()
                self._stack.callback(_end, service)
                self._services.append(service)
                while connection.recv_until_filtered(changes, timeout=_TIMEOUT_S).body[0] != "de.pengutronix.rauc":
                    pass
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """Let the service hang."""
        for service in self._services:
            service.send_signal(signal.SIGSTOP)

    def _write(self) -> None:
        folder = self._folder
        (folder / "bus.conf").write_text(_BUS.format(socket=folder / "bus.sock"))
        (folder / "system.conf").write_text(_SYSTEM.format(folder=folder))
        (folder / "ca.pem").write_text("")
        (folder / "tools").mkdir()
        for tool in ("fw_printenv", "fw_setenv"):
            script = folder / "tools" / tool
            script.write_text(_TOOL.format(tool=tool, config=self._config))
            script.chmod(0o700)
        for image in ("a.img", "b.img"):
            (folder / image).write_bytes(bytes(4096))

    def _service(self) -> subprocess.Popen[bytes]:
        with (self._folder / "rauc.log").open("wb") as log:
            return subprocess.Popen(
                ["rauc", "-c", str(self._folder / "system.conf"), "--override-boot-slot=A", "service"],
                env={"PATH": f"{self._folder / 'tools'}:/usr/bin:/bin", "DBUS_SYSTEM_BUS_ADDRESS": self.bus},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    with process:
        process.kill()
