# SPDX-License-Identifier: Apache-2.0
"""The Debian package: the same bytes each time, installed and removed by dpkg, and a board updated by what lies in it."""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.build_deb import ROOT, SITE, Target, build, fetch
from surefoot.agent.config import read_config
from tests.interop.bare import built_wheel, locked
from tests.interop.programs import Programs

EPOCH = 1_790_000_000
PRODUCT, HARDWARE, DEVICE = "lamp", "lamp-v1", "d-1"
RECIPE = """\
firmware:
  product: lamp
  version: "{version}"
  hardware: [lamp-v1]
  components:
    - {{ name: application, version: "{version}", path: lamp-{version}.bin, license: MIT }}
"""

# The interpreter must find nothing but what the package has.
_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


@dataclass(frozen=True, slots=True)
class Built:
    """A package for the machine and the Python of the tests, what went into it, and the folder that it is unpacked in."""

    package: Path
    wheels: list[Path]
    target: Target
    root: Path

    @property
    def command(self) -> tuple[str, ...]:
        """Its command, by the interpreter of the tests with the options of its first line."""
        program = self.root / "usr/bin/surefoot"
        options = program.read_text().splitlines()[0].partition(" ")[2]
        return (sys.executable, options, str(program))


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("deb")
    arch = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
    target = Target(arch=arch, python=".".join(platform.python_version_tuple()[:2]))
    wheels = [built_wheel(), *fetch(folder / "wheels", target)]
    package = build(folder / "tree", wheels, target, EPOCH, folder / "out")
    root = folder / "root"
    subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
    return Built(package, wheels, target, root)


def field(package: Path, name: str) -> str:
    return subprocess.run(["dpkg-deb", "-f", str(package), name], check=True, capture_output=True, text=True).stdout.strip()


def test_it_is_built_of_the_locked_wheels_and_says_what_it_needs(deb: Built) -> None:
    found = {path.name.split("-")[0].lower() for path in (deb.root / SITE).glob("*.dist-info")}
    assert found == {"surefoot", *locked()}
    assert field(deb.package, "Version") == re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]  # type: ignore[index]  # it has one
    assert f"python3 (>= {deb.target.python}~)" in field(deb.package, "Depends")
    assert re.search(r"libc6 \(>= 2\.[1-9][0-9]\)", field(deb.package, "Depends"))


def test_the_same_sources_give_the_same_bytes(deb: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    before = os.umask(0o077)
    try:
        again = build(tmp_path / "elsewhere", list(deb.wheels), deb.target, EPOCH, tmp_path / "out")
    finally:
        os.umask(before)
    assert again.read_bytes() == deb.package.read_bytes()


def test_dpkg_installs_it_and_the_unit_is_enabled_and_removing_it_keeps_what_the_board_was_told(deb: Built, tmp_path: Path) -> None:
    for name in ("info", "updates"):
        (tmp_path / "var/lib/dpkg" / name).mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").touch()
    options = [f"--root={tmp_path}", "--force-script-chrootless", "--force-depends", "--force-not-root", f"--log={tmp_path}/log"]

    def dpkg(*words: str) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        subprocess.run(["dpkg", *options, *words], check=True, capture_output=True, env=os.environ | {"PATH": path})

    dpkg("-i", str(deb.package))
    wanted = tmp_path / "etc/systemd/system/multi-user.target.wants/surefoot-agent.service"
    settings, memory = tmp_path / "etc/surefoot/agent.toml", tmp_path / "var/lib/surefoot/data/journal"
    assert wanted.is_symlink()
    assert (tmp_path / "var/lib/surefoot").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "lib/systemd/system/surefoot-agent.service").is_file()
    memory.parent.mkdir(parents=True)
    memory.touch()
    settings.write_text(settings.read_text().replace("set-me", "t-1"))

    dpkg("-i", str(deb.package))
    assert "t-1" in settings.read_text()
    dpkg("-r", "surefoot-agent")
    assert settings.exists()
    assert memory.exists()
    assert not (tmp_path / "usr/bin/surefoot").exists()
    dpkg("-P", "surefoot-agent")
    assert not settings.exists()
    assert not memory.exists()
    assert not wanted.is_symlink()


def test_its_settings_are_whole_but_for_the_boards_name(deb: Built) -> None:
    config = read_config(deb.root / "etc/surefoot/agent.toml")
    assert (config.device.id, config.storage.root) == ("set-me", "/var/lib/surefoot")


def test_what_its_pages_and_unit_name_is_there(deb: Built) -> None:
    unit = (deb.root / "lib/systemd/system/surefoot-agent.service").read_text()
    for path in re.findall(r"(?:file://|ExecStart=)(/usr/\S+)", unit):
        assert (deb.root / path[1:]).is_file(), path


def test_a_board_is_updated_by_what_lies_in_it(deb: Built, tmp_path: Path) -> None:
    with Programs(tmp_path) as programs:
        programs.start_server(PRODUCT)
        for version in ("1.0.0", "1.1.0"):
            (tmp_path / f"firmware-{version}.yaml").write_text(RECIPE.format(version=version))
            (tmp_path / f"lamp-{version}.bin").write_bytes(version.encode() * 1000)
            programs.release(tmp_path / f"firmware-{version}.yaml", version)
        board, offer = tmp_path / "board", programs.at("enrol.json")
        toml = board / "agent.toml"
        flash = ["--bundle", programs.at("1.0.0"), "--hardware", HARDWARE, "--serial", DEVICE]
        programs.run("simulate", "flash", str(board), *flash)
        (board / "run").mkdir()
        toml.write_text(toml.read_text().partition("[trial]")[0] + "[trial]\nsettle_s = 0\n")
        programs.run("token", "new", DEVICE, "--hardware", HARDWARE, "-o", offer)

        def surefoot(*words: str) -> str:
            return programs.run(*words, by=deb.command, without=_HIDDEN)

        def start(slot: str) -> None:
            run = ("agent", "run", "--config", str(toml))
            programs.start(f"agent-{slot}", *run, by=deb.command, without=_HIDDEN, more={"SUREFOOT_SLOT": slot})

        assert "enroll" in surefoot("agent", "--help")
        surefoot("agent", "enroll", "--with", offer, "--config", str(toml))
        programs.run("device", "order", DEVICE, PRODUCT, "1.1.0")
        start("a")
        programs.wait_for("the agent to ask for a reboot", (board / "run" / "reboot").exists)
        programs.stop("agent-a")
        del programs.running["agent-a"]
        start("b")
        programs.wait_for("the attempt to end", lambda: "outcome" in programs.story(DEVICE)["assignments"][0])
        assert programs.story(DEVICE)["assignments"][0]["outcome"] == "succeeded"
        status = json.loads(programs.run("agent", "status", "--json", "--config", str(toml), by=deb.command, without=_HIDDEN))
        assert status["state"]["slot"] == "b"


def test_the_command_sees_nothing_that_lies_elsewhere(deb: Built, tmp_path: Path) -> None:
    (tmp_path / "surefoot.py").write_text("raise SystemExit('found elsewhere')")
    done = subprocess.run(
        [*deb.command, "agent", "--help"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
