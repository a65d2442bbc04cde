# SPDX-License-Identifier: Apache-2.0
"""``agent.toml``: read strictly, and each mistake named with its place."""

from pathlib import Path

import pytest

from surefoot.agent.config import Config, policy_of, read_config
from surefoot.agent.installers.settings import RaucInstall, RawInstall
from surefoot.agent.probes.settings import CommandProbe, HeartbeatProbe, HttpProbe
from surefoot.agent.state import Policy
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.slot import SlotName

LEAST = """\
[device]
id = "t-1"
hardware = "thermostat-v1"
bootloader_version = "2.1.0"
factory_manifest = "factory-manifest.json"

[storage]
slot_capacity_bytes = 1000

[reboot]
command = ["reboot"]
"""

TRIAL = """
[trial]
settle_s = 5
timeout_s = 60.5
interval_s = 0.5
needs_server = false

[[trial.probes]]
kind = "heartbeat"
path = "run/beat"

[[trial.probes]]
kind = "http"
port_file = "run/port"

[[trial.probes]]
kind = "command"
command = ["true"]
timeout_s = 1
"""


def read(folder: Path, text: str | bytes) -> Config:
    path = folder / "agent.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config(path)


def test_the_least_that_must_be_said_is_enough(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    assert (config.device.id, config.device.hardware, config.storage.root) == ("t-1", "thermostat-v1", ".")
    assert policy_of(config.trial, config.rollback) == Policy()


def test_everything_that_can_be_said_is_understood(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST + TRIAL)
    trial = config.trial
    assert policy_of(trial, config.rollback) == Policy(settle_s=5, trial_s=60.5, probe_s=0.5, needs_server=False)
    assert trial.probes == [
        HeartbeatProbe(path="run/beat"),
        HttpProbe(port_file="run/port"),
        CommandProbe(command=["true"], timeout_s=1),
    ]


def test_block_devices_say_themselves_how_large_they_are(tmp_path: Path) -> None:
    devices = '\n[install]\nkind = "raw"\ndevices = { a = "/dev/x", b = "slots/y" }\n'
    config = read(tmp_path, LEAST.replace("slot_capacity_bytes = 1000", "") + devices)
    assert isinstance(config.install, RawInstall)
    assert config.install.devices is not None
    assert config.install.devices.by_slot(tmp_path) == {SlotName.A: Path("/dev/x"), SlotName.B: tmp_path / "slots/y"}
    with pytest.raises(FormatError, match="slot_capacity_bytes is missing"):
        read(tmp_path, LEAST.replace("slot_capacity_bytes = 1000", ""))
    with pytest.raises(FormatError, match="both slots have one device"):
        read(tmp_path, LEAST + devices.replace("slots/y", "/dev/x"))


ARCHIVE = """
[install]
kind = "archive"
folder = "app"

[boot]
backend = "link"
folder = "app"
"""


def test_archives_go_with_a_link_in_their_folder(tmp_path: Path) -> None:
    restarting = LEAST.replace('command = ["reboot"]', 'command = ["x"]\nrestarts = "application"')
    assert read(tmp_path, restarting + ARCHIVE).reboot.restarts == "application"
    for text, says in (
        (LEAST + ARCHIVE.replace('"link"\nfolder = "app"', '"link"\nfolder = "other"'), "both have one folder"),
        (LEAST + ARCHIVE.partition("[boot]")[0], "the boot backend 'link'"),
        (LEAST + "[boot]" + ARCHIVE.partition("[boot]")[2], "archives go with"),
        (restarting, "only an application in archives"),
    ):
        with pytest.raises(FormatError, match=says):
            read(tmp_path, text)


def test_two_bootloaders_go_with_an_installer_that_can_tell_them_apart(tmp_path: Path) -> None:
    two = LEAST.replace('id = "t-1"', 'id = "t-1"\nbootloader_copies = 2')
    assert read(tmp_path, two + '[install]\nkind = "rauc"\n[boot]\nbackend = "rauc"\n').device.bootloader_copies == 2
    assert read(tmp_path, two + '[install]\nkind = "script"\ncommand = ["x"]\n').device.bootloader_copies == 2
    with pytest.raises(FormatError, match="one of two bootloaders"):
        read(tmp_path, two)
    with pytest.raises(FormatError, match="bootloader_copies"):
        read(tmp_path, two.replace("copies = 2", "copies = 3"))


def test_bundles_of_rauc_go_with_what_rauc_says_of_the_slots(tmp_path: Path) -> None:
    install, boot = '[install]\nkind = "rauc"\nnames = { a = "A", b = "B" }\n', '[boot]\nbackend = "rauc"\nnames = { a = "A", b = "B" }\n'
    assert isinstance(read(tmp_path, LEAST + install + boot).install, RaucInstall)
    for text in (install, install + boot.replace('"B"', '"C"')):
        with pytest.raises(FormatError, match="go with the boot backend 'rauc'"):
            read(tmp_path, LEAST + text)


def test_a_probe_of_a_disk_asks_for_something(tmp_path: Path) -> None:
    probe = '[[trial.probes]]\nkind = "disk"\npath = "/data"\n'
    assert read(tmp_path, f"{LEAST}{probe}free_bytes = 1\n").trial.probes
    with pytest.raises(FormatError, match="free_inodes"):
        read(tmp_path, LEAST + probe)


def test_a_board_may_say_what_else_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, LEAST + '\n[attributes]\nsite = "new york"\n').attributes == {"site": "new york"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('state = "active"', "'state' is built in"),
        ('Site = "x"', "$.attributes"),
        ("site = 1", "Expected `str`"),
        (f'site = "{"x" * 201}"', "200"),
        ('site = "a\\tb"', "$.attributes"),
        ("\n".join(f'a{number} = "x"' for number in range(51)), "50"),
    ],
)
def test_an_attribute_that_cannot_be_is_an_error(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, f"{LEAST}\n[attributes]\n{line}\n")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "t-1"', "", "missing required field `id` - at `$.device`"),
        ('id = "t-1"', 'id = "a b"', "$.device.id"),
        ('id = "t-1"', "id = 1", "Expected `str`, got `int` - at `$.device.id`"),
        ('"thermostat-v1"', '"Thermostat"', "$.device.hardware"),
        ('"2.1.0"', '"two"', "$.device.bootloader_version"),
        ("slot_capacity_bytes = 1000", "slot_capacity_bytes = -1", "$.storage.slot_capacity_bytes"),
        ("slot_capacity_bytes = 1000", "slot_size = 1000", "`slot_size`"),
        ('command = ["reboot"]', "command = []", "$.reboot.command"),
        ('command = ["reboot"]', 'command = "reboot"', "$.reboot.command"),
        ("settle_s = 5", "settle_s = -1", "$.trial.settle_s"),
        ("settle_s = 5", "settle_s = 86401", "$.trial.settle_s"),
        ("settle_s = 5", "settle_s = nan", "$.trial.settle_s"),
        ("settle_s = 5", "settle_s = 60.5", "settle_s must be less than timeout_s"),
        ("settle_s = 5", "settle = 5", "`settle`"),
        ('kind = "http"', 'kind = "ping"', "ping"),
        ('port_file = "run/port"', "", "either 'url' or 'port_file'"),
        ("[trial]", "[trials]", "`trials`"),
        ("[device]", "[device", "is not TOML"),
        ("settle_s = 5", "settle_s = 5\nsettle_s = 6", "is not TOML"),
        ("[trial]", "[device]", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = LEAST + TRIAL
    assert old in text
    with pytest.raises(FormatError) as refused:
        read(tmp_path, text.replace(old, new, 1))
    assert says in refused.value.message
    assert str(tmp_path / "agent.toml") in refused.value.message
    assert "docs/formats.md" in refused.value.hint


def test_what_is_no_text_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is not TOML"):
        read(tmp_path, b"\xff\xfe")


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read_says_how_to_name_another(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="Name the file with --config"):
        read_config(tmp_path / name)
