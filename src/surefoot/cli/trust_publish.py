# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust publish``: take in finished proposals, and send the server what people have signed."""

import argparse
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from tuf.api.metadata import Targets

from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.cli.operator import OperatorClient, add_options, client
from surefoot.cli.proposals import file_of, open_proposals, read_proposal, require_ours, settle, write_proposal
from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.trust import ceremony
from surefoot.trust.changes import roles_of
from surefoot.trust.metadata import read
from surefoot.trust.product_files import reachable


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot trust``."""
    says = "take in finished proposals, and send the server what is newer"
    parser = add_parser("publish", help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="proposals that came back")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the keys folder")
    parser.add_argument("--no-send", action="store_true", help="only take in; call no server")
    add_options(parser)
    parser.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    keys = open_keys(arguments.keys)
    for path in arguments.files:
        _take_back(keys, path)
    for name in settle(keys):
        print(f"{name} is signed by everybody who must, and now the newest.")
    for path in open_proposals(keys):
        print(f"{path} is not signed by everybody yet; it stays.")
    if not arguments.no_send:
        _send(keys, client(arguments))
    return 0


def _take_back(keys: KeysFolder, path: Path) -> None:
    proposal = read_proposal(path)
    require_ours(keys, proposal)
    ceremony.finished(proposal)
    for ours, other in open_proposals(keys).items():
        if file_of(other) == file_of(proposal):
            if not ceremony.is_alike(other, proposal):
                raise ConflictError(f"{ours} proposes something else than {path}.", hint="Settle which holds; delete the other.")
            write_proposal(ours, msgspec.structs.replace(other, after=proposal.after, more=proposal.more))
            return
    raise InvalidInput(f"{keys.path} has proposed nothing like {path}.", hint="Only what this folder proposed is taken back.")


def _send(keys: KeysFolder, calls: OperatorClient) -> None:
    products = roles_of(read(keys.metadata("targets.json"), Targets, name="targets").signed)
    names = ["targets.json", *(name for product in products for name in reachable(keys.roles_of(product), product))]
    request = {
        "image": {**_roots(keys, "root.json"), **{name: _text(keys.metadata(name)) for name in names}},
        "director": _roots(keys, "director-root.json"),
    }
    answer = calls.post("trust", request, dict[str, Any])
    changed = answer["changed"]
    print(f"The server took in: {', '.join(changed)}." if changed else "The server has all of this already.")


def _roots(keys: KeysFolder, name: str) -> dict[str, str]:
    # The first came with the server's folder; the server passes over those that it has.
    found = {int(path.name.partition(".")[0]): path for path in (keys.path / "metadata/roots").glob(f"*.{name}")}
    return {f"{version}.root.json": _text(found[version].read_bytes()) for version in sorted(found)}


def _text(data: bytes) -> str:
    return b64encode(data).decode()
