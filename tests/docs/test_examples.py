# SPDX-License-Identifier: Apache-2.0
"""The examples in the page of formats are read by the code that reads the real ones, and they agree with one another."""

import inspect
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from surefoot.agent import machine, triggers
from surefoot.agent.boot.file import load
from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.twostate import Said
from surefoot.agent.config import Config, read_config
from surefoot.agent.enrol import Home
from surefoot.agent.installers.archive import Unpacked
from surefoot.agent.installers.rauc import Bundled
from surefoot.agent.installers.script import Scripted
from surefoot.agent.installers.settings import ArchiveInstall, RawInstall
from surefoot.agent.journal import Journal
from surefoot.agent.keystore import OpensslKey
from surefoot.agent.posix import PosixStorage
from surefoot.agent.probes.settings import Probe
from surefoot.agent.starting import Started
from surefoot.agent.state import State
from surefoot.agent.triggers import Thresholds
from surefoot.cli.plan_file import read_plan
from surefoot.cli.rollout_decide import Moment, decisions
from surefoot.document import parse
from surefoot.fleet.filter import check_names
from surefoot.fleet.filter import parse as parse_filter
from surefoot.fleet.rsql import Operator
from surefoot.model.assignment import Order
from surefoot.model.attribute import RESERVED
from surefoot.model.digest import digest_of
from surefoot.model.event import Acknowledgement, EventBatch, EventType
from surefoot.model.manifest import Manifest, MustMatch, ReleaseIndex, must_match
from surefoot.model.record import from_json, to_plain, to_pretty_json
from surefoot.model.rollback import MEANINGS, RollbackReason
from surefoot.model.slot import SlotName, SlotState
from surefoot.model.wire import EnrolmentAnswer, EnrolmentOffer, EnrolmentRequest, PollAnswer, RenewalRequest
from surefoot.release.provenance import Predicate, read_predicate, require_predicate
from surefoot.release.recipe import Part, Recipe, RecipeFile, read_recipe
from surefoot.rollout.plan import Gates, Limits, NetworkLimits, Plan, PlanApproval, Retries, Security, SimpleGate, Stage
from surefoot.schedule.nearest import WindowSetting
from surefoot.server.api import operator
from surefoot.server.api.http import Problem
from surefoot.server.app import Addresses
from surefoot.server.db.schema import INDEXED
from surefoot.simulator.story import BoardStory
from tests.docs.pages import PAGES, ROOT, blocks

PAGE = (ROOT / "docs" / "formats.md").read_text()
EXAMPLES = {block.mark.removeprefix("example: "): block.text for block in blocks(PAGE) if block.mark.startswith("example: ")}

KINDS: dict[str, type] = {
    "said": Said,
    "unpacked": Unpacked,
    "bundled": Bundled,
    "scripted": Scripted,
    "started": Started,
    "release": ReleaseIndex,
    "manifest": Manifest,
    "provenance": Predicate,
    "must-match": MustMatch,
    "order": Order,
    "windows": WindowSetting,
    "evidence": Moment,
    "poll": PollAnswer,
    "events": EventBatch,
    "acknowledgement": Acknowledgement,
    "offer": EnrolmentOffer,
    "enrolment-request": EnrolmentRequest,
    "enrolment-answer": EnrolmentAnswer,
    "renewal-request": RenewalRequest,
    "problem": Problem,
    "home": Home,
    "addresses": Addresses,
    "story": BoardStory,
}


# What a part of agent.toml stands beside, where it leaves that out.
LEAST = {
    "device": '[device]\nid = "t-1"\nhardware = "t"\nbootloader_version = "1.0.0"\nfactory_manifest = "m.json"\n',
    "storage": "[storage]\nslot_capacity_bytes = 1000\n",
    "reboot": '[reboot]\ncommand = ["reboot"]\n',
}

PLAN_KINDS = (Plan, Stage, Gates, SimpleGate, Limits, NetworkLimits, Security, Retries, PlanApproval)


@pytest.mark.parametrize("name", KINDS)
def test_a_json_example_is_exactly_what_its_record_holds(name: str) -> None:
    assert to_plain(from_json(EXAMPLES[name].encode(), KINDS[name], what=name)) == json.loads(EXAMPLES[name])


def test_every_example_is_read_by_a_test() -> None:
    assert EXAMPLES.keys() == KINDS.keys() | {"recipe", "plan", "decision", "agent", "identity", "journal", "boot", "filter"}


def test_the_example_of_a_device_key_is_read_beside_the_rest_of_agent_toml(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(EXAMPLES["agent"] + EXAMPLES["identity"])
    assert read_config(tmp_path / "agent.toml").identity == OpensslKey(provider="tpm2")


def test_the_bundle_names_the_manifest_and_both_repositories_sign_its_block() -> None:
    manifest = from_json(EXAMPLES["manifest"].encode(), Manifest, what="manifest")
    index = from_json(EXAMPLES["release"].encode(), ReleaseIndex, what="release")
    block = from_json(EXAMPLES["must-match"].encode(), MustMatch, what="must-match")
    assert index.manifests[0].hash == digest_of(to_pretty_json(manifest))
    assert block == must_match(manifest) == from_json(EXAMPLES["order"].encode(), Order, what="order").must_match


def test_the_provenance_is_that_of_the_bundle() -> None:
    manifest = from_json(EXAMPLES["manifest"].encode(), Manifest, what="manifest")
    index = from_json(EXAMPLES["release"].encode(), ReleaseIndex, what="release")
    assert index.provenance == digest_of(EXAMPLES["provenance"].encode())
    require_predicate(read_predicate(EXAMPLES["provenance"].encode()), index, [manifest])


def test_the_recipe_can_be_read_and_has_every_key(tmp_path: Path) -> None:
    source = _recipe(tmp_path)
    keys = json.dumps(source.document.plain)
    assert [field for field in (*Recipe.__struct_fields__, *Part.__struct_fields__) if f'"{field}"' not in keys] == []


def test_the_table_of_recipe_keys_names_each_of_them() -> None:
    assert [field for field in (*Recipe.__struct_fields__, *Part.__struct_fields__) if f"`{field}" not in PAGE] == []


def test_the_plan_can_be_read_and_has_every_key(tmp_path: Path) -> None:
    document = parse(EXAMPLES["plan"].encode(), file="plan.yaml")
    keys = json.dumps(document.plain)
    assert isinstance(_plan(tmp_path), Plan)
    assert [key for kind in PLAN_KINDS for key in kind.__struct_fields__ if f'"{key}"' not in keys] == []


def test_the_tables_of_plan_keys_name_each_of_them() -> None:
    chapter = PAGE[PAGE.index("## The plan") : PAGE.index("### Evidence and decisions")]
    assert [key for kind in PLAN_KINDS for key in kind.__struct_fields__ if not re.search(rf"`(\w+\.)?{key}(\.\w+)?`", chapter)] == []


def test_the_decision_is_what_the_plan_says_of_the_evidence(tmp_path: Path) -> None:
    line = " ".join(EXAMPLES["evidence"].split()).encode()
    assert [to_plain(decision) for decision in decisions(_plan(tmp_path), [line])] == [json.loads(EXAMPLES["decision"])]


@pytest.mark.parametrize("line", EXAMPLES["filter"].splitlines())
def test_each_line_of_the_filters_can_be_read(line: str) -> None:
    check_names(parse_filter(line), {*RESERVED, "site", "region", "customer", "component.modem"})


def test_the_tables_of_filters_name_each_operator_and_each_field() -> None:
    chapter = PAGE[PAGE.index("## Filter") : PAGE.index("## agent.toml")]
    assert [operator for operator in Operator if operator not in chapter] == []
    assert [name for name in (*RESERVED, *INDEXED) if f"`{name}`" not in chapter] == []


def test_the_settings_can_be_read_and_use_every_kind_of_probe(tmp_path: Path) -> None:
    config = _config(tmp_path)
    assert {type(probe) for probe in config.trial.probes} == set(get_args(Probe))


def test_the_journal_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text(EXAMPLES["journal"])
    journal = Journal(PosixStorage(tmp_path), "journal", State, new_id=_no_id)
    assert journal.state is not None
    assert (journal.state.running.version, journal.next_seq, journal.pending) == ("1.0.0", 3, ())
    journal.close()


def test_the_bootloaders_state_can_be_read(tmp_path: Path) -> None:
    assert _boot(tmp_path).slots[SlotName.B].state is SlotState.TRYING


def test_the_page_names_every_type_of_event() -> None:
    assert [kind for kind in EventType if f"| `{kind}` |" not in PAGE] == []


def test_every_reason_of_a_rollback_on_the_page_is_one_that_the_machine_gives() -> None:
    table = PAGE[PAGE.index("| reason of a rollback |") :].split("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)) == {str(reason): says for reason, says in MEANINGS.items()}
    given = inspect.getsource(machine) + inspect.getsource(triggers)
    assert [reason for reason in RollbackReason if f"RollbackReason.{reason.name}" not in given] == []


def test_the_page_has_every_key_of_every_probe_and_of_the_triggers() -> None:
    chapter = PAGE[PAGE.index("### Probes") : PAGE.index("### Watchdogs")]
    fields = {field for kind in (*get_args(Probe), Thresholds) for field in kind.__struct_fields__}
    assert [field for field in fields if f"`{field}`" not in chapter] == []
    numbers = re.findall(r"`(\w+)` \((\d+)\)", chapter[chapter.index("| trigger |") :])
    assert [(name, number) for name, number in numbers if getattr(Thresholds(), name) != int(number)] == []


def test_the_page_names_every_call_of_the_operator_api() -> None:
    source = re.sub(r":str\}", "}", inspect.getsource(operator))
    calls = {
        f"{verb.upper()} /api/v1{path}" for verb, path in re.findall(r"^@(get|put|post|delete|head)\(\"([^\"]+)\"", source, re.MULTILINE)
    }
    assert calls == set(re.findall(r"^\| `([A-Z]+ /api/v1[^`]+)` \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("read", ["recipe", "plan", "agent", "boot"])
def test_an_example_with_a_wrong_word_would_be_noticed(read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: dict[str, Callable[[Path], object]] = {"recipe": _recipe, "plan": _plan, "agent": _config, "boot": _boot}
    monkeypatch.setitem(
        EXAMPLES, read, EXAMPLES[read].replace("version", "versoin").replace("trying", "triyng").replace("deadline", "daedline")
    )
    with pytest.raises(Exception, match=r"versoin|triyng|daedline"):
        readers[read](tmp_path)


def _plan(folder: Path) -> Plan:
    (folder / "plan.yaml").write_text(EXAMPLES["plan"])
    return read_plan(folder / "plan.yaml")


def _recipe(folder: Path) -> RecipeFile:
    (folder / "firmware.yaml").write_text(EXAMPLES["recipe"])
    return read_recipe(folder / "firmware.yaml")


def _config(folder: Path) -> Config:
    (folder / "agent.toml").write_text(EXAMPLES["agent"])
    return read_config(folder / "agent.toml")


def _boot(folder: Path) -> BootState:
    (folder / "boot.json").write_text(EXAMPLES["boot"])
    return load(PosixStorage(folder))


def _no_id() -> str:
    raise AssertionError("the journal is there already")


def test_each_part_of_agent_toml_on_any_page_is_read(tmp_path: Path) -> None:
    parts = [block.text for page in PAGES for block in blocks(page.read_text()) if block.language == "toml"]
    assert parts
    for part in parts:
        said = tomllib.loads(part)
        (tmp_path / "agent.toml").write_text("".join(text for table, text in LEAST.items() if table not in said) + part)
        assert isinstance(read_config(tmp_path / "agent.toml"), Config)


def test_each_table_that_names_an_installer_is_read(tmp_path: Path) -> None:
    tables = [block.text for block in blocks(PAGE) if not block.mark and block.text.startswith("[install]")]
    device = EXAMPLES["agent"].partition("[reboot]")[0]
    kinds = set()
    for table in tables:
        reboot = "" if "[reboot]" in table else '[reboot]\ncommand = ["reboot"]\n'
        (tmp_path / "agent.toml").write_text(f"{device}{reboot}{table}")
        kinds.add(type(read_config(tmp_path / "agent.toml").install))
    assert kinds == {RawInstall, ArchiveInstall}
