# SPDX-License-Identifier: Apache-2.0
"""Outlook: what happens next to a device after an answer to why, by itself or by a person, and when; pure."""

from dataclasses import dataclass

from surefoot.model.assignment import DeviceId
from surefoot.model.record import Record
from surefoot.schedule.permission import Reason
from surefoot.server.services.answer import Answer, Code


class Outlook(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What happens next.

    Attributes:
        words: One sentence; empty when nothing is to come.
        at: When, RFC 3339 UTC; empty when that is not known, or when it waits for a person.
    """

    words: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an answer is about.

    Attributes:
        device_id: The device.
        release: Product and version.
        rollout_id: The rollout; nothing for what a person ordered.
        retry_at: From when the rollout may offer the device the release again, RFC 3339 UTC; empty when it does not.
    """

    device_id: DeviceId
    release: str
    rollout_id: int | None = None
    retry_at: str = ""


_FAILURES = {Code.FAILED, Code.ROLLED_BACK, Code.SILENT}
_ORDER = "A person may order it: surefoot device order {device_id} {release}."
_MENDED = "When the cause is mended, a person may order it again: surefoot device order {device_id} {release}."
_WORDS: dict[Code, tuple[str, str]] = {
    Code.WINDOW: ("It may start the install then, by itself.", "until"),
    Code.WAITING: ("It starts by itself when the device no longer waits.", ""),
    Code.OFFLINE: ("Nothing until it calls: see to its power and its network. It then goes on by itself.", ""),
    Code.UNDER_WAY: ("It says how that went; if it says nothing, it counts as silent then.", "due_at"),
    Code.OFFERED: ("It starts at its next poll; an offer that is not started by then is taken back.", "start_before"),
    Code.QUARANTINED: ("Nothing until a person ends that.", ""),
    Code.PAUSED: ("Nothing until a person goes on: surefoot rollout resume {rollout_id}.", ""),
    Code.REGION_HELD: ("Its turn comes when the hold has ended.", ""),
    Code.EXCLUDED: ("Nothing until a person includes it.", ""),
    Code.OTHER_ORDER: ("Its turn comes when the other order has ended.", ""),
    Code.PATH: ("It is offered this release once it runs the one before; a rollout or an order brings that one.", ""),
    Code.VERSION_RULE: ("Nothing until the rule is met; where an approval is missing, the plan or an order may give it.", ""),
    Code.NOT_TAKEN_UP: (f"Nothing more by this rollout. {_ORDER}", ""),
    Code.NEXT: ("It is offered the release by itself, as soon as the limits allow.", ""),
    Code.NETWORK_FULL: ("It is offered the release by itself, as soon as there is room.", ""),
    Code.PASSED: ("It is offered the release by itself, with the next pass.", ""),
    Code.BATCH_AHEAD: ("It is offered the release by itself, when that batch opens.", ""),
    Code.STAGE_AHEAD: ("It is offered the release by itself, when that stage opens.", ""),
    Code.STAGE_OVER: (f"Nothing more by this rollout. {_ORDER}", ""),
    Code.DRAFT: ("Nothing until a person starts the rollout.", ""),
    Code.REFUSED: (f"Nothing by itself. {_MENDED}", ""),
    Code.FAILED: (f"Nothing by itself. {_MENDED}", ""),
    Code.ROLLED_BACK: (f"Nothing by itself. {_MENDED}", ""),
    Code.SILENT: (f"Nothing by itself. {_MENDED}", ""),
    Code.WITHDRAWN: (f"Nothing by itself. {_ORDER}", ""),
    Code.SUPERSEDED: ("Nothing more by this order; the one that replaced it goes on.", ""),
    Code.RELAPSED: ("Nothing by itself: see its events for what it runs now.", ""),
    Code.LATE_GOOD: ("", ""),
    Code.SUCCEEDED: ("", ""),
    Code.RUNS_IT: ("", ""),
    Code.HALTED: ("Nothing more by this rollout, unless a person goes on against its gate.", ""),
    Code.FINISHED: (f"Nothing more by this rollout. {_ORDER}", ""),
    Code.REVOKED: ("Nothing until it joins again.", ""),
    Code.NEVER_SAID: ("Its first poll says it; from then on rollouts may take it along.", ""),
    Code.NO_RELEASE: ("Nothing more by this rollout.", ""),
    Code.HARDWARE: ("Nothing, until a release has an image for its hardware.", ""),
    Code.NOT_MATCHED: ("Nothing, unless what it is changes: surefoot device set {device_id} NAME=VALUE.", ""),
    Code.NOT_UPDATED: ("Nothing by this rollout: the device was not updated by the one that is taken back.", ""),
    Code.JOINED_LATE: ("The next rollout for that group takes it along.", ""),
    Code.NOT_IN_GROUP: ("Nothing, unless it comes into one of them: surefoot group add GROUP {device_id}.", ""),
    Code.OTHER_PRODUCT: ("Nothing: rollouts of its own product take it along.", ""),
}
"""What happens after each answer, and which entry of its evidence says when."""


def outlook(answer: Answer, subject: Subject) -> Outlook:
    """Say what happens next; when is one of the instants of the answer's evidence."""
    words, when = _special(answer) or _WORDS[answer.code]
    if answer.code in _FAILURES and subject.retry_at:
        return Outlook(words="The rollout tries it again from then on, by itself.", at=subject.retry_at)
    said = words.format(device_id=subject.device_id, release=subject.release, rollout_id=subject.rollout_id)
    return Outlook(words=said, at=str(answer.evidence.get(when, "")))


def _special(answer: Answer) -> tuple[str, str] | None:
    """Return what is said in place of the usual words of a code."""
    told = answer.evidence
    match answer.code:
        case Code.WINDOW if told.get("reason") == Reason.VOID:
            return "The offer is taken back; it may be made again.", ""
        case Code.WINDOW if not told.get("until"):
            return "Nothing, unless its windows are changed: surefoot window show {device_id}.", ""
        case Code.DRAFT if told.get("starts_at"):
            return "The rollout starts then, by itself.", "starts_at"
        case Code.HALTED if told.get("is_final"):
            return f"Nothing more by this rollout. {_ORDER}", ""
        case Code.PAUSED if told.get("localise_at"):
            return "The gate looks for the culprit then; a person may go on before: surefoot rollout resume {rollout_id}.", "localise_at"
        case _:
            return None
