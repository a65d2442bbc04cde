# SPDX-License-Identifier: Apache-2.0
"""What the hand-written routes share: bodies with a limit, answers in two messages, and errors as RFC 9457 problems."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, ClassVar

from surefoot.model.errors import ConflictError, DeniedError, Error, InvalidInput, TransientError, TrustError, UnknownError
from surefoot.model.record import Record, to_json

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

PROBLEM_TYPE = "application/problem+json"
JSON = (b"content-type", b"application/json")

RETRY_AFTER_S = b"30"
"""What an answer 503 says in ``Retry-After`` (RFC 9110 §10.2.3), in seconds."""

_MOST_DIGITS = 18


class MethodError(InvalidInput):
    """The route does not know this method."""

    code = "bad_method"


class TooLargeError(InvalidInput):
    """The body is longer than the route takes."""

    code = "too_large"


class UnauthenticatedError(DeniedError):
    """The caller did not say who it is, or nobody knows it."""

    code = "unauthenticated"


class RangeError(InvalidInput):
    """The range asked for lies outside the file."""

    code = "bad_range"


class IncompleteError(InvalidInput):
    """The peer left before the end of its body."""

    code = "incomplete"


class Problem(Record, frozen=True, kw_only=True):
    """An RFC 9457 problem; ``type`` is the error's stable code as a URN, ``hint`` an extension that says what to do."""

    type: str
    title: str
    status: int
    detail: str
    hint: str = ""

    TITLES: ClassVar[dict[int, str]] = {
        400: "Invalid input",
        401: "Not authenticated",
        403: "Denied",
        404: "Not found",
        405: "Method not allowed",
        409: "Conflict",
        413: "Too large",
        416: "Range not satisfiable",
        422: "Not trusted",
        500: "Internal error",
        503: "Try again later",
    }


_STATUSES: list[tuple[type[Error], int]] = [
    (UnauthenticatedError, 401),
    (DeniedError, 403),
    (UnknownError, 404),
    (MethodError, 405),
    (TooLargeError, 413),
    (RangeError, 416),
    (InvalidInput, 400),
    (ConflictError, 409),
    (TrustError, 422),
    (TransientError, 503),
]


def problem_of(error: Error) -> Problem:
    """Return an error as a problem."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    return Problem(
        type=f"urn:surefoot:problem:{error.code}", title=Problem.TITLES[status], status=status, detail=error.message, hint=error.hint
    )


async def send_problem(send: Send, error: Error) -> None:
    """Answer with a problem."""
    problem = problem_of(error)
    headers = [(b"content-type", PROBLEM_TYPE.encode())]
    if isinstance(error, TransientError):
        headers.append((b"retry-after", RETRY_AFTER_S))
    if problem.status == 401:  # noqa: PLR2004  # HTTP's own number
        headers.append((b"www-authenticate", b"Bearer"))
    await send_answer(send, problem.status, to_json(problem), headers)


async def send_answer(send: Send, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
    """Answer with a whole body."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def read_body(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """Return a request's whole body.

    Raises:
        TooLargeError: It is longer than ``most_bytes``; what is left of it is not read.
        IncompleteError: The peer left before its end.
    """
    announced = header(scope, b"content-length")
    if announced.isdigit() and (len(announced) > _MOST_DIGITS or int(announced) > most_bytes):
        raise too_large(most_bytes)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise IncompleteError("The body ended early.")
        body += message.get("body", b"")
        if len(body) > most_bytes:
            raise too_large(most_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def header(scope: Scope, name: bytes) -> str:
    """Return a request header by its lower-case name; empty when there is none."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value.decode("latin-1"))
    return ""


def too_large(most_bytes: int) -> TooLargeError:
    """Return the error for a body over the limit of its route."""
    return TooLargeError(f"The body is longer than {most_bytes} bytes.")
