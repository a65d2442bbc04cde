# SPDX-License-Identifier: Apache-2.0
"""The wheel that is shipped, installed bare into an empty environment, updates a board.

Server and releases come from the environment of the tests; supervisor and agent run from the wheel.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.bare import LOCK, built_wheel, locked
from tests.interop.programs import SOURCES, Programs
from tests.interop.tuf_repository import Published, served

DEVICE = "w-1"
PRODUCT = "thermostat"
HARDWARE = "thermostat-v1"
INSTALLERS = {"pip", "setuptools"}

# The environment must find its own installation, whatever the tests were told to find.
_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


@dataclass(frozen=True, slots=True)
class Bare:
    """An environment with nothing but the bare install, and programs that run in it."""

    python: str
    programs: Programs

    def do(self, *words: str, status: int = 0) -> str:
        """Run ``python WORDS`` in it."""
        return self.programs.run(*words, by=(self.python,), status=status, without=_HIDDEN)

    def surefoot(self, *words: str, status: int = 0) -> str:
        return self.programs.run(*words, by=(self.python, "-m", "surefoot"), status=status, without=_HIDDEN)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = tmp_path_factory.mktemp("bare")
    wheel = built_wheel()
    with Programs(folder) as programs:
        programs.run("-m", "venv", programs.at("venv"), by=(sys.executable,))
        environment = Bare(programs.at("venv/bin/python"), programs)
        pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
        environment.do(*pip, "--require-hashes", "-r", str(LOCK))
        environment.do(*pip, "--no-deps", "--no-index", str(wheel))
        yield environment


def test_the_environment_holds_the_locked_distributions_and_no_others(bare: Bare) -> None:
    assert "No broken requirements" in bare.do("-m", "pip", "check")
    listed = json.loads(bare.do("-m", "pip", "--disable-pip-version-check", "list", "--format", "json"))
    installed = {each["name"].lower(): each["version"] for each in listed}
    own = installed.pop("surefoot")
    assert f"surefoot-{own}-" in built_wheel().name
    assert {name: version for name, version in installed.items() if name not in INSTALLERS} == locked()


def test_it_runs_from_the_wheel_and_not_from_the_sources(bare: Bare) -> None:
    found = Path(bare.do("-c", "import surefoot.model; print(surefoot.model.__file__)").strip())
    assert found.is_relative_to(bare.programs.folder / "venv")


@pytest.mark.parametrize(("command", "extra"), [("serve", "server"), ("release", "release")])
def test_a_command_of_an_extra_says_which_to_install(bare: Bare, command: str, extra: str) -> None:
    assert f"Install surefoot[{extra}]." in bare.surefoot(command, status=2)


def test_the_conformance_adapter_is_a_program_of_the_bare_install(bare: Bare) -> None:
    programs = bare.programs
    repository = Published()
    program = (programs.at("venv/bin/surefoot-tuf-client"),)
    root = programs.folder / "first-root.json"
    root.write_bytes(repository.files["metadata/1.root.json"])
    place = ("--metadata-dir", programs.at("tuf"))
    with served(repository) as url:
        programs.run(*place, "init", str(root), by=program, without=_HIDDEN)
        programs.run("--metadata-url", url + "/metadata", *place, "refresh", by=program, without=_HIDDEN)
        programs.run("--metadata-url", url + "/elsewhere", *place, "refresh", by=program, without=_HIDDEN, status=1)
    assert (programs.folder / "tuf" / "targets.json").read_bytes() == repository.files["metadata/1.targets.json"]


def test_a_board_is_updated_by_the_bare_install(bare: Bare) -> None:
    programs = bare.programs
    example = programs.folder / "sources"
    shutil.copytree(SOURCES / "examples" / "thermostat", example)
    programs.start_server(PRODUCT)
    programs.release(example / "firmware.yaml", "1.0.0")
    programs.release(example / "firmware-1.1.0.yaml", "1.1.0")
    board, offer = programs.at("board"), programs.at("enrol.json")

    bare.surefoot("simulate", "flash", board, "--bundle", programs.at("1.0.0"), "--hardware", HARDWARE, "--serial", DEVICE)
    bare.surefoot("token", "new", DEVICE, "--hardware", HARDWARE, "-o", offer)
    bare.surefoot("agent", "enroll", "--with", offer, "--config", f"{board}/agent.toml")
    programs.start("board", "simulate", "board", board, by=(bare.python, "-m", "surefoot"), without=_HIDDEN)
    bare.surefoot("device", "order", DEVICE, PRODUCT, "1.1.0")
    programs.wait_for("the attempt to end", lambda: "outcome" in programs.story(DEVICE)["assignments"][0])

    story = programs.story(DEVICE)
    assert story["assignments"][0]["outcome"] == "succeeded"
    assert story["device"]["report"]["version"] == "1.1.0"
    assert json.loads(bare.surefoot("agent", "status", "--json", "--config", f"{board}/agent.toml"))["state"]["slot"] == "b"
    assert {words[0] for words in agents_of(board)} == {bare.python}


def agents_of(board: str) -> Iterator[list[str]]:
    """Give the command line of every agent that runs on a board."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "agent" in words and f"{board}/agent.toml" in words:
                yield words
