# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout decide``: a plan and lines of evidence become decisions, without a server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.cli.rollout_decide import decisions
from surefoot.model.errors import FormatError
from surefoot.rollout.plan import Gates, Plan, Stage

STAGES = [Stage(name="canary", soak="1h"), Stage(name="general", batches=["10%", "100%"], soak="0s")]
PLAN = Plan(release="thermostat 1.2.3", stages=STAGES, gate=Gates(), watch="0s")
PROGRAM = [sys.executable, "-m", "surefoot", "rollout", "decide"]


def line(at: str, *, stage: int = 0, population: int = 20, is_exhausted: int = True, **counts: int) -> bytes:
    tallies = [{"stage": stage, "hardware": "v1", "counts": counts}] if counts else []
    evidence = {"tallies": tallies, "population": population, "is_exhausted": bool(is_exhausted)}
    return json.dumps({"at": f"2026-11-24T{at}Z", "evidence": evidence}).encode() + b"\n"


GOOD = {"offered": 20, "started": 20, "succeeded": 20}
STORY = [
    line("12:00:00", is_exhausted=False),
    line("12:10:00", **GOOD),
    line("13:09:59", **GOOD),
    line("13:10:00", **GOOD),
    line("13:10:01", stage=1, population=200, is_exhausted=False, offered=0),
    line("13:20:00", stage=1, population=200, is_exhausted=False, offered=20, started=20, succeeded=15, rolled_back=5),
    line("13:30:00", stage=1, population=200, is_exhausted=False, offered=20, started=20, succeeded=20),
]


def test_every_decision_is_carried_out_before_the_next_line() -> None:
    causes = [decision.cause for decision in decisions(PLAN, STORY)]
    assert causes == ["offer", "soak", "soak", "stage", "offer", "rollback_rate", "paused"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (b"{", "This is not evidence"),
        (b"\n", "This is not evidence"),
        (b"\xff\n", "This is not evidence"),
        (b'{"at": "2026-11-24T12:00:00Z"}', "missing required field `evidence`"),
        (b'{"at": "noon", "evidence": {}}', "'noon' is not an RFC 3339 time"),
        (b'{"at": "2026-11-24T12:00:00", "evidence": {}}', "has no time zone"),
        (b'{"at": "2026-11-24T12:00:00Z", "evidence": {"populatoin": 3}}', "unknown field `populatoin`"),
        (line("11:59:59"), "2026-11-24T11:59:59Z is earlier than the line before. Give the lines in the order of their times."),
        (line("12:00:00", stage=7, offered=1), "The evidence names stage 7; the plan has 2. Use the plan it was made for."),
    ],
)
def test_a_line_that_cannot_be_used_is_named(wrong: bytes, says: str) -> None:
    with pytest.raises(FormatError) as refused:
        list(decisions(PLAN, [STORY[0], wrong]))
    assert (str(refused.value).startswith("Line 2: "), says in str(refused.value)) == (True, True), refused.value


@pytest.mark.parametrize("zero", [{"due": 0}, {}], ids=["zeros are written", "zeros are left out"])
def test_deadlines_that_pass_after_the_first_reports_do_not_contradict_them(zero: dict[str, int]) -> None:
    by_default = Plan(release="thermostat 1.2.3")
    story = [
        line("12:10:00", population=200, is_exhausted=False, offered=4, started=4, succeeded=3, **zero),
        line("16:05:00", population=200, is_exhausted=False, offered=4, started=4, succeeded=3, silent=1, due=1),
        line("16:10:00", population=200, is_exhausted=False, offered=4, started=4, succeeded=3, silent=1, due=4),
    ]
    assert "gate_unreadable" not in [decision.cause for decision in decisions(by_default, story)]


def test_silence_is_told_from_deadlines_that_were_counted() -> None:
    by_default = Plan(release="thermostat 1.2.3")
    early = line("12:10:00", population=9_000, is_exhausted=False, offered=40, started=40, succeeded=20, due=0)
    silent = line("16:05:00", population=9_000, is_exhausted=False, offered=40, started=40, succeeded=20, silent=4, due=4)
    paused = list(decisions(by_default, [early, silent]))[-1]
    assert "4 of 4 updated devices went silent" in paused.reason


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text("rollout:\n  release: thermostat 1.2.3\n  stages: [{ name: canary, soak: 1h }]\n")
    return path


def test_the_command_prints_one_decision_a_line(plan: Path) -> None:
    done = subprocess.run([*PROGRAM, str(plan)], input=b"".join(STORY[:2]), capture_output=True, check=True)
    assert [json.loads(text)["decision"] for text in done.stdout.splitlines()] == ["advance", "hold"]


def test_the_command_ends_with_2_at_a_wrong_line_and_has_printed_what_came_before(plan: Path) -> None:
    done = subprocess.run([*PROGRAM, str(plan)], input=STORY[0] + b"{", capture_output=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr[:25]) == (2, 1, b"surefoot: Line 2: This is")


def test_a_decision_is_out_before_the_next_line_comes_in(plan: Path) -> None:
    with subprocess.Popen([*PROGRAM, str(plan)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(STORY[0])
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["cause"] == "offer"
        running.stdin.close()
