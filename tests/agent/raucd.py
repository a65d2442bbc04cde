# SPDX-License-Identifier: Apache-2.0
"""A real RAUC on a D-Bus of its own, with two slots in files, U-Boot's environment in a file, and a key to sign bundles with."""

import signal
import subprocess
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from jeepney import MatchRule, Message
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""

_SYSTEM = """[system]
compatible=thermostat-v1
bootloader=uboot
activate-installed={activates}
bundle-formats=plain verity
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
SLOT_BYTES = 1024 * 1024


class Raucd:
    """The service, from entering to leaving; ``bus`` is the address of its D-Bus."""

    def __init__(self, folder: Path, config: Path, *, activates: bool = False) -> None:
        """Keep everything in ``folder``; ``config`` names the environment for the tools that RAUC runs.

        With ``activates`` it makes primary what it installs.
        """
        self._activates = activates
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
        self.boot("A")
        return self

    def boot(self, slot: str) -> None:
        """Start the service as on a board that has booted ``slot``; the one that ran is killed."""
        for service in self._services:
            _end(service)
        self._services.clear()
        with open_dbus_connection(self.bus) as connection:
            rule = MatchRule(type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged")
            Proxy(message_bus, connection).AddMatch(rule)
            with connection.filter(rule, bufsize=100) as changes:
                service = self._service(slot)
                self._stack.callback(_end, service)
                self._services.append(service)
                while not _appeared(connection.recv_until_filtered(changes, timeout=_TIMEOUT_S)):
                    pass

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """Let the service hang."""
        for service in self._services:
            service.send_signal(signal.SIGSTOP)

    def _write(self) -> None:
        folder = self._folder
        (folder / "bus.conf").write_text(_BUS.format(socket=folder / "bus.sock"))
        (folder / "system.conf").write_text(_SYSTEM.format(folder=folder, activates=str(self._activates).lower()))
        write_signer(folder)
        (folder / "tools").mkdir()
        for tool in ("fw_printenv", "fw_setenv"):
            script = folder / "tools" / tool
            script.write_text(_TOOL.format(tool=tool, config=self._config))
            script.chmod(0o700)
        for image in ("a.img", "b.img"):
            (folder / image).write_bytes(bytes(SLOT_BYTES))

    def _service(self, slot: str) -> subprocess.Popen[bytes]:
        with (self._folder / "rauc.log").open("ab") as log:
            return subprocess.Popen(
                ["rauc", "-c", str(self._folder / "system.conf"), f"--override-boot-slot={slot}", "service"],
                env={"PATH": f"{self._folder / 'tools'}:/usr/bin:/bin", "DBUS_SYSTEM_BUS_ADDRESS": self.bus},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def _appeared(message: Message) -> bool:
    name, _, owner = message.body
    return bool(name == "de.pengutronix.rauc" and owner)


def write_signer(folder: Path) -> None:
    """Write ``ca.pem``, and ``signer.pem`` and ``signer.key`` of somebody whose bundles RAUC takes."""
    now = datetime.now(UTC)
    key, ca_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name, ca_name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("signer", "ca"))
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey, constraints: x509.BasicConstraints) -> bytes:
        builder = x509.CertificateBuilder(
            issuer_name=ca_name,
            subject_name=subject,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=1),
            not_valid_after=now + timedelta(days=10),
        ).add_extension(constraints, critical=True)
        if not constraints.ca:
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    (folder / "ca.pem").write_bytes(certificate(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=None)))
    (folder / "signer.pem").write_bytes(certificate(name, key.public_key(), x509.BasicConstraints(ca=False, path_length=None)))
    (folder / "signer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def bundle(folder: Path, content: bytes, version: str = "1", compatible: str = "thermostat-v1") -> bytes:
    """Return a bundle with a root file system, signed with the key in ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work)
        (made / "in").mkdir()
        (made / "in/rootfs.img").write_bytes(content)
        manifest = f"[update]\ncompatible={compatible}\nversion={version}\n[image.rootfs]\nfilename=rootfs.img\n"
        (made / "in/manifest.raucm").write_text(manifest)
        command = ["rauc", "bundle", f"--cert={folder / 'signer.pem'}", f"--key={folder / 'signer.key'}", "in", "out.raucb"]
        subprocess.run(command, cwd=made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return (made / "out.raucb").read_bytes()
