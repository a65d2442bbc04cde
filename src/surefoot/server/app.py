# SPDX-License-Identifier: Apache-2.0
"""The server put together: three listeners, one event loop, one writer, one folder.

What lies in the folder: ``surefoot.db``, ``blobs/``, ``metadata/``, ``ca/``, ``keys/``,
``admin.token``, and ``server.json`` with the URLs, for scripts.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
import uvloop
from sqlalchemy import NullPool, create_engine

from surefoot.fleet.enroll import token_hash
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import Error, InvalidInput, SignerUnavailableError, StoreError
from surefoot.model.record import Record, to_pretty_json
from surefoot.rollout.evidence import Control
from surefoot.server.api.device import DeviceApi, Presence
from surefoot.server.api.enrol import EnrolmentApi
from surefoot.server.api.metadata import MetadataApi
from surefoot.server.api.operator import OperatorApi, OperatorParts
from surefoot.server.ca import DeviceCa, open_authorities
from surefoot.server.db.catalogue import SqlCatalogue
from surefoot.server.db.clues import SqliteClues
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.recount import counters_off, versions_off
from surefoot.server.db.seed import read_folder, write_folder
from surefoot.server.db.sqlite import connect, migrate
from surefoot.server.db.survey import census, watch
from surefoot.server.durable import write_durably
from surefoot.server.services.access import ADMIN, operator_name
from surefoot.server.services.advance import Lookout, advance_all
from surefoot.server.services.audience import audience_of
from surefoot.server.services.audit import PERIOD_S, write_signed
from surefoot.server.services.enroll import Doors
from surefoot.server.services.expiry import end_consents
from surefoot.server.services.groups import fill
from surefoot.server.services.poll import Poll, PollSettings
from surefoot.server.services.ports import Caller
from surefoot.server.services.publish import Shelf
from surefoot.server.services.recount import CountersOff, VersionsOff, recount_all
from surefoot.server.services.rollout_store import Census, StoredRollout
from surefoot.server.services.rollouts import SteerRequest, Verb, steer
from surefoot.server.services.trust_folder import follow_folder, take_folder
from surefoot.server.services.upkeep import director_alarm, image_alarm, refresh
from surefoot.server.services.why import Sources, Tell, Why, why
from surefoot.server.services.windows import DeviceWindows, device_windows
from surefoot.server.tls import PEER, PeerProtocol, device_context, server_context
from surefoot.server.ui.console import Console, ConsoleParts, Steer
from surefoot.server.ui.listener import OperatorListener
from surefoot.server.writer import Writer
from surefoot.store.disk import DiskBlobs
from surefoot.trust.keyring import read_ring
from surefoot.trust.online import Online
from surefoot.trust.secret import NO_SECRETS, Secrets

_LOG = logging.getLogger("surefoot.server")
_T = TypeVar("_T")
_TICK_S = 30
_ADVANCE_S = 1
_RECOUNT_S = 3_600
_KEEP_ALIVE_S = 75
_UNREACHABLE_AFTER_S = 900
_GRACE_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server is run.

    Attributes:
        data: Its folder.
        hostnames: Names and addresses under which devices reach it, the first being the one they are told; none means localhost.
        host: Address that the two outer listeners bind.
        device_port: mTLS; 0 for any free one, as for the others.
        enrol_port: Server TLS.
        operator_port: On 127.0.0.1, no TLS.
        poll_interval_s: Seconds between two polls of a device.
        secrets: Asked for the passphrases and PINs of its keys.
    """

    data: Path
    hostnames: tuple[str, ...] = ()
    host: str = "0.0.0.0"  # noqa: S104  # devices come from everywhere
    device_port: int = 8443
    enrol_port: int = 8444
    operator_port: int = 8080
    poll_interval_s: int = 300
    secrets: Secrets = NO_SECRETS


class Addresses(Record, frozen=True, kw_only=True):
    """``server.json``: where a running server is reached."""

    device_url: str
    enroll_url: str
    operator_url: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    addresses: Addresses
    reads: SqliteLedger
    writer: Writer[SqliteLedger]
    presence: Presence
    poll: Poll
    shelf: Shelf
    online: Online
    console: Console
    catalogue: SqlCatalogue
    lookout: Lookout
    counters_off: CountersOff
    versions_off: VersionsOff
    servers: tuple[tuple[uvicorn.Server, socket.socket], ...]


class _Listener(uvicorn.Server):
    """One listener of several in a process: signals are the process's affair, not its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def serve(settings: ServerSettings, ready: Callable[[Addresses], None]) -> None:
    """Run a server until SIGTERM or SIGINT, then end the requests under way and return; arguments and errors as for ``run``."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(settings, ready, stop, _utc_now)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signal())


async def run(settings: ServerSettings, ready: Callable[[Addresses], None], stop: asyncio.Event, clock: Callable[[], datetime]) -> None:
    """Run a server until ``stop`` is set.

    Args:
        settings: How.
        ready: Called once all three listeners take connections.
        stop: Set it to end; what is under way is finished.
        clock: Now, aware, UTC.

    Raises:
        InvalidInput: The folder has no repositories or keys yet or an empty token, another server uses it, or a port is taken.
        TrustError: Metadata that people put into the folder is not what a device would accept; nothing of it was taken in.
        StoreError: The folder or the database in it cannot be used.
    """
    found = read_folder(settings.data / "metadata")
    with ExitStack() as stack:
        stack.enter_context(_locked(settings.data))
        parts = _assemble(settings, found, clock, stack)
        parts.writer.start()
        stack.callback(parts.writer.stop)
        await _serve_all(parts, settings, ready, stop, clock)


def _assemble(
    settings: ServerSettings, found: Mapping[str, Mapping[str, bytes]], clock: Callable[[], datetime], stack: ExitStack
) -> _Parts:
    authorities = open_authorities(settings.data / "ca", settings.hostnames, clock())
    sockets = [stack.enter_context(closing(_listen(*address))) for address in _binds(settings)]
    addresses = _addresses(settings, sockets)
    database = settings.data / "surefoot.db"
    migrate(database)
    reads = SqliteLedger(stack.enter_context(closing(connect(database))))
    writer, online = _writer(stack.enter_context(closing(connect(database))), settings, found, clock())
    poll_settings = PollSettings(interval_s=settings.poll_interval_s, device_url=addresses.device_url)
    poll = Poll(reads=reads, write=writer, signers=online.director, settings=poll_settings)
    shelf = Shelf(blobs=DiskBlobs(settings.data / "blobs"), signers=online.image, device_url=addresses.device_url)
    presence = Presence()
    device_ca = DeviceCa(authorities.device_ca)
    devices = DeviceApi(
        reads=reads,
        write=writer,
        poll=poll,
        signers=online.director,
        blobs=shelf.blobs,
        ca=device_ca,
        presence=presence,
        peer_key=PEER,
        clock=clock,
    )
    catalogue = SqlCatalogue(create_engine("sqlite://", creator=lambda: connect(database), poolclass=NullPool))
    unreachable_after_s = max(_UNREACHABLE_AFTER_S, 3 * settings.poll_interval_s)
    explain = _why(database, catalogue, timedelta(seconds=unreachable_after_s), clock)
    operators = OperatorParts(
        reads=reads,
        write=writer,
        catalogue=catalogue,
        shelf=shelf,
        signers=online.director,
        online=online,
        poll=poll,
        doors=Doors(enroll_url=addresses.enroll_url, device_url=addresses.device_url, server_ca=authorities.server_ca),
        secret=_new_secret,
        clock=clock,
        why=explain,
    )
    console = Console(
        ConsoleParts(
            catalogue=catalogue,
            why=explain,
            windows=_windows(database, clock),
            steer=_steer(writer, clock),
            token_name=partial(operator_name, reads),
            secret=_new_secret,
            clock=clock,
        )
    )
    enrolment = EnrolmentApi(ca=device_ca, write=writer, clock=clock)
    listeners = (
        _listener(devices, device_context(authorities.server_chain, "".join(ca.pem for ca in authorities.accepted))),
        _listener(enrolment, server_context(authorities.server_chain)),
        _listener(OperatorListener(api=OperatorApi(operators), metadata=MetadataApi(reads=reads), console=console), None),
    )
    servers = tuple(zip(listeners, sockets, strict=True))
    return _Parts(
        addresses=addresses,
        reads=reads,
        writer=writer,
        presence=presence,
        poll=poll,
        shelf=shelf,
        online=online,
        console=console,
        catalogue=catalogue,
        lookout=Lookout(_Survey(database, reads, unreachable_after_s)),
        counters_off=lambda rollout_id: _apart(database, lambda connection: counters_off(connection, rollout_id)),
        versions_off=lambda: _apart(database, versions_off),
        servers=servers,
    )


def _steer(writer: Writer[SqliteLedger], clock: Callable[[], datetime]) -> Steer:
    """Return what the console's buttons do: the same verb as the operator API's."""

    async def by_hand(rollout_id: int, verb: Verb, said: SteerRequest, by: str) -> None:
        await steer(rollout_id, verb, said, by=by, write=writer, now=clock())

    return by_hand


def _why(database: Path, catalogue: SqlCatalogue, offline_after: timedelta, clock: Callable[[], datetime]) -> Tell:
    """Return what says why a device did or did not update; each call reads on a connection of its own."""

    def tell(device_id: DeviceId, rollout_id: int | None = None) -> Why:
        with closing(connect(database)) as connection:
            sources = Sources(
                ledger=SqliteLedger(connection),
                clues=SqliteClues(connection),
                live=catalogue.live_manifests,
                offline_after=offline_after,
            )
            return why(sources, device_id, rollout_id, clock())

    return tell


def _windows(database: Path, clock: Callable[[], datetime]) -> Callable[[DeviceId], DeviceWindows]:
    """Return what says which windows a device has; each call reads on a connection of its own."""

    def tell(device_id: DeviceId) -> DeviceWindows:
        with closing(connect(database)) as connection:
            return device_windows(SqliteLedger(connection), device_id, clock())

    return tell


class _Survey:
    """A ``Survey`` of the devices in a database, in threads of its own."""

    def __init__(self, database: Path, reads: SqliteLedger, unreachable_after_s: int) -> None:
        """Survey ``database``; releases are read by ``reads``."""
        self._database = database
        self._reads = reads
        self._unreachable_after_s = unreachable_after_s

    async def count(self, stored: StoredRollout, now: datetime) -> Census:
        """Count a rollout's devices."""
        audience = audience_of(self._reads, stored, now)
        return await _apart(
            self._database,
            lambda connection: census(connection, stored, lambda candidate, stage: audience.image_for(candidate, stage) is not None),
        )

    async def watch(self, stored: StoredRollout, now: datetime) -> list[Control]:
        """Look at a sample of the devices in each region that the rollout has not come to."""
        return await _apart(self._database, lambda connection: watch(connection, stored, now, self._unreachable_after_s))


async def _apart(database: Path, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """Do long work in a thread, on a connection of its own, so that nobody waits for it.

    Raises:
        StoreError: The database cannot be read.
    """

    def on_its_own() -> _T:
        try:
            with closing(connect(database)) as connection:
                return work(connection)
        except sqlite3.Error as error:
            raise StoreError(f"The database cannot be read: {error}.", hint="Check the disk of the server's data folder.") from error

    return await asyncio.to_thread(on_its_own)


def _writer(
    connection: sqlite3.Connection, settings: ServerSettings, found: Mapping[str, Mapping[str, bytes]], now: datetime
) -> tuple[Writer[SqliteLedger], Online]:
    """Take in what people put into the folder, with the keys that the newest roots name; then hand the connection over."""
    ledger = SqliteLedger(connection)
    connection.execute("BEGIN IMMEDIATE")
    folder = follow_folder(ledger, found)
    ring = partial(read_ring, settings.data / "keys", settings.secrets)
    online = Online(ring, director=folder.director.trusted.root, image=folder.image.trusted.root)
    take_folder(ledger, folder, online, now)
    _keep_admin(ledger, settings.data / "admin.token", now)
    connection.execute("COMMIT")
    return Writer(connection, ledger), online


async def _serve_all(
    parts: _Parts, settings: ServerSettings, ready: Callable[[Addresses], None], stop: asyncio.Event, clock: Callable[[], datetime]
) -> None:
    for server, bound in parts.servers:
        await server.startup(sockets=[bound])
    await _tick(parts, settings.data, clock())
    write_durably(settings.data / "server.json", to_pretty_json(parts.addresses), 0o644)
    ready(parts.addresses)
    loops = [asyncio.create_task(server.main_loop()) for server, _ in parts.servers]
    conductor = asyncio.create_task(_conduct(parts, stop, clock))
    auditor = asyncio.create_task(_recount(parts, stop, clock))
    scribe = asyncio.create_task(_note(parts, stop, clock))
    try:
        while not await _is_set_within(stop, _TICK_S):
            await _tick(parts, settings.data, clock())
    finally:
        parts.console.close()
        for server, _ in parts.servers:
            server.should_exit = True
        stop.set()
        await asyncio.gather(*loops, conductor, auditor, scribe)
        await asyncio.gather(*(server.shutdown(sockets=[bound]) for server, bound in parts.servers))
        await _tick(parts, settings.data, clock())
        await _write_signed(parts, clock())
        (settings.data / "server.json").unlink(missing_ok=True)


async def _conduct(parts: _Parts, stop: asyncio.Event, clock: Callable[[], datetime]) -> None:
    """Let rollouts go on, once a second; a failure is told and tried again."""
    while not await _is_set_within(stop, _ADVANCE_S):
        try:
            for failure in await advance_all(parts.writer, parts.lookout, clock()):
                _LOG.error("a rollout holds: %s", failure)
        except Error as error:
            _LOG.error("rollouts hold: %s", error)


async def _recount(parts: _Parts, stop: asyncio.Event, clock: Callable[[], datetime]) -> None:
    """Go on with groups whose filling was cut off; then hold the counters against what they count, at the start and once an hour."""
    try:
        for group in await parts.writer(lambda ledger: ledger.unfilled_groups()):
            await fill(group, parts.catalogue, parts.writer, clock())
    except Error as error:
        _LOG.error("a group was not filled: %s", error)
    while not stop.is_set():
        try:
            for finding in await recount_all(parts.writer, parts.counters_off, parts.versions_off, clock()):
                _LOG.error("%s", finding)
        except Error as error:
            _LOG.error("nothing was recounted: %s", error)
        await _is_set_within(stop, _RECOUNT_S)


async def _note(parts: _Parts, stop: asyncio.Event, clock: Callable[[], datetime]) -> None:
    """Write down once a minute what was signed; the end of the server writes the rest."""
    while not await _is_set_within(stop, PERIOD_S):
        await _write_signed(parts, clock())


async def _write_signed(parts: _Parts, now: datetime) -> None:
    try:
        await write_signed(parts.online.notes, parts.writer, now)
    except Error as error:
        _LOG.error("what was signed is not written down yet: %s", error)


async def _tick(parts: _Parts, data: Path, now: datetime) -> None:
    """Do what is due now and then; a failure is told and tried again at the next tick."""
    try:
        seen = parts.presence.take()
        if seen:
            await parts.writer(lambda ledger: ledger.put_presence(seen))
        await end_consents(parts.writer, now)
        if await refresh(parts.shelf.signers, parts.writer, now):
            parts.poll.reload()
        write_folder(data / "metadata", parts.reads.metadata("image").files)
    except SignerUnavailableError as error:
        _LOG.error("%s", image_alarm(parts.reads.metadata("image").files, error, now))
    except Error as error:
        _LOG.error("%s", error)  # the sentence says it; a trace would hide it
    outage = parts.poll.take_outage()
    if outage is not None:
        _LOG.error("%s", director_alarm(outage))


async def _is_set_within(stop: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


def _listener(app: Callable[..., Any], context: ssl.SSLContext | None) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    config.ssl = context
    server = _Listener(config)
    server.lifespan = config.lifespan_class(config)
    return server


def _binds(settings: ServerSettings) -> tuple[tuple[str, int], ...]:
    return (settings.host, settings.device_port), (settings.host, settings.enrol_port), ("127.0.0.1", settings.operator_port)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2_048)
    except OSError as error:
        raise InvalidInput(f"Port {port} of {host} cannot be opened: {error.strerror}.", hint="Choose another one.") from error


def _addresses(settings: ServerSettings, sockets: Sequence[socket.socket]) -> Addresses:
    name = settings.hostnames[0] if settings.hostnames else "localhost"
    host = f"[{name}]" if ":" in name else name
    device_port, enrol_port, operator_port = (bound.getsockname()[1] for bound in sockets)
    return Addresses(
        device_url=f"https://{host}:{device_port}",
        enroll_url=f"https://{host}:{enrol_port}",
        operator_url=f"http://127.0.0.1:{operator_port}",
        pid=os.getpid(),
    )


def _keep_admin(ledger: SqliteLedger, path: Path, now: datetime) -> None:
    """Hold the file and the database to the same first token; the file is the truth, and made when there is none."""
    try:
        if not path.exists():
            write_durably(path, f"{_new_secret()}\n".encode())
        secret = path.read_text().strip()
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}.", hint="Check the server's data folder.") from error
    if not secret:
        # The hash of nothing would let in whoever sends no token.
        raise InvalidInput(f"There is no token in {path}.", hint="Remove the file: the server then makes a new one.")
    hashed = token_hash(secret)
    if operator_name(ledger, hashed) != ADMIN:
        ledger.add_caller(Caller(name=ADMIN), hashed, now)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the folder for this process; two servers on one folder would each undo the other's work."""
    with (data / "server.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidInput(f"Another server uses {data}.", hint="Stop it first.") from error
        yield


def _new_secret() -> str:
    """Return a new token with 256 bits of randomness."""
    return secrets.token_urlsafe(32)


def _utc_now() -> datetime:
    return datetime.now(UTC)
