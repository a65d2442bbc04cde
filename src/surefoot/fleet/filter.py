# SPDX-License-Identifier: Apache-2.0
"""Filters: which devices are meant, as comparisons of their attributes (a subset of RSQL).

- ``site==berlin`` compares one attribute, ``site=in=(berlin,paris)`` with several values; all comparisons joined by ``and`` or ``;``
  must hold. A filter without any means every device.
- Values are bare words, or quoted with ``'`` or ``"``; in quotes a backslash keeps the next character as it is.
- A value is compared as text, character by character. An attribute that a device does not have equals nothing.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from surefoot.model.errors import FilterError
from surefoot.model.record import Record

MAX_LENGTH = 4_000
"""Characters in one filter."""

_MOST_VALUES = 500
_AROUND = 40
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<quoted>'(?:[^'\\\ud800-\udfff]|\\[^\ud800-\udfff])*'|"(?:[^"\\\ud800-\udfff]|\\[^\ud800-\udfff])*")|(?P<operator>=[a-z]*=|[!<>]=|[=<>!~])|(?P<sign>[();,])"""
    r"""|(?P<word>[^\s'"();,=<>!~\ud800-\udfff]+)""",
    re.DOTALL,
)
_JOINS_ONLY = "Filters join comparisons with 'and' or ';' only; several values of one attribute are written name=in=(a,b)."
_OPERATORS = "There are == and =in=, as in site==berlin and site=in=(berlin,paris)."


class Comparison(Record, frozen=True, kw_only=True):
    """One attribute and the values it may have; ``place`` is the index of its first character in the filter."""

    name: str
    values: list[str]
    place: int = 0


class Filter(Record, frozen=True, kw_only=True):
    """Comparisons that must all hold, and the text they were read from."""

    text: str = ""
    comparisons: list[Comparison] = []


EVERYTHING = Filter()


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        FilterError: It cannot be read; the message shows where.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"The filter has {len(text)} characters; the most is {MAX_LENGTH}.", hint="Put the devices into a group instead.")
    tokens = _tokens(text)
    comparisons: list[Comparison] = []
    while tokens[0].kind != "end":
        if comparisons:
            _take(text, tokens, lambda token: token.text in ("and", ";"), "'and' or ';'", _JOINS_ONLY)
        comparisons.append(_comparison(text, tokens))
    return Filter(text=text, comparisons=comparisons)


def matches(wanted: Filter, attributes: Mapping[str, str]) -> bool:
    """Say whether a device with these attributes, the built-in ones among them, is meant."""
    return all(attributes.get(comparison.name) in comparison.values for comparison in wanted.comparisons)


def names(wanted: Filter) -> set[str]:
    """Return the attributes that a filter compares."""
    return {comparison.name for comparison in wanted.comparisons}


_NEAR = 0.7
"""How like two names are when one is taken for a slip of the other, from 0 to 1: 'site' is none of 'state'."""


def check_names(wanted: Filter, known: Collection[str]) -> None:
    """See that a filter compares only attributes that there are.

    Args:
        wanted: The filter.
        known: Every name there is, the built-in ones among them.

    Raises:
        FilterError: One is unknown; names the nearest.
    """
    for comparison in wanted.comparisons:
        if comparison.name not in known:
            near = difflib.get_close_matches(comparison.name, sorted(known), n=1, cutoff=_NEAR)
            there = f"There are: {', '.join(sorted(known)[:20])}. Others are given: 'surefoot device set DEVICE {comparison.name}=VALUE'."
            hint = f"Did you mean '{near[0]}'?" if near else there
            raise _error(wanted.text, comparison.place, f"no device has an attribute '{comparison.name}'", hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str
    place: int


def _tokens(text: str) -> list[_Token]:
    found, place = list[_Token](), 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            is_quote = text[place] in "'\""
            what = "this quote is not closed" if is_quote else "this character cannot be read"
            raise _error(text, place, what, f"Close it with {text[place]}." if is_quote else "Remove it.")
        if match.lastgroup != "space":
            found.append(_Token(kind=str(match.lastgroup), text=match.group(), place=place))
        place = match.end()
    return [*found, _Token(kind="end", text="", place=len(text))]


def _comparison(text: str, tokens: list[_Token]) -> Comparison:
    name = _take(text, tokens, lambda token: token.kind == "word", "the name of an attribute", "Write for example site==berlin.")
    operator = _take(text, tokens, lambda token: token.text in ("==", "=in="), "'==' or '=in='", _OPERATORS)
    values = [_value(text, tokens)] if operator.text == "==" else _values(text, tokens)
    return Comparison(name=name.text, values=values, place=name.place)


def _values(text: str, tokens: list[_Token]) -> list[str]:
    hint = "Write for example site=in=(berlin,paris)."
    start = _take(text, tokens, lambda token: token.text == "(", "'('", hint)
    values = [_value(text, tokens)]
    while _take(text, tokens, lambda token: token.text in (",", ")"), "',' or ')'", hint).text == ",":
        values.append(_value(text, tokens))
    if len(values) > _MOST_VALUES:
        raise _error(
            text, start.place, f"there are {len(values)} values; the most is {_MOST_VALUES}", "Put the devices into a group instead."
        )
    return values


def _value(text: str, tokens: list[_Token]) -> str:
    hint = "Values with spaces or signs are quoted, as in site=='new york'."
    token = _take(text, tokens, lambda token: token.kind in ("word", "quoted"), "a value", hint)
    return token.text if token.kind == "word" else re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)


def _take(text: str, tokens: list[_Token], fits: Callable[[_Token], bool], wanted: str, hint: str) -> _Token:
    token = tokens[0]
    if not fits(token):
        raise _error(text, token.place, f"{wanted} is expected" + (f", not '{token.text[:_AROUND]}'" if token.text else ""), hint)
    return tokens.pop(0)


def _error(text: str, place: int, what: str, hint: str) -> FilterError:
    """Say what is wrong, with the text around the place and a caret below it."""
    start = max(0, place - _AROUND)
    shown = "".join(char if char.isprintable() else " " for char in text[start : place + _AROUND])
    return FilterError(f"In the filter, at character {place + 1}, {what}:\n  {shown}\n  {' ' * (place - start)}^\n", hint=hint)
