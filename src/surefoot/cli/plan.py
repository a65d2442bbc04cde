# SPDX-License-Identifier: Apache-2.0
"""``surefoot plan check|schema``: what a plan comes to, without a server; and its form, as a JSON Schema."""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from surefoot.cli.plan_file import at, read_plan_document
from surefoot.document import Document
from surefoot.fleet.filter import parse
from surefoot.model.duration import seconds
from surefoot.model.errors import FilterError, FormatError
from surefoot.model.record import to_plain
from surefoot.rollout.flaw import concerns
from surefoot.rollout.network import EACH, key_of
from surefoot.rollout.network import words_of as words_of_network
from surefoot.rollout.plan import Limits, NetworkLimits, Plan, PlanFile, Stage
from surefoot.rollout.sequence import draft, walked
from surefoot.schedule.words import words_of

_FILLED_IN = ("stages", "watch", "deadline")
"""Keys whose default follows from the kind: no schema can say it."""

_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", re.MULTILINE)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``surefoot plan``."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    checking = verbs.add_parser(
        "check", help="say what a plan comes to, or what is wrong with it", description="Check a plan file, without a server."
    )
    checking.add_argument("plan", metavar="PLAN", type=Path, help="plan.yaml")
    checking.add_argument("--json", action="store_true", help="the whole plan as it will be walked, with every default, as JSON")
    checking.set_defaults(run=_check)
    showing = verbs.add_parser("schema", help="print the JSON Schema of plan files", description="Print the JSON Schema of plan files.")
    showing.set_defaults(run=_schema)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of plan files."""
    plain = msgspec.json.schema(PlanFile)
    for key in _FILLED_IN:
        del plain["$defs"]["Plan"]["properties"][key]["default"]
    for form in plain["$defs"].values():
        _describe(form)
    found: dict[str, Any] = _with_patterns_of_ecma(plain)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Surefoot plan", **found}


def lines(plan: Plan) -> Iterator[str]:
    """Yield what a plan comes to, for people."""
    rollout = draft(plan).plan
    yield f"{plan.name or plan.release}: {plan.release}, {plan.kind}, variant {plan.variant}"
    yield f"audience   {plan.audience or f'every {plan.product}'}"
    for number, stage in enumerate(rollout.stages):
        yield f"{'' if number else 'stages':<10} {_stage(stage)}"
    yield f"gate       {_gate(plan)}"
    yield f"offers     {_offers(plan.limits)}; one stands for {plan.start_within}"
    yield f"attempts   silent {plan.deadline} after the start; {_retries(plan)}"
    yield f"windows    {'; '.join(map(words_of, plan.windows)) or 'none of its own'}{_deadline(plan)}"
    yield f"halt       devices that were updated {'are taken back' if plan.on_halt == 'revert' else 'keep it'}"
    yield f"approval   {_approval(plan)}"
    soaks_s = sum(seconds(stage.soak_of(batch)) for stage in rollout.stages for batch in range(len(stage.batches)))
    yield f"in all     {len(rollout.stages)} stages, {soaks_s / 3_600:.1f} hours of soaking at least; then watched for {plan.watch}"


def _check(arguments: argparse.Namespace) -> int:
    document, plan = read_plan_document(arguments.plan)
    _check_filters(document, plan)
    warnings = list(concerns(plan))
    if arguments.json:
        print(json.dumps({"plan": _whole(draft(plan).plan), "warnings": warnings}, indent=1))
        return 0
    for line in lines(plan):
        print(line)
    for warning in warnings:
        print(f"warning    {warning}")
    print(f"Next: surefoot rollout simulate {arguments.plan}")
    print(f"      surefoot rollout create {arguments.plan}")
    return 0


def _schema(_arguments: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=1))
    return 0


def _check_filters(document: Document, plan: Plan) -> None:
    written = [("audience", plan.audience)]
    for index, stage in enumerate(plan.stages):
        key = f"stages[{index}].{'audience' if stage.audience else 'order_by'}"
        written += [(f"stages[{index}].audience", stage.audience), *((key, part.audience) for part in walked([stage]))]
    for key, text in written:
        try:
            parse(text)
        except FilterError as error:
            raise FormatError(f"{at(document, key)}: {error.message}", hint=error.hint) from error


def _stage(stage: Stage) -> str:
    whom = " and ".join(filter(None, (f"group {stage.group}" if stage.group else "", stage.audience))) or "everybody"
    soaks = [stage.soak_of(batch) for batch in range(len(stage.batches))]
    steps = [batch if not seconds(soak) else f"{batch} {soak}" for batch, soak in zip(stage.batches, soaks, strict=True)]
    return f"{stage.name}: {whom}; {', '.join(steps)}"


def _gate(plan: Plan) -> str:
    simple = plan.simple
    rates = (
        f"failures above {simple.rollback_rate.pause} or failed health checks above {simple.health_failure_rate.pause} pause it,"
        f" above {simple.rollback_rate.warn} or {simple.health_failure_rate.warn} people are warned"
    )
    return f"default; beside it, {rates}" if plan.has_default_gate else f"plain percentages; {rates}"


def _offers(limits: Limits) -> str:
    said = [f"{limits.per_minute} a minute"]
    said += [f"{limits.per_hour} an hour"] if limits.per_hour else []
    said += [f"{limits.concurrent_downloads} downloads at once"] if limits.concurrent_downloads else []
    for kind, networks in limits.by_kind.items():
        for name, own in networks.items():
            where = f"each other {kind}" if name == EACH else words_of_network(key_of(kind, name))
            said.append(f"in {where} {' and '.join(_rates(own))}")
    return f"at most {', '.join(said)}"


def _rates(own: NetworkLimits) -> list[str]:
    rates = (
        (own.per_minute, "a minute"),
        (own.per_hour, "an hour"),
        (own.bytes_per_second, "bytes a second"),
        (own.concurrent_downloads, "downloads at once"),
    )
    return [f"{number} {words}" for number, words in rates if number is not None]


def _retries(plan: Plan) -> str:
    return f"tried again up to {plan.retries.max} times, first after {plan.retries.backoff}" if plan.retries.max else "not tried again"


def _deadline(plan: Plan) -> str:
    if plan.security is None:
        return ""
    return f"; ignored from {plan.security.deadline} on, {plan.security.grace} after the first offer at the earliest"


def _approval(plan: Plan) -> str:
    people = "another person than who created it" if plan.approval.second_person else "any person"
    needed = f"by {people}, before it starts" if plan.approval.required else "none is needed to start it"
    return f"{needed}; it allows {' and '.join(plan.approve)} updates" if plan.approve else needed


def _whole(value: object) -> object:
    """Return a value as JSON with every key, defaults too."""
    match value:
        case msgspec.Struct():
            return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case _:
            return to_plain(value)


def _describe(form: dict[str, Any]) -> None:
    """Put what a docstring says of each attribute beside the attribute."""
    form["description"], _, attributes = form.get("description", "").partition("\n\n    Attributes:\n")
    for name, said in _ATTRIBUTE.findall(attributes):
        form["properties"][name]["description"] = " ".join(said.split()).replace("``", "'")


def _with_patterns_of_ecma(plain: Any) -> Any:  # noqa: ANN401  # JSON values have no narrower type
    """Return a schema whose patterns are read alike by every validator: Python alone knows these two anchors."""
    if isinstance(plain, list):
        return [_with_patterns_of_ecma(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    return {
        key: value.replace(r"\A", "^").replace(r"\Z", "$") if key == "pattern" and isinstance(value, str) else _with_patterns_of_ecma(value)
        for key, value in plain.items()
    }
