# SPDX-License-Identifier: Apache-2.0
"""What a device remembers through reboots and power cuts, and the numbers that an integrator may set."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from msgspec import structs

from surefoot.agent.triggers import Thresholds
from surefoot.agent.vitals import Vitals
from surefoot.model.assignment import AssignmentId, Order
from surefoot.model.digest import Digest
from surefoot.model.record import Record, Size
from surefoot.model.slot import Installed, SlotName


class Phase(StrEnum):
    """Where the device is in the life of an update."""

    IDLE = "idle"
    CHECKING = "checking"
    VERIFYING = "verifying"
    DOWNLOADING = "downloading"
    WAITING = "waiting for window"
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLING_BACK = "rolling back"
    REPORTING = "reporting"


class Attempt(Record, frozen=True, kw_only=True):
    """One order being carried out.

    Attributes:
        order: The verified order.
        size: Length of the image in bytes.
        hash: Its digest.
        slot: Where it goes; never the slot that runs.
        urls: Where it may be fetched.
        started_at: When the device began, RFC 3339 UTC; after a wait for a window, when that was over.
        received: Bytes that are durable in the slot.
        tries: Downloads that ended wrong.
        interruptions: Broken connections since the last byte that arrived.
        installs: Installs that a start of the agent found without an end.
        boots: Boots of the release on trial.
        reason: Why it is taken back; empty while it is not.
        over: The release that it overwrites, if there was a verified one.
        ailing: What a probe that is not required said when the release was kept; empty when all held.
        poll_s: Seconds between polls while it waits for a window.
        waits: What it waits for, as a word; empty while it waits for nothing.
        waits_for: The same as a sentence.
        waits_until: Until when at the latest, RFC 3339 UTC; empty when nobody knows.
    """

    order: Order
    size: Size
    hash: Digest
    slot: SlotName
    urls: list[str]
    started_at: str
    received: int = 0
    tries: int = 0
    interruptions: int = 0
    installs: int = 0
    boots: int = 0
    reason: str = ""
    over: Installed | None = None
    ailing: str = ""
    poll_s: int = 300
    waits: str = ""
    waits_for: str = ""
    waits_until: str = ""


class Result(Record, frozen=True, kw_only=True):
    """How the last order ended.

    Attributes:
        assignment_id: Which order it was; nothing when a release that was kept long ago was given up by the bootloader.
        version: The release it was about; empty when it was refused before that was known.
        outcome: What became of it.
        reason: Why, as a word; empty for one that was installed.
        detail: Why, as a sentence, cut after 300 characters; empty when the word says all.
    """

    assignment_id: AssignmentId | None
    version: str = ""
    outcome: Literal["installed", "failed", "rolled back", "refused"]
    reason: str = ""
    detail: str = ""


class State(Record, frozen=True, kw_only=True):
    """All that the device must remember.

    Attributes:
        phase: Where it is.
        slot: The slot of the committed release.
        running: The committed release.
        fallback: The verified release in the other slot, if there is one.
        release_counter: The highest release counter ever committed; survives rollbacks.
        time_floor: The newest verified time; no certificate or metadata is judged by an earlier clock.
        fresh_until: When what the director signed last expires, RFC 3339 UTC; empty when nothing was ever verified.
        attempt: The order being carried out.
        kept_by: The attempt that installed the committed release; nothing for one that no order brought.
        finished: The last attempt that ended.
        result: How that one ended; nothing on a device that carried none out.
        poll_s: Seconds between polls, as the server last asked in an answer that verified.
        etag: What the server last answered, to be named at the next poll.
        failures: Checks or effects that failed in a row.
        refused: The refusal last reported, so that it is reported once.
        failed: The image that last turned out bad here, if any did.
        failed_trials: How often in a row that one did, so that nobody can have a board boot it for ever.
        vitals: What is counted of the release on trial, and of a committed one that is watched; nothing of any other.
        leaving: Why the committed release is given up for the one before; empty while it is not.
    """

    phase: Phase = Phase.IDLE
    slot: SlotName
    running: Installed
    fallback: Installed | None = None
    release_counter: int
    time_floor: str
    fresh_until: str = ""
    attempt: Attempt | None = None
    kept_by: AssignmentId | None = None
    finished: AssignmentId | None = None
    result: Result | None = None
    poll_s: int = 300
    etag: str = ""
    failures: int = 0
    refused: str = ""
    failed: Digest | None = None
    failed_trials: int = 0
    vitals: Vitals | None = None
    leaving: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Numbers that an integrator may set.

    Attributes:
        max_tries: Downloads of one attempt that may end wrong.
        max_installs: Installs of one attempt that may be cut off by a start of the agent.
        backoff_cap_s: The longest pause between tries.
        settle_s: How long health must hold without a break before a commit.
        trial_s: How long a release may take to get there.
        probe_s: Pause between two looks at its health.
        max_boots: Starts of the agent in one trial; more is a loop.
        needs_server: Whether a commit needs a report accepted by the server from the release on trial.
        part_bytes: The least of an image, but for its end, that is fetched between two notes of how far it has come: each
            note is a write of the journal, and a part smaller than a block of the flash would be another one.
        rollback: When a release is given up for the one before.
    """

    max_tries: int = 3
    max_installs: int = 5
    backoff_cap_s: int = 300
    settle_s: float = 30
    trial_s: float = 300
    probe_s: float = 1
    max_boots: int = 5
    needs_server: bool = True
    part_bytes: int = 4096
    rollback: Thresholds = field(default_factory=Thresholds)


def kept(state: State) -> State:
    """Return the state as it matters after a power cut: what only says that a check is under way is left out.

    An idle device therefore writes nothing to its flash, however often it polls.
    """
    if state.phase in {Phase.IDLE, Phase.CHECKING, Phase.VERIFYING}:
        return structs.replace(state, phase=Phase.IDLE, failures=0)
    return structs.replace(state, failures=0)


def in_slot(state: State, slot: SlotName) -> Installed | None:
    """Return the verified release that lies in ``slot``, as far as the device knows."""
    if slot is state.slot:
        return state.running
    # What was kept there is forgotten when the first byte of an attempt is fetched over it.
    if state.attempt is not None and state.fallback is None:
        return release_of(state.attempt)
    return state.fallback


def release_of(attempt: Attempt) -> Installed:
    """Return the release that an attempt installs, as version rules will need to know it."""
    block = attempt.order.must_match
    return Installed(
        product=block.product,
        version=block.version,
        build_id=block.build_id,
        release_counter=block.release_counter,
        hash=attempt.hash,
        size=attempt.size,
        data_format=block.data_format,
        revert_to=block.revert_to,
    )
