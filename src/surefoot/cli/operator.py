# SPDX-License-Identifier: Apache-2.0
"""The operator API as the command line calls it; needs nothing beyond the bare install.

Where the server is and which token to use come from ``--server`` and ``--token-file``, else from the environment
(``SUREFOOT_SERVER``, ``SUREFOOT_TOKEN_FILE``).
"""

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3

from surefoot.model.digest import Digest, hex_of
from surefoot.model.errors import ConflictError, DeniedError, Error, InvalidInput, TransportError, TrustError, UnknownError
from surefoot.model.record import Hint, from_json, to_json

_T = TypeVar("_T")

DEFAULT_SERVER = "http://127.0.0.1:8080"
_NOT_FOUND = 404
_LOWEST_ERROR = 400
_ERRORS: dict[int, type[Error]] = {401: DeniedError, 403: DeniedError, _NOT_FOUND: UnknownError, 409: ConflictError, 422: TrustError}


class _Problem(Hint, frozen=True, kw_only=True):
    detail: str
    hint: str = ""


class OperatorClient:
    """Calls one server with one token. Errors of the server are raised as the server named them."""

    def __init__(self, server: str, token: str) -> None:
        """Call ``server`` (a URL without a path), presenting ``token``."""
        self._server = server.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        timeout = urllib3.Timeout(connect=10, read=120)
        self._pool = urllib3.PoolManager(retries=False, timeout=timeout)

    def get(self, path: str, kind: type[_T], **query: str | int) -> _T:
        """Return what lies under ``/api/v1/<path>``, decoded as one ``kind``."""
        answer = self._call("GET", path, fields={name: str(value) for name, value in query.items()})
        return from_json(answer.data, kind, what=f"Answer of {self._server}")

    def get_bytes(self, path: str) -> bytes:
        """Return what lies under ``/api/v1/<path>``, byte for byte."""
        return self._call("GET", path).data

    def post(self, path: str, value: object, kind: type[_T]) -> _T:
        """Send ``value`` as JSON and return the answer, decoded as one ``kind``."""
        answer = self._call("POST", path, body=to_json(value), headers={"Content-Type": "application/json"})
        return from_json(answer.data, kind, what=f"Answer of {self._server}")

    def put(self, path: str, value: object = None) -> None:
        """Put ``value`` as JSON, or nothing, under ``/api/v1/<path>``."""
        body = None if value is None else to_json(value)
        self._call("PUT", path, body=body, headers={} if body is None else {"Content-Type": "application/json"})

    def edit(self, method: str, path: str, value: object, kind: type[_T], **query: str | int) -> _T:
        """Send an edit with a query and return the answer, decoded as one ``kind``."""
        body = None if value is None else to_json(value)
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = self._call(method, f"{path}?{urlencode(query)}", body=body, headers=headers)
        return from_json(answer.data, kind, what=f"Answer of {self._server}")

    def delete(self, path: str) -> None:
        """Delete what lies under ``/api/v1/<path>``."""
        self._call("DELETE", path)

    def has_blob(self, digest: Digest) -> bool:
        """Say whether the server has a blob."""
        return self._call("HEAD", f"blobs/{hex_of(digest)}", absent_is_fine=True).status != _NOT_FOUND

    def put_blob(self, digest: Digest, data: bytes | Iterable[bytes]) -> None:
        """Send a blob, streamed when given in pieces; sending it again changes nothing."""
        self._call("PUT", f"blobs/{hex_of(digest)}", body=data, headers={"Content-Type": "application/octet-stream"})

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,  # noqa: ANN401  # urllib3's own word for what it can send
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        absent_is_fine: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._pool.request(
                method, f"{self._server}/api/v1/{path}", body=body, fields=fields, headers={**self._headers, **(headers or {})}
            )
        except urllib3.exceptions.HTTPError as error:
            raise TransportError(
                f"No server answers at {self._server}.", hint="Start one with 'surefoot serve', or name another with --server."
            ) from error
        if answer.status >= _LOWEST_ERROR and not (absent_is_fine and answer.status == _NOT_FOUND):
            raise _refusal(answer)
        return answer


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--server`` and ``--token-file``."""
    parser.add_argument("--server", default=os.environ.get("SUREFOOT_SERVER", DEFAULT_SERVER), help="URL of the operator API (%(default)s)")
    add_token_file(parser)


def add_token_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--token-file``."""
    token_file = os.environ.get("SUREFOOT_TOKEN_FILE")
    parser.add_argument("--token-file", type=Path, default=token_file and Path(token_file), help="file with the API token, as admin.token")


def client(arguments: argparse.Namespace) -> OperatorClient:
    """Return the client that the options ask for.

    Raises:
        InvalidInput: There is no token to be read, or the URL is none.
    """
    if not arguments.server.startswith(("http://", "https://")):
        raise InvalidInput(f"{arguments.server!r} is not the URL of a server.", hint=f"Write it like {DEFAULT_SERVER}.")
    if arguments.token_file is None:
        raise InvalidInput("No API token is named.", hint="Give --token-file DIR/admin.token, or set SUREFOOT_TOKEN_FILE.")
    try:
        token = arguments.token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"The token file {arguments.token_file} cannot be read: {_why(error)}.",
            hint="Name the file that 'surefoot serve' wrote, admin.token in its folder, or one of 'surefoot user add'.",
        ) from error
    return OperatorClient(arguments.server, token)


def _why(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not text"


def segment(text: str) -> str:
    """Return ``text`` as one segment of a path."""
    return quote(text, safe="")


def _refusal(answer: urllib3.BaseHTTPResponse) -> Error:
    kind = _ERRORS.get(answer.status, InvalidInput if answer.status < 500 else TransportError)  # noqa: PLR2004  # HTTP's own line
    try:
        problem = from_json(answer.data, _Problem, what="problem")
    except InvalidInput:
        return kind(f"The server answered {answer.status}.")
    return kind(problem.detail, hint=problem.hint)
