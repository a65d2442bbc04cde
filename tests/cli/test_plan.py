# SPDX-License-Identifier: Apache-2.0
"""``surefoot plan check`` and ``schema``: what a plan comes to, and the published form of plans."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from surefoot.cli.main import main
from surefoot.cli.plan import lines, schema
from surefoot.document import parse
from surefoot.model.record import to_plain
from surefoot.rollout.plan import Plan
from surefoot.rollout.risk import Kind
from tests.docs.pages import ROOT
from tests.docs.test_examples import EXAMPLES
from tests.strategies import plans

PUBLISHED = ROOT / "docs" / "plan.schema.json"
BY_REGION = ROOT / "examples" / "plans" / "by-region.yaml"
FORM = Draft202012Validator(json.loads(PUBLISHED.read_text()))


def written(folder: Path, text: str) -> Path:
    (folder / "plan.yaml").write_text("rollout:\n  release: thermostat 1.2.3\n" + text)
    return folder / "plan.yaml"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema()


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "schema"]) == 0
    assert capsys.readouterr().out == PUBLISHED.read_text()


@pytest.mark.parametrize("text", [EXAMPLES["plan"], BY_REGION.read_text(), "rollout: { release: thermostat 1.2.3 }"])
def test_another_validator_takes_the_examples(text: str) -> None:
    FORM.validate(parse(text.encode(), file="plan.yaml").plain)


@given(plans())
def test_another_validator_takes_every_plan_that_can_be(plan: Plan) -> None:
    FORM.validate({"rollout": to_plain(plan)})


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"release": "thermostat"},
        {"release": "thermostat 1.2.3", "colour": "red"},
        {"release": "thermostat 1.2.3", "audience": ""},
        {"release": "thermostat 1.2.3", "limits": {"per_minute": 0}},
        {"release": "thermostat 1.2.3", "limits": {"regions": {"eu": {"bytes_per_second": 0}}}},
        {"release": "thermostat 1.2.3", "stages": []},
        {"release": "thermostat 1.2.3", "stages": [{"name": "a", "soak": "1 hour"}]},
        {"release": "thermostat 1.2.3", "kind": "firmwear"},
    ],
)
def test_another_validator_refuses_what_the_code_refuses(wrong: dict[str, Any]) -> None:
    assert not FORM.is_valid({"rollout": wrong})


def test_every_key_of_the_schema_says_what_it_is_for() -> None:
    silent = [
        f"{name}.{key}"
        for name, form in schema()["$defs"].items()
        for key, value in form.get("properties", {}).items()
        if name in {"Plan", "Stage", "Limits", "NetworkLimits", "Security"} and not {"description", "$ref"} & value.keys()
    ]
    assert silent == []


def test_a_good_plan_is_told_as_it_will_be_walked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "check", str(BY_REGION)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[2:5] == [
        "stages     canary: group canary; 100% 6h",
        "           general-eu: region=='eu'; 1% 6h, 5% 6h, 10% 4h, 25% 2h, 50% 2h, 100%",
        "           general-na: region=='na'; 1% 6h, 5% 6h, 10% 4h, 25% 2h, 50% 2h, 100%",
    ]
    assert "in all     5 stages, 3d 14h of soaking at least (the times beside the batches); then watched for 1d" in said
    assert said.endswith(f"Next: surefoot rollout simulate {BY_REGION}\n      surefoot rollout create {BY_REGION}\n")


def test_the_example_is_told_with_all_that_it_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(EXAMPLES["plan"])
    assert main(["plan", "check", str(path)]) == 0
    said = capsys.readouterr().out
    for words in (
        "count as silent 4h after their start; tried again up to 3 times, first after 1h",
        "mon-fri 02:00 3h by the clock of each device; ignored from 2026-12-15T00:00:00Z on, 1d after the first offer at the earliest",
        "at most 500 a minute, 20000 an hour, 2000 downloads at once, in region eu 50000000 bytes a second and 800 downloads at once, in",
        "in each other site 30 a minute and 300 an hour and 5 downloads at once",
        "by another person than who created it, before it starts; it allows major updates",
    ):
        assert words in said


def test_json_has_every_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "check", str(written(tmp_path, "  kind: flags\n")), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["plan"]) == set(Plan.__struct_fields__)
    assert (told["plan"]["deadline"], told["plan"]["limits"]["per_minute"], told["warnings"]) == ("30m", 500, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  stages: [{ name: a, group: g }, { name: b, group: g, audience: x==1 }]\n", None),
        ("  stages: [{ name: a, group: g, audience: x==1 }, { name: b, group: g }]\n", "Stages a and b may share devices"),
        ("  stages: [{ name: a, audience: x==1 }, { name: b, audience: y==1 }]\n", "Stages a and b may share devices"),
        ("  stages: [{ name: a, audience: x==1 }, { name: b }]\n", ""),
        ("  limits: { regions: { eu: { concurrent_downloads: 9 } } }\n", ""),
        (
            "  limits: { per_hour: 5, sites: { '*': { per_hour: 9 } } }\n",
            "'limits.sites.*.per_hour' is 9, and never reached: 'limits.per_hour' is 5 for all together.",
        ),
        ("  gate: { simple: {} }\n", "Only plain percentages judge it"),
        ("  kind: security\n  windows: [{ start: '02:00', length: 3h }]\n", "It has no 'security.deadline'"),
    ],
)
def test_what_people_should_know_is_a_warning(tmp_path: Path, text: str, says: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["plan", "check", str(written(tmp_path, text))])
    said = capsys.readouterr()
    if says is None:
        assert (status, "no device is ever left for stage b" in said.err) == (2, True)
    else:
        warnings = [line for line in said.out.splitlines() if line.startswith("warning")]
        assert (status, len(warnings)) == (0, int(bool(says)))
        assert says in said.out


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("  audience: 'hardware=='\n", 3, "'rollout.audience': In the filter, at character"),
        ("  stages:\n    - name: a\n      audience: 'version=like=1'\n", 5, "'rollout.stages[0].audience': In the filter, at character"),
    ],
)
def test_a_filter_that_cannot_be_read_is_shown_with_file_line_and_place(
    tmp_path: Path, text: str, line: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text)
    assert main(["plan", "check", str(path)]) == 2
    said = capsys.readouterr().err
    assert (f"{path}, line {line}: " in said, says in said, "^" in said) == (True, True, True), said


@pytest.mark.parametrize("kind", Kind)
def test_the_table_of_kinds_says_what_a_kind_comes_to(kind: Kind) -> None:
    plan = Plan(release="thermostat 1.2.3", kind=kind)
    steps = next(line for line in lines(plan) if line.startswith("stages")).partition("; ")[2]
    row = f"| `{kind}` | {steps} | `{plan.watch}` | `{plan.deadline}` |"
    assert row in (ROOT / "docs" / "formats.md").read_text()
