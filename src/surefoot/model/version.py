# SPDX-License-Identifier: Apache-2.0
"""Versions and the rules between them (Semantic Versioning 2.0.0).

- A range is one or more comparators that must all hold: ``>=1.1.0 <2.0.0``.
- ``revert_to`` of the running release says what it may be taken back to: ``patch`` (same major.minor), ``minor`` (same
  major), ``none``, or a list of versions.
"""

from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta
from semver import Version

from surefoot.model.errors import FormatError
from surefoot.model.record import from_plain

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_IDENTIFIER = r"[0-9A-Za-z-]{1,32}"
_OPERATORS = (">=", "<=", "==", "!=", ">", "<", "=")

SemVer = Annotated[
    str,
    Meta(
        pattern=rf"\A{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_IDENTIFIER}(\.{_IDENTIFIER})*)?(\+{_IDENTIFIER}(\.{_IDENTIFIER})*)?\Z",
        max_length=128,
        description="a semantic version like 1.2.3 or 1.2.3-rc.1",
    ),
]
"""A semantic version; build metadata is kept but never compared (SemVer §10)."""

RevertTo = Literal["patch", "minor", "none"] | list[SemVer]


@lru_cache(maxsize=4096)
def parse(text: str) -> Version:
    """Return ``text`` as a comparable version; remembered, since plans compare few versions very often.

    Raises:
        FormatError: Not a semantic version.
    """
    try:
        return Version.parse(text)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{text!r} is not a semantic version.", hint="Write it like 1.2.3 or 1.2.3-rc.1.") from error


def precedence(text: str) -> str:
    """Return a text that sorts among those of other versions as the versions do, by code points (SemVer §11).

    Versions that differ in build metadata only have the same.

    Raises:
        FormatError: Not a ``SemVer``.
    """
    version = parse(from_plain(text, SemVer, what="version"))
    numbers = f"{version.major:09}.{version.minor:09}.{version.patch:09}"
    if version.prerelease is None:
        return numbers + _RELEASED
    return numbers + _EARLIER + "".join(f"{_identifier_key(part)} " for part in version.prerelease.split("."))


def is_in_range(version: str, wanted: str) -> bool:
    """Say whether ``version`` satisfies every comparator of the range ``wanted``.

    Raises:
        FormatError: The version or a comparator cannot be read, or the range is empty.
    """
    held = [_holds(parse(version), operator, limit) for operator, limit in comparators(wanted)]
    return all(held)


def comparators(wanted: str) -> list[tuple[str, str]]:
    """Return the comparators of a range, each an operator (``==`` ``!=`` ``<`` ``<=`` ``>`` ``>=``) and a version.

    Raises:
        FormatError: A comparator cannot be read, or the range is empty.
    """
    words = wanted.replace(",", " ").split()
    if not words:
        raise FormatError("A version range is empty.", hint="Write it like '>=1.1.0 <2.0.0'.")
    return [_comparator(word) for word in words]


def may_revert(*, running: str, wanted: str, revert_to: RevertTo) -> bool:
    """Say whether ``revert_to``, as the running release signs it, covers going down from ``running`` to ``wanted``."""
    from_, to = parse(running), parse(wanted)
    match revert_to:
        case "none":
            return False
        case "patch":
            return (from_.major, from_.minor) == (to.major, to.minor)
        case "minor":
            return from_.major == to.major
        case listed:
            return wanted in listed


def _comparator(word: str) -> tuple[str, str]:
    sign = next((operator for operator in _OPERATORS if word.startswith(operator)), "")
    return sign if sign not in ("", "=") else "==", str(parse(word[len(sign) :]))


def _holds(version: Version, operator: str, limit: str) -> bool:
    order = version.compare(limit)
    match operator:
        case ">=":
            return order >= 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case "<":
            return order < 0
        case "!=":
            return order != 0
        case _:
            return order == 0


_RELEASED, _EARLIER = "~", " "
"""What follows the three numbers: a release comes after all its pre-releases."""


def _identifier_key(identifier: str) -> str:
    # Numbers come before words, and of two numbers the longer is the higher; the blank behind sorts before every letter.
    return f"0{len(identifier):02}{identifier}" if identifier.isdecimal() else f"1{identifier}"
