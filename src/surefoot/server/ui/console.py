# SPDX-License-Identifier: Apache-2.0
"""The console as an ASGI application: who may see what, and which page answers.

- Without a session there is the login page and nothing else: pages lead to it, streams answer 401.
- Every POST comes from our own page: its ``Origin`` names the host it is sent to, and its form carries the session's token.
- Catalogue and templates run in threads; the event loop belongs to the devices.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qs

from surefoot.model.assignment import DeviceId
from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import DeniedError, Error, FormatError, InvalidInput, UnknownError
from surefoot.server.api.http import MethodError, Receive, Scope, Send, header, problem_of, read_body
from surefoot.server.services.catalogue import Catalogue
from surefoot.server.services.rollouts import SteerRequest, Verb
from surefoot.server.services.why import Tell
from surefoot.server.services.windows import DeviceWindows
from surefoot.server.ui.answer import cookie, send_elsewhere, send_page, send_refusal, session_id
from surefoot.server.ui.asset import read_assets, send_asset
from surefoot.server.ui.deed import Refusal, key_of
from surefoot.server.ui.live import Pace, follow
from surefoot.server.ui.look import Look
from surefoot.server.ui.session import LIFE, Session, Sessions
from surefoot.server.ui.sight import Sight, see_device, see_fleet, see_login, see_problem, see_rollout, see_rollouts

Steer = Callable[[int, Verb, SteerRequest, str], Awaitable[None]]
"""``steer(rollout_id, verb, said, by)``; raises our errors."""

HALT_WORD = "halt"

_MOST_FORM_BYTES = 16 << 10
_MOST_FIELDS = 10
_MOST_WHY = 500
_ROLLOUT = re.compile(r"/rollouts/([1-9][0-9]{0,17})")
_STEER = re.compile(rf"(/rollouts/([1-9][0-9]{{0,17}}))/({'|'.join(Verb)})")
# What a browser's field for a date and a time says, and what the API wants instead.
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
_DEVICE = re.compile(r"/devices/([A-Za-z0-9][A-Za-z0-9._:-]{0,127})")
_STATIC = "/static/"
_LIVE = "/live"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """What the console works with.

    Attributes:
        catalogue: What people may look up.
        why: Says why a device did or did not update.
        windows: Says which maintenance windows a device has.
        steer: Does what a person says to a rollout.
        token_name: Knows operators by the hash of their token.
        secret: Makes session ids.
        clock: Now, aware, UTC.
        pace: How often live pages look.
    """

    catalogue: Catalogue
    why: Tell
    windows: Callable[[DeviceId], DeviceWindows]
    steer: Steer
    token_name: Callable[[bytes], str | None]
    secret: Callable[[], str]
    clock: Callable[[], datetime]
    pace: Pace = field(default_factory=Pace)


class Console:
    """The ASGI application of the console."""

    def __init__(self, parts: ConsoleParts) -> None:
        """Serve with ``parts``; nobody is logged in yet."""
        self._parts = parts
        self._sessions = Sessions(parts.token_name, parts.secret)
        self._assets = read_assets()
        self._look = Look(hex_of(digest_of(b"".join(asset.etag for asset in self._assets.values())))[:12])
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams, so that the server can stop; on the event loop."""
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        session = self._sessions.find(session_id(scope), self._parts.clock())
        try:
            await self._route(scope, receive, send, session)
        except Error as error:
            await self._refuse(send, error, session)

    async def _route(self, scope: Scope, receive: Receive, send: Send, session: Session | None) -> None:
        path, method = scope["path"], scope["method"]
        if method not in {"GET", "HEAD", "POST"}:
            raise MethodError(f"{method} means nothing here.", hint="Use GET or POST.")
        if path.startswith(_STATIC):
            await send_asset(scope, send, self._assets.get(path.removeprefix(_STATIC)))
        elif method == "POST":
            await self._act(scope, receive, send, session)
        elif path == "/login":
            await send_page(send, self._look.page(see_login()))
        elif session is None:
            await (send_refusal(send, 401, "Log in first.") if path.startswith(_LIVE) else send_elsewhere(send, "/login"))
        elif path.startswith(f"{_LIVE}/"):
            await self._stream(scope, receive, send, session)
        elif (match := _STEER.fullmatch(path)) is not None:
            # The address under which a refused form was answered, opened again.
            await send_elsewhere(send, match[1])
        else:
            sight = self._sight(path, _fields(scope["query_string"]), session)
            await send_page(send, await asyncio.to_thread(lambda: self._look.page(sight(), session)))

    async def _act(self, scope: Scope, receive: Receive, send: Send, session: Session | None) -> None:
        host = header(scope, b"host")
        if not host or header(scope, b"origin") not in {f"http://{host}", f"https://{host}"}:
            raise _foreign()
        form = _fields(await read_body(scope, receive, _MOST_FORM_BYTES))
        path = scope["path"]
        if path == "/login":
            await self._enter(send, form.get("token", ""))
            return
        if session is None:
            await send_elsewhere(send, "/login")
            return
        if not secrets.compare_digest(form.get("form_token", "").encode(), session.form_token.encode()):
            raise _foreign()
        if path == "/logout":
            self._sessions.leave(session.session_id)
            await send_elsewhere(send, "/login", [cookie("", 0)])
            return
        match = _STEER.fullmatch(path)
        if match is None:
            raise _nothing()
        await self._steer(send, int(match[2]), Verb(match[3]), form, session)

    async def _enter(self, send: Send, token: str) -> None:
        session = self._sessions.enter(token, self._parts.clock())
        if session is None:
            await send_page(send, self._look.page(see_login("No operator has this token.")), 401)
            return
        await send_elsewhere(send, "/", [cookie(session.session_id, int(LIFE.total_seconds()))])

    async def _steer(self, send: Send, rollout_id: int, verb: Verb, form: Mapping[str, str], session: Session) -> None:
        """Do what a form says; what is refused is said beside it, on the same page, with what was typed."""
        why, at, of = form.get("why", "").strip(), form.get("at", "").strip(), form.get("of", "")
        try:
            _see_that_it_is_meant(verb, form.get("word", ""), why)
            said = SteerRequest(why=why, of=of, at=f"{at}:00Z" if _MINUTE.fullmatch(at) else at)
            await self._parts.steer(rollout_id, verb, said, session.by)
        except UnknownError:
            raise
        except Error as error:
            refusal = Refusal(key=key_of(verb, of), message=error.message, hint=error.hint, why=why, at=at)
            page = await asyncio.to_thread(lambda: self._look.page(self._see_rollout(rollout_id, session, refusal), session))
            await send_page(send, page, problem_of(error).status)
            return
        await send_elsewhere(send, f"/rollouts/{rollout_id}")

    def _see_rollout(self, rollout_id: int, session: Session, refusal: Refusal | None = None) -> Sight:
        return see_rollout(self._parts.catalogue, rollout_id, session.by, refusal)

    async def _stream(self, scope: Scope, receive: Receive, send: Send, session: Session) -> None:
        query = _fields(scope["query_string"])
        sight = self._sight("/" if scope["path"] == "/live/fleet" else scope["path"].removeprefix(_LIVE), query, session)
        # What is not there is told before the stream begins.
        await asyncio.to_thread(sight)
        await follow(
            lambda: self._look.parts(sight(), session),
            query.get("seen", ""),
            receive,
            send,
            closing=self._closing,
            is_welcome=lambda: self._sessions.find(session.session_id, self._parts.clock()) is not None,
            pace=self._parts.pace,
        )

    def _sight(self, path: str, query: Mapping[str, str], session: Session) -> Callable[[], Sight]:
        """Return what reads a page's facts anew; ``UnknownError`` when there is no such page."""
        catalogue = self._parts.catalogue
        if path == "/":
            return lambda: see_fleet(catalogue, query.get("filter", "").strip(), query.get("after", ""), self._parts.clock())
        if path == "/rollouts":
            return lambda: see_rollouts(catalogue)
        if (match := _ROLLOUT.fullmatch(path)) is not None:
            rollout_id = int(match[1])
            return lambda: self._see_rollout(rollout_id, session)
        if (match := _DEVICE.fullmatch(path)) is not None:
            device_id = DeviceId(match[1])
            return lambda: see_device(catalogue, self._parts.why, self._parts.windows, device_id, self._parts.clock())
        raise _nothing()

    async def _refuse(self, send: Send, error: Error, session: Session | None) -> None:
        problem = problem_of(error)
        if session is None:
            # One answer for every reason: a stranger learns nothing.
            await send_refusal(send, problem.status, "This cannot be done.")
            return
        sight = see_problem(problem.title, problem.detail, problem.hint)
        await send_page(send, self._look.page(sight, session), problem.status)


def _see_that_it_is_meant(verb: Verb, word: str, why: str) -> None:
    if len(why) > _MOST_WHY:
        raise InvalidInput(f"The reason is longer than {_MOST_WHY} letters.", hint="Say it in a sentence.")
    if verb is not Verb.HALT:
        return
    if word.strip().lower() != HALT_WORD:
        raise InvalidInput(f"Nothing was halted: the word '{HALT_WORD}' was not typed.", hint="A halt is for good, so type it.")
    if not why:
        raise InvalidInput("Nothing was halted: no reason is given.", hint="Say why, for those who read it later.")


def _fields(encoded: bytes) -> Mapping[str, str]:
    """Return the fields of a query or a form; of a field that comes twice, the last."""
    try:
        return {name: values[-1] for name, values in parse_qs(encoded.decode("ascii"), max_num_fields=_MOST_FIELDS).items()}
    except ValueError as error:
        raise FormatError("The form is not one of ours.", hint="Load the page again.") from error


def _foreign() -> DeniedError:
    return DeniedError("This form did not come from your own page.", hint="Load the page again and send it from there.")


def _nothing() -> UnknownError:
    return UnknownError("There is no such page.", hint="Begin at the fleet.")
