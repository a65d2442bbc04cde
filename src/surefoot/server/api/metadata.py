# SPDX-License-Identifier: Apache-2.0
"""Metadata by URL: ``/v1/metadata/image/<name>`` for TUF clients and content networks, and how such a file is answered.

The image repository is public by its nature, every byte of it signed, and nothing here can be changed; so it asks for no token.
"""

from dataclasses import dataclass
from hashlib import sha256

from surefoot.model.errors import Error, UnknownError
from surefoot.server.api.http import JSON, MethodError, Receive, Scope, Send, header, send_answer, send_problem
from surefoot.server.services.metadata_files import image_file, is_versioned
from surefoot.server.services.ports import Reads

IMAGE = "/v1/metadata/image/"
"""Where the files of the image repository are."""

DIRECTOR = "/v1/metadata/director/"
"""Where a device's own view and the director's roots are, on the device listener alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataApi:
    """The ASGI application that gives out the image repository to whoever asks."""

    reads: Reads

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            if not scope["path"].startswith(IMAGE):
                raise UnknownError("There is nothing here.", hint=f"Image metadata is under {IMAGE}.")
            if scope["method"] not in {"GET", "HEAD"}:
                raise MethodError(f"{scope['method']} means nothing here.", hint="Use GET.")
            name = scope["path"].removeprefix(IMAGE)
            await send_metadata(scope, send, name, image_file(self.reads, name), visibility="public")
        except Error as error:
            await send_problem(send, error)


async def send_metadata(scope: Scope, send: Send, name: str, body: bytes, *, visibility: str) -> None:
    """Answer with a metadata file, which a cache may keep for ever if its version is in its name (RFC 9111, RFC 8246)."""
    etag = f'"{sha256(body).hexdigest()}"'
    caching = f"{visibility}, max-age=31536000, immutable" if is_versioned(name) else "no-cache"
    headers = [(b"etag", etag.encode()), (b"cache-control", caching.encode())]
    if etag in (known.strip().removeprefix("W/") for known in header(scope, b"if-none-match").split(",")):
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send_answer(send, 200, body, [JSON, *headers])
