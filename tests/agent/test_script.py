# SPDX-License-Identifier: Apache-2.0
"""Install scripts: the example, and ones that fail, hang, flood or lie."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from surefoot.agent.installers.script import MOST_BYTES, Executable, ScriptInstaller
from surefoot.agent.installers.settings import ScriptInstall
from surefoot.agent.installers.staging import PATH, Staging
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.digest import digest_of
from surefoot.model.errors import DigestError, InstallerError
from surefoot.model.slot import SlotName
from tests.docs.pages import ROOT

A, B = SlotName.A, SlotName.B
EXAMPLE = ROOT / "integration/install-script/slot.sh"
IMAGE = os.urandom(300_000)
HONEST = digest_of(IMAGE).removeprefix("sha256:")
CONTENT = "ab" * 32


def installer(folder: Path, *command: str, timeout_s: float = 20, memory_bytes: int = 256 * 2**20) -> ScriptInstaller:
    (folder / "home").mkdir(exist_ok=True)
    storage = PosixStorage(folder / "home")
    settings = ScriptInstall(command=list(command), timeout_s=timeout_s, install_timeout_s=timeout_s)
    return ScriptInstaller(Executable(settings.command, folder, memory_bytes), storage, Staging(storage, 10**6), "data/installed", settings)


def install(slots: ScriptInstaller, image: bytes = IMAGE) -> None:
    slots.writer(B).truncate(0)
    slots.writer(B).write_at(0, image)
    slots.install(B, len(image), digest_of(image))
    slots.verify(B, len(image), digest_of(image))


def script(folder: Path, install: str, digest: str = f"""echo '{{"content": "{CONTENT}"}}'""") -> str:
    path = folder / "script"
    path.write_text(f'#!/bin/sh\ncase "$1" in install) {install} ;; digest) {digest} ;; esac\n')
    path.chmod(0o700)
    return str(path)


TAKE = f"""cat > taken; echo '{{"sha256": "{HONEST}"}}'"""


def test_the_example_installs_and_finds_what_was_changed(tmp_path: Path) -> None:
    slots = installer(tmp_path, str(EXAMPLE), f"{tmp_path}/slot-")
    install(slots)
    assert (tmp_path / "slot-b").read_bytes() == IMAGE
    assert slots.running_digest(B, len(IMAGE)) == digest_of(IMAGE)
    assert read_file(PosixStorage(tmp_path / "home"), PATH) == b""
    with (tmp_path / "slot-b").open("r+b") as file:
        file.write(b"evil")
    assert slots.running_digest(B, len(IMAGE)) != digest_of(IMAGE)
    with pytest.raises(DigestError, match="does not hold what the install script made"):
        slots.verify(B, len(IMAGE), digest_of(IMAGE))


def test_a_slot_from_the_factory_is_what_the_script_finds_there(tmp_path: Path) -> None:
    (tmp_path / "slot-a").write_bytes(IMAGE)
    assert installer(tmp_path, str(EXAMPLE), f"{tmp_path}/slot-").running_digest(A, 5) == digest_of(IMAGE)


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    slots = installer(tmp_path, script(tmp_path, f"echo once >> calls; {TAKE}"))
    install(slots)
    install(slots)
    assert (tmp_path / "calls").read_text() == "once\n"


LIES: dict[str, tuple[str, str, str]] = {
    "fails": ("echo 'no chip' >&2; exit 3", "", "status 3: no chip"),
    "hangs": ("sleep 100", "", "took longer than"),
    "floods": ("cat > taken; yes", "", "says more than"),
    "talks": (f"cat > taken; head -c {MOST_BYTES + 1} /dev/zero | tr '\\0' ' '", "", f"more than {MOST_BYTES} bytes"),
    "says nothing": ("cat > taken", "", "install script says to 'install'"),
    "says something else": ("cat > taken; echo done", "", "install script says to 'install'"),
    "says more than it should": (f"""cat > taken; echo '{{"sha256": "{HONEST}", "ok": true}}'""", "", "`ok`"),
    "has read half": ("""read -r sha _ <<X\n$(head -c 1000 | sha256sum)\nX\necho "{\\"sha256\\": \\"$sha\\"}" """, "", "other bytes"),
    "names no digest": ("""cat > taken; echo '{"sha256": "none"}'""", "", "matching regex"),
    "cannot say what lies there": (TAKE, "exit 1", "status 1"),
    "says nonsense of what lies there": (TAKE, "echo '{}'", "missing required field `content`"),
    "hangs when asked": (TAKE, "sleep 100", "took longer than"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_script_that_fails_or_lies_is_refused_and_nothing_is_noted(tmp_path: Path, lie: str) -> None:
    first, second, says = LIES[lie]
    slots = installer(tmp_path, script(tmp_path, first, second or "echo"), timeout_s=1 if lie.startswith("hangs") else 60)
    with pytest.raises(InstallerError) as caught:
        install(slots)
    assert says in str(caught.value)
    assert caught.value.hint
    assert not (tmp_path / "home/data/installed/b.json").exists()
    assert read_file(PosixStorage(tmp_path / "home"), PATH) == IMAGE


def test_a_script_that_finds_something_else_each_time_does_not_pass(tmp_path: Path) -> None:
    wavering = """n=$(cat n 2>/dev/null || echo 1); echo $((n + 1)) > n; printf '{"content": "%064d"}' "$n" """
    with pytest.raises(DigestError):
        install(installer(tmp_path, script(tmp_path, TAKE, wavering)))


@pytest.mark.parametrize("note", [b"", b"{}"])
def test_a_note_that_says_nothing_is_no_installation(tmp_path: Path, note: bytes) -> None:
    slots = installer(tmp_path, script(tmp_path, TAKE))
    install(slots)
    replace_file(PosixStorage(tmp_path / "home"), "data/installed/b.json", note)
    assert slots.running_digest(B, len(IMAGE)) == f"sha256:{CONTENT}"


def test_what_was_downloaded_wrong_is_given_to_no_script(tmp_path: Path) -> None:
    slots = installer(tmp_path, script(tmp_path, "touch called"))
    slots.writer(B).write_at(0, IMAGE)
    with pytest.raises(DigestError):
        slots.install(B, len(IMAGE), digest_of(b"other"))
    assert not (tmp_path / "called").exists()


def test_a_script_gets_an_empty_environment_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    install(installer(tmp_path, script(tmp_path, f"{TAKE}; env > env; ulimit -v > memory; ulimit -n > files; ulimit -c > core")))
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "_", "SHLVL"} == {"PATH", "LC_ALL", "SUREFOOT_INSTALL"}
    assert [(tmp_path / name).read_text().strip() for name in ("memory", "files", "core")] == [str(256 * 1024), "256", "0"]


def test_what_a_script_leaves_running_is_ended(tmp_path: Path) -> None:
    background = "(exec >/dev/null 2>&1 </dev/null; sleep 60) & echo $! > pid"
    install(installer(tmp_path, script(tmp_path, f"{TAKE}; {background}")))
    assert _ends(lambda: _is_running(int((tmp_path / "pid").read_text())))


def _is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _ends(goes_on: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while goes_on() and time.monotonic() < until:
        os.sched_yield()
    return not goes_on()
