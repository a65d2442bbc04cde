# SPDX-License-Identifier: Apache-2.0
"""Slots: the two places a device can boot from."""

from enum import StrEnum

from surefoot.model.digest import Digest
from surefoot.model.manifest import Counter
from surefoot.model.record import Name, Record, Size
from surefoot.model.version import RevertTo, SemVer


class SlotName(StrEnum):
    """The name of a slot, as the bootloader knows it."""

    A = "a"
    B = "b"

    @property
    def other(self) -> "SlotName":
        """Return the slot that is not this one."""
        return SlotName.B if self is SlotName.A else SlotName.A


class SlotState(StrEnum):
    """What the bootloader may do with a slot.

    ``trying`` is booted a limited number of times and then counts as ``bad``; only the release on trial makes it ``good``.
    """

    GOOD = "good"
    TRYING = "trying"
    BAD = "bad"


class Installed(Record, frozen=True, kw_only=True):
    """A release that lies verified in a slot, with what version rules need to know of it."""

    product: Name
    version: SemVer
    build_id: str
    release_counter: Counter
    hash: Digest
    size: Size
    data_format: Counter | None = None
    revert_to: RevertTo = "patch"
