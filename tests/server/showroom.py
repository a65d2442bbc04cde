# SPDX-License-Identifier: Apache-2.0
"""A catalogue in memory: a few hundred devices, and rollouts that are moved by the real ``decide`` and its verbs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState, traits
from surefoot.fleet.filter import Filter, check_names, matches
from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.attribute import RESERVED
from surefoot.model.digest import digest_of
from surefoot.model.duration import seconds
from surefoot.model.errors import UnknownError
from surefoot.model.event import DeviceReport, EventType
from surefoot.model.manifest import Manifest
from surefoot.model.record import utc_text
from surefoot.model.slot import SlotName
from surefoot.model.window import DownloadTime
from surefoot.rollout import acts
from surefoot.rollout.control import Region
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Decision, Exclude, Halt, Hold, WayBack
from surefoot.rollout.evidence import Counts, Evidence, Tally, total
from surefoot.rollout.plan import Gates, Plan, PlanApproval, Rollout, Stage, Status
from surefoot.rollout.standing import after
from surefoot.rollout.urgency import raised
from surefoot.schedule.permission import Permission, Reason
from surefoot.schedule.words import parse as parse_window
from surefoot.server.services.attempt_story import Order, explain_order
from surefoot.server.services.catalogue import (
    DevicePage,
    DeviceStory,
    FleetMix,
    GroupList,
    GroupStory,
    KindList,
    ReleaseList,
    RolloutDevice,
    RolloutDevices,
    RolloutLine,
    RolloutList,
    RolloutStory,
    StoredDecision,
    StoredEvent,
    UserList,
    VersionLine,
    VersionList,
    WindowList,
)
from surefoot.server.services.outlook import Subject, outlook
from surefoot.server.services.rollouts import SteerRequest, Verb
from surefoot.server.services.why import Why, WhyLine
from surefoot.server.services.windows import DeviceWindows

BEGIN = datetime(2026, 11, 24, 8, tzinfo=UTC)
OPENS = datetime(2026, 11, 29, 2, tzinfo=UTC)
HARDWARE = "thermostat-v1"
RUNNING, PAUSED, DRAFT = 43, 42, 44
APPROVABLE, OWN, SCHEDULED, CULPRIT, GATE_HALTED, FINISHED, LONG, SEARCHING = range(45, 53)
"""More rollouts: two that wait for approval, the second written by who looks; one that starts by itself; one whose gate keeps hardware
and regions out; one halted by its gate; one that is over; one whose texts are as long as they may be;
one that is paused, whose gate will look for the culprit."""

CULPRITS = ["rev-C"]
HELD = ["eu", ""]


class Show:
    """One rollout, and everything that was decided about it."""

    def __init__(self, rollout_id: int, plan: Plan, created_by: str = "ada") -> None:
        self.rollout_id = rollout_id
        self.created_by = created_by
        self.rollout = Rollout(plan=plan)
        self.tallies: dict[int, Counts] = {}
        self.population: int | None = None
        self.is_exhausted = False
        self.decisions: list[StoredDecision] = []
        self.devices: list[RolloutDevice] = []
        self.now = BEGIN

    def evidence(self) -> Evidence:
        tallies = [Tally(stage=stage, hardware=HARDWARE, counts=counts) for stage, counts in sorted(self.tallies.items())]
        return Evidence(tallies=tallies, population=self.population, is_exhausted=self.is_exhausted)

    def report(self, **counts: int) -> None:
        """Say how the open stage stands, and decide."""
        self.tallies = {**self.tallies, self.rollout.stage: Counts(**counts)}
        self.step()

    def step(self, seconds: int = 20) -> None:
        """Decide once, some seconds later."""
        self.now += timedelta(seconds=seconds)
        self.note(decide(self.rollout, self.evidence(), self.now))

    def walk(self, population: int) -> None:
        """Open the next batch or stage: everybody well, and the soak over."""
        counts = self.tallies[self.rollout.stage]
        self.is_exhausted = True
        self.report(**{name: getattr(counts, name) for name in ("offered", "started", "succeeded")})
        self.step(seconds(self.rollout.open_stage.soak_of(self.rollout.batch)) + 1)
        self.is_exhausted, self.population = False, population

    def note(self, decision: Decision) -> None:
        evidence = self.evidence()
        stored = StoredDecision(
            number=len(self.decisions) + 1, at=utc_text(self.now), decision=decision, rollout=self.rollout, evidence=evidence
        )
        self.decisions = [stored, *self.decisions]
        self.rollout = after(self.rollout, decision, evidence, self.now)

    def steer(self, verb: Verb, by: str, said: SteerRequest = SteerRequest()) -> None:  # noqa: B008  # frozen
        verbs: dict[Verb, Callable[[], Decision]] = {
            Verb.APPROVE: lambda: acts.approve(self.rollout, by, said.why, self.created_by),
            Verb.SCHEDULE: lambda: acts.schedule(self.rollout, by, said.why, said.at, self.now),
            Verb.START: lambda: acts.start(self.rollout, by),
            Verb.PAUSE: lambda: acts.pause(self.rollout, by, said.why),
            Verb.RESUME: lambda: acts.resume(self.rollout, by, said.why),
            Verb.REVERT: lambda: self._revert(by, said.why),
            Verb.HALT: lambda: acts.halt(self.rollout, by, said.why),
            Verb.INCLUDE: lambda: acts.include(self.rollout, said.of, by, said.why),
            Verb.RELEASE: lambda: acts.release(self.rollout, said.of, by, said.why),
        }
        decision = verbs[verb]()
        self.now += timedelta(seconds=20)
        self.note(decision)

    def _revert(self, by: str, why: str) -> Decision:
        ways = [WayBack(version="1.0.0", devices=1, rollout_id=99)]
        acts.check_revert(self.rollout, why, ways, ())
        return acts.revert(by, why, ways)

    def line(self) -> RolloutLine:
        return RolloutLine(
            rollout_id=self.rollout_id,
            name=self.rollout.plan.name,
            release=self.rollout.plan.release,
            status=self.rollout.status,
            stage=self.rollout.open_stage.name,
            created_at=utc_text(BEGIN),
            counts=total(self.tallies.values()),
            alarms=raised(self.rollout),
        )


class Showroom:
    """A ``Catalogue`` whose contents a test may change while pages are open."""

    def __init__(self) -> None:
        self.fleet = {device.device_id: device for device in map(_device, range(240))}
        self.stories: dict[str, DeviceStory] = {}
        self.openings: dict[str, DeviceWindows] = {}
        self.shows = {show.rollout_id: show for make in _SHOWS for show in [make()]}
        self._go_back(DeviceId("t-017"))
        self._wait(DeviceId("t-018"))

    def devices(self, after: str, limit: int, wanted: Filter, now: datetime) -> DevicePage:
        check_names(wanted, RESERVED)
        meant = [device for _, device in sorted(self.fleet.items()) if matches(wanted, traits(device, []), now)]
        found = [device for device in meant if device.device_id > after][:limit]
        return DevicePage(devices=found, next=found[-1].device_id if len(found) == limit else "")

    def story(self, device_id: DeviceId) -> DeviceStory:
        if device_id not in self.fleet:
            raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
        empty = DeviceStory(device=self.fleet[device_id], attributes={"region": "north"}, groups=["pilot"], assignments=[], events=[])
        return structs.replace(self.stories.get(device_id, empty), device=self.fleet[device_id])

    def kinds(self, product: str, wanted: Filter, now: datetime, most: int) -> KindList:  # noqa: ARG002  # no page shows paths
        return KindList(kinds=[])

    def live_manifests(self, product: str, variant: str) -> list[Manifest]:  # noqa: ARG002  # as above
        return []

    def mix(self, product: str, wanted: Filter, group: str, now: datetime, since: int) -> FleetMix:  # noqa: ARG002  # no page shows it
        return FleetMix(shares=[], in_touch=0, baselines=[])

    def groups(self) -> GroupList:
        return GroupList(groups=[])

    def group(self, name: str) -> GroupStory:
        raise UnknownError(f"There is no group '{name}'.")

    def members(self, group: str, after: str, limit: int) -> DevicePage:  # noqa: ARG002  # there are no groups
        raise UnknownError(f"There is no group {group}.")

    def customers_at(self, site: str) -> set[str]:  # noqa: ARG002  # there are no sites
        return set()

    def attribute_names(self) -> set[str]:
        return {"region"}

    def users(self) -> UserList:
        return UserList(users=[])

    def versions(self) -> VersionList:
        counted: dict[tuple[str, str], int] = {}
        for device in self.fleet.values():
            key = ("", "") if device.report is None else (device.report.product, device.report.version)
            counted[key] = counted.get(key, 0) + 1
        lines = [VersionLine(product=product, version=version, devices=number) for (product, version), number in counted.items()]
        return VersionList(versions=sorted(lines, key=lambda line: -line.devices))

    def rollouts(self) -> RolloutList:
        return RolloutList(rollouts=[show.line() for _, show in sorted(self.shows.items(), reverse=True)])

    def rollout(self, rollout_id: int) -> RolloutStory:
        show = self._show(rollout_id)
        return RolloutStory(
            rollout_id=rollout_id,
            created_at=utc_text(BEGIN),
            created_by=show.created_by,
            rollout=show.rollout,
            evidence=show.evidence(),
            decisions=show.decisions,
            alarms=raised(show.rollout),
        )

    def rollout_devices(self, rollout_id: int, outcome: Outcome | None, after: int, limit: int) -> RolloutDevices:
        mine = [device for device in self._show(rollout_id).devices if device.assignment_id > after]
        found = [device for device in mine if outcome is None or device.outcome is outcome]
        return RolloutDevices(devices=found[:limit], next=found[limit - 1].assignment_id if len(found) > limit else 0)

    def windows(self) -> WindowList:
        return WindowList(windows=[])

    def releases(self) -> ReleaseList:
        return ReleaseList(releases=[])

    def why(self, device_id: DeviceId, rollout_id: int | None = None) -> Why:
        story = self.story(device_id)
        lines = [line for line in self._lines(story) if rollout_id in (None, line.rollout_id)]
        zone = story.attributes.get("timezone", "UTC")
        return Why(device_id=device_id, runs="", last_seen=story.device.last_seen, is_offline=False, zone=zone, lines=lines)

    def windows_of(self, device_id: DeviceId) -> DeviceWindows:
        return self.openings.get(device_id, DeviceWindows(level="", windows=[], zone="UTC", download=DownloadTime.ANY, notes=[]))

    def _lines(self, story: DeviceStory) -> list[WhyLine]:
        lines = []
        for attempt in story.assignments[:1]:
            waits = Permission(may_start=False, reason=Reason.CLOSED, detail="window opens Sun 03:00 local (Europe/Berlin)", until=OPENS)
            order = Order(attempt=attempt, permission=None if attempt.is_started else waits)
            answer = explain_order(order, story.device, timedelta(hours=1), BEGIN)
            release = f"{attempt.product} {attempt.version}"
            following = outlook(answer, Subject(device_id=story.device.device_id, release=release, rollout_id=attempt.rollout_id))
            lines.append(WhyLine(rollout_id=attempt.rollout_id, release=release, name="", answer=answer, next=following))
        return lines

    async def steer(self, rollout_id: int, verb: Verb, said: SteerRequest, by: str) -> None:
        self._show(rollout_id).steer(verb, by, said)

    def runs(self, device_id: str, version: str) -> None:
        """Let a device say that it runs another version."""
        self.fleet = {**self.fleet, DeviceId(device_id): structs.replace(self.fleet[DeviceId(device_id)], report=_report(version))}

    def happened(self, device_id: str, kind: str, minute: int, **data: object) -> None:
        """Let something happen on a device."""
        story = self.story(DeviceId(device_id))
        at = utc_text(BEGIN + timedelta(minutes=minute))
        event = {"seq": len(story.events) + 1, "type": kind, "at": at, "assignment_id": 17, "data": data}
        stored = StoredEvent(journal="ab" * 8, received_at=at, event=event)
        self.stories = {**self.stories, device_id: structs.replace(story, events=[stored, *story.events])}

    def _show(self, rollout_id: int) -> Show:
        if rollout_id not in self.shows:
            raise UnknownError(f"There is no rollout {rollout_id}.", hint="See 'surefoot rollout list'.")
        return self.shows[rollout_id]

    def _wait(self, device_id: DeviceId) -> None:
        """Let a device wait for the window of its site."""
        attempt = structs.replace(_attempt(device_id, 18, "1.1.0", Outcome.SUCCEEDED), outcome=None, ended_at="", is_started=False)
        offered = structs.replace(attempt, rollout_id=RUNNING)
        place = {"region": "north", "site": "plant-7", "timezone": "Europe/Berlin"}
        story = structs.replace(self.story(device_id), assignments=[offered], attributes=place)
        self.stories = {**self.stories, device_id: story}
        opening = {"opens_at": utc_text(OPENS), "closes_at": utc_text(OPENS + timedelta(hours=2))}
        window = parse_window("sun 03:00 2h Europe/Berlin")
        self.openings[device_id] = DeviceWindows(
            level="site", windows=[window], zone="Europe/Berlin", download=DownloadTime.ANY, notes=[], **opening
        )

    def _go_back(self, device_id: DeviceId) -> None:
        attempts = [
            _attempt(device_id, 17, "1.2.0", Outcome.ROLLED_BACK),
            _attempt(device_id, 8, "1.1.0", Outcome.SUCCEEDED),
        ]
        self.stories = {**self.stories, device_id: structs.replace(self.story(device_id), assignments=attempts)}
        size = 5_242_880
        self.happened(device_id, EventType.CHECK_COMPLETED, 1, offered="thermostat 1.2.0")
        self.happened(device_id, EventType.DOWNLOAD_STARTED, 1, size=size, hash=digest_of(b"1.2.0"))
        self.happened(device_id, EventType.DOWNLOAD_PROGRESS, 2, received=size // 2, percent=50)
        self.happened(device_id, EventType.DOWNLOAD_COMPLETED, 3, size=size, seconds=95, tries=1)
        self.happened(device_id, EventType.INSTALL_COMPLETED, 4, slot="b", hash=digest_of(b"1.2.0"))
        self.happened(device_id, EventType.REBOOT_COMPLETED, 5, slot="b")
        self.happened(device_id, EventType.HEALTH_FAILED, 6, reason="crash", detail="The program ended 4 times in 5 minutes.")
        self.happened(device_id, EventType.ROLLBACK_TRIGGERED, 6, reason="crash")
        self.happened(device_id, EventType.ROLLBACK_COMPLETED, 7, reason="crash", slot="a", to="1.1.0")


def _device(number: int) -> Device:
    report = None if number >= 228 else _report("1.2.0" if number < 12 else "1.1.0" if number < 160 else "1.0.0")
    return Device(
        device_id=DeviceId(f"t-{number:03}" if number < 200 else f"attic-{number}"),
        hardware=HARDWARE,
        state=DeviceState.REVOKED if number == 3 else DeviceState.ACTIVE,
        enrolled_at=utc_text(BEGIN - timedelta(days=30)),
        last_seen="" if report is None else utc_text(BEGIN + timedelta(seconds=number)),
        polls=number,
        report=report,
    )


def _report(version: str) -> DeviceReport:
    return DeviceReport(
        hardware=HARDWARE,
        bootloader_version="2026.4.0",
        agent_version="0.1.0",
        slot=SlotName("a"),
        product="thermostat",
        version=version,
        build_id=f"build-{version}",
        hash=digest_of(version.encode()),
        release_counter=1,
    )


def _attempt(device_id: DeviceId, number: int, version: str, outcome: Outcome) -> Attempt:
    return Attempt(
        assignment_id=AssignmentId(number),
        device_id=device_id,
        product="thermostat",
        version=version,
        variant="release",
        hardware=HARDWARE,
        path=f"thermostat/{version}",
        hash=digest_of(version.encode()),
        size=5_242_880,
        issued_at=utc_text(BEGIN),
        start_before=utc_text(BEGIN + timedelta(days=1)),
        deadline_s=3_600,
        is_started=True,
        outcome=outcome,
        ended_at=utc_text(BEGIN + timedelta(minutes=7)),
    )


def _plan(version: str, name: str) -> Plan:
    stages = [
        Stage(name="canary", group="canary", soak="30m"),
        Stage(name="pilot", group="pilot", batches=["50%", "100%"], soak="1h"),
        Stage(name="general", batches=["10%", "25%", "50%", "100%"], soak="2h"),
    ]
    return Plan(release=f"thermostat {version}", name=name, stages=stages, audience="hardware = thermostat-v1", gate=Gates(), watch="0s")


def _running() -> Show:
    """Return a rollout that runs: two stages are done, the second batch of the third is open."""
    show = Show(RUNNING, _plan("1.1.0", "Quieter valves"))
    show.steer(Verb.START, "ada")
    show.step()
    show.population = 20
    show.step()
    show.report(offered=20, started=20, succeeded=20)
    show.walk(40)
    show.report(offered=20, started=20, succeeded=20)
    show.walk(40)
    show.report(offered=40, started=40, succeeded=40)
    show.walk(180)
    show.step()
    show.report(offered=18, started=18, succeeded=18)
    show.walk(180)
    show.report(offered=38, started=30, succeeded=24)
    return show


def _paused() -> Show:
    """Return a rollout that the gate has paused in its second stage."""
    show = Show(PAUSED, _plan("1.2.0", ""))
    show.steer(Verb.START, "ada")
    show.population = 20
    show.step()
    show.report(offered=20, started=20, succeeded=20)
    show.walk(40)
    show.step()
    show.report(offered=20, started=20, succeeded=11, rolled_back=7, failed=1, silent=1, unhealthy=7)
    outcomes = [Outcome.ROLLED_BACK] * 7 + [Outcome.FAILED, Outcome.SILENT] + [Outcome.SUCCEEDED] * 11
    show.devices = [
        RolloutDevice(
            device_id=DeviceId(f"t-{number + 17:03}"),
            assignment_id=number + 1,
            stage="pilot",
            is_started=True,
            outcome=outcome,
            ended_at=utc_text(BEGIN),
        )
        for number, outcome in enumerate(outcomes)
    ]
    if show.rollout.status is not Status.PAUSED:
        raise AssertionError(show.decisions[0].decision.reason)
    return show


def _draft() -> Show:
    return Show(DRAFT, _plan("1.3.0", "Winter"))


def _waiting(rollout_id: int, created_by: str) -> Show:
    plan = structs.replace(_plan("1.4.0", "Spring"), approval=PlanApproval(required=True))
    return Show(rollout_id, plan, created_by)


def _scheduled() -> Show:
    show = Show(SCHEDULED, _plan("1.5.0", "Summer"))
    show.steer(Verb.SCHEDULE, "bob", SteerRequest(why="after the fair", at="2026-12-01T02:00:00Z"))
    return show


def _culprit() -> Show:
    """Return a rollout that runs, without some hardware and without some regions."""
    show = Show(CULPRIT, structs.replace(_plan("1.6.0", "New radio"), gate="default"))
    show.steer(Verb.START, "ada")
    show.population = 20
    show.step()
    show.report(offered=20, started=18, succeeded=15, failed=2)
    show.note(
        Exclude(
            cause="culprit",
            reason="Hardware rev-C is excluded: 2 of 3 updated devices failed or rolled back; the rest is well.",
            hardware=CULPRITS,
        )
    )
    show.rollout = structs.replace(
        show.rollout, regions=[Region(region=name, is_held=True, holds=3 if name else 1, needs_person=bool(name)) for name in HELD]
    )
    show.note(Hold(cause="region", reason="Nothing starts in region eu: 14 of 60 devices there that were not updated cannot be reached."))
    return show


def _gate_halted() -> Show:
    show = Show(GATE_HALTED, structs.replace(_plan("1.7.0", "Quick start"), gate="default"))
    show.steer(Verb.START, "ada")
    show.population = 20
    show.report(offered=20, started=20, succeeded=8, rolled_back=12, unhealthy=12)
    if show.rollout.status is Status.PAUSED:
        show.note(Halt(cause="no_culprit", reason="Halted: no single hardware is to blame for the harm seen."))
    return show


def _searching() -> Show:
    show = Show(SEARCHING, structs.replace(_plan("1.9.0", "Dusk"), gate="default"))
    show.steer(Verb.START, "ada")
    show.population = 200
    show.report(offered=20, started=20, succeeded=12, rolled_back=8)
    return show


def _finished() -> Show:
    show = Show(FINISHED, structs.replace(_plan("1.0.0", "First light"), stages=[Stage(name="all", soak="0s")]))
    show.steer(Verb.START, "ada")
    show.population = 40
    show.is_exhausted = True
    show.report(offered=40, started=40, succeeded=40)
    while show.rollout.status is not Status.FINISHED:
        show.step(86_400)
    return show


def _long() -> Show:
    """Return a draft whose words are as long as they may be, with nowhere to break them."""
    stages = [Stage(name="x" * 60, group="g" * 60, batches=[f"{share}%" for share in range(2, 102, 2)], soak="1h")]
    return Show(LONG, structs.replace(_plan("1.8.0", "Name" * 50), stages=stages, audience="site=='" + "s" * 200 + "'"), "o" * 60)


_SHOWS: tuple[Callable[[], Show], ...] = (
    _running,
    _paused,
    _draft,
    lambda: _waiting(APPROVABLE, "bob"),
    lambda: _waiting(OWN, "ada"),
    _scheduled,
    _culprit,
    _gate_halted,
    _finished,
    _long,
    _searching,
)
