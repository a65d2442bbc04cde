# SPDX-License-Identifier: Apache-2.0
"""``surefoot user add|list|remove``: who may call the operator API, operators and customers, each with a token of their own."""

import argparse
from pathlib import Path
from typing import Any

from surefoot.cli.keys_folder import write_new
from surefoot.cli.operator import add_options, client, segment
from surefoot.server.services.access import UserRequest


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    adding = verbs.add_parser("add", help="let one more operator in, or a customer", description="Let one more operator in, or a customer.")
    adding.add_argument("name")
    adding.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="new file for the token, for its owner alone")
    adding.add_argument("--customer", help="the token is this customer's: it reaches windows of the customer's own devices and sites alone")
    adding.add_argument(
        "--group", action="append", default=[], metavar="GROUP", help="a group that the customer may opt devices in and out of"
    )
    adding.set_defaults(run=_add)
    listing = verbs.add_parser("list", help="list operators", description="List operators.")
    listing.set_defaults(run=_list)
    removing = verbs.add_parser("remove", help="let an operator in no longer", description="Let an operator in no longer.")
    removing.add_argument("name")
    removing.set_defaults(run=_remove)
    for verb in (adding, listing, removing):
        add_options(verb)


def _add(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    # The file first: a token that could not be kept would be lost for good.
    write_new(arguments.output, b"", 0o600)
    try:
        answer = calls.post("users", UserRequest(name=arguments.name, customer=arguments.customer, groups=arguments.group), dict[str, Any])
        arguments.output.write_text(f"{answer['token']}\n")
    except BaseException:
        arguments.output.unlink()
        raise
    print(f"{arguments.name} may {_may(arguments.customer, arguments.group)} with the token in {arguments.output}.")
    print(f"Next: give {arguments.name} the file, to be used with --token-file or SUREFOOT_TOKEN_FILE.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for user in client(arguments).get("users", dict[str, Any])["users"]:
        limit = f"  {_may(user['customer'], user.get('groups', []))}" if user.get("customer") else ""
        print(f"{user['name']:<32} since {user['created_at']}{limit}")
    return 0


def _may(customer: str | None, groups: list[str]) -> str:
    if customer is None:
        return "call the operator API"
    opts = f", and opt them in and out of {', '.join(groups)}," if groups else ""
    return f"set windows of customer {customer}, of its sites and devices{opts}"


def _remove(arguments: argparse.Namespace) -> int:
    client(arguments).delete(f"users/{segment(arguments.name)}")
    print(f"{arguments.name} may no longer call the operator API.")
    return 0
