# SPDX-License-Identifier: Apache-2.0
"""What operators may look up: lists of devices and releases, and the story of one device."""

from typing import Any, Protocol

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.model.record import Record


class DevicePage(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Devices in the order of their ids; ``next`` is the ``after`` of the next page, empty on the last."""

    devices: list[Device]
    next: str = ""


class StoredEvent(Record, frozen=True, kw_only=True):
    """An event as stored: what the device sent, the journal it came from, and when it came (RFC 3339 UTC)."""

    journal: str
    received_at: str
    event: dict[str, Any]


class DeviceStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One device with its newest attempts and events, newest first."""

    device: Device
    assignments: list[Attempt]
    events: list[StoredEvent]


class ReleaseLine(Record, frozen=True, kw_only=True):
    """One line of the list of releases."""

    product: str
    version: str
    build_id: str
    hash: Digest
    published_at: str


class ReleaseStory(Record, frozen=True, kw_only=True):
    """One release with its manifests, as published."""

    hash: Digest
    index: ReleaseIndex
    manifests: list[Manifest]


class ReleaseList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every published release, newest first."""

    releases: list[ReleaseLine]


class UserLine(Record, frozen=True, kw_only=True):
    """One operator."""

    name: str
    created_at: str


class UserList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every operator, by name."""

    users: list[UserLine]


class Catalogue(Protocol):
    """Lists for people; may take as long as a page does, and is never called for a device."""

    def devices(self, after: str, limit: int) -> DevicePage:
        """Return up to ``limit`` devices whose id comes after ``after``."""
        ...

    def story(self, device_id: DeviceId) -> DeviceStory:
        """Return one device's story.

        Raises:
            UnknownError: There is no such device.
        """
        ...

    def users(self) -> UserList:
        """Return every operator, by name."""
        ...

    def releases(self) -> ReleaseList:
        """Return every published release, newest first."""
        ...
