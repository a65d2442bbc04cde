# SPDX-License-Identifier: Apache-2.0
"""Lists for people, in SQLAlchemy Core: devices, groups, releases, and what happened on one device.

Management queries only; nothing that a device calls comes here. Pages go by key, so that the last costs what the first does.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Select, Table, Text, and_, cast, func, select, tuple_

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState, attributes
from surefoot.fleet.filter import Filter, check_names
from surefoot.fleet.group import Consent, GroupRule
from surefoot.fleet.install_time import InstallTimes
from surefoot.fleet.setback import Setback
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.attribute import RESERVED, Attributes
from surefoot.model.errors import UnknownError
from surefoot.model.event import DeviceReport
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.model.record import from_json, utc_text
from surefoot.model.rules import Running
from surefoot.model.version import precedence
from surefoot.rollout.cohort import place
from surefoot.rollout.evidence import FIELDS, Counts, Evidence, Share, Tally, total
from surefoot.rollout.plan import Rollout, Stage
from surefoot.rollout.urgency import raised
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.db.filter import condition
from surefoot.server.db.schema import (
    api_token,
    assignment,
    attribute_name,
    baseline,
    consent,
    counter,
    decision,
    device,
    divergence,
    event,
    group_rule,
    install_time,
    maintenance_window,
    manifest,
    member,
    presence,
    release,
    rollout,
    setback,
    version_count,
)
from surefoot.server.services.catalogue import (
    ConsentLine,
    DevicePage,
    DeviceStory,
    FleetMix,
    GroupLine,
    GroupList,
    GroupStory,
    Kind,
    KindList,
    ReleaseLine,
    ReleaseList,
    RolloutDevice,
    RolloutDevices,
    RolloutLine,
    RolloutList,
    RolloutStory,
    StoredDecision,
    StoredEvent,
    UserLine,
    UserList,
    UsualInstall,
    VersionLine,
    VersionList,
    WindowLine,
    WindowList,
)
from surefoot.server.services.rollout_store import Known
from surefoot.server.services.usual import usual

_MOST_ATTEMPTS = 20
_MOST_EVENTS = 100
_MOST_DECISIONS = 200
# One array of them all, so that each report is read once.
_ASKED = func.json_extract(cast(device.c.report, Text), "$.bootloader_version", "$.release_counter", "$.data_format", "$.revert_to").label(
    "asked"
)
_DEVICES = select(device, presence.c.last_seen, presence.c.polls).outerjoin(presence, presence.c.device_id == device.c.device_id)


class SqlCatalogue:
    """A ``Catalogue`` over an engine that only reads."""

    def __init__(self, engine: Engine) -> None:
        """Read through ``engine``; the caller disposes of it."""
        self._engine = engine

    def devices(self, after: str, limit: int, wanted: Filter, now: datetime) -> DevicePage:
        """Return up to ``limit`` devices whose id comes after ``after``: those that the filter means."""
        check_names(wanted, self.attribute_names())
        return _page(self._rows(listing(wanted, now, after, limit)), limit)

    def kinds(self, product: str, wanted: Filter, now: datetime, most: int) -> KindList:
        """Return what kinds of active device run a product, among those that a filter means."""
        check_names(wanted, self.attribute_names())
        these = (device.c.product == product, device.c.state == DeviceState.ACTIVE.value, condition(wanted, now))
        alike = (device.c.hardware, device.c.version, _ASKED)
        number = func.count().label("devices")
        rows = self._rows(select(*alike, number).where(*these).group_by(*alike).order_by(number.desc(), *alike).limit(most))
        found = [Kind(running=_running(product, row), devices=row.devices) for row in rows]
        everyone = self._rows(select(number).where(*these))[0].devices if len(rows) == most else 0
        return KindList(kinds=found, others=max(0, everyone - sum(kind.devices for kind in found)))

    def live_manifests(self, product: str, variant: str) -> list[Manifest]:
        """Return every manifest of a product in one variant whose release is published and not retired."""
        same = (release.c.product == manifest.c.product, release.c.version == manifest.c.version)
        query = select(manifest.c.body).join(release, and_(*same)).where(manifest.c.product == product, release.c.is_retired == 0)
        rows = self._rows(query.order_by(manifest.c.version, manifest.c.position))
        found = (from_json(row.body, Manifest, what="stored manifest") for row in rows)
        return [each for each in found if each.variant == variant]

    def mix(self, product: str, wanted: Filter, group: str, now: datetime, since: int) -> FleetMix:
        """Return the devices that a plan with this filter and group would be for, by kind."""
        check_names(wanted, self.attribute_names())
        region = func.coalesce(func.json_extract(device.c.attributes, "$.region"), "")
        in_touch = func.count().filter(presence.c.last_seen > since)
        query = (
            select(device.c.hardware, region.label("region"), func.count().label("devices"), in_touch.label("in_touch"))
            .outerjoin(presence, presence.c.device_id == device.c.device_id)
            .where(device.c.product == product, device.c.state == DeviceState.ACTIVE, condition(wanted, now))
            .group_by(device.c.hardware, region)
            .order_by(device.c.hardware, region)
        )
        if group:
            query = query.where(device.c.device_id.in_(select(member.c.device_id).where(member.c.group_name == group)))
        rows = self._rows(query)
        known = self._rows(select(baseline.c.body).where(baseline.c.product == product))
        return FleetMix(
            shares=[Share(hardware=row.hardware, region=row.region, devices=row.devices) for row in rows],
            in_touch=sum(row.in_touch for row in rows),
            baselines=usual([from_json(row.body, Known, what="stored baseline") for row in known]),
            installs=self._installs(product, {row.hardware for row in rows}),
        )

    def _installs(self, product: str, hardware: set[str]) -> list[UsualInstall]:
        rows = self._rows(select(install_time).where(install_time.c.product == product).order_by(install_time.c.hardware))
        found = {row.hardware: from_json(row.body, InstallTimes, what="stored install times") for row in rows if row.hardware in hardware}
        return [UsualInstall(hardware=name, usual_s=times.usual_s, installs=times.installs) for name, times in found.items()]

    def groups(self) -> GroupList:
        """Return every group, by name."""
        counted = self._rows(select(member.c.group_name, func.count().label("devices")).group_by(member.c.group_name))
        found = {row.group_name: row.devices for row in counted}
        rules = {row.name: from_json(row.body, GroupRule, what="stored rule") for row in self._rows(select(group_rule))}
        said = {row.group_name for row in self._rows(select(consent.c.group_name).distinct())}
        lines = [
            GroupLine(name=name, devices=found.get(name, 0), filter=rules[name].filter if name in rules else "")
            for name in sorted({*found, *rules, *said})
        ]
        return GroupList(groups=lines)

    def group(self, name: str) -> GroupStory:
        """Return one group's story; ``UnknownError`` when there is no such group."""
        number = self._rows(select(func.count().label("devices")).where(member.c.group_name == name))[0].devices
        rules = self._rows(select(group_rule.c.body).where(group_rule.c.name == name))
        consents = self._consents(consent.c.group_name == name)
        if not (number or rules or consents):
            raise UnknownError(f"There is no group '{name}'.", hint="See 'surefoot group list'.")
        rule = from_json(rules[0].body, GroupRule, what="stored rule") if rules else None
        return GroupStory(name=name, devices=number, rule=rule, consents=consents)

    def members(self, group: str, after: str, limit: int) -> DevicePage:
        """Return up to ``limit`` members of a group, in the order in which rollouts come to them."""
        names = (member.c.group_name, group_rule.c.name, consent.c.group_name)
        if not any(self._rows(select(name).where(name == group).limit(1)) for name in names):
            raise UnknownError(f"There is no group '{group}'.", hint="See 'surefoot group list'.")
        query = _DEVICES.join(member, member.c.device_id == device.c.device_id).where(member.c.group_name == group)
        if after:
            query = query.where(tuple_(member.c.bucket, member.c.device_id) > (place(after), after))
        return _page(self._rows(query.order_by(member.c.bucket, member.c.device_id).limit(limit)), limit)

    def attribute_names(self) -> set[str]:
        """Return every attribute that a filter may compare, the built-in ones among them."""
        return {*RESERVED, *(row.name for row in self._rows(select(attribute_name)))}

    def versions(self) -> VersionList:
        """Return what the fleet runs, most devices first; reads counters, not devices."""
        order = (version_count.c.devices.desc(), version_count.c.product, version_count.c.version)
        rows = self._rows(select(version_count).order_by(*order))
        return VersionList(versions=[VersionLine(product=row.product, version=row.version, devices=row.devices) for row in rows])

    def story(self, device_id: DeviceId) -> DeviceStory:
        """Return one device's story; ``UnknownError`` when there is no such device."""
        rows = self._rows(_DEVICES.where(device.c.device_id == device_id))
        if not rows:
            raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
        found = _device(rows[0])
        groups = self._rows(select(member.c.group_name).where(member.c.device_id == device_id).order_by(member.c.group_name))
        return DeviceStory(
            device=found,
            attributes=attributes(found),
            groups=[row.group_name for row in groups],
            assignments=self._attempts(device_id),
            events=self._events(event, device_id),
            divergences=self._events(divergence, device_id),
            setbacks=self._setbacks(device_id),
            consents=self._consents(consent.c.device_id == device_id),
        )

    def _setbacks(self, device_id: DeviceId) -> list[Setback]:
        rows = self._rows(select(setback.c.body).where(setback.c.device_id == device_id).order_by(setback.c.product, setback.c.version))
        return [from_json(row.body, Setback, what="stored setback") for row in rows]

    def users(self) -> UserList:
        """Return every token, by name."""
        rows = self._rows(select(api_token).order_by(api_token.c.name))
        lines = [
            UserLine(name=row.name, created_at=_text(row.created_at), customer=row.customer, groups=row.groups.split()) for row in rows
        ]
        return UserList(users=lines)

    def customers_at(self, site: str) -> set[str]:
        """Return of which customers the active devices of a site are, two of them at most; one that says none is of the customer ''."""
        at_site = (device.c.site == site) & (device.c.state == DeviceState.ACTIVE)
        return {row.customer or "" for row in self._rows(select(device.c.customer).where(at_site).distinct().limit(2))}

    def windows(self) -> WindowList:
        """Return all windows that are set, nearest level first, by key."""
        rows = self._rows(select(maintenance_window).where(maintenance_window.c.body.is_not(None)).order_by(maintenance_window.c.key))
        lines = [_window_line(row) for row in rows]
        return WindowList(windows=sorted(lines, key=lambda line: list(Level).index(line.level)))

    def releases(self) -> ReleaseList:
        """Return every published release, newest first."""
        rows = self._rows(select(release).order_by(release.c.product))
        # Several may be published within a second; then the higher version is the newer.
        newest = sorted(rows, key=lambda row: (row.published_at, precedence(row.version)), reverse=True)
        return ReleaseList(releases=[_release(row) for row in newest])

    def rollouts(self) -> RolloutList:
        """Return every rollout, newest first."""
        rows = self._rows(select(rollout).order_by(rollout.c.rollout_id.desc()))
        return RolloutList(rollouts=[self._rollout_line(row) for row in rows])

    def rollout(self, rollout_id: int) -> RolloutStory:
        """Return one rollout's story; ``UnknownError`` when there is no such rollout."""
        row = self._rollout(rollout_id)
        newest = select(decision.c.body).where(decision.c.rollout_id == rollout_id).order_by(decision.c.number.desc())
        stored = from_json(row.body, Rollout, what="stored rollout")
        return RolloutStory(
            rollout_id=rollout_id,
            created_at=_text(row.created_at),
            created_by=row.created_by,
            rollout=stored,
            alarms=raised(stored),
            evidence=Evidence(tallies=self._tallies(rollout_id), population=row.population, is_exhausted=bool(row.walk_is_over)),
            decisions=[
                from_json(found.body, StoredDecision, what="stored decision") for found in self._rows(newest.limit(_MOST_DECISIONS))
            ],
        )

    def rollout_devices(self, rollout_id: int, outcome: Outcome | None, after: int, limit: int) -> RolloutDevices:
        """Return up to ``limit`` attempts of a rollout; ``UnknownError`` when there is no such rollout."""
        stages = from_json(self._rollout(rollout_id).body, Rollout, what="stored rollout").plan.stages
        mine = select(assignment.c.body).where(assignment.c.rollout_id == rollout_id, assignment.c.assignment_id > after)
        if outcome is not None:
            mine = mine.where(assignment.c.outcome == outcome.value)
        rows = self._rows(mine.order_by(assignment.c.assignment_id).limit(limit))
        found = [_rollout_device(from_json(row.body, Attempt, what="stored assignment"), stages) for row in rows]
        return RolloutDevices(devices=found, next=found[-1].assignment_id if len(found) == limit else 0)

    def _rollout(self, rollout_id: int) -> Row[Any]:
        rows = self._rows(select(rollout).where(rollout.c.rollout_id == rollout_id))
        if not rows:
            raise UnknownError(f"There is no rollout {rollout_id}.", hint="See 'surefoot rollout list'.")
        return rows[0]

    def _rollout_line(self, row: Row[Any]) -> RolloutLine:
        stored = from_json(row.body, Rollout, what="stored rollout")
        return RolloutLine(
            rollout_id=row.rollout_id,
            name=stored.plan.name,
            release=stored.plan.release,
            status=stored.status,
            stage=stored.open_stage.name,
            created_at=_text(row.created_at),
            counts=total(tally.counts for tally in self._tallies(row.rollout_id)),
            alarms=raised(stored),
        )

    def _tallies(self, rollout_id: int) -> list[Tally]:
        rows = self._rows(
            select(counter).where(counter.c.rollout_id == rollout_id).order_by(counter.c.stage, counter.c.hardware, counter.c.region)
        )
        return [
            Tally(stage=row.stage, hardware=row.hardware, region=row.region, counts=Counts(**{name: getattr(row, name) for name in FIELDS}))
            for row in rows
        ]

    def _attempts(self, device_id: DeviceId) -> list[Attempt]:
        mine = select(assignment.c.body).where(assignment.c.device_id == device_id)
        newest = mine.order_by(assignment.c.assignment_id.desc()).limit(_MOST_ATTEMPTS)
        return [from_json(row.body, Attempt, what="stored assignment") for row in self._rows(newest)]

    def _consents(self, mine: ColumnElement[bool]) -> list[ConsentLine]:
        rows = self._rows(select(consent).where(mine).order_by(consent.c.group_name, consent.c.device_id))
        return [
            ConsentLine(group=row.group_name, device_id=row.device_id, consent=from_json(row.body, Consent, what="stored consent"))
            for row in rows
        ]

    def _events(self, table: Table, device_id: DeviceId) -> list[StoredEvent]:
        mine = select(table).where(table.c.device_id == device_id)
        order = (table.c.received_at.desc(), table.c.journal, *(column.desc() for column in table.c if column.name == "seq"))
        newest = mine.order_by(*order).limit(_MOST_EVENTS)
        return [
            StoredEvent(
                journal=row.journal, received_at=_text(row.received_at), event=from_json(row.body, dict[str, Any], what="stored event")
            )
            for row in self._rows(newest)
        ]

    def _rows(self, query: Any) -> list[Row[Any]]:  # noqa: ANN401  # the type of a select is its columns'
        with self._engine.connect() as connection:
            return list(connection.execute(query))


def listing(wanted: Filter, now: datetime, after: str, limit: int) -> Select[Any]:
    """Return the query for the first devices after ``after`` that a filter means at this moment, in the order of their ids."""
    query = _DEVICES.where(condition(wanted, now)).order_by(device.c.device_id).limit(limit)
    return query.where(device.c.device_id > after) if after else query


def _page(rows: list[Row[Any]], limit: int) -> DevicePage:
    found = [_device(row) for row in rows]
    return DevicePage(devices=found, next=found[-1].device_id if len(found) == limit else "")


def _running(product: str, row: Row[Any]) -> Running:
    bootloader_version, release_counter, data_format, revert_to = from_json(row.asked.encode(), list[Any], what="stored report")
    return Running(
        hardware=row.hardware,
        bootloader_version=bootloader_version,
        product=product,
        version=row.version,
        release_counter=release_counter,
        data_format=data_format,
        revert_to="patch" if revert_to is None else revert_to,
    )


def _device(row: Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        hardware=row.hardware,
        state=DeviceState(row.state),
        enrolled_at=row.enrolled_at,
        last_seen="" if row.last_seen is None else _text(row.last_seen),
        polls=row.polls or 0,
        report=None if row.report is None else from_json(row.report, DeviceReport, what="stored report"),
        given=from_json(row.given.encode(), Attributes, what="stored attributes"),
    )


def _rollout_device(attempt: Attempt, stages: list[Stage]) -> RolloutDevice:
    return RolloutDevice(
        device_id=attempt.device_id,
        assignment_id=attempt.assignment_id,
        stage=stages[attempt.stage].name,
        is_started=attempt.is_started,
        outcome=attempt.outcome,
        ended_at=attempt.ended_at,
    )


def _release(row: Row[Any]) -> ReleaseLine:
    index = from_json(row.body, ReleaseIndex, what="stored release")
    return ReleaseLine(
        product=row.product,
        version=row.version,
        build_id=index.build_id,
        hash=row.digest,
        published_at=_text(row.published_at),
        is_retired=bool(row.is_retired),
    )


def _text(seconds: int) -> str:
    return utc_text(datetime.fromtimestamp(seconds, UTC))


def _window_line(row: Row[Any]) -> WindowLine:
    return WindowLine(level=Level(row.level), key=row.key, setting=from_json(row.body, WindowSetting, what="stored windows"))
