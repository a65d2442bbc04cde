# SPDX-License-Identifier: Apache-2.0
"""One check of a device taken out: what to replace by what, and which tests must then fail."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"

STEPS = {
    1: "clock: never behind what was verified",
    2: "director root",
    3: "director timestamp",
    4: "director snapshot",
    5: "director targets",
    6: "nothing ordered",
    7: "image repository",
    8: "both say the same",
    9: "hardware, bootloader, versions",
    10: "order still to be begun, its windows, room",
    11: "download",
    12: "read the slot back",
    13: "trial, commit, fall back",
    14: "report",
    15: "what was verified is kept, whole; what was refused is not",
    16: "its identity is its own",
}
"""The device's order of checks; the last two are what it does after each, and what it is to the server."""

VERIFY, METADATA, ADMISSION = "trust/verify.py", "trust/metadata.py", "agent/admission.py"
DIGEST, RECORD, VERSION, RULES = "model/digest.py", "model/record.py", "model/version.py", "model/rules.py"
DOWNLOAD, INSTALL, MACHINE, RUNNER = "agent/download.py", "agent/install.py", "agent/machine.py", "agent/runner.py"
TRANSPORT, HEALTH, JOURNAL, TRUSTED = "agent/transport.py", "agent/health.py", "agent/journal.py", "agent/trusted.py"
FILES, DEVICES, BLOCK = "agent/installers/files.py", "agent/installers/devices.py", "agent/installers/block.py"
HEARTBEAT, NETWORK_PROBES, SYSTEM = "agent/probes/heartbeat.py", "agent/probes/network.py", "agent/probes/system.py"
VITALS, TRIGGERS, WATCHDOG = "agent/vitals.py", "agent/triggers.py", "agent/watchdog.py"
SCRIPT = "agent/installers/script.py"
ARCHIVE, UNPACK, RAUC, LINK = "agent/installers/archive.py", "agent/installers/unpack.py", "agent/installers/rauc.py", "agent/boot/link.py"
STORAGE, POSIX = "agent/storage.py", "agent/posix.py"
NETWORK, CLOCK, RECOVERY = "agent/network.py", "agent/clock.py", "agent/recovery.py"
BATTERY, ASKING = "agent/battery.py", "agent/asking.py"
KEYSTORE, ENROL, HOME = "agent/keystore.py", "agent/enrol.py", "agent/home.py"
PERMISSION, OPENING, WINDOW = "schedule/permission.py", "schedule/opening.py", "agent/window.py"

_TESTS = {
    VERIFY: ("tests/trust/test_checks.py", "tests/trust/test_verify.py"),
    METADATA: ("tests/trust/test_metadata.py", "tests/trust/test_checks.py", "tests/trust/test_verify.py"),
    ADMISSION: ("tests/agent/test_admission.py",),
    RULES: ("tests/agent/test_admission.py", "tests/model/test_rules.py"),
    DIGEST: ("tests/model/test_digest.py",),
    RECORD: ("tests/model/test_record.py",),
    VERSION: ("tests/model/test_version.py",),
    DOWNLOAD: ("tests/agent/test_download.py", "tests/agent/test_rate.py"),
    INSTALL: ("tests/agent/test_install.py", "tests/agent/test_runner.py"),
    FILES: ("tests/agent/test_install.py", "tests/agent/test_runner.py"),
    DEVICES: ("tests/agent/test_devices.py",),
    ARCHIVE: ("tests/agent/test_archive.py",),
    SCRIPT: ("tests/agent/test_script.py",),
    UNPACK: ("tests/agent/test_archive.py",),
    RAUC: ("tests/agent/test_rauc_update.py",),
    LINK: ("tests/agent/test_boot_contract.py", "tests/powerfail/test_bootloaders.py"),
    BLOCK: ("tests/agent/test_devices.py",),
    MACHINE: (
        "tests/agent/test_machine.py",
        "tests/agent/test_machine_waiting.py",
        "tests/agent/test_machine_watched.py",
        "tests/agent/test_runner.py",
    ),
    PERMISSION: ("tests/schedule/test_permission.py",),
    OPENING: ("tests/schedule/test_opening.py",),
    WINDOW: ("tests/agent/test_waiting.py", "tests/agent/test_interlock.py", "tests/agent/test_asking.py"),
    RUNNER: (
        "tests/agent/test_runner.py",
        "tests/agent/test_waiting.py",
        "tests/agent/test_watched.py",
        "tests/agent/test_rauc_update.py",
        "tests/agent/test_restart.py",
        "tests/agent/test_full_disk.py",
        "tests/agent/test_long_pauses.py",
    ),
    TRANSPORT: ("tests/agent/test_transport.py", "tests/agent/test_network.py"),
    NETWORK: ("tests/agent/test_network.py", "tests/agent/test_transport.py"),
    CLOCK: ("tests/agent/test_network.py",),
    RECOVERY: ("tests/agent/test_recovery.py", "tests/agent/test_assembly.py"),
    BATTERY: ("tests/agent/test_battery.py",),
    ASKING: ("tests/agent/test_asking.py",),
    HEALTH: ("tests/agent/test_health.py", "tests/agent/test_health_due.py"),
    HEARTBEAT: ("tests/agent/test_health.py", "tests/agent/test_probes.py"),
    NETWORK_PROBES: ("tests/agent/test_health.py", "tests/agent/test_probes.py"),
    SYSTEM: ("tests/agent/test_health.py", "tests/agent/test_probes.py"),
    "agent/renewal.py": ("tests/agent/test_renewal.py",),
    "agent/boot/tool.py": ("tests/agent/test_boot_tools.py",),
    "agent/watch.py": ("tests/agent/test_watched.py",),
    "agent/probes/bounded.py": ("tests/agent/test_probes.py",),
    VITALS: ("tests/agent/test_triggers.py",),
    TRIGGERS: ("tests/agent/test_triggers.py",),
    WATCHDOG: ("tests/agent/test_watchdog.py",),
    JOURNAL: ("tests/agent/test_journal.py", "tests/agent/test_journal_schema.py"),
    TRUSTED: ("tests/agent/test_trusted.py",),
    STORAGE: ("tests/agent/test_posix.py", "tests/agent/test_trusted.py"),
    POSIX: ("tests/agent/test_posix.py",),
    KEYSTORE: ("tests/agent/test_keystore.py",),
    ENROL: ("tests/agent/test_enrol.py",),
    HOME: ("tests/agent/test_assembly.py",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One check taken out; ``text`` stands exactly once in ``file``.

    Attributes:
        step: Which of ``STEPS`` it belongs to.
        check: What it is, in words.
        file: Where it stands, from the package on.
        text: The check.
        replacement: What stands there without it.
        by: The attack that the check is there for, whose tests must notice; empty when those of the file are enough.
    """

    step: int
    check: str
    file: str
    text: str
    replacement: str
    by: str = ""

    @property
    def path(self) -> str:
        """Return the file, from the source folder on."""
        return f"surefoot/{self.file}"

    @property
    def tests(self) -> tuple[str, ...]:
        """Return the tests of which one must fail: those of the attack if there is one, else those of the file."""
        return named_after(self.by) if self.by else _TESTS[self.file]

    def is_current(self) -> bool:
        """Say whether the source still has the check as it stands here."""
        return (SOURCE / self.path).read_text().count(self.text) == 1

    def changed(self) -> str:
        """Return the file without the check."""
        return (SOURCE / self.path).read_text().replace(self.text, self.replacement)


def named_after(attack: str) -> tuple[str, ...]:
    """Return the tests that are named after an attack, as pytest takes them."""
    found = re.compile(rf"^def (test_{attack}_\w+)", re.MULTILINE)
    files = sorted((ROOT / "tests/attacks").glob("test_*.py"))
    return tuple(f"tests/attacks/{file.name}::{name}" for file in files for name in found.findall(file.read_text()))
