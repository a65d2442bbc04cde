# SPDX-License-Identifier: Apache-2.0
"""Records: immutable values with one JSON form, decoded strictly and encoded the same way every time."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, inspect

from surefoot.model.errors import FormatError, InvalidInput

_R = TypeVar("_R")

Name = Annotated[
    str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z", description="up to 64 lower-case letters, digits, dots, hyphens and underscores")
]
"""A product, hardware, variant, component or slot name: safe in a path, a URL and a TUF target path."""

Text = Annotated[str, Meta(max_length=10_000)]
"""Free text for people."""

Size = Annotated[int, Meta(ge=0, lt=2**53)]
"""A number of bytes."""


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value that crosses a wire or lies in a file; unknown fields are refused, defaults are left out."""


class Hint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record from a peer that may be newer than we are: unknown fields are ignored, nothing in it is trusted."""


def to_json(value: object) -> bytes:
    """Return compact JSON with sorted keys: equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def to_pretty_json(value: object) -> bytes:
    """Return indented JSON with sorted keys and a newline at its end, for files people open."""
    return msgspec.json.format(to_json(value), indent=1) + b"\n"


def from_json(data: bytes, kind: type[_R], *, what: str) -> _R:
    """Decode ``data`` as one ``kind``.

    Args:
        data: The JSON text.
        kind: The type to decode into.
        what: What the data is, for the message: ``"manifest-a-release.json"``.

    Raises:
        FormatError: Not JSON, or not of that form; the message names the place.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{what}: {error}.") from error


def from_newer_json(data: bytes, kind: type[_R], *, what: str) -> _R:
    """Decode ``data``, which a newer version of this program may have written, as one ``kind``; fields it does not know are passed over.

    Raises:
        FormatError: Not JSON, or what is known of it is not of that form.
    """
    try:
        return from_json(data, kind, what=what)
    except FormatError:
        return from_json(to_json(_known(from_json(data, Any, what=what), inspect.type_info(kind))), kind, what=what)


def _known(value: Any, kind: inspect.Type) -> Any:  # noqa: ANN401  # JSON values have no narrower type
    """Return a JSON value without the fields that ``kind``, or a record within it, does not have."""
    match kind, value:
        case inspect.Metadata(type=inner), _:
            return _known(value, inner)
        case inspect.StructType(fields=fields), dict():
            return {field.encode_name: _known(value[field.encode_name], field.type) for field in fields if field.encode_name in value}
        case inspect.ListType(item_type=item), list():
            return [_known(each, item) for each in value]
        case inspect.UnionType(types=types), dict():
            inner = next((each for each in types if isinstance(each, inspect.StructType)), inspect.AnyType())
            return _known(value, inner)
        case _:
            return value


def to_plain(value: object) -> Any:  # noqa: ANN401  # JSON values have no narrower type
    """Return ``value`` as the dicts, lists, strings and numbers its JSON form has."""
    return msgspec.to_builtins(value, order="sorted")


def from_plain(value: object, kind: type[_R], *, what: str) -> _R:
    """Convert parsed JSON into one ``kind``; ``FormatError`` as in ``from_json``."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise FormatError(f"{what}: {error}.") from error


def parse_name(text: str, *, what: str) -> str:
    """Return a text that is a ``Name``.

    Args:
        text: What somebody wrote.
        what: What is called so, for the message: ``"a product"``.

    Raises:
        InvalidInput: It is none.
    """
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{text[:80]!r} is no name for {what}.",
            hint="Use up to 64 lower-case letters, digits, dots, hyphens and underscores, beginning with a letter or digit.",
        ) from error


def utc_text(instant: datetime) -> str:
    """Return an aware instant as RFC 3339 UTC with whole seconds, ``2026-11-23T08:00:00Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_utc(text: str) -> datetime:
    """Return the aware UTC instant that an RFC 3339 text names.

    Raises:
        FormatError: Not RFC 3339, or without an offset.
    """
    try:
        instant = datetime.fromisoformat(text)
        utc = instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{text[:40]!r} is not an RFC 3339 time.") from error
    if instant.tzinfo is None:
        raise FormatError(f"{text!r} has no time zone.", hint="Write UTC with a 'Z' at the end.")
    return utc
