# SPDX-License-Identifier: Apache-2.0
"""Why a device did or did not update: one case for each reason, each a small change of a device that comes next."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath
from typing import Any

import pytest
from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState, traits
from surefoot.fleet.filter import EVERYTHING, parse
from surefoot.fleet.path import Path, paths
from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.manifest import Requires
from surefoot.model.rules import Running
from surefoot.rollout.cohort import RING, origin, place
from surefoot.rollout.control import Region
from surefoot.rollout.decision import Decision, Halt, Hold, Pause
from surefoot.rollout.evidence import Evidence
from surefoot.rollout.plan import Plan, Rollout, Stage, Status
from surefoot.schedule.permission import Permission, Reason
from surefoot.server.services.answer import Code
from surefoot.server.services.attempt_story import Order
from surefoot.server.services.catalogue import StoredDecision
from surefoot.server.services.explanation import Facts, explain
from surefoot.server.services.outlook import Subject, outlook
from surefoot.server.services.rollout_store import MOST_OFFERS, StoredRollout, Walk
from tests.server.office import statement
from tests.trust.repositories import manifest

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD = digest_of(b"old image")
NEW = manifest("1.1.0", b"new image")
DEVICE = Device(
    device_id=DeviceId("t-1"),
    hardware="thermostat-v1",
    state=DeviceState.ACTIVE,
    enrolled_at="2026-01-01T00:00:00Z",
    last_seen="2026-11-25T11:59:00Z",
    report=statement(OLD),
    given={"site": "berlin", "region": "europe"},
)
PLAN = Plan(release="thermostat 1.1.0", stages=[Stage(name="all", batches=["10%", "50%", "100%"])])
ATTEMPT = Attempt(
    assignment_id=AssignmentId(7),
    device_id=DEVICE.device_id,
    product="thermostat",
    version="1.1.0",
    variant="release",
    hardware="thermostat-v1",
    path="thermostat/1.1.0",
    hash=NEW.image.hash,
    size=9,
    issued_at="2026-11-25T11:00:00Z",
    start_before="2026-11-26T11:00:00Z",
    deadline_s=14_400,
    rollout_id=3,
)


def salt_at(lowest: float, highest: float) -> str:
    """Return the salt of a rollout that comes to the device at this part of its way round the ring."""
    found = (str(number) for number in range(10_000))
    return next(salt for salt in found if lowest <= ((place("t-1") - origin(salt)) % RING) / RING < highest)


START = Walk()
EARLY, MIDDLE, LATE = salt_at(0, 0.09), salt_at(0.2, 0.4), salt_at(0.6, 0.9)


def rollout(status: Status = Status.RUNNING, plan: Plan = PLAN, salt: str = EARLY, walk: Walk = START, **more: object) -> StoredRollout:
    return StoredRollout(
        rollout_id=3,
        fence=0,
        rollout=structs.replace(Rollout(plan=plan, status=status), **more),
        created_at=NOW,
        created_by="ann",
        salt=salt,
        walk=walk,
        population=100,
    )


def decided(decision: Decision) -> StoredDecision:
    return StoredDecision(number=5, at="2026-11-25T10:00:00Z", decision=decision, rollout=Rollout(plan=PLAN), evidence=Evidence())


FACTS = Facts(
    device=DEVICE,
    traits=traits(DEVICE, ["pilot"]),
    stored=rollout(),
    wanted=EVERYTHING,
    manifests=[NEW],
    offered=0,
    turn=None,
    newest=None,
    late=[],
    orders=[],
    open_order=None,
    path=None,
    quarantine="",
    takes_back="",
    is_updated=True,
    full=None,
    offline_after=timedelta(minutes=15),
    now=NOW,
)


def device(**changes: object) -> dict[str, Any]:
    changed = structs.replace(DEVICE, **changes)
    return {"device": changed, "traits": traits(changed, ["pilot"])}


def order(**changes: object) -> dict[str, Any]:
    around: dict[str, Any] = {
        name: changes.pop(name) for name in ("permission", "refusal", "waits", "interlock", "rollback") if name in changes
    }
    attempt = structs.replace(ATTEMPT, **changes)
    return {"orders": [Order(attempt=attempt, **around)], "open_order": attempt if attempt.outcome is None else None}


def ended(outcome: Outcome, **changes: object) -> dict[str, Any]:
    return order(outcome=outcome, ended_at="2026-11-25T11:30:00Z", **changes)


def stages(*groups: str | None) -> Plan:
    return structs.replace(PLAN, stages=[Stage(name=f"s{n}", group=group) for n, group in enumerate(groups)])


def wanted(**rules: object) -> dict[str, Any]:
    return {"manifests": [structs.replace(NEW, **rules)]}


RUNNING = Running(hardware="thermostat-v1", bootloader_version="1.0.0", product="thermostat", version="1.0.0", release_counter=1)
CLOSED = Permission(may_start=False, reason=Reason.CLOSED, detail="window opens Thu 02:00 local (Europe/Berlin)", until=NOW)
HELD = [Region(region="europe", is_held=True)]
WITHDRAWN = Order(attempt=structs.replace(ATTEMPT, outcome=Outcome.CANCELLED, ended_at="2026-11-25T11:30:00Z"))

FULL = ("site:berlin", "3 devices may be fetching it at once; the limit is 3.")

CASES: dict[str, tuple[Code, dict[str, Any], str]] = {
    "its site has no room": (
        Code.NETWORK_FULL,
        {"full": FULL},
        "Its site berlin is at its limit: 3 devices may be fetching it at once; the limit is 3; it comes as soon as there is room.",
    ),
    "its site has no room, and it was passed over": (
        Code.NETWORK_FULL,
        {"full": FULL, "stored": rollout(walk=Walk(place=RING))},
        "Its site berlin is at its limit: 3 devices may be fetching it at once; the limit is 3; it comes as soon as there is room.",
    ),
    "its site has no room, but its batch comes later": (
        Code.BATCH_AHEAD,
        {"full": FULL, "stored": rollout(salt=LATE)},
        "It comes in about batch 3 of 3 of stage 'all'; batch 1 is open.",
    ),
    "it comes next": (Code.NEXT, {}, "It is in the open batch (1 of 3) and comes as the rollout's limits allow."),
    "the rollout holds": (
        Code.NEXT,
        {"newest": decided(Hold(cause="soaking", reason="Batch 1 soaks until noon."))},
        "limits allow. It holds now: Batch 1 soaks until noon.",
    ),
    "another rollout's devices are taken back": (
        Code.NOT_UPDATED,
        {"stored": rollout(reverts=2), "takes_back": "thermostat 1.2.0", "is_updated": False},
        "The rollout takes back only what rollout 2 updated to thermostat 1.2.0 from thermostat 1.1.0; this device is not of it.",
    ),
    "it is to be taken back": (
        Code.NEXT,
        {"stored": rollout(reverts=2), "takes_back": "thermostat 1.2.0"},
        "Rollout 2, which brought thermostat 1.2.0, is taken back. It is in the open batch",
    ),
    "a batch is ahead": (Code.BATCH_AHEAD, {"stored": rollout(salt=MIDDLE)}, "in about batch 2 of 3 of stage 'all'; batch 1 is open."),
    "the last batch": (Code.BATCH_AHEAD, {"stored": rollout(salt=LATE)}, "in about batch 3 of 3"),
    "came to fit behind the walk": (Code.PASSED, {"stored": rollout(walk=Walk(place=RING // 2))}, "takes it along"),
    "a stage is ahead": (
        Code.STAGE_AHEAD,
        {"stored": rollout(plan=stages("canary", "pilot"))},
        "It comes in stage 's1' (2 of 2); the rollout stands at 's0'.",
    ),
    "its stage is over": (
        Code.STAGE_OVER,
        {"stored": rollout(plan=stages("pilot", "canary"), stage=1)},
        "Its stage 's0' is over and had come to everybody who fitted then; 's1' is open.",
    ),
    "in none of its groups": (
        Code.NOT_IN_GROUP,
        {"stored": rollout(plan=stages("canary", "lab"))},
        "The rollout is for the devices in canary, lab; this one is in pilot.",
    ),
    "joined its group too late": (
        Code.JOINED_LATE,
        {"stored": rollout(plan=stages("pilot")), "late": {"pilot"}},
        "It joined pilot after the rollout was created; that group takes it along from the next rollout on.",
    ),
    "another product": (
        Code.OTHER_PRODUCT,
        {"stored": rollout(plan=structs.replace(PLAN, release="door 1.1.0"))},
        "is for door;",
    ),
    "the filter": (
        Code.NOT_MATCHED,
        {"wanted": parse("site =in= (paris, 'bonn') and (floor>2 or region==europe) and floor<9")},
        "it asks for site =in= (paris, 'bonn'), and its site is berlin; floor<9, and it has no floor.",
    ),
    "revoked": (Code.REVOKED, device(state=DeviceState.REVOKED), "surefoot token new t-1 --hardware thermostat-v1"),
    "never reported": (Code.NEVER_SAID, device(report=None), "never said what it runs"),
    "runs it": (Code.RUNS_IT, device(report=statement(NEW.image.hash)), "It runs thermostat 1.1.0 already."),
    "no image": (Code.HARDWARE, device(hardware="thermostat-v2"), "no image for thermostat-v2, only for thermostat-v1."),
    "the release is gone": (Code.NO_RELEASE, {"manifests": []}, "is not there any more."),
    "version rule": (Code.VERSION_RULE, wanted(min_bootloader_version="2.0.0"), "needs bootloader 2.0.0; this board has 1.0.0."),
    "needs approval": (Code.VERSION_RULE, {"manifests": [manifest("2.0.0", b"two")]}, "is a major update; somebody must approve it."),
    "quarantined": (Code.QUARANTINED, {"quarantine": "it failed three times"}, "in quarantine for this release: it failed three times."),
    "excluded": (Code.EXCLUDED, {"stored": rollout(excluded=["thermostat-v1"])}, "surefoot rollout include 3 thermostat-v1 --why REASON."),
    "region held": (Code.REGION_HELD, {"stored": rollout(regions=HELD)}, "Nothing starts in region europe"),
    "draft": (Code.DRAFT, {"stored": rollout(Status.DRAFT)}, "surefoot rollout start 3."),
    "paused by the gate": (
        Code.PAUSED,
        {"stored": rollout(Status.PAUSED), "turn": decided(Pause(cause="rate", reason="6 of 20 rolled back."))},
        "The rollout has been paused since 2026-11-25T10:00:00Z: 6 of 20 rolled back.",
    ),
    "paused by a person": (
        Code.PAUSED,
        {"stored": rollout(Status.PAUSED), "turn": decided(Pause(cause="by_hand", reason="Holiday.", by="ann"))},
        "since 2026-11-25T10:00:00Z by ann: Holiday.",
    ),
    "halted": (
        Code.HALTED,
        {"stored": rollout(Status.HALTED), "turn": decided(Halt(cause="by_hand", reason="Recalled.", by="bob"))},
        "The rollout was halted before it came to this device, at 2026-11-25T10:00:00Z by bob: Recalled.",
    ),
    "ended": (Code.FINISHED, {"stored": rollout(Status.FINISHED)}, "The rollout ended and had offered it nothing"),
    "another order": (
        Code.OTHER_ORDER,
        {"open_order": structs.replace(ATTEMPT, rollout_id=9, version="1.0.5")},
        "rollout 9 offered it thermostat 1.0.5 at",
    ),
    "an order by hand": (
        Code.OTHER_ORDER,
        {"open_order": structs.replace(ATTEMPT, rollout_id=None)},
        "a person ordered thermostat",
    ),
    "offered too often": (
        Code.NOT_TAKEN_UP,
        {"orders": [WITHDRAWN] * MOST_OFFERS},
        "1.1.0 5 times and never started",
    ),
    "withdrawn once": (Code.NEXT, {"orders": [WITHDRAWN]}, "It is in the open batch"),
    "offered": (Code.OFFERED, order(), "was offered thermostat 1.1.0 at 2026-11-25T11:00:00Z and has not started yet"),
    "window": (Code.WINDOW, order(permission=CLOSED), "waits for its time: window opens Thu 02:00 local (Europe/Berlin)."),
    "put off by people": (
        Code.WAITING,
        order(permission=CLOSED, interlock="its user put it off until 2026-11-26T08:00:00Z"),
        "is there, and its user put it off until 2026-11-26T08:00:00Z.",
    ),
    "waiting for people": (Code.WAITING, order(waits="People at the device put it off."), "waits: People at the device put it off."),
    "offline": (
        Code.OFFLINE,
        device(last_seen="2026-11-01T00:00:00Z") | order(),
        "at 2026-11-25T11:00:00Z and has not called since 2026-11-01T00:00:00Z: it is switched off, or cannot reach the server.",
    ),
    "under way": (
        Code.UNDER_WAY,
        order(is_started=True, started_at="2026-11-25T11:10:00Z"),
        "since 2026-11-25T11:10:00Z; it counts as silent after 2026-11-25T15:10:00Z.",
    ),
    "succeeded": (Code.SUCCEEDED, ended(Outcome.SUCCEEDED), "It updated to thermostat 1.1.0 at 2026-11-25T11:30:00Z."),
    "relapsed": (Code.RELAPSED, ended(Outcome.SUCCEEDED, is_relapsed=True), "since then that was found unhealthy"),
    "relapsed, and why": (
        Code.RELAPSED,
        ended(Outcome.SUCCEEDED, is_relapsed=True, rollback="reboot_loop"),
        "since then that was given up: the board rebooted too often in a short time.",
    ),
    "rolled back, and why": (
        Code.ROLLED_BACK,
        ended(Outcome.ROLLED_BACK, rollback="broker_lost"),
        "at 2026-11-25T11:30:00Z: a message broker that was reached before the update was not reached after it.",
    ),
    "rolled back for a reason of a newer agent": (Code.ROLLED_BACK, ended(Outcome.ROLLED_BACK, rollback="too_hot"), "Z: too_hot."),
    "failed": (Code.FAILED, ended(Outcome.FAILED), "failed at 2026-11-25T11:30:00Z, before it ran"),
    "rolled back": (Code.ROLLED_BACK, ended(Outcome.ROLLED_BACK), "was back on the release before at 2026-11-25T11:30:00Z."),
    "silent": (Code.SILENT, ended(Outcome.SILENT, started_at="2026-11-25T07:00:00Z"), "never said how that went within 240 minutes"),
    "silent, then well": (Code.LATE_GOOD, ended(Outcome.SILENT, is_late_good=True), "reported later that thermostat 1.1.0 runs"),
    "withdrawn, then well": (Code.LATE_GOOD, ended(Outcome.CANCELLED, is_late_good=True), "it had gone ahead"),
    "refused": (
        Code.REFUSED,
        ended(Outcome.REJECTED, refusal=("bootloader", "The board is too old.")),
        "The device refused thermostat 1.1.0 at 2026-11-25T11:30:00Z: The board is too old (bootloader).",
    ),
    "superseded": (Code.SUPERSEDED, ended(Outcome.SUPERSEDED), "was replaced by another one"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_reason_is_said(case: str) -> None:
    code, changes, words = CASES[case]
    answer = explain(replace(FACTS, **changes))
    assert (answer.code, words in answer.sentence) == (code, True), answer


def test_a_path_is_named_release_by_release() -> None:
    releases = [manifest(version, version.encode()) for version in ("1.4.0", "1.5.0")]
    last = structs.replace(releases[1], requires=Requires(from_=">=1.4.0"))
    path: Path = paths([RUNNING], "1.5.0", [releases[0], last])[0]
    answer = explain(replace(FACTS, manifests=[last], path=path))
    assert answer.code is Code.PATH
    assert answer.sentence == "It runs 1.0.0, and its path to 1.5.0 needs 1.4.0 first (1.0.0 → 1.4.0 → 1.5.0)."


def test_there_is_a_case_for_each_reason() -> None:
    missing = set(Code) - {code for code, _, _ in CASES.values()} - {Code.PATH, Code.WITHDRAWN}
    assert missing == set(), "and a withdrawn order is only ever told of an order by hand"


def test_sentences_end_like_sentences() -> None:
    for _, changes, _ in CASES.values():
        sentence = explain(replace(FACTS, **changes)).sentence
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        assert ".." not in sentence, sentence


SUBJECT = Subject(device_id=DEVICE.device_id, release="thermostat 1.1.0", rollout_id=3)


def test_each_answer_says_what_happens_next_and_when() -> None:
    for case, (code, changes, _) in CASES.items():
        told = outlook(explain(replace(FACTS, **changes)), SUBJECT)
        is_all = code in {Code.SUCCEEDED, Code.LATE_GOOD, Code.RUNS_IT}
        assert (told.words == "") is is_all, case
        assert is_all or told.words.endswith("."), case
        assert "{" not in told.words, case


@pytest.mark.parametrize(
    ("changes", "at", "words"),
    [
        (order(permission=CLOSED), "2026-11-25T12:00:00Z", "may start the install then"),
        (order(permission=replace(CLOSED, until=None)), "", "surefoot window show t-1"),
        (order(permission=replace(CLOSED, reason=Reason.VOID, until=None)), "", "taken back"),
        (order(), "2026-11-26T11:00:00Z", "starts at its next poll"),
        (order(is_started=True, started_at="2026-11-25T11:10:00Z"), "2026-11-25T15:10:00Z", "counts as silent then"),
        ({"stored": rollout(Status.SCHEDULED, starts_at="2026-12-01T02:00:00Z")}, "2026-12-01T02:00:00Z", "rollout starts then"),
        ({"stored": rollout(Status.PAUSED)}, "", "surefoot rollout resume 3"),
        ({"stored": rollout(Status.PAUSED, localise_at=1_800_000_000)}, "2027-01-15T08:00:00Z", "gate looks for the culprit"),
        (ended(Outcome.FAILED), "", "surefoot device order t-1 thermostat 1.1.0"),
    ],
)
def test_when_it_happens_is_said_where_it_is_known(changes: dict[str, Any], at: str, words: str) -> None:
    told = outlook(explain(replace(FACTS, **changes)), SUBJECT)
    assert (told.at, words in told.words) == (at, True), told


def test_another_try_is_told_with_its_time() -> None:
    told = outlook(explain(replace(FACTS, **ended(Outcome.FAILED))), replace(SUBJECT, retry_at="2026-11-25T13:00:00Z"))
    assert (told.at, "tries it again" in told.words) == ("2026-11-25T13:00:00Z", True)


def test_the_page_of_formats_has_a_row_for_each_code() -> None:
    page = (FilePath(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    section = page.partition("## Why\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(code for row in rows for code in re.findall("`([a-z_]+)`", row)) == sorted(Code)
