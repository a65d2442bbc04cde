# SPDX-License-Identifier: Apache-2.0
"""Answers to a browser: pages with the headers that keep them to themselves, redirects, and the session cookie."""

from collections.abc import Iterable

from surefoot.server.api.http import Header, Scope, Send, header, send_answer

COOKIE = "surefoot_session"
GUARDS: tuple[Header, ...] = (
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"),
    (b"x-content-type-options", b"nosniff"),
    # 'no-referrer' would make browsers send 'Origin: null' with our own forms.
    (b"referrer-policy", b"same-origin"),
)
"""Headers of everything the console says."""

NO_STORE: Header = (b"cache-control", b"no-store")


async def send_page(send: Send, html: str, status: int = 200, headers: Iterable[Header] = ()) -> None:
    """Answer with a page that nobody keeps."""
    kind = (b"content-type", b"text/html; charset=utf-8")
    await send_answer(send, status, html.encode(), [kind, NO_STORE, *GUARDS, *headers])


async def send_elsewhere(send: Send, path: str, headers: Iterable[Header] = ()) -> None:
    """Send the browser to another page of ours, with GET."""
    await send_answer(send, 303, b"", [(b"location", path.encode()), NO_STORE, *GUARDS, *headers])


async def send_refusal(send: Send, status: int, words: str) -> None:
    """Refuse with one constant line: to strangers, and to what is no page."""
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send_answer(send, status, f"{words}\n".encode(), [kind, NO_STORE, *GUARDS])


def cookie(session_id: str, life_s: int) -> Header:
    """Return the header that sets the session cookie; a life of 0 seconds removes it."""
    return b"set-cookie", f"{COOKIE}={session_id}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict".encode()


def session_id(scope: Scope) -> str:
    """Return the session id that came with a request; empty when none did."""
    for crumb in header(scope, b"cookie").split(";"):
        name, _, value = crumb.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
