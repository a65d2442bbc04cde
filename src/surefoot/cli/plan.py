# SPDX-License-Identifier: Apache-2.0
"""``surefoot plan check|schema``: what a plan comes to, without a server unless one is named; and its form, as a JSON Schema."""

import argparse
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from surefoot.cli.operator import add_token_file, client
from surefoot.cli.plan_file import read_plan
from surefoot.fleet.install_time import ENOUGH
from surefoot.model.duration import seconds
from surefoot.model.record import to_plain
from surefoot.model.window import OF_THE_DEVICE, Window
from surefoot.rollout.flaw import concerns
from surefoot.rollout.network import EACH, key_of
from surefoot.rollout.network import words_of as words_of_network
from surefoot.rollout.plan import Limits, NetworkLimits, Plan, PlanFile, Stage
from surefoot.rollout.sequence import draft
from surefoot.rollout.urgency import late
from surefoot.schedule.words import words_of
from surefoot.server.services.catalogue import FleetMix, UsualInstall

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
    checking.add_argument("--server", metavar="URL", help="ask this one as well how long installs take on the plan's devices")
    add_token_file(checking)
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
    for index, stage in enumerate(rollout.stages):
        yield f"{'' if index else 'stages':<10} {_stage(stage)}"
    yield f"gate       {_gate(plan)}"
    yield f"offers     {_offers(plan.limits)}; an offer stands for {plan.start_within}"
    yield f"attempts   count as silent {plan.deadline} after their start; {_retries(plan)}"
    yield f"windows    {'; '.join(map(_window, plan.windows)) or 'none of its own'}{_deadline(plan)}"
    yield f"halt       devices that were updated {'are taken back' if plan.on_halt == 'revert' else 'keep it'}"
    yield f"approval   {_approval(plan)}"
    soaks_s = sum(seconds(stage.soak_of(batch)) for stage in rollout.stages for batch in range(len(stage.batches)))
    number = f"{len(rollout.stages)} {'stage' if len(rollout.stages) == 1 else 'stages'}"
    yield f"in all     {number}, {_span(soaks_s)} of soaking at least (the times beside the batches); then watched for {plan.watch}"


def _check(arguments: argparse.Namespace) -> int:
    plan = read_plan(arguments.plan)
    installs = _installs(arguments, plan)
    warnings = [*concerns(plan), *late(plan, datetime.now(UTC)), *_too_short(plan, installs)]
    if arguments.json:
        print(json.dumps({"plan": _whole(draft(plan).plan), "warnings": warnings}, indent=1))
        return 0
    for line in lines(plan):
        print(line)
    for one in installs:
        print(f"installs   {one.hardware}: {_usual(one, plan)}")
    for warning in warnings:
        print(f"warning    {warning}")
    print(f"Next: surefoot rollout simulate {arguments.plan}")
    print(f"      surefoot rollout create {arguments.plan}")
    return 0


def _installs(arguments: argparse.Namespace, plan: Plan) -> list[UsualInstall]:
    """Return how long installs take on the hardware of a plan's audience; nothing when no server is named."""
    if arguments.server is None:
        return []
    return client(arguments).get("mix", FleetMix, product=plan.product, filter=plan.audience).installs


def _usual(one: UsualInstall, plan: Plan) -> str:
    if one.usual_s is None:
        return f"{plan.install_time} as planned; {one.installs} known, of {ENOUGH} at least"
    return f"95 of 100 took up to {one.usual_s} s, of the last {one.installs}; orders say {max(one.usual_s, plan.install_s)} s"


def _too_short(plan: Plan, installs: list[UsualInstall]) -> Iterator[str]:
    longest_s = max((window.length_s for window in plan.windows), default=None)
    for one in installs:
        if longest_s is not None and one.usual_s is not None and one.usual_s > longest_s:
            yield f"On {one.hardware} installs take {one.usual_s} s, and no window of the plan is as long: none starts in one."


def _schema(_arguments: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=1))
    return 0


def _stage(stage: Stage) -> str:
    whom = " and ".join(filter(None, (f"group {stage.group}" if stage.group else "", stage.audience))) or "everybody"
    soaks = [stage.soak_of(batch) for batch in range(len(stage.batches))]
    steps = [batch if not seconds(soak) else f"{batch} {soak}" for batch, soak in zip(stage.batches, soaks, strict=True)]
    return f"{stage.name}: {whom}; {', '.join(steps)}"


def _window(window: Window) -> str:
    return f"{words_of(window)}{' by the clock of each device' if window.zone == OF_THE_DEVICE else ''}"


def _span(length_s: int) -> str:
    """Return a length of time in its two largest units, as in ``3d 14h``."""
    found, left = [], length_s
    for unit, unit_s in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if left >= unit_s:
            found.append(f"{left // unit_s}{unit}")
            left %= unit_s
    return " ".join(found[:2]) or "0s"


def _gate(plan: Plan) -> str:
    simple = plan.simple
    rates = (
        f"failures above {simple.rollback_rate.pause} or failed health checks above {simple.health_failure_rate.pause} pause it,"
        f" people are warned above {simple.rollback_rate.warn} and {simple.health_failure_rate.warn}"
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
