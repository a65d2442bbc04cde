# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust status``: who signs what until when, which proposals wait for whom, and what is to be done next."""

import argparse
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.cli.operator import client
from surefoot.cli.proposals import BEGINNING, file_of, open_proposals, why_stale, withdrawal
from surefoot.cli.server_trust import ServerTrust, ask
from surefoot.model.record import Record, parse_utc, to_pretty_json, utc_text
from surefoot.trust import ceremony
from surefoot.trust.proposal import Proposal
from surefoot.trust.standing import Standing, first_to_expire, renewal_of, standings

_WIDTH = 100


class OpenProposal(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A proposal that waits: its file, what it changes, who is awaited, and why it never will hold, if so."""

    file: str
    role: str
    version: int
    awaited: dict[str, list[str]]
    stale: str


class NextExpiry(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What expires first, when, from when on it is to be renewed, and by which command."""

    role: str
    expires: str
    renew_from: str
    command: str


class ServerState(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What a server lacks, has newer, and has otherwise in the same version: ``image root 3`` and the like."""

    lacks: list[str]
    newer: list[str]
    other: list[str]


class Status(Record, frozen=True, kw_only=True, omit_defaults=False):
    """All of it."""

    roles: list[Standing]
    open: list[OpenProposal]
    next: NextExpiry | None
    server: ServerState | None


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb of this module to ``surefoot trust``."""
    says = "show roles, who holds their keys, what expires when, and what is open"
    parser = add_parser("status", help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the keys folder")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--server", metavar="URL", help="compare with the server there (its operator API)")
    token_file = os.environ.get("SUREFOOT_TOKEN_FILE")
    parser.add_argument("--token-file", type=Path, default=token_file and Path(token_file), help="file with the API token, as admin.token")
    parser.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    keys, now = open_keys(arguments.keys), datetime.now(UTC)
    opened = open_proposals(keys)
    first = {file_of(proposal): proposal.after.encode() for proposal in opened.values() if not proposal.before}
    present = keys.all_metadata()
    absent = {name: keys.metadata(name) for name in BEGINNING if name not in first}
    roles = standings({**absent, **first, **present}, first.keys() - present.keys())
    server = ask(keys, client(arguments)) if arguments.server else None
    roles = roles if server is None else [_as_served(role, server) for role in roles]
    waiting = [_open(keys, path, proposal, now) for path, proposal in opened.items()]
    status = Status(
        roles=roles,
        open=waiting,
        next=_next(keys, roles, waiting, now),
        server=None if server is None else _server_state(server),
    )
    if arguments.json:
        print(to_pretty_json(status).decode(), end="")
    else:
        for line in _lines(keys, status, now):
            print(line)
    return 0


def _as_served(role: Standing, server: ServerTrust) -> Standing:
    """Return a role that the server signs with the version and expiry that it has there."""
    if role.is_ours:
        return role
    served = [each for each in server.roles if (each.repository, each.role) == (role.repository, role.role)]
    return msgspec.structs.replace(role, version=served[0].version, expires=served[0].expires) if served else role


def _server_state(server: ServerTrust) -> ServerState:
    found = (server.comparison.lacks, server.comparison.newer, server.other)
    lacks, newer, other = ([str(edition) for edition in editions] for editions in found)
    return ServerState(lacks=lacks, newer=newer, other=other)


def _open(keys: KeysFolder, path: Path, proposal: Proposal, now: datetime) -> OpenProposal:
    awaited = {
        f"{tally.authority}: {len(tally.signed)} of {tally.threshold}": [] if tally.is_met else list(tally.awaited)
        for tally in ceremony.count(proposal)
    }
    label = Standing(repository=proposal.repository, role=proposal.role, threshold=1, keys=[]).label
    return OpenProposal(file=str(path), role=label, version=proposal.version, awaited=awaited, stale=why_stale(keys, proposal, now))


def _next(keys: KeysFolder, roles: Sequence[Standing], waiting: Sequence[OpenProposal], now: datetime) -> NextExpiry | None:
    role = first_to_expire(roles)
    if role is None:
        return None
    at_work = next((proposal.file for proposal in waiting if proposal.role == role.label and not proposal.stale), "")
    command = f"surefoot trust sign {at_work} --key KEY" if at_work else f"surefoot trust refresh --keys {keys.path}"
    renewal = now if at_work else renewal_of(role)
    return NextExpiry(role=role.label, expires=role.expires or "", renew_from=utc_text(renewal), command=command)


def _lines(keys: KeysFolder, status: Status, now: datetime) -> Iterator[str]:
    yield from _table(status.roles, now)
    for proposal in status.open:
        yield f"open: {proposal.file}"
        for authority, people in proposal.awaited.items():
            yield from _wrapped(f"      {authority}" + (f", awaited: {', '.join(people)}" if people else ""), 8)
        if proposal.stale:
            yield from _wrapped(f"      Stale: {proposal.stale}", 8)
            yield f"      Next: {withdrawal(keys, Path(proposal.file))}"
    if status.server is not None:
        yield from _server(keys, status.server)
    if status.next is None:
        yield "Nothing holds yet: the first versions wait to be signed."
    else:
        yield from _expiry(status.next, now)


def _table(roles: Sequence[Standing], now: datetime) -> Iterator[str]:
    rows = [
        (role.label, "" if role.version is None else str(role.version), f"{role.threshold} of {len(role.keys)}", _until(role, now), role)
        for role in roles
    ]
    head = ("ROLE", "VERSION", "NEEDS", "EXPIRES")
    wide = [max(len(str(row[column])) for row in [head, *rows]) for column in range(4)]
    yield f"{head[0]:<{wide[0]}}  {head[1]:>{wide[1]}}  {head[2]:<{wide[2]}}  {head[3]:<{wide[3]}}  HELD BY"
    for name, version, needs, until, role in rows:
        left = f"{name:<{wide[0]}}  {version:>{wide[1]}}  {needs:<{wide[2]}}  {until:<{wide[3]}}  "
        holders = ", ".join(key.holder or key.key_id for key in role.keys)
        yield from textwrap.wrap(
            left + holders, max(_WIDTH, len(left) + 20), subsequent_indent=" " * len(left), break_on_hyphens=False, drop_whitespace=False
        )


def _until(role: Standing, now: datetime) -> str:
    if role.expires is None:
        return "not signed yet" if role.is_ours else "with the server"
    expires = parse_utc(role.expires)
    return f"{expires:%Y-%m-%d} (in {(expires - now).days} days)" if expires > now else f"{expires:%Y-%m-%d} (EXPIRED)"


def _server(keys: KeysFolder, server: ServerState) -> Iterator[str]:
    if server.lacks:
        yield from _wrapped(f"The server lacks: {', '.join(server.lacks)}.", 2)
        yield f"Next: surefoot trust publish --keys {keys.path}"
    if server.newer:
        yield from _wrapped(f"The server has newer: {', '.join(server.newer)}. This folder of keys is behind.", 2)
    if server.other:
        yield from _wrapped(f"The server has ANOTHER: {', '.join(server.other)}. Find out who signed it.", 2)
    if not (server.lacks or server.newer or server.other):
        yield "The server has all that people have signed."


def _expiry(first: NextExpiry, now: datetime) -> Iterator[str]:
    expires, renewal = parse_utc(first.expires), parse_utc(first.renew_from)
    ends = f"expires {expires:%Y-%m-%d}" if expires > now else f"EXPIRED {expires:%Y-%m-%d}"
    when = "now" if renewal <= now else f"from {renewal:%Y-%m-%d} on"
    yield f"Next: {first.role} {ends}; {when}: {first.command}"


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False)
