# SPDX-License-Identifier: Apache-2.0
"""The command itself: what it says of wrong use, and how it ends."""

import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest

from surefoot.cli import trust_status
from surefoot.cli.main import NOUNS, main


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["--fly"], "required: COMMAND"),
        (["trust"], "required: VERB"),
        (["trust", "fly"], "invalid choice: 'fly'"),
        (["trust", "init"], "required: --keys, --data"),
        (["trust", "status", "--keys"], "--keys: expected one argument"),
        (["trust", "status", "--keys", "x", "more"], "unrecognized arguments: more"),
        (["agent", "run", "--config"], "--config: expected one argument"),
        (["serve", "--data", "x", "--device-port", "99999"], "'99999' is not a port, which is a number up to 65535"),
        (["serve", "--data", "x", "--device-port", "http"], "'http' is not a port, which is a number up to 65535"),
        (["serve", "--data", "x", "--poll-interval", "0"], "'0' is not a number of seconds between 1 and 72000"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_wrong(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert says in told.err.splitlines()[-1]
    assert told.out == ""


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"surefoot {version('surefoot')}\n"


def test_help_lists_every_noun_and_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert [name for name, noun in NOUNS.items() if name not in told or noun.summary not in told] == []


@pytest.mark.parametrize("noun", NOUNS)
def test_each_noun_explains_itself(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([noun, "--help"])
    assert ended.value.code == 0
    assert f"usage: surefoot {noun}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("noun", "missing", "extras"),
    [
        ("serve", ["litestar"], "server"),
        ("release", ["cyclonedx"], "release"),
        ("rollout", ["cyclonedx"], "release"),
        ("demo", ["litestar"], "server"),
        ("demo", ["litestar", "cyclonedx"], "server,release"),
    ],
)
def test_the_bare_install_says_which_extra_a_command_needs(
    noun: str, missing: list[str], extras: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    assert main([noun]) == 2
    assert capsys.readouterr().err == (
        f"surefoot: 'surefoot {noun}' needs packages that the bare install does not have. Install surefoot[{extras}].\n"
    )


@pytest.mark.parametrize("noun", [name for name, noun in NOUNS.items() if not noun.extras])
def test_the_other_commands_need_no_extra(noun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("litestar", "cyclonedx"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        main([noun, "--help"])
    assert ended.value.code == 0


def raising(error: BaseException) -> Callable[[object], int]:
    def run(_arguments: object) -> int:
        raise error

    return run


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 1)])
def test_a_user_who_has_enough_sees_no_traceback(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trust_status, "_status", raising(error))
    assert main(["trust", "status", "--keys", "x"]) == status
    assert capsys.readouterr().err == ""


def test_a_programming_mistake_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_status, "_status", raising(LookupError("a mistake")))
    with pytest.raises(LookupError):
        main(["trust", "status", "--keys", "x"])


def test_the_words_of_the_process_are_taken_when_none_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["surefoot", "trust", "status", "--keys", "/nowhere"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("surefoot: There is no folder of keys at /nowhere. Make one")
