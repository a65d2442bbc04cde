# SPDX-License-Identifier: Apache-2.0
"""Whether this device may run an order that both repositories list: hardware, versions, time and room, as a pure function.

Whatever the server says, these rules hold on the device too. They read the verified must-match block and nothing else. The version
rules are ``surefoot.model.rules``, which the server checks as well, before it orders anything.
"""

from dataclasses import dataclass
from datetime import datetime

from surefoot.agent.state import State
from surefoot.model.errors import (
    FailedHereError,
    InvalidInput,
    MetadataError,
    OrderVoidError,
    SingleBootloaderError,
    SpaceError,
    VersionRegressionError,
    WrongHardwareError,
)
from surefoot.model.manifest import MustMatch
from surefoot.model.record import parse_utc
from surefoot.model.rules import Rule, Running, may_install
from surefoot.trust.verify import Ordered

_MAX_TRIALS = 3
_SAFE_COPIES = 2
_ABOUT_THE_BOARD = {Rule.HARDWARE, Rule.BOOTLOADER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What of a board decides whether an image fits it; with two copies of the bootloader, the one that started is never written."""

    hardware: str
    bootloader_version: str
    slot_capacity_bytes: int
    bootloader_copies: int = 1


def admit(ordered: Ordered, board: Board, state: State, now: datetime) -> None:
    """Let an order pass, or raise the first rule that forbids it.

    Args:
        ordered: The verified order.
        board: The board it would run on.
        state: What runs now and what was ever committed.
        now: Aware, UTC, already raised to the time floor.

    Raises:
        WrongHardwareError: Made for other hardware, or needs a newer bootloader.
        VersionRegressionError: Version, release counter or data format forbid going there from here.
        SingleBootloaderError: It carries a bootloader, and the board has one copy of it.
        FailedHereError: The image failed its trial here too often to be tried again.
        OrderVoidError: It should have been started earlier.
        SpaceError: The image is larger than a slot.
        MetadataError: A rule of the release cannot be read, or the image is empty; doubt holds.
    """
    try:
        _require_permitted(ordered.must_match, board, state)
        if ordered.must_match.updates_bootloader and board.bootloader_copies < _SAFE_COPIES:
            raise SingleBootloaderError(
                "The image carries a bootloader; this board has one copy of it, and a power cut could destroy that."
            )
        if state.failed == ordered.hash and state.failed_trials >= _MAX_TRIALS:
            raise FailedHereError(f"This device fell back from the image {state.failed_trials} times.")
        if now > parse_utc(ordered.order.start_before):
            raise OrderVoidError(f"The order was to be started before {ordered.order.start_before}.")
        if ordered.size == 0:
            raise MetadataError("The image is empty; no board boots that.")
        if ordered.size > board.slot_capacity_bytes:
            raise SpaceError(f"The image has {ordered.size} bytes; a slot holds {board.slot_capacity_bytes}.")
    except InvalidInput as error:
        raise MetadataError(f"A rule of the release cannot be read: {error.message}") from error


def _require_permitted(wanted: MustMatch, board: Board, state: State) -> None:
    running = state.running
    verdict = may_install(
        Running(
            hardware=board.hardware,
            bootloader_version=board.bootloader_version,
            product=running.product,
            version=running.version,
            release_counter=state.release_counter,
            data_format=running.data_format,
            revert_to=running.revert_to,
        ),
        wanted,
    )
    if not verdict.is_permitted:
        kind = WrongHardwareError if verdict.rule in _ABOUT_THE_BOARD else VersionRegressionError
        raise kind(verdict.reason)
