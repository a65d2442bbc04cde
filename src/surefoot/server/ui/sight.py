# SPDX-License-Identifier: Apache-2.0
"""Sights: what each page shows, read from the catalogue; the templates only lay it out."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from surefoot.fleet.filter import parse
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.attribute import BUILT_IN
from surefoot.model.errors import FilterError
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.evidence import Evidence, total
from surefoot.rollout.judgement import judge
from surefoot.rollout.plan import Rollout
from surefoot.schedule.nearest import Level
from surefoot.server.services.catalogue import Catalogue, DevicePage, RolloutDevices
from surefoot.server.services.why import Tell
from surefoot.server.services.windows import DeviceWindows
from surefoot.server.ui.deed import Refusal, deeds, kept_out, waits_for
from surefoot.server.ui.track import spans, track

_PAGE = 50
_MOST_NAMED = 100
_LETTERS = re.compile(r"[A-Za-z0-9._:-]{0,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One page.

    Attributes:
        template: Its template, without the ending.
        title: What the browser's tab says.
        parts: The names of the parts that change; each is a template in ``parts/``.
        live: The address of its stream; empty when nothing on it changes.
        facts: What the templates show.
        passing: What they show this once in place of such facts: a stream does not know of it.
    """

    template: str
    title: str
    parts: tuple[str, ...] = ()
    live: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    passing: Mapping[str, Any] = field(default_factory=dict)


def see_fleet(catalogue: Catalogue, text: str, after: str, now: datetime) -> Sight:
    """Return the page of the fleet: what it runs, and its devices from ``after`` on: all, or those that a text means.

    The text is a filter, or the beginning of an id. What is wrong with it stands where the devices would.
    """
    lines = catalogue.versions().versions
    found, problem = DevicePage(devices=[]), None
    try:
        found = _devices(catalogue, text, after, now)
    except FilterError as error:
        problem = error
    query = urlencode({name: value for name, value in (("filter", text), ("after", after)) if value})
    facts = {
        "versions": lines,
        "fleet_size": sum(line.devices for line in lines),
        "known": sum(line.devices for line in lines if line.version),
        "devices": found.devices,
        "next": urlencode({"filter": text, "after": found.next}) if found.next else "",
        "filter": text,
        "problem": problem,
        "is_first": not after,
    }
    return Sight(template="fleet", title="Fleet", parts=("versions", "devices"), live=f"/live/fleet?{query}", facts=facts)


def see_rollouts(catalogue: Catalogue) -> Sight:
    """Return the list of rollouts."""
    lines = [(line, spans(line.counts, max(line.counts.offered, 1))) for line in catalogue.rollouts().rollouts]
    return Sight(template="rollouts", title="Rollouts", parts=("rollouts",), live="/live/rollouts?", facts={"rollouts": lines})


def see_rollout(catalogue: Catalogue, rollout_id: int, by: str, refusal: Refusal | None = None) -> Sight:
    """Return the page of one rollout, for the operator ``by``; with a refusal, that is said beside its form.

    Raises:
        UnknownError: There is no such rollout.
    """
    story = catalogue.rollout(rollout_id)
    counts, localise_at = total(tally.counts for tally in story.evidence.tallies), story.rollout.localise_at
    outcomes = (Outcome.ROLLED_BACK, Outcome.FAILED, Outcome.SILENT)
    facts = {
        "story": story,
        "rollout": story.rollout,
        "plan": story.rollout.plan,
        "counts": counts,
        "track": track(story.rollout, story.evidence),
        "newest": story.decisions[0] if story.decisions else None,
        "decisions": [(stored, stage_counts(stored.evidence)) for stored in story.decisions],
        "deeds": deeds(story, by),
        "waits_for": waits_for(story, by),
        "refusal": None,
        "beginning": _beginning(story.rollout),
        "localise_at": "" if localise_at is None else utc_text(datetime.fromtimestamp(localise_at, UTC)),
        "kept_out": kept_out(story.rollout),
        "verdict": judge(story.rollout, story.evidence, 0),
        "named": [(outcome, catalogue.rollout_devices(rollout_id, outcome, 0, _MOST_NAMED)) for outcome in outcomes],
        "stages": [stage.name for stage in story.rollout.plan.stages],
    }
    return Sight(
        template="rollout",
        title=story.rollout.plan.name or story.rollout.plan.release,
        parts=("standing", "actions", "track", "named", "decisions"),
        live=f"/live/rollouts/{rollout_id}?",
        facts=facts,
        passing={} if refusal is None else {"refusal": refusal},
    )


def see_device(catalogue: Catalogue, tell: Tell, windows: Callable[[DeviceId], DeviceWindows], device_id: DeviceId, now: datetime) -> Sight:
    """Return the page of one device.

    Raises:
        UnknownError: There is no such device.
    """
    story, applied = catalogue.story(device_id), windows(device_id)
    facts = {
        "device": story.device,
        "why": tell(device_id, None),
        "windows": applied,
        "whose": _whose(applied, story.attributes),
        "is_open": bool(applied.opens_at) and parse_utc(applied.opens_at) <= now,
        "attributes": {name: value for name, value in story.attributes.items() if name not in BUILT_IN},
        "groups": story.groups,
        "consents": story.consents,
        "now": now,
        "divergences": story.divergences,
        "setbacks": story.setbacks,
        "attempts": story.assignments,
        "events": story.events,
    }
    parts = ("device", "why", "windows", "attempts", "events")
    return Sight(template="device", title=story.device.device_id, parts=parts, live=f"/live/devices/{device_id}?", facts=facts)


def see_login(problem: str = "") -> Sight:
    """Return the page that lets people in."""
    return Sight(template="login", title="Log in", facts={"problem": problem})


def see_problem(title: str, message: str, hint: str) -> Sight:
    """Return the page that says what went wrong, and what to do."""
    return Sight(template="problem", title=title, facts={"message": message, "hint": hint})


def stage_counts(evidence: Evidence) -> list[tuple[int, Any]]:
    """Return the counts of evidence by stage, all segments together, in the order of the stages."""
    return [(stage, evidence.of_stage(stage)) for stage in sorted({tally.stage for tally in evidence.tallies})]


def more_of(found: RolloutDevices) -> bool:
    """Say whether a list of devices goes on."""
    return found.next != 0


def _beginning(rollout: Rollout) -> str:
    """Say how a rollout stands of which nobody has decided anything."""
    if rollout.may_start:
        return "It has not been started."
    whose = "another operator's" if rollout.plan.approval.second_person else "an operator's"
    return f"It waits for {whose} approval, as its plan asks."


def _whose(applied: DeviceWindows, attributes: Mapping[str, str]) -> str:
    match applied.level:
        case Level.DEVICE:
            return "for this device alone"
        case Level.SITE | Level.CUSTOMER as level:
            return f"for the {level} {attributes.get(level, '')}"
        case Level.FLEET:
            return "for the whole fleet"
        case _:
            return ""


def _devices(catalogue: Catalogue, text: str, after: str, now: datetime) -> DevicePage:
    if not _LETTERS.fullmatch(after):
        return DevicePage(devices=[])
    wanted = f"device_id=={text}*" if text and _LETTERS.fullmatch(text) else text
    return catalogue.devices(after, _PAGE, parse(wanted), now)
