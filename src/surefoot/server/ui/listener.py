# SPDX-License-Identifier: Apache-2.0
"""The operator listener: programs get the operator API, browsers everything else."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from surefoot.server.api.http import Receive, Scope, Send

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorListener:
    """The ASGI application of the operator listener.

    Attributes:
        api: Serves ``/api/`` and ``/schema``, by token.
        console: Serves all other paths, by session.
    """

    api: Asgi
    console: Asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        is_api = path.startswith(("/api/", "/schema/")) or path in {"/api", "/schema"}
        await (self.api if is_api else self.console)(scope, receive, send)
