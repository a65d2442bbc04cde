# SPDX-License-Identifier: Apache-2.0
"""Live pages: server-sent events that carry a part of a page anew when it changed.

- Every tick the parts are rendered in a thread; one is sent when its mark differs from that of what the browser has.
- A comment goes out now and then, so that a connection that died is noticed.
- The stream ends when the client goes, when the session is over, when the server stops, or when the page can no longer be made;
  the browser then comes back by itself.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import Error
from surefoot.server.api.http import Receive, Send
from surefoot.server.ui.answer import GUARDS, NO_STORE

Parts = Mapping[str, str]
"""The parts of a page that change, as HTML, by name."""

Ends = set[asyncio.Task[None]]
"""What a stream waits for: that one of these is over."""

_MARK_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a stream looks, and how many looks go by from one comment to the next."""

    tick_s: float = 1.0
    ticks_per_ping: int = 15


def marks(parts: Parts) -> str:
    """Return one word that tells which state of its parts a page shows, for the address of its stream."""
    return ".".join(f"{name}-{_mark(html)}" for name, html in sorted(parts.items()))


async def follow(
    look: Callable[[], Parts],
    seen: str,
    receive: Receive,
    send: Send,
    *,
    closing: asyncio.Event,
    is_welcome: Callable[[], bool],
    pace: Pace,
) -> None:
    """Send what changes until one of the ends that the module names.

    Args:
        look: Renders the parts; called in a thread.
        seen: The ``marks`` of what the browser shows.
        receive: Tells when the client has gone.
        send: To the client.
        closing: Set when the server stops.
        is_welcome: Whether the session is still open.
        pace: How often.
    """
    kind = (b"content-type", b"text/event-stream; charset=utf-8")
    await send({"type": "http.response.start", "status": 200, "headers": [kind, NO_STORE, *GUARDS]})
    ends: Ends = {asyncio.create_task(_gone(receive)), asyncio.create_task(_is_set(closing))}
    try:
        await _stream(look, dict(_told(seen)), send, ends=ends, is_welcome=is_welcome, pace=pace)
    finally:
        for end in ends:
            end.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _stream(
    look: Callable[[], Parts], known: dict[str, str], send: Send, *, ends: Ends, is_welcome: Callable[[], bool], pace: Pace
) -> None:
    ticks = 0
    is_over = False
    while not is_over and is_welcome():
        try:
            parts = await asyncio.to_thread(look)
        except Error:
            return
        news = b"".join(_message(name, html) for name, html in parts.items() if known.get(name) != _mark(html))
        known.update((name, _mark(html)) for name, html in parts.items())
        if news or ticks % pace.ticks_per_ping == 0:
            await send({"type": "http.response.body", "body": news or b":\n\n", "more_body": True})
        ticks += 1
        is_over = bool((await asyncio.wait(ends, timeout=pace.tick_s, return_when=asyncio.FIRST_COMPLETED))[0])


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _is_set(closing: asyncio.Event) -> None:
    await closing.wait()


def _told(seen: str) -> list[tuple[str, str]]:
    return [(name, mark) for name, _, mark in (word.partition("-") for word in seen.split("."))]


def _mark(html: str) -> str:
    return hex_of(digest_of(html.encode()))[:_MARK_DIGITS]


def _message(name: str, html: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{lines}\n".encode()
