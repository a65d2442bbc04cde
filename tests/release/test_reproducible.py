# SPDX-License-Identifier: Apache-2.0
"""The example, built in two unlike places: other folder, time, umask, locale, file order and hash seed, and the same bytes."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from surefoot.release.bundle import read_bundle
from tests.release.firmware import BUILD_ID, copy_thermostat

BACKWARDS = Path(__file__).with_name("backwards.py")


def surefoot(
    *words: str | Path, before: Sequence[str | Path] = (), umask: int = 0o022, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [*(before or [sys.executable]), "-m", "surefoot", *words]
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return subprocess.run(command, env={**inherited, **environment}, umask=umask, capture_output=True, text=True, check=False)


@pytest.fixture
def turkish(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user in Turkey, where the capital of i is not I."""
    locales = tmp_path / "locales"
    locales.mkdir()
    subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", locales / "tr_TR.UTF-8"], check=True)
    return {"LOCPATH": str(locales), "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati"}


@pytest.fixture
def backwards(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the ``python3`` of build commands sees folders backwards."""
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(BACKWARDS))} "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("recipe", ["firmware.yaml", "firmware-1.2.0.yaml"])
@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_two_unlike_places_build_the_same_bytes(
    tmp_path: Path, turkish: dict[str, str], backwards: dict[str, str], recipe: str, name: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "a much longer folder, somewhere else"
    copy_thermostat(here)
    copy_thermostat(there)
    words = ["--build-id", BUILD_ID]
    one = surefoot("release", "build", here / recipe, "-o", here / name, *words, PYTHONHASHSEED="1")
    faked = ["faketime", "2031-02-03 04:05:06", sys.executable, str(BACKWARDS)]
    two = surefoot(
        "release",
        "build",
        there / recipe,
        "-o",
        there / name,
        *words,
        before=faked,
        umask=0o077,
        PYTHONHASHSEED="2",
        **turkish,
        **backwards,
    )
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    mine, theirs = read_bundle(here / name), read_bundle(there / name)
    assert mine.digest == theirs.digest
    assert {n: b"".join(mine.files.pieces(n)) for n in mine.files.sizes()} == {
        n: b"".join(theirs.files.pieces(n)) for n in theirs.files.sizes()
    }
    if name.endswith(".tar"):
        assert (here / name).read_bytes() == (there / name).read_bytes()


def test_the_places_really_are_unlike(tmp_path: Path, turkish: dict[str, str], backwards: dict[str, str]) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
import locale, pathlib, time
locale.setlocale(locale.LC_ALL, "")
print(time.strftime("%Y %A"), locale.localeconv()["decimal_point"], *(path.name for path in pathlib.Path(__file__).parent.rglob("*.py")))
""")
    (tmp_path / "another.py").touch()
    command = ["faketime", "2031-02-03 04:05:06", "python3", str(program)]
    seen = subprocess.run(command, env={**turkish, **backwards}, capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["2031", "Pazartesi", ",", "program.py", "another.py"]


def test_a_rebuild_proves_a_bundle_and_names_what_differs(tmp_path: Path) -> None:
    copy_thermostat(tmp_path / "here")
    recipe, bundle = tmp_path / "here" / "firmware.yaml", tmp_path / "bundle"
    assert surefoot("release", "build", recipe, "-o", bundle).returncode == 0
    proven = surefoot("release", "verify", bundle, "--rebuild", recipe)
    assert proven.returncode == 0, proven.stderr
    assert proven.stdout.endswith("builds the same bytes again.\n")
    source = tmp_path / "here" / "app" / "thermostat" / "heating.py"
    source.write_text(source.read_text() + "\n")
    refuted = surefoot("release", "verify", bundle, "--rebuild", recipe)
    assert refuted.returncode == 1
    assert "differs: manifest-thermostat-v1-release.json\n" in refuted.stdout
    assert "files differ from what" in refuted.stderr
