# SPDX-License-Identifier: Apache-2.0
"""What operators may look up: lists of devices and releases, and the story of one device."""

from datetime import datetime
from typing import Any, Protocol

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device
from surefoot.fleet.filter import Filter
from surefoot.fleet.group import Consent, GroupRule
from surefoot.fleet.setback import Setback
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import Digest
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.model.record import Record
from surefoot.model.rules import Running
from surefoot.rollout.decision import Decision
from surefoot.rollout.evidence import Baseline, Counts, Evidence, Share
from surefoot.rollout.plan import Rollout, Status
from surefoot.schedule.nearest import Level, WindowSetting


class DevicePage(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Devices, by default in the order of their ids; ``next`` is the ``after`` of the next page, empty on the last."""

    devices: list[Device]
    next: str = ""


class StoredEvent(Record, frozen=True, kw_only=True):
    """An event as stored: what the device sent, the journal it came from, and when it came (RFC 3339 UTC)."""

    journal: str
    received_at: str
    event: dict[str, Any]


class ConsentLine(Record, frozen=True, kw_only=True):
    """What the people of a device said about a group."""

    group: str
    device_id: DeviceId
    consent: Consent


class DeviceStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One device with its effective attributes, its groups, and its newest attempts and events, newest first.

    ``consents`` are what its people said about groups. ``divergences`` are events that it told in two ways, the first of each journal
    as it came the second time: somebody copied the device, or set it back to an old copy of itself. ``setbacks`` are releases that it
    failed with and has not run well since.
    """

    device: Device
    attributes: dict[str, str]
    groups: list[str]
    assignments: list[Attempt]
    events: list[StoredEvent]
    divergences: list[StoredEvent] = []
    setbacks: list[Setback] = []
    consents: list[ConsentLine] = []


class ReleaseLine(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One line of the list of releases; one that is retired is ordered no more."""

    product: str
    version: str
    build_id: str
    hash: Digest
    published_at: str
    is_retired: bool = False


class ReleaseStory(Record, frozen=True, kw_only=True):
    """One release with its manifests, as published."""

    hash: Digest
    index: ReleaseIndex
    manifests: list[Manifest]


class ReleaseList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every published release, newest first."""

    releases: list[ReleaseLine]


class WindowLine(Record, frozen=True, kw_only=True):
    """Windows set at one level for one key."""

    level: Level
    key: str
    setting: WindowSetting


class WindowList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Everything that is set, nearest level first, by key."""

    windows: list[WindowLine]


class UserLine(Record, frozen=True, kw_only=True):
    """One token: an operator's, or a customer's with the groups that were opened to it."""

    name: str
    created_at: str
    customer: str | None = None
    groups: list[str] = []


class UserList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every token, by name."""

    users: list[UserLine]


class Kind(Record, frozen=True, kw_only=True):
    """Devices that are alike in all that version rules ask, and how many they are."""

    running: Running
    devices: int


class KindList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Kinds of device, those with most devices first; ``others`` are devices of kinds that are too rare to be listed."""

    kinds: list[Kind]
    others: int = 0


class GroupLine(Record, frozen=True, kw_only=True):
    """One group, how many devices are in it, and the filter that says so; a fixed group has none."""

    name: str
    devices: int
    filter: str = ""


class GroupStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One group: how many devices are in it, its rule (a fixed group has none), and who opted in or out, by device."""

    name: str
    devices: int
    rule: GroupRule | None
    consents: list[ConsentLine]


class GroupList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every group, by name."""

    groups: list[GroupLine]


class VersionLine(Record, frozen=True, kw_only=True):
    """How many devices say that they run one version; both are empty for those that never said."""

    product: str
    version: str
    devices: int


class VersionList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What the fleet runs, most devices first."""

    versions: list[VersionLine]


class RolloutLine(Record, frozen=True, kw_only=True):
    """One line of the list of rollouts; ``counts`` are of all its stages, ``alarms`` what people must hear at once."""

    rollout_id: int
    name: str
    release: str
    status: Status
    stage: str
    created_at: str
    counts: Counts
    alarms: list[str] = []


class RolloutList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every rollout, newest first."""

    rollouts: list[RolloutLine]


class StoredDecision(Record, frozen=True, kw_only=True):
    """A decision with all that it was made of, so that it can be made again.

    Attributes:
        number: Its place among the decisions of the rollout, from 1.
        at: When it was made, RFC 3339 UTC: the ``now`` it was given.
        decision: What was decided.
        offered: How many devices were offered the release because of it.
        rollout: Where the rollout stood before it.
        evidence: What was known.
    """

    number: int
    at: str
    decision: Decision
    offered: int = 0
    rollout: Rollout
    evidence: Evidence


class RolloutStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One rollout.

    Attributes:
        rollout: Where it stands.
        evidence: What is counted, but for the offers of the last minute.
        decisions: Its newest ones, newest first.
        alarms: What people must hear at once, as sentences.
    """

    rollout_id: int
    created_at: str
    created_by: str
    rollout: Rollout
    evidence: Evidence
    decisions: list[StoredDecision]
    alarms: list[str] = []


class RolloutDevice(Record, frozen=True, kw_only=True):
    """One device of a rollout: its newest attempt there; ``outcome`` is nothing while that is open."""

    device_id: DeviceId
    assignment_id: int
    stage: str
    is_started: bool
    outcome: Outcome | None
    ended_at: str


class RolloutDevices(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Attempts of a rollout in the order of their ids; ``next`` is the ``after`` of the next page, 0 on the last."""

    devices: list[RolloutDevice]
    next: int = 0


class UsualInstall(Record, frozen=True, kw_only=True, omit_defaults=False):
    """How long 95 of 100 installs on one hardware take at most, of how many; nothing while too few are known."""

    hardware: str
    usual_s: int | None
    installs: int


class FleetMix(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Devices of a product, counted; what a simulated fleet is made after.

    Attributes:
        shares: By hardware and region.
        in_touch: Those that were heard of in the last day.
        baselines: What is usual for them.
        installs: How long installs take, by hardware.
    """

    shares: list[Share]
    in_touch: int
    baselines: list[Baseline]
    installs: list[UsualInstall] = []


class Catalogue(Protocol):
    """Lists for people; may take as long as a page does, and is never called for a device."""

    def devices(self, after: str, limit: int, wanted: Filter, now: datetime) -> DevicePage:
        """Return up to ``limit`` devices whose id comes after ``after``: those that the filter means at this moment.

        Raises:
            FilterError: The filter names an attribute that no device has.
        """
        ...

    def kinds(self, product: str, wanted: Filter, now: datetime, most: int) -> KindList:
        """Return what kinds of active device run a product, among those that a filter means: at most ``most`` of them.

        Reads each of these devices; may take seconds.

        Raises:
            FilterError: The filter names an attribute that no device has.
        """
        ...

    def mix(self, product: str, wanted: Filter, group: str, now: datetime, since: int) -> FleetMix:
        """Return the active devices of a product that a filter means, by kind; of one group, or of all when it is empty.

        Args:
            product: Whose devices.
            wanted: Which of them.
            group: Members of which group; empty means anybody.
            now: For what a filter asks of ages.
            since: A device that was heard of later is in touch, seconds since 1970.

        Raises:
            FilterError: The filter names an attribute that no device has.
        """
        ...

    def live_manifests(self, product: str, variant: str) -> list[Manifest]:
        """Return every manifest of a product in one variant whose release is published and not retired."""
        ...

    def groups(self) -> GroupList:
        """Return every group, by name."""
        ...

    def group(self, name: str) -> GroupStory:
        """Return one group's story.

        Raises:
            UnknownError: There is no such group.
        """
        ...

    def members(self, group: str, after: str, limit: int) -> DevicePage:
        """Return up to ``limit`` members of a group in the order in which rollouts come to them, beginning after device ``after``.

        Raises:
            UnknownError: There is no such group.
        """
        ...

    def customers_at(self, site: str) -> set[str]:
        """Return of which customers the active devices of a site are, two of them at most; one that says none is of the customer ''."""
        ...

    def attribute_names(self) -> set[str]:
        """Return every attribute that a filter may compare, the built-in ones among them."""
        ...

    def story(self, device_id: DeviceId) -> DeviceStory:
        """Return one device's story.

        Raises:
            UnknownError: There is no such device.
        """
        ...

    def users(self) -> UserList:
        """Return every token, by name."""
        ...

    def versions(self) -> VersionList:
        """Return what the fleet runs; reads counters, not devices."""
        ...

    def rollouts(self) -> RolloutList:
        """Return every rollout, newest first."""
        ...

    def rollout(self, rollout_id: int) -> RolloutStory:
        """Return one rollout's story.

        Raises:
            UnknownError: There is no such rollout.
        """
        ...

    def rollout_devices(self, rollout_id: int, outcome: Outcome | None, after: int, limit: int) -> RolloutDevices:
        """Return up to ``limit`` attempts of a rollout whose id comes after ``after``: those with this outcome, or all.

        Raises:
            UnknownError: There is no such rollout.
        """
        ...

    def windows(self) -> WindowList:
        """Return all windows that are set, nearest level first, by key."""
        ...

    def releases(self) -> ReleaseList:
        """Return every published release, newest first."""
        ...
