# SPDX-License-Identifier: Apache-2.0
"""The operator listener: programs get the operator API and image metadata, browsers everything else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from surefoot.server.api.http import Receive, Scope, Send

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorListener:
    """The ASGI application of the operator listener.

    Attributes:
        api: Serves ``/api/`` and ``/schema``, by token.
        metadata: Serves ``/v1/metadata/``, to whoever reaches the listener.
        console: Serves all other paths, by session.
    """

    api: Asgi
    metadata: Asgi
    console: Asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        is_api = path.startswith(("/api/", "/schema/")) or path in {"/api", "/schema"}
        app = self.api if is_api else self.metadata if path.startswith("/v1/metadata/") else self.console
        await app(scope, receive, send)
