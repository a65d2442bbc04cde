# SPDX-License-Identifier: Apache-2.0
"""What a page says is printed, held against what was: all of it, but for what differs every time."""

import re

ANYTHING = "…"
"""Stands on a page in place of any number of lines."""

_MASKS = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}"), "BUILD"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), "ADDRESS"),
    (re.compile(r'"seconds": [\d.]+'), '"seconds": N'),
    (re.compile(r"\b\d+ bytes"), "N bytes"),
    (re.compile(r"\bassignment \d+\b"), "assignment N"),
    # The gate pauses at the first report that is enough; which one that is, is the network's to say.
    (re.compile(r"(stage \w+), \d of \d devices? failed, rolled back or went silent: [\d.]+%( \(.*?\))?;"), r"\1, RATE;"),
)


def says(said: str, expected: str) -> bool:
    """Say whether all that is expected was printed, in its order and whole, but for what stands in place of "anything"."""
    lines, position = _masked(said), 0
    for part in "\n".join(_masked(expected)).split(ANYTHING):
        wanted = part.strip("\n").split("\n") if part.strip("\n") else []
        position = _find(lines, wanted, position)
        if position < 0:
            return False
    return expected.startswith(ANYTHING) or _masked(said)[:1] == _masked(expected)[:1]


def _find(lines: list[str], wanted: list[str], start: int) -> int:
    for place in range(start, len(lines) - len(wanted) + 1):
        if lines[place : place + len(wanted)] == wanted:
            return place + len(wanted)
    return -1


def _masked(text: str) -> list[str]:
    for pattern, name in _MASKS:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip("\n").split("\n")]
