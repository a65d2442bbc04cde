# SPDX-License-Identifier: Apache-2.0
"""Files that people write in YAML: read into records, with errors that name file, line and key.

- Scalars follow the YAML 1.2 core schema: ``no`` is a text and ``2025-01-01`` is not a date.
- A key given twice, an anchor or alias, a tag and a second document are refused: what is read is what one sees.
- A key that no record knows is refused with the nearest one that is known.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import yaml
from msgspec import inspect

from surefoot.model.errors import FormatError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file as plain data.

    Attributes:
        file: Its name, for messages.
        plain: What it holds, as dicts, lists, texts, numbers and ``None``.
        lines: The line of every value by path, a path being written ``$.firmware.components[0].name``.
    """

    file: str
    plain: object
    lines: Mapping[str, int]

    def place(self, path: str) -> str:
        """Return ``file, line n`` for ``path``, or for the nearest value around it that the file has."""
        while path not in self.lines and path != "$":
            path = path[: max(path.rfind("."), path.rfind("["))]
        return f"{self.file}, line {self.lines.get(path, 1)}"


def parse(data: bytes, *, file: str) -> Document:
    """Read the text of a file.

    Args:
        data: Its bytes, UTF-8, at most ``MAX_BYTES``.
        file: Its name, for messages.

    Raises:
        FormatError: Not the YAML that the rules above allow; names the line.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{file} is larger than {MAX_BYTES} bytes.", hint="Write less, or split it.")
    try:
        _refuse_surprises(data, file)
        node = _Loader(data).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise FormatError(f"{_at(file, error.problem_mark)}: this is not YAML: {error.problem or error.context}.") from error
    except (yaml.reader.ReaderError, UnicodeDecodeError) as error:
        raise FormatError(f"{file} is not UTF-8 text: {error.reason}.", hint="Save it as UTF-8.") from error
    if node is None:
        raise FormatError(f"{file} is empty.")
    lines: dict[str, int] = {}
    return Document(file=file, plain=_plain(node, "$", lines, file), lines=lines)


def convert(document: Document, kind: type[_R]) -> _R:
    """Return what the document says as one ``kind``, a record.

    Raises:
        FormatError: A key is unknown or missing, or a value has the wrong type; names file, line and key.
    """
    types: dict[str, inspect.Type] = {}
    for path, value, wanted in _walk("$", document.plain, inspect.type_info(kind)):
        types[path] = wanted
        _check_keys(document, path, value, wanted)
    try:
        return msgspec.convert(document.plain, kind)
    except msgspec.ValidationError as error:
        raise _in_words(document, _located(document, str(error), kind), types) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, resolving scalars as the YAML 1.2 core schema does; numbers stay short enough to convert."""

    yaml_implicit_resolvers = {}  # PyYAML's own name for the table that the next lines fill


_SCALARS = (
    ("tag:yaml.org,2002:null", r"\A(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"\A(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("tag:yaml.org,2002:int", r"\A[-+]?[0-9]{1,18}\Z", list("-+0123456789")),
    ("tag:yaml.org,2002:float", r"\A[-+]?(?:\.[0-9]{1,18}|[0-9]{1,18}(?:\.[0-9]{0,18})?)(?:[eE][-+]?[0-9]{1,3})?\Z", list("-+.0123456789")),
)
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def _refuse_surprises(data: bytes, file: str) -> None:
    depth = 0
    # The parser keeps its own stack, so this pass is safe where composing a deeply nested file would not be.
    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise FormatError(f"{_at(file, event.start_mark)}: anchors and aliases are not allowed.", hint="Write the value out.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise FormatError(f"{_at(file, event.start_mark)}: nested more than {MAX_DEPTH} deep.", hint="Write it flatter.")


class _Mark(Protocol):
    """A place in the text, from PyYAML or from its C half."""

    @property
    def line(self) -> int:
        """The line, counted from 0."""
        ...


def _at(file: str, mark: _Mark | None) -> str:
    return file if mark is None else f"{file}, line {mark.line + 1}"


def _plain(node: yaml.Node, path: str, lines: dict[str, int], file: str) -> object:
    lines[path] = node.start_mark.line + 1
    match node:
        case yaml.MappingNode():
            return _mapping(node, path, lines, file)
        case yaml.SequenceNode():
            return [_plain(item, f"{path}[{index}]", lines, file) for index, item in enumerate(node.value)]
        case _:
            return _scalar(node, file)


def _mapping(node: yaml.MappingNode, path: str, lines: dict[str, int], file: str) -> dict[str, object]:
    mapping: dict[str, object] = {}
    for key_node, value_node in node.value:
        place = _at(file, key_node.start_mark)
        key = _scalar(key_node, file) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise FormatError(f"{place}: a key must be a text.", hint="Put it in quotes.")
        if key in mapping:
            raise FormatError(f"{place}: the key '{key}' is given twice.", hint="Keep one of the two.")
        mapping[key] = _plain(value_node, f"{path}.{key}", lines, file)
        # The line that people look for is the key's, not that of a value on the next line.
        lines[f"{path}.{key}"] = key_node.start_mark.line + 1
    return mapping


def _scalar(node: yaml.Node, file: str) -> object:
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return _text(node, file)
        case "int":
            return int(node.value)
        case "float":
            return float(node.value)
        case "bool":
            return node.value.lower() == "true"
        case "null":
            return None
        case tag:
            raise FormatError(f"{_at(file, node.start_mark)}: the tag '{tag}' is not allowed.", hint="Remove it.")


def _text(node: yaml.Node, file: str) -> str:
    text = str(node.value)
    # Escapes can spell what neither a path, a command line nor UTF-8 can hold.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise FormatError(f"{_at(file, node.start_mark)}: a text holds a character that does not exist.", hint="Remove the escape.")
    return text


def _walk(path: str, value: object, wanted: inspect.Type) -> Iterator[tuple[str, object, inspect.Type]]:
    wanted = _of_shape(value, wanted)
    yield path, value, wanted
    if isinstance(value, dict) and isinstance(wanted, inspect.StructType):
        for field in wanted.fields:
            if field.encode_name in value:
                yield from _walk(f"{path}.{field.encode_name}", value[field.encode_name], field.type)
    if isinstance(value, dict) and isinstance(wanted, inspect.DictType):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}", item, wanted.value_type)
    if isinstance(value, list) and isinstance(wanted, inspect.ListType):
        for index, item in enumerate(value):
            yield from _walk(f"{path}[{index}]", item, wanted.item_type)


def _of_shape(value: object, wanted: inspect.Type) -> inspect.Type:
    """Look through metadata that has no words, and choose from a union the member that has the value's shape."""
    if isinstance(wanted, inspect.Metadata) and not _described(wanted):
        return _of_shape(value, wanted.type)
    if not isinstance(wanted, inspect.UnionType):
        return wanted
    members = [_of_shape(value, member) for member in wanted.types]
    return next((member for member in members if _has_shape(value, member)), wanted)


def _has_shape(value: object, wanted: inspect.Type) -> bool:
    if isinstance(value, dict):
        return isinstance(wanted, (inspect.StructType, inspect.DictType))
    return isinstance(value, list) and isinstance(wanted, inspect.ListType)


def _described(wanted: inspect.Type) -> str:
    if isinstance(wanted, inspect.UnionType):
        return next(filter(None, map(_described, wanted.types)), "")
    schema = wanted.extra_json_schema if isinstance(wanted, inspect.Metadata) else None
    return str((schema or {}).get("description", ""))


def _check_keys(document: Document, path: str, value: object, wanted: inspect.Type) -> None:
    if not isinstance(value, dict) or not isinstance(wanted, inspect.StructType):
        return
    known = [field.encode_name for field in wanted.fields]
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(sorted(known))}."
            raise FormatError(f"{document.place(f'{path}.{key}')}: unknown key '{key}'{_inside(path)}.", hint=hint)
    for field in wanted.fields:
        if field.required and field.encode_name not in value:
            raise FormatError(f"{document.place(path)}: the key '{field.encode_name}' is missing{_inside(path)}.", hint="Add it.")


def _inside(path: str) -> str:
    return "" if path == "$" else f" in '{path[2:]}'"


_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def _located(document: Document, message: str, kind: type[object]) -> str:
    """Return a message with the key in place of ``[...]``, which stands for any key of a mapping."""
    before, dots, after = message.partition("[...]")
    if not dots:
        return message
    path = before.partition(" - at `")[2]
    for key in _at_path(document.plain, path):
        alone = {key: _at_path(document.plain, path)[key]}
        try:
            msgspec.convert(_replaced(document.plain, _STEP.findall(path), alone), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return _located(document, f"{before}.{key}{after}", kind)
    return message


def _at_path(plain: Any, path: str) -> Any:  # noqa: ANN401  # plain data
    for key, index in _STEP.findall(path):
        plain = plain[key] if key else plain[int(index)]
    return plain


def _replaced(plain: Any, steps: list[tuple[str, str]], value: object) -> object:  # noqa: ANN401  # plain data
    if not steps:
        return value
    (key, index), *rest = steps
    if key:
        return {**plain, key: _replaced(plain[key], rest, value)}
    return [*plain[: int(index)], _replaced(plain[int(index)], rest, value), *plain[int(index) + 1 :]]


_LEAST = re.compile(r"Expected `array` of length >= (\d+)")


def _in_words(document: Document, message: str, types: Mapping[str, inspect.Type]) -> FormatError:
    problem, _, path = message.partition(" - at `")
    path = path.removesuffix("`") or "$"
    key = f"'{path[2:]}'" if path != "$" else "the file"
    expected, _, got = problem.removeprefix("Expected ").partition(", got ")
    wanted = types.get(path)
    if "got" not in problem and wanted is not None and (words := _described(wanted) or _choices(wanted) or _range(wanted)):
        return FormatError(f"{document.place(path)}: {key} must be {words}.", hint="Change it.")
    if (least := _LEAST.fullmatch(problem)) is not None:
        return FormatError(
            f"{document.place(path)}: {key} is a list of at least {least[1]}, and this one is shorter.", hint="Add what is missing."
        )
    if not got:
        return FormatError(f"{document.place(path)}: {key}: {_worded(problem)}.", hint="Change it.")
    quotes = "`str" in expected and got in ("`int`", "`float`", "`bool`")
    hint = "Write it in quotes." if quotes else "Change it."
    return FormatError(f"{document.place(path)}: {key} must be {_worded(expected)}, not {_worded(got)}.", hint=hint)


def _choices(wanted: inspect.Type) -> str:
    members = wanted.types if isinstance(wanted, inspect.UnionType) else (wanted,)
    values = [str(value) for member in members if isinstance(member, inspect.LiteralType) for value in sorted(member.values, key=str)]
    # In the order in which they are written down: that of the week, of what is usual.
    values += [str(choice.value) for member in members if isinstance(member, inspect.EnumType) for choice in member.cls]
    more = " or a mapping" if any(isinstance(member, inspect.StructType) for member in members) else ""
    return f"{'one of ' if len(values) > 1 else ''}{', '.join(values)}{more}" if values else ""


def _range(wanted: inspect.Type) -> str:
    if not isinstance(wanted, inspect.IntType):
        return ""
    match wanted.ge, wanted.le:
        case int(least), int(most):
            return f"a whole number from {least:,} to {most:,}"
        case int(least), None:
            return f"a whole number, at least {least:,}"
        case _:
            return ""


def _worded(text: str) -> str:
    return re.sub(r"`([^`]*)`", lambda match: " or ".join(_WORDS.get(name, name) for name in match[1].split(" | ")), text)
