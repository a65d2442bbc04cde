# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust publish``: take in finished proposals, and give a server what it lacks of what people have signed."""

import argparse
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surefoot.cli.first_metadata import write_first
from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.cli.operator import OperatorClient, add_options, client
from surefoot.cli.proposals import file_of, is_begun, open_proposals, read_proposal, require_ours, tell_open, withdrawal, write_proposal
from surefoot.cli.server_trust import ask
from surefoot.cli.settling import settle
from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.trust import ceremony
from surefoot.trust.standing import Edition


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot trust``."""
    says = "take in finished proposals, and send the server what it lacks"
    parser = add_parser("publish", help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="proposals that came back")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the keys folder")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--data", type=Path, metavar="DIR", help="the folder of a server that is yet to start: write its first metadata")
    goal.add_argument("--no-send", action="store_true", help="only take in; call no server")
    add_options(parser)
    parser.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    keys, now = open_keys(arguments.keys), datetime.now(UTC)
    if arguments.data is not None and (arguments.data / "metadata").exists():
        raise InvalidInput(f"{arguments.data} has metadata already.", hint="Start that server, and publish without --data.")
    for path in arguments.files:
        _take_back(keys, path, now)
    for name in settle(keys, now):
        print(f"{name} is signed by everybody who must, and now the newest.")
    for line in tell_open(keys, now):
        print(line)
    if arguments.data is not None:
        if not is_begun(keys):
            raise InvalidInput("Not all of the beginning is signed yet; no metadata were written.", hint="Have signed what waits, above.")
        write_first(keys, arguments.data / "keys", arguments.data / "metadata", now)
        print(f"Verified as a device would. The server's metadata: {arguments.data}/metadata")
        print(f"Next: surefoot serve --data {arguments.data}")
    elif is_begun(keys) and not arguments.no_send:
        _send(keys, client(arguments))
    return 0


def _take_back(keys: KeysFolder, path: Path, now: datetime) -> None:
    proposal = read_proposal(path)
    require_ours(keys, proposal, now)
    for ours, other in open_proposals(keys).items():
        if file_of(other) == file_of(proposal):
            if not ceremony.is_alike(other, proposal):
                raise ConflictError(
                    f"{ours} proposes something else than {path}.",
                    hint=f"Settle which holds; take this folder's back with: {withdrawal(keys, ours)}",
                )
            write_proposal(ours, ceremony.join(other, proposal))
            return
    raise InvalidInput(f"{keys.path} has proposed nothing like {path}.", hint="Only what this folder proposed is taken back.")


def _send(keys: KeysFolder, calls: OperatorClient) -> None:
    server = ask(keys, calls)
    if server.other:
        raise ConflictError(
            f"The server has another {server.other[0]} than {keys.path}.",
            hint="Find out who signed it. Nothing was sent; the next version must build on what the server has.",
        )
    for edition in server.comparison.newer:
        print(f"The server has {edition}, which is newer than what is in {keys.path}.")
    lacks = server.comparison.lacks
    if not lacks:
        print("The server has all of this already; nothing was sent.")
        return
    print(f"The server lacks: {', '.join(map(str, lacks))}.")
    request: dict[str, dict[str, str]] = {"image": {}, "director": {}}
    for edition in lacks:
        request[edition.repository] |= _files(keys, edition, server.version_of_root(edition.repository))
    changed = calls.post("trust", request, dict[str, Any])["changed"]
    print(f"The server took in: {', '.join(changed)}." if changed else "The server has all of this already.")


def _files(keys: KeysFolder, edition: Edition, known: int) -> dict[str, str]:
    """Return what is to be sent: of a root every version after the one that is known, since they are taken one after the other."""
    if edition.role != "root":
        return {edition.file: _text(keys.metadata(edition.file))}
    versions = range(known + 1, edition.version + 1)
    return {f"{version}.root.json": _text(keys.metadata(f"roots/{version}.{edition.kept_as}")) for version in versions}


def _text(data: bytes) -> str:
    return b64encode(data).decode()
