# SPDX-License-Identifier: Apache-2.0
"""Answers: why a device did or did not update, as a word that stays, a sentence for people, and what it was drawn from."""

from enum import StrEnum

from surefoot.model.record import Record


class Code(StrEnum):
    """Each reason, as a stable word for programs; the most telling ones first, as answers are sorted."""

    WINDOW = "window"
    WAITING = "waiting"
    OFFLINE = "offline"
    UNDER_WAY = "under_way"
    OFFERED = "offered"
    QUARANTINED = "quarantined"
    PAUSED = "paused"
    REGION_HELD = "region_held"
    EXCLUDED = "excluded"
    OTHER_ORDER = "other_order"
    PATH = "path"
    VERSION_RULE = "version_rule"
    NOT_TAKEN_UP = "not_taken_up"
    NETWORK_FULL = "network_full"
    NEXT = "next"
    PASSED = "passed"
    BATCH_AHEAD = "batch_ahead"
    STAGE_AHEAD = "stage_ahead"
    STAGE_OVER = "stage_over"
    DRAFT = "draft"
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SILENT = "silent"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    RELAPSED = "relapsed"
    LATE_GOOD = "late_good"
    SUCCEEDED = "succeeded"
    RUNS_IT = "runs_it"
    HALTED = "halted"
    FINISHED = "finished"
    REVOKED = "revoked"
    NEVER_SAID = "never_said"
    NO_RELEASE = "no_release"
    HARDWARE = "hardware"
    NOT_MATCHED = "not_matched"
    NOT_UPDATED = "not_updated"
    JOINED_LATE = "joined_late"
    NOT_IN_GROUP = "not_in_group"
    OTHER_PRODUCT = "other_product"


class Answer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Why a device did or did not update.

    Attributes:
        code: The reason, a word that stays.
        sentence: The reason in words for people; instants in it are RFC 3339 UTC.
        evidence: What it was drawn from, by name.
    """

    code: Code
    sentence: str
    evidence: dict[str, str | int] = {}


def rank(answer: Answer) -> int:
    """Return how telling an answer is among others of the same device; the lowest is told first."""
    return _RANKS[answer.code]


_RANKS = {code: number for number, code in enumerate(Code)}
