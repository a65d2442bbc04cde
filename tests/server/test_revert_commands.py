# SPDX-License-Identifier: Apache-2.0
"""A revert by command, over HTTP, on a server that decides by itself; what it prints, and what the pages show."""

from pathlib import Path

import pytest
from msgspec import structs

from surefoot.cli.main import main
from surefoot.model.digest import digest_of
from surefoot.model.record import to_plain
from tests.server.office import statement
from tests.server.running import Joined, Running
from tests.system.lab import wait_for

PLAN = """\
rollout:
  release: thermostat 41.1.0
  audience: device_id=in=(back-1,back-2)
  on_halt: {on_halt}
  gate: {{ simple: {{}} }}
  stages: [{{ name: all }}]
"""


def surefoot(server: Running, *words: str) -> int:
    return main([*words, "--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")])


def say(device: Joined, version: str, seq: int, assignment_id: int | None = None) -> None:
    """Let a device say that it runs a version, well."""
    report = structs.replace(statement(digest_of(version.encode())), version=version, revert_to="minor")
    event = {"seq": seq, "type": "update.health.ok", "at": "2026-11-23T08:00:00Z", "assignment_id": assignment_id}
    batch = {"journal": "f3" * 8, "events": [] if assignment_id is None else [event], "report": to_plain(report)}
    assert device.send(batch).status == 200


def take(server: Running, device: Joined, version: str, seq: int) -> None:
    """Wait until a device is offered a version, and let it take that."""

    def offers() -> list[int]:
        made = server.story(device)["assignments"]
        return [one["assignment_id"] for one in made if one["version"] == version and one.get("outcome") is None]

    wait_for(f"an offer of {version}", offers)
    say(device, version, seq, offers()[0])


def test_a_revert_is_said_in_a_table_and_carried_out(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.publish("41.0.0", b"41.0.0")
    server.publish("41.1.0", b"41.1.0", revert_to="minor")
    first, second = server.join("back-1"), server.join("back-2")
    say(first, "41.0.0", 1)
    say(second, "41.0.9", 1)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(on_halt="revert"))
    assert surefoot(server, "rollout", "create", str(plan)) == 2
    assert "1 of them run 41.0.9: thermostat 41.0.9 is not on this server. Write hold," in capsys.readouterr().err
    plan.write_text(PLAN.format(on_halt="hold"))
    assert surefoot(server, "rollout", "create", str(plan), "--start") == 0
    number = capsys.readouterr().out.partition(":")[0].split()[1]
    for device in (first, second):
        take(server, device, "41.1.0", 2)
    assert surefoot(server, "rollout", "revert", number, "--why", "no") == 1
    assert "The rollout is running. Halt it first" in capsys.readouterr().err
    assert surefoot(server, "rollout", "halt", number, "--keep", "--why", "it drains batteries") == 0
    capsys.readouterr()
    assert surefoot(server, "rollout", "revert", number, "--why", "it drains batteries") == 0
    back = int(number) + 1
    assert capsys.readouterr().out.splitlines() == [
        "RAN BEFORE         DEVICES  TAKEN BACK BY",
        f"41.0.0                   1  rollout {back}",
        "41.0.9                   1  nobody: thermostat 41.0.9 is not on this server.",
        f"Next: surefoot rollout show {back} --follow",
    ]
    take(server, first, "41.0.0", 3)
    assert surefoot(server, "rollout", "show", str(back)) == 0
    shown = capsys.readouterr().out
    assert f"takes back what rollout {number} updated from 41.0.0" in shown
    assert "in all       1 offered, 1 succeeded" in shown
    assert surefoot(server, "rollout", "revert", number, "--why", "again") == 1
    assert f"being reverted already, by rollout {back}" in capsys.readouterr().err
    assert [one["version"] for one in server.story(second)["assignments"]] == ["41.1.0"]


def test_a_revert_wants_a_reason(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        surefoot(server, "rollout", "revert", "1")
    assert "--why" in capsys.readouterr().err


def test_no_plan_can_ask_for_a_revert(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.yaml").write_text("rollout:\n  release: thermostat 1.0.0\n  reverts: 1\n")
    assert surefoot(server, "rollout", "create", str(tmp_path / "plan.yaml")) == 2
    assert "reverts" in capsys.readouterr().err
    answer = server.call("POST", "rollouts", {"release": "thermostat 1.0.0", "reverts": 1})
    assert (answer.status, "reverts" in answer.json()["detail"]) == (400, True)
