# SPDX-License-Identifier: Apache-2.0
"""The beginning of a fleet: the first version of all that people sign, as proposals, and the first repository made of it.

- Whoever holds the keys, the beginning is signed as every later change is: each file by those whom it names.
- A root needs two signatures at least; every threshold can be met; no key has two roles, in whichever repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from securesystemslib.signer import Key
from tuf.api.metadata import Delegations, Metadata, Root, Targets

from surefoot.trust.changes import require_attainable, require_unused
from surefoot.trust.director import DirectorSigners, try_out
from surefoot.trust.metadata import Files, expiry, sign_with
from surefoot.trust.offline import delegate, new_root
from surefoot.trust.proposal import Proposal
from surefoot.trust.repository import OnlineSigners, initial
from surefoot.trust.succession import verify_whole
from surefoot.trust.verify import load

_S = TypeVar("_S", Root, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs for a role.

    Attributes:
        keys: Whose signatures count.
        threshold: How many of them must sign.
    """

    keys: tuple[Key, ...]
    threshold: int = 1


def found(
    image: Mapping[str, Authority], director: Mapping[str, Authority], products: Mapping[str, Authority], now: datetime
) -> list[Proposal]:
    """Return the first version of everything, unsigned: both roots, the top-level targets, and each product's role.

    Args:
        image: Who signs ``root``, ``targets``, ``snapshot`` and ``timestamp`` of the image repository.
        director: The same of the director.
        products: Who may release each product.
        now: When; expiries are counted from it.

    Raises:
        InvalidInput: A key has two roles, a threshold cannot be met, or a product cannot be called so.
    """
    groups = {"image": image, "director": director, "product": products}
    named = {f"{place}-{role}": authority for place, group in groups.items() for role, authority in group.items()}
    require_unused((key for authority in named.values() for key in authority.keys), [])
    for name, authority in named.items():
        require_attainable(name, authority.threshold, len(authority.keys), is_root=name in {"image-root", "director-root"})
    root, own, targets = _root(image, now), _root(director, now), _targets(products, now)
    return [
        Proposal(repository="image", role="root", after=root),
        Proposal(repository="director", role="root", after=own),
        Proposal(repository="image", role="targets", delegator=root, after=targets),
        *(Proposal(repository="image", role=product, delegator=targets, after=first_role(now)) for product in products),
    ]


def first_role(now: datetime) -> str:
    """Return version 1 of a product's role, which lists nothing yet and is not signed."""
    return _unsigned(Metadata(Targets(expires=expiry("targets", now))))


def publish_first(signed: Files, director_root: bytes, image: OnlineSigners, director: DirectorSigners, now: datetime) -> dict[str, bytes]:
    """Return the whole first image repository, by un-versioned name, verified as a device would that has nothing but the roots.

    Args:
        signed: What people signed: ``root.json``, ``targets.json`` and each product's role.
        director_root: The director's root.
        image: The server's keys of the image repository.
        director: Its keys of the director; a view for nobody is tried with them.
        now: When.

    Raises:
        TrustError: A device would refuse it; the message says which file and why.
        SignerUnavailableError: One of the server's keys does not sign at present.
    """
    roles = {name.removesuffix(".json"): data for name, data in signed.items() if name not in {"root.json", "targets.json"}}
    files = initial(signed["root.json"], signed["targets.json"], roles, image, now)
    verify_whole(load({"root.json": files["root.json"]}), files, {}, files, now)
    try_out(load({"root.json": director_root}), director, now)
    return files


def _root(roles: Mapping[str, Authority], now: datetime) -> str:
    keys = {role: authority.keys for role, authority in roles.items()}
    return _unsigned(Metadata(new_root(keys, {role: authority.threshold for role, authority in roles.items()}, now)))


def _targets(products: Mapping[str, Authority], now: datetime) -> str:
    targets = Targets(expires=expiry("targets", now), delegations=Delegations({}, roles={}))
    for product, authority in products.items():
        delegate(targets, product, authority.keys, authority.threshold)
    return _unsigned(Metadata(targets))


def _unsigned(metadata: Metadata[_S]) -> str:
    return sign_with(metadata, []).decode()
