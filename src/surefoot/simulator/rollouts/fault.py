# SPDX-License-Identifier: Apache-2.0
"""Faults: what is wrong with a release that is rolled out in a simulation."""

import re
from dataclasses import dataclass

from surefoot.model.errors import InvalidInput

_TEXT = re.compile(r"(?P<kind>good|brick|bad|silent|hardware|late)(:(?P<value>[^@]+))?(@(?P<hours>[0-9]{1,3})h)?\Z")
_PERCENT = re.compile(r"(100|[0-9]{1,2}(\.[0-9]+)?)%\Z")
_TAKES_SHARE = {"bad", "silent", "late"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Which devices a release harms, and how it shows; shares are 0 to 1, of devices that start it.

    Attributes:
        name: How it is written, as in ``bad:5%``.
        fails: Fail or roll back, and report it.
        silences: Are never heard of again.
        harms_late: Go well at first, and are harmed afterwards.
        late_after_h: How long after the install that shows on half of them, hours.
        late_spread: By how much that differs: the deviation of its logarithm.
        hardware: The only hardware that has the fault; nothing means all.
    """

    name: str = "good"
    fails: float = 0.0
    silences: float = 0.0
    harms_late: float = 0.0
    late_after_h: float = 12.0
    late_spread: float = 0.4
    hardware: str | None = None

    @property
    def is_harmless(self) -> bool:
        """Whether the release is a good one."""
        return not (self.fails or self.silences or self.harms_late)


GOOD = Fault()
"""A release with nothing wrong in it."""


def parse_fault(text: str) -> Fault:
    """Return the fault that a text names: ``good``, ``brick``, ``bad:5%``, ``silent:5%``, ``hardware:NAME``, ``late:10%@12h``.

    Raises:
        InvalidInput: It names none.
    """
    found = _TEXT.match(text)
    if (
        found is None
        or (found["kind"] in {"good", "brick"}) is not (found["value"] is None)
        or (found["hours"] and found["kind"] != "late")
    ):
        raise _unknown(text)
    if found["kind"] in _TAKES_SHARE and not _PERCENT.match(found["value"]):
        raise _unknown(text)
    match found["kind"]:
        case "good":
            return Fault(name=text)
        case "brick":
            return Fault(name=text, silences=1.0)
        case "bad":
            return Fault(name=text, fails=_share(found["value"]))
        case "silent":
            return Fault(name=text, silences=_share(found["value"]))
        case "hardware":
            return Fault(name=text, fails=1.0, hardware=found["value"])
        case _:
            return Fault(name=text, harms_late=_share(found["value"]), late_after_h=float(found["hours"] or 12))


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def _unknown(text: str) -> InvalidInput:
    hint = "Write good, brick, bad:5%, silent:5%, hardware:NAME or late:10%@12h."
    return InvalidInput(f"{text!r} names no fault.", hint=hint)
