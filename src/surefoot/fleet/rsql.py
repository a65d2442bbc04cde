# SPDX-License-Identifier: Apache-2.0
"""The grammar of filters (RSQL, as hawkBit's users know it): from text to a tree of clauses, each value with its place in the text.

- ``name operator value``, joined by ``and`` or ``;``, which bind more tightly, and ``or`` or ``,``; parentheses group.
- ``==`` ``!=``, and ``<`` ``<=`` ``>`` ``>=``, also written ``=lt=`` ``=le=`` ``=gt=`` ``=ge=``; ``=in=`` and ``=out=`` take a list in
  parentheses; ``=range=`` takes a range of versions.
- Values are bare words, in which ``*`` stands for any characters, or quoted with ``'`` or ``"``; in quotes a backslash keeps the next
  character as it is, and ``*`` is an asterisk.
- The parser is LALR(1), so a text costs what it is long, whatever it says; length, depth and the number of values are bounded.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar

from lark import Lark, Token, UnexpectedCharacters, UnexpectedToken
from lark import Tree as Node

from surefoot.model.errors import FilterError

MAX_LENGTH = 4_000
"""Characters in one filter."""

MAX_DEPTH = 30
"""Parentheses within parentheses."""

MAX_VALUES = 500
"""Values in one filter."""

MAX_STARS = 5
"""Asterisks in one value that stand for any characters."""

_AROUND = 40
_GRAMMAR = r"""
start: either
either: both ((COMMA | OR) both)*
both: _part ((SEMICOLON | AND) _part)*
_part: comparison | group
group: OPEN either CLOSE
comparison: WORD ORDER (WORD | QUOTED) | WORD AMONG OPEN _values CLOSE
_values: WORD | QUOTED | _values COMMA WORD | _values COMMA QUOTED

ORDER: /==|!=|=(lt|le|gt|ge|range)=|<=|>=|<|>/
AMONG: /=(in|out)=/
AND.1: /and(?![^\s'"();,=<>!~])/
OR.1: /or(?![^\s'"();,=<>!~])/
COMMA: ","
SEMICOLON: ";"
OPEN: "("
CLOSE: ")"
QUOTED: /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/s
WORD: /[^\s'"();,=<>!~]+/
%ignore /\s+/
"""
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f\ud800-\udfff]")
_CLAUSE = re.compile(
    r"""[^\s'"();,=<>!~]+\s*(?:=[a-z]*=|!=|<=|>=|<|>)\s*"""
    r"""(?:\((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'")])*\)|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'"();,=<>!~]+)""",
    re.DOTALL,
)
_SHOWN = re.compile(r"""=[a-z]*=|[!<>]=|['"();,=<>!~]|[^\s'"();,=<>!~]+""")


class Operator(StrEnum):
    """How a clause compares."""

    EQUAL = "=="
    UNEQUAL = "!="
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="
    IN = "=in="
    OUT = "=out="
    RANGE = "=range="


_SPELLINGS = {"=lt=": Operator.BELOW, "=le=": Operator.AT_MOST, "=gt=": Operator.ABOVE, "=ge=": Operator.AT_LEAST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value as written; ``pieces`` is its text between asterisks that stand for any characters, ``place`` an index in the filter."""

    pieces: tuple[str, ...]
    place: int

    @property
    def text(self) -> str:
        """Return the value as one text."""
        return "*".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One comparison; ``place`` and ``operator_place`` are indexes in the filter."""

    name: str
    place: int
    operator: Operator
    operator_place: int
    values: tuple[Value, ...]


_Leaf = TypeVar("_Leaf")
_Other = TypeVar("_Other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint(Generic[_Leaf]):
    """Parts of which all must hold, or any one; there are at least two."""

    is_any: bool
    parts: "tuple[_Leaf | Joint[_Leaf], ...]"


Tree: TypeAlias = _Leaf | Joint[_Leaf]


def read(text: str) -> Tree[Clause] | None:
    """Return the tree of a filter; nothing for one that says nothing.

    Raises:
        FilterError: It cannot be read, or is larger than a filter may be; the message shows where.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"The filter has {len(text)} characters; the most is {MAX_LENGTH}.", hint="Put the devices into a group instead.")
    unreadable = _UNREADABLE.search(text)
    if unreadable is not None:
        raise error_at(text, unreadable.start(), "this character cannot be read", "Remove it.")
    if not text.strip():
        return None
    try:
        node = _parser().parse(text)
    except (UnexpectedToken, UnexpectedCharacters) as error:
        raise _unexpected(text, error) from error
    tree = _either(text, node.children[0], 0)
    beyond = next(islice((value for clause in leaves(tree) for value in clause.values), MAX_VALUES, None), None)
    if beyond is not None:
        raise error_at(text, beyond.place, f"there are more than {MAX_VALUES} values", "Put the devices into a group instead.")
    return tree


def leaves(tree: Tree[_Leaf]) -> Iterator[_Leaf]:
    """Return every leaf of a tree, in the order of the text."""
    if isinstance(tree, Joint):
        for part in tree.parts:
            yield from leaves(part)
    else:
        yield tree


def mapped(tree: Tree[_Leaf], change: Callable[[_Leaf], _Other]) -> Tree[_Other]:
    """Return the tree with each leaf changed."""
    if isinstance(tree, Joint):
        return Joint(is_any=tree.is_any, parts=tuple(mapped(part, change) for part in tree.parts))
    return change(tree)


def clause_at(text: str, place: int) -> str:
    """Return the one comparison of a filter that was read, as written, that begins at ``place``."""
    match = _CLAUSE.match(text, place)
    return text[place:] if match is None else match[0]


def error_at(text: str, place: int, what: str, hint: str) -> FilterError:
    """Say what is wrong with a filter, with the text around the place and a caret below it."""
    start = max(0, place - _AROUND)
    shown = "".join(char if char.isprintable() else " " for char in text[start : place + _AROUND])
    return FilterError(f"In the filter, at character {place + 1}, {what}:\n  {shown}\n  {' ' * (place - start)}^\n", hint=hint)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False)


def _either(text: str, node: Any, depth: int) -> Tree[Clause]:  # noqa: ANN401  # a node's children are nodes and tokens
    return _joined([_both(text, part, depth) for part in node.children if isinstance(part, Node)], is_any=True)


def _both(text: str, node: Any, depth: int) -> Tree[Clause]:  # noqa: ANN401  # as above
    return _joined([_part(text, part, depth) for part in node.children if isinstance(part, Node)], is_any=False)


def _joined(parts: list[Tree[Clause]], *, is_any: bool) -> Tree[Clause]:
    return parts[0] if len(parts) == 1 else Joint(is_any=is_any, parts=tuple(parts))


def _part(text: str, node: Any, depth: int) -> Tree[Clause]:  # noqa: ANN401  # as above
    if node.data == "comparison":
        return _clause(text, node.children)
    start, inner, _ = node.children
    if depth == MAX_DEPTH:
        raise error_at(text, _place(start), f"parentheses lie within {MAX_DEPTH} others", "Write the filter with fewer of them.")
    return _either(text, inner, depth + 1)


def _clause(text: str, tokens: list[Token]) -> Clause:
    name, operator = tokens[:2]
    return Clause(
        name=str(name),
        place=_place(name),
        operator=_SPELLINGS.get(operator) or Operator(operator),
        operator_place=_place(operator),
        values=tuple(_value(text, token) for token in tokens[2:] if token.type in ("WORD", "QUOTED")),
    )


def _value(text: str, token: Token) -> Value:
    if token.type == "QUOTED":
        return Value(pieces=(re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL),), place=_place(token))
    pieces = tuple(token.split("*"))
    if len(pieces) > MAX_STARS + 1:
        hint = "Quote the value if it has asterisks in it."
        raise error_at(text, _place(token), f"this value has {len(pieces) - 1} asterisks; the most is {MAX_STARS}", hint)
    return Value(pieces=pieces, place=_place(token))


def _place(token: Token) -> int:
    return token.start_pos or 0


def _unexpected(text: str, error: UnexpectedToken | UnexpectedCharacters) -> FilterError:
    place: int
    if isinstance(error, UnexpectedToken):
        place, wanted = len(text) if error.token.type == "$END" else _place(error.token), error.expected
    else:
        place, wanted = error.pos_in_stream, error.allowed  # type: ignore[assignment]  # declared as None, and always set
    shown = _SHOWN.match(text, place)
    if shown is not None and shown.group() in ("'", '"') and isinstance(error, UnexpectedCharacters):
        return error_at(text, place, "this quote is not closed", f"Close it with {shown.group()}.")
    what, hint = next(((what, hint) for sign, what, hint in _WANTED if sign in wanted), _WANTED[-1][1:])
    return error_at(text, place, f"{what} is expected" + (f", not '{shown.group()[:_AROUND]}'" if shown else ""), hint)


_JOINTS = "'and' is also written ';', and 'or' ','. Values with spaces or signs are quoted, as in site=='new york'."
_WANTED = (
    (
        "ORDER",
        "'==' or another operator",
        "There are == != < <= > >=, =in= and =out= as in site=in=(berlin,paris), and =range= for versions.",
    ),
    ("QUOTED", "a value", "Values with spaces or signs are quoted, as in site=='new york'."),
    ("WORD", "the name of an attribute", "Write for example site==berlin."),
    ("OPEN", "'('", "Write for example site=in=(berlin,paris)."),
    ("AND", "'and' or 'or'", _JOINTS),
    ("$END", "'and' or 'or'", _JOINTS),
    ("OR", "')'", "Close what was opened with '('."),
    ("CLOSE", "',' or ')'", "Write for example site=in=(berlin,paris)."),
)
"""What is expected where one of these signs is, and a hint; the first that applies."""
