# SPDX-License-Identifier: Apache-2.0
"""Risk: how carefully a kind of release goes, where its plan does not say; flags fast, firmware slow."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from surefoot.model.duration import Duration


class Kind(StrEnum):
    """What a release changes on a device, and so how much a bad one breaks."""

    FIRMWARE = "firmware"
    APPLICATION = "application"
    CONFIG = "config"
    FLAGS = "flags"
    SECURITY = "security"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What stands where a plan says nothing.

    Attributes:
        batches: Of the one stage of a plan that names no stages.
        soaks: Of these batches.
        watch: How long the whole fleet is watched after the last batch.
        deadline: How long an attempt may take from its start.
    """

    batches: tuple[str, ...]
    soaks: tuple[Duration, ...]
    watch: Duration
    deadline: Duration


PACES: Mapping[Kind, Pace] = MappingProxyType(
    {
        Kind.FIRMWARE: Pace(
            batches=("1%", "5%", "10%", "25%", "50%", "100%"), soaks=("6h", "6h", "4h", "2h", "2h", "0s"), watch="1d", deadline="4h"
        ),
        Kind.APPLICATION: Pace(
            batches=("1%", "5%", "10%", "25%", "50%", "100%"), soaks=("4h", "4h", "2h", "1h", "1h", "0s"), watch="1d", deadline="2h"
        ),
        Kind.CONFIG: Pace(batches=("1%", "10%", "50%", "100%"), soaks=("2h", "1h", "1h", "0s"), watch="12h", deadline="1h"),
        Kind.FLAGS: Pace(batches=("1%", "10%", "50%", "100%"), soaks=("30m", "15m", "15m", "0s"), watch="6h", deadline="30m"),
        # A hole that is known is a harm of its own: fewer steps, each still long enough for the gate to see.
        Kind.SECURITY: Pace(batches=("1%", "10%", "50%", "100%"), soaks=("3h", "2h", "1h", "0s"), watch="1d", deadline="4h"),
    }
)
"""The pace of each kind."""
