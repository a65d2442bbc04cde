# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust add-product``: let another product be released, by a key made here or by people with keys of their own."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key

from surefoot.cli.keys_folder import open_keys
from surefoot.cli.proposals import lay, open_proposals, require_none_open, sign_here
from surefoot.cli.role_names import given_key, product_name
from surefoot.cli.trust_change import keys_elsewhere, tell_what_is_next
from surefoot.model.errors import InvalidInput
from surefoot.trust.changes import add_delegation
from surefoot.trust.founding import first_role
from surefoot.trust.proposal import Proposal
from surefoot.trust.signer import generate


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verb of this module to ``surefoot trust``."""
    parser = add_parser("add-product", help="let another product be released", description="Let another product be released.")
    parser.add_argument("product", type=product_name)
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the keys folder")
    parser.add_argument(
        "--key", action="append", default=[], metavar="HOLDER:FILE.pub", help="who may release it; may be given again (else a key is made)"
    )
    parser.add_argument("--threshold", type=int, default=1, metavar="N", help="how many must sign (%(default)s)")
    parser.add_argument("--no-sign", action="store_true", help="only propose; sign with no key of the folder")
    parser.set_defaults(run=_add_product)


def _add_product(arguments: argparse.Namespace) -> int:
    keys, now, product = open_keys(arguments.keys), datetime.now(UTC), arguments.product
    before, file = keys.metadata("targets.json"), f"product-{product}-1.pem"
    made = {} if arguments.key else {file: generate()}
    own: list[Key] = [given_key(text) for text in arguments.key] + [signer.public_key for signer in made.values()]
    after = add_delegation(before, product, own, arguments.threshold, now, elsewhere=keys_elsewhere(keys, "targets.json"))
    require_none_open(keys, ["targets.json", f"{product}.json"])
    if made and (keys.path / file).exists():
        raise InvalidInput(f"There is something at {keys.path / file} already.", hint="Move it away; keys are never overwritten.")
    proposals = [
        Proposal(
            repository="image", role="targets", delegator=keys.metadata("root.json").decode(), before=before.decode(), after=after.decode()
        ),
        Proposal(repository="image", role=product, delegator=after.decode(), after=first_role(now)),
    ]
    if not arguments.no_sign:
        proposals = [sign_here(keys, proposal, made.values()) for proposal in proposals]
    lay(keys, proposals, beside={name: signer.private_bytes for name, signer in made.items()})
    tell_what_is_next(keys, now)
    if not open_proposals(keys):
        print(f"The product {product} may be released" + (f" with {keys.path / file}." if made else "."))
        print("Next: surefoot release sign BUNDLE; its publication carries the new delegation to the server.")
    return 0
