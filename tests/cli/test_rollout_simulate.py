# SPDX-License-Identifier: Apache-2.0
"""``surefoot rollout simulate``: a plan on a twin of a fleet, as a table, JSON and a chart."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from surefoot.cli import rollout_simulate
from surefoot.cli.main import main
from surefoot.cli.plan_file import read_plan
from surefoot.cli.rollout_simulate import left_out
from surefoot.rollout.evidence import Baseline, Share
from surefoot.rollout.plan import Limits, NetworkLimits
from surefoot.server.services.catalogue import FleetMix
from surefoot.simulator.rollouts.study import Outlook

PLAN = """\
rollout:
  release: thermostat 1.1.0
  stages:
    - name: general
      batches: [10%, 100%]
      soak: 1h
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


def test_a_plan_is_told_as_json_and_drawn(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart = plan.with_suffix(".svg")
    words = ["rollout", "simulate", str(plan), "--fleet", "100", "--runs", "2", "--fault", "brick", "--json", "--chart", str(chart)]
    assert main(words) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["fault"], told["runs"], told["stopped"]) == ("brick", 2, 1.0)
    assert 0 < told["harmed"] <= told["harmed_worst"] <= 20
    assert chart.read_text().startswith("<svg")


def test_a_plan_by_region_passes_over_regions_that_a_made_up_fleet_lacks(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.write_text(PLAN + "      order_by: [region: [nowhere, somewhere]]\n")
    assert main(["rollout", "simulate", str(plan), "--fleet", "100", "--runs", "1", "--fault", "brick", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["stopped"], told["harmed"] > 0) == (1.0, True)


def test_of_a_made_up_fleet_nobody_knows_more_than_hardware_and_region(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.write_text(PLAN + "      audience: site==berlin\n")
    assert main(["rollout", "simulate", str(plan), "--fleet", "100"]) == 2
    assert "Stage general asks for 'site'; of a made-up fleet only hardware and region are known." in capsys.readouterr().err


def test_a_table_has_a_line_for_each_fault() -> None:
    good = Outlook(fault="good", runs=20, hours=33.2, harmed=0, harmed_worst=0, stopped=0.05, stopped_after_h=7.0, excluded=0)
    assert rollout_simulate.table([good])[1].split() == ["good", "0.0", "0", "5%", "7", "h", "0%", "33", "h"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fleet", "100", "--fault", "hardware:rev-z"], "the fleet has no such hardware"),
        (["--fleet", "100", "--fault", "worse"], "names no fault"),
        ([], "No API token is named"),
    ],
)
def test_what_cannot_be_simulated_is_said(
    words: list[str], said: str, plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUREFOOT_TOKEN_FILE", raising=False)
    assert main(["rollout", "simulate", str(plan), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_made_up_fleet_has_no_groups(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.write_text(PLAN.replace("name: general", "name: general\n      group: pilot"))
    assert main(["rollout", "simulate", str(plan), "--fleet", "100"]) == 2
    assert "has a group" in capsys.readouterr().err


class Server:
    """Answers with the mixes that a server would give."""

    def __init__(self, devices: int = 40) -> None:
        self.devices = devices

    def get(self, path: str, kind: type[FleetMix], **query: str) -> FleetMix:
        assert (path, kind, query["product"], query["filter"]) == ("mix", FleetMix, "thermostat", "region==eu")
        devices = self.devices // 4 if query["group"] else self.devices
        baselines = [Baseline(hardware="rev-c", region="eu", failed=0.02, silent=0.01)]
        return FleetMix(shares=[Share(hardware="rev-c", region="eu", devices=devices)], in_touch=devices * 3 // 4, baselines=baselines)


def test_a_twin_is_made_after_the_servers_fleet(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_simulate, "client", lambda _arguments: Server())
    text = PLAN.replace("  stages:\n", "  audience: region==eu\n  stages:\n    - name: pilot\n      group: pilot\n      batches: [100%]\n")
    plan.write_text(text)
    setting = rollout_simulate.twin(read_plan(plan), Namespace())
    assert (setting.devices, setting.population(0), setting.population(1)) == (40, 10, 40)
    assert (setting.habits.fails, setting.habits.never, round(setting.habits.silent, 9)) == (0.02, 0.25, 0.01)


def test_a_fleet_without_devices_is_no_twin(plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rollout_simulate, "client", lambda _arguments: Server(0))
    plan.write_text(PLAN.replace("  stages:\n", "  audience: region==eu\n  stages:\n"))
    assert main(["rollout", "simulate", str(plan)]) == 2
    assert "has no device" in capsys.readouterr().err


def test_without_numpy_it_says_what_to_install(plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rollout_simulate, "find_spec", lambda _name: None)
    assert main(["rollout", "simulate", str(plan), "--fleet", "10"]) == 2
    assert "surefoot[simulate]" in capsys.readouterr().err


def test_limits_that_the_twin_does_not_know_are_said() -> None:
    own = {"berlin": NetworkLimits(per_hour=1)}
    assert left_out(Limits(per_hour=9)) == []
    assert left_out(Limits(concurrent_downloads=9, sites=own)) == ["limits.concurrent_downloads", "limits.sites"]
