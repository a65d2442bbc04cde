# SPDX-License-Identifier: Apache-2.0
"""Tools of bootloaders that are missing, fail, hang, flood or lie: each is a ``BootError`` that says what to do."""

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.custom import CustomLoader
from surefoot.agent.boot.grub import GrubStore
from surefoot.agent.boot.store import StoredBootControl
from surefoot.agent.boot.tool import MOST_BYTES, run_tool
from surefoot.agent.boot.twostate import TwoStateBootControl
from surefoot.agent.boot.uboot import UBootStore
from surefoot.agent.posix import PosixStorage
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState

A, B = SlotName.A, SlotName.B
SOON_S = 0.3
LATE_S = 60.0

VARIABLES = "BOOT_ORDER=A B\nBOOT_LAST_GOOD=A\nBOOT_A_STATE=good\nBOOT_A_LEFT=3\nBOOT_B_STATE=bad\nBOOT_B_LEFT=0\n"

# What a tool answers when it is asked, and what it does when it is told something.
ENVIRONMENT = f"cat <<'EOF'\n{VARIABLES}EOF"
CUSTOM = 'case "$1" in get-primary) echo A ;; get-state) if [ "$2" = A ]; then echo good; else echo bad; fi ;; esac'


class Backend(Protocol):
    def __call__(self, folder: Path, asked: str, told: str, timeout_s: float = LATE_S) -> BootControl: ...


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def uboot(folder: Path, asked: str, told: str, timeout_s: float = LATE_S) -> BootControl:
    printenv, setenv = script(folder / "printenv", asked), script(folder / "setenv", told)
    return StoredBootControl(UBootStore(str(folder / "config"), printenv=printenv, setenv=setenv, timeout_s=timeout_s))


def grub(folder: Path, asked: str, told: str, timeout_s: float = LATE_S) -> BootControl:
    (folder / "grubenv").write_text("")
    tool = script(folder / "editenv", f'if [ "$2" = list ]; then\n{asked}\nelse\n{told}\nfi')
    return StoredBootControl(GrubStore(folder / "grubenv", editenv=tool, timeout_s=timeout_s))


def custom(folder: Path, asked: str, told: str, timeout_s: float = LATE_S) -> BootControl:
    tool = script(folder / "backend", f'case "$1" in get-*)\n{CUSTOM if asked == ENVIRONMENT else asked}\n;; *)\n{told}\n;; esac')
    loader = CustomLoader([tool], {A: "A", B: "B"}, folder=folder, timeout_s=timeout_s)
    return TwoStateBootControl(loader, PosixStorage(folder), A, "said")


BACKENDS: list[Backend] = [uboot, grub, custom]


def _patience(fault: str) -> float:
    return SOON_S if "sleep" in fault else LATE_S


FAULTS = {
    "exit 3": "ended with status 3",
    "echo it is broken >&2; exit 1": "it is broken",
    "exec sleep 60": "took longer than",
    "sleep 60 & exit 0": "took longer than",
    "exec yes": f"says more than {MOST_BYTES} bytes",
    "printf '\\377'": "not UTF-8",
    "kill -9 $$": "ended with status -9",
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.items(), ids=list(FAULTS))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tool_that_is_asked_in_vain(backend: Backend, fault: str, message: str, tmp_path: Path) -> None:
    control = backend(tmp_path, fault, "exit 0", _patience(fault))
    verbs: list[Callable[[], object]] = [control.get_primary, lambda: control.get_state(B), lambda: control.set_state(B, SlotState.TRYING)]
    for verb in verbs:
        with pytest.raises(BootError) as caught:
            verb()
        assert message in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(("fault", "message"), FAULTS.items(), ids=list(FAULTS))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tool_that_is_told_in_vain(backend: Backend, fault: str, message: str, tmp_path: Path) -> None:
    control = backend(tmp_path, ENVIRONMENT, fault, _patience(fault))
    verbs: list[Callable[[], object]] = [lambda: control.set_primary(B), lambda: control.set_state(B, SlotState.TRYING)]
    for verb in verbs:
        with pytest.raises(BootError) as caught:
            verb()
        assert message in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tool_that_says_it_is_done_and_did_nothing(backend: Backend, tmp_path: Path) -> None:
    control = backend(tmp_path, ENVIRONMENT, "exit 0")
    assert (control.get_primary(), control.get_state(A), control.get_state(B)) == (A, SlotState.GOOD, SlotState.BAD)
    verbs: list[Callable[[], object]] = [lambda: control.set_primary(B), lambda: control.set_state(B, SlotState.TRYING)]
    for verb in verbs:
        with pytest.raises(BootError) as caught:
            verb()
        assert "does not do what it says" in caught.value.hint


@pytest.mark.parametrize("said", ["", "C", "A\nB", "good"])
def test_a_custom_backend_that_names_no_slot(said: str, tmp_path: Path) -> None:
    with pytest.raises(BootError, match="get-primary says"):
        custom(tmp_path, f"printf '{said}'", "exit 0").get_primary()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("BOOT_ORDER=A B\n", "", "has no variable BOOT_ORDER"),
        ("BOOT_ORDER=A B", "BOOT_ORDER=", "has no variable BOOT_ORDER"),
        ("BOOT_ORDER=A B", "BOOT_ORDER=A", "BOOT_ORDER='A'"),
        ("BOOT_ORDER=A B", "BOOT_ORDER=A A", "BOOT_ORDER='A A'"),
        ("BOOT_ORDER=A B", "BOOT_ORDER=A B C", "BOOT_ORDER='A B C'"),
        ("BOOT_LAST_GOOD=A", "BOOT_LAST_GOOD=a", "BOOT_LAST_GOOD='a'"),
        ("BOOT_B_STATE=bad", "BOOT_B_STATE=worse", "BOOT_B_STATE='worse'"),
        ("BOOT_B_LEFT=0", "BOOT_B_LEFT=4", "BOOT_B_LEFT='4'"),
        ("BOOT_B_LEFT=0", "BOOT_B_LEFT=-1", "BOOT_B_LEFT='-1'"),
        ("BOOT_B_LEFT=0", "BOOT_B_LEFT=0\nBOOT_B_LEFT=3", "BOOT_B_LEFT twice"),
    ],
)
@pytest.mark.parametrize("backend", [uboot, grub])
def test_an_environment_that_makes_no_sense(backend: Backend, old: str, new: str, message: str, tmp_path: Path) -> None:
    control = backend(tmp_path, f"cat <<'EOF'\n{VARIABLES.replace(old, new)}EOF", "exit 0")
    with pytest.raises(BootError) as caught:
        control.get_primary()
    assert message in caught.value.message


def test_a_tool_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="cannot be started"):
        run_tool([str(tmp_path / "nothing")], timeout_s=SOON_S)


def test_a_grubenv_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BootError, match="no environment block"):
        GrubStore(tmp_path / "grubenv", timeout_s=SOON_S).read()
    assert list(tmp_path.iterdir()) == []


def test_a_tool_reads_what_it_is_told_and_need_not(tmp_path: Path) -> None:
    assert run_tool(["cat"], timeout_s=20, stdin="x" * 30_000) == "x" * 30_000
    assert run_tool(["true"], timeout_s=20, stdin="x" * 30_000, folder=tmp_path) == ""


@pytest.mark.parametrize("holds", ["", "</dev/null >/dev/null", "<&- >&2", "<&0"])
def test_a_child_that_left_the_tools_group_and_holds_its_pipes_is_waited_for_no_longer_than_the_tool(holds: str, tmp_path: Path) -> None:
    script(tmp_path / "tool", f"exec 4<&0; setsid sh -c 'echo $$ > pid; exec sleep 60' {holds} & while ! test -s pid; do :; done; exit 0")
    try:
        with pytest.raises(BootError, match="took longer than"):
            run_tool([str(tmp_path / "tool")], timeout_s=SOON_S, folder=tmp_path, stdin="x" * 300_000)
    finally:
        # It would hang before it came here if the child were waited for.
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_what_a_tool_left_running_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    script(tmp_path / "tool", "exec 3<>held; sleep 600 >/dev/null 2>&1 & exit 0")
    # The pipe ends when nobody holds it any more.
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    try:
        run_tool([str(tmp_path / "tool")], timeout_s=LATE_S, folder=tmp_path)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        assert poll.poll(LATE_S * 1000)[0][1] & select.POLLHUP
    finally:
        os.close(reader)
