# SPDX-License-Identifier: Apache-2.0
"""``surefoot simulate``: a board is flashed whole or not at all, and runs until it is stopped."""

import os
import signal
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from surefoot.agent.boot.file import load
from surefoot.agent.boot.state import factory
from surefoot.agent.probes.settings import CommandProbe, HeartbeatProbe, HttpProbe, Probe
from surefoot.agent.posix import PosixStorage
from surefoot.cli.main import main
from surefoot.model.digest import digest_of, hex_of
from surefoot.model.manifest import Component, Image, Manifest, ManifestEntry, ReleaseIndex, ReleaseNotes
from surefoot.model.record import to_pretty_json

IMAGE = b"import signal; print('image is up', flush=True); signal.pause()\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with one image, as small as one can be."""
    manifest = Manifest(
        product="thermostat",
        version="1.0.0",
        build_id="20260101-000000-abcdef",
        variant="release",
        release_counter=1,
        target_hardware=["thermostat-v1"],
        min_bootloader_version="2.0.0",
        components=[Component(name="application", version="1.0.0", hash=digest_of(IMAGE))],
        image=Image(size=len(IMAGE), hash=digest_of(IMAGE)),
        metadata=ReleaseNotes(),
    )
    data = to_pretty_json(manifest)
    entry = ManifestEntry(hardware="thermostat-v1", variant="release", file="manifest-thermostat-v1-release.json", hash=digest_of(data))
    index = ReleaseIndex(
        product="thermostat",
        version="1.0.0",
        build_id=manifest.build_id,
        manifests=[entry],
        sbom=digest_of(b"{}"),
        provenance=digest_of(b"{}"),
    )
    folder = tmp_path / "bundle"
    (folder / "images").mkdir(parents=True)
    (folder / "release.json").write_bytes(to_pretty_json(index))
    (folder / entry.file).write_bytes(data)
    (folder / "images" / hex_of(digest_of(IMAGE))).write_bytes(IMAGE)
    return folder


def flash(bundle: Path, board: Path, *more: str, hardware: str = "thermostat-v1", serial: str = "t-1") -> int:
    return main(["simulate", "flash", str(board), "--bundle", str(bundle), "--hardware", hardware, "--serial", serial, *more])


def test_a_flashed_board_has_all_it_needs(bundle: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    assert flash(bundle, board) == 0
    assert (board / "slots/a.img").read_bytes() == IMAGE
    assert (board / "factory-manifest.json").read_bytes() == (bundle / "manifest-thermostat-v1-release.json").read_bytes()
    assert load(PosixStorage(board)) == factory()
    settings = tomllib.loads((board / "agent.toml").read_text())
    assert settings["device"] == {
        "id": "t-1",
        "hardware": "thermostat-v1",
        "bootloader_version": "2.1.0",
        "factory_manifest": "factory-manifest.json",
    }
    assert settings["storage"] == {"root": ".", "slot_capacity_bytes": 16_777_216}
    assert settings["reboot"] == {"command": ["touch", "run/reboot"]}
    probes = msgspec.convert(settings["trial"]["probes"], list[Probe])
    assert [type(probe) for probe in probes] == [HeartbeatProbe, HttpProbe, CommandProbe]


def test_an_archive_is_as_good_as_a_folder(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bundle.tar", "w") as archive:
        archive.add(bundle, arcname="")
    assert flash(tmp_path / "bundle.tar", tmp_path / "board") == 0
    assert (tmp_path / "board/slots/a.img").read_bytes() == IMAGE


def test_a_board_runs_once_until_it_is_stopped(bundle: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    flash(bundle, board)
    command = [sys.executable, "-m", "surefoot", "simulate", "board", str(board)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": "src"}) as process:
        assert process.stdout is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        second = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": "src"})
        process.send_signal(signal.SIGTERM)
        said += process.stdout.readlines()
        assert process.wait(30) == 0
    assert (second.returncode, second.stdout, second.stderr) == (1, "", f"surefoot: The board in {board} runs already. Stop it first.\n")
    assert said == ["board t-1: boot #1 slot a\n", "image is up\n", "board t-1: stopping\n", "board t-1: off\n"]


def changed_image(bundle: Path) -> None:
    (bundle / "images" / hex_of(digest_of(IMAGE))).write_bytes(b"!" + IMAGE)


def changed_manifest(bundle: Path) -> None:
    (bundle / "manifest-thermostat-v1-release.json").write_bytes(b"{}")


def missing_index(bundle: Path) -> None:
    (bundle / "release.json").unlink()


def broken_index(bundle: Path) -> None:
    (bundle / "release.json").write_bytes(b"{")


def nothing(_bundle: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "more", "status", "sentence"),
    [
        (changed_image, [], 1, "has been changed. Build or fetch"),
        (changed_manifest, [], 1, "manifest-thermostat-v1-release.json has been changed"),
        (missing_index, [], 2, "release.json cannot be read"),
        (broken_index, [], 2, "release.json: Input data was truncated"),
        (nothing, ["--hardware", "other"], 2, "no image for other release. It has: thermostat-v1 release."),
        (nothing, ["--variant", "debug"], 2, "no image for thermostat-v1 debug"),
        (nothing, ["--serial", "../x"], 2, "'../x' is no serial number"),
        (nothing, ["--bootloader-version", "two"], 2, "'two' is not a semantic version"),
        (nothing, ["--slot-bytes", "10"], 2, f"The image has {len(IMAGE)} bytes, a slot 10."),
        (nothing, ["--bundle", "/nowhere"], 2, "/nowhere: release.json cannot be read"),
    ],
)
def test_bad_input_is_one_sentence_and_makes_no_board(
    *,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    more: list[str],
    status: int,
    sentence: str,
) -> None:
    spoil(bundle)
    assert flash(bundle, tmp_path / "board", *more) == status
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "board").exists()


def test_a_folder_in_use_is_left_alone(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "board"
    flash(bundle, board)
    before = (board / "agent.toml").read_text()
    assert flash(bundle, board, serial="t-2") == 2
    assert "is not empty" in capsys.readouterr().err
    assert (board / "agent.toml").read_text() == before
    assert flash(bundle, board / "agent.toml") == 2


@pytest.mark.parametrize("text", [None, "id = 1", "[device", '[device]\nid = "a b"', "device = 1"])
def test_a_folder_without_a_board_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None) -> None:
    if text is not None:
        (tmp_path / "agent.toml").write_text(text)
    assert main(["simulate", "board", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("surefoot: ")
