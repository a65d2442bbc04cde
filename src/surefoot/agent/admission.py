# SPDX-License-Identifier: Apache-2.0
"""Whether this device may run an order that both repositories list: hardware, versions, time and room, as a pure function.

Whatever the server says, these rules hold on the device too. They read the verified must-match block and nothing else.
"""

from dataclasses import dataclass
from datetime import datetime

from surefoot.agent.state import State
from surefoot.model.errors import (
    FailedHereError,
    InvalidInput,
    MetadataError,
    OrderVoidError,
    SpaceError,
    VersionRegressionError,
    WrongHardwareError,
)
from surefoot.model.manifest import MustMatch
from surefoot.model.record import parse_utc
from surefoot.model.version import is_in_range, may_revert, parse
from surefoot.trust.verify import Ordered

_MAX_TRIALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What of a board decides whether an image fits it."""

    hardware: str
    bootloader_version: str
    slot_capacity_bytes: int


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
        FailedHereError: The image failed its trial here too often to be tried again.
        OrderVoidError: It should have been started earlier.
        SpaceError: The image is larger than a slot.
        MetadataError: A rule of the release cannot be read, or the image is empty; doubt holds.
    """
    try:
        _require_fit(ordered.must_match, board)
        _require_version(ordered.must_match, state)
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


def _require_fit(wanted: MustMatch, board: Board) -> None:
    if board.hardware not in wanted.target_hardware:
        raise WrongHardwareError(f"The image is for {', '.join(wanted.target_hardware)}; this board is {board.hardware}.")
    if parse(board.bootloader_version) < parse(wanted.min_bootloader_version):
        raise WrongHardwareError(
            f"The release needs bootloader {wanted.min_bootloader_version}; this board has {board.bootloader_version}."
        )


def _require_version(wanted: MustMatch, state: State) -> None:
    running = state.running
    if wanted.product != running.product:
        raise VersionRegressionError(f"The order is for the product {wanted.product}; this device runs {running.product}.")
    if wanted.release_counter < state.release_counter:
        raise VersionRegressionError(
            f"Release counter {wanted.release_counter} is below {state.release_counter}, which this device has reached."
        )
    is_down = parse(wanted.version) < parse(running.version)
    if is_down and not may_revert(running=running.version, wanted=wanted.version, revert_to=running.revert_to):
        raise VersionRegressionError(f"The running release {running.version} does not allow going back to {wanted.version}.")
    if running.data_format is not None and (wanted.data_format or 0) < running.data_format:
        raise VersionRegressionError(f"Data format {wanted.data_format or 'none'} is below the stored {running.data_format}.")
    if wanted.requires is not None and not is_in_range(running.version, wanted.requires.from_):
        raise VersionRegressionError(
            f"Version {wanted.version} can only be installed from {wanted.requires.from_}; this device runs {running.version}."
        )
