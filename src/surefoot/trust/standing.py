# SPDX-License-Identifier: Apache-2.0
"""How things stand: who may sign each role and until when it holds, what a server has of it, and what expires next."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Root, Targets

from surefoot.model.record import Hint, parse_utc, utc_text
from surefoot.trust.changes import HOLDER_FIELD, Vouching, keys_of, roles_of
from surefoot.trust.metadata import IMAGE_LIFE, Files, read
from surefoot.trust.tree import parents_of

_ROOTS = {"image": "root.json", "director": "director-root.json"}
_ONLINE = ("targets", "snapshot", "timestamp")


class Holder(Hint, frozen=True, kw_only=True):
    """A key by its id, and who holds it, where the metadata says so."""

    key_id: str
    holder: str = ""


class Standing(Hint, frozen=True, kw_only=True):
    """Who may sign a role, and what there is of it; as ``GET /api/v1/trust`` says it.

    Attributes:
        repository: ``image`` or ``director``.
        role: Its name there.
        threshold: How many of the keys must sign.
        keys: Whose signatures count.
        version: Of the file that holds; ``None`` when there is none, or one for each device, or only the server knows.
        expires: Likewise, RFC 3339.
    """

    repository: str
    role: str
    threshold: int
    keys: list[Holder]
    version: int | None = None
    expires: str | None = None

    @property
    def label(self) -> str:
        """The role as the command line names it: ``image-root``, ``product-lamp``."""
        is_product = self.repository == "image" and self.role not in {"root", *_ONLINE}
        return f"product-{self.role}" if is_product else f"{self.repository}-{self.role}"

    @property
    def is_ours(self) -> bool:
        """Whether people sign it, and not the server."""
        return self.role == "root" or (self.repository == "image" and self.role not in {"snapshot", "timestamp"})


class Standings(Hint, frozen=True, kw_only=True):
    """Every role, as a server has it."""

    roles: list[Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One version of a file that people sign."""

    repository: str
    role: str
    version: int

    def __str__(self) -> str:
        """Name it: ``image root 3``."""
        return f"{self.repository} {self.role} {self.version}"

    @property
    def file(self) -> str:
        """The file's name in its repository."""
        return f"{self.role}.json"

    @property
    def kept_as(self) -> str:
        """The file's name in a keys folder."""
        return _ROOTS[self.repository] if self.role == "root" else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a server has, against what people have signed.

    Attributes:
        lacks: What the server has in an older version, or not at all, as it is here.
        newer: What it has in a newer version, as it is there.
        same: What it has in the same version; whether with the same content, only the files tell.
    """

    lacks: list[Edition]
    newer: list[Edition]
    same: list[Edition]


def standings(files: Files, unsigned: Collection[str] = ()) -> list[Standing]:
    """Return how every role stands, in the order in which they vouch for one another.

    Args:
        files: As a keys folder names them: ``root.json``, ``director-root.json``, ``targets.json``, ``<product>.json``.
        unsigned: Names of those that nobody relies on yet; they say who is to sign, and have no version.

    Raises:
        MetadataError: A file cannot be read.
    """
    image, director = (read(files[name], Root, name=name).signed for name in _ROOTS.values())
    targets = read(files["targets.json"], Targets, name="targets.json").signed
    holding = {name: data for name, data in files.items() if name not in unsigned}
    return [
        _standing("image", image, "root", "root.json", holding),
        _standing("image", image, "targets", "targets.json", holding),
        *(_standing("image", targets, product, f"{product}.json", holding) for product in sorted(roles_of(targets))),
        *(_standing("image", image, role, "", holding) for role in ("snapshot", "timestamp")),
        _standing("director", director, "root", "director-root.json", holding),
        *(_standing("director", director, role, "", holding) for role in _ONLINE),
    ]


def editions(files: Files) -> list[Edition]:
    """Return the version of every file that people sign and that their roots lead to; a bin that fell out of use is none.

    Args:
        files: As for ``standings``, with a product's further roles too.

    Raises:
        MetadataError: A file cannot be read, or is missing.
    """
    names = [*_ROOTS.values(), "targets.json", *(f"{role}.json" for role in parents_of(files))]
    return [_edition(name, _read(name, files[name])) for name in sorted(names)]


def compare(ours: Iterable[Edition], theirs: Iterable[Standing]) -> Comparison:
    """Hold what people have signed against what a server has."""
    here = {(edition.repository, edition.role): edition for edition in ours}
    there = {
        (role.repository, role.role): Edition(repository=role.repository, role=role.role, version=role.version)
        for role in theirs
        if role.is_ours and role.version is not None
    }
    return Comparison(
        lacks=[edition for place, edition in here.items() if place not in there or there[place].version < edition.version],
        newer=[edition for place, edition in there.items() if place not in here or here[place].version < edition.version],
        same=[edition for place, edition in here.items() if there.get(place) == edition],
    )


def first_to_expire(roles: Iterable[Standing]) -> Standing | None:
    """Return the role that people sign which expires first; ``None`` when none holds."""
    holding = [role for role in roles if role.is_ours and role.expires is not None]
    return min(holding, key=lambda role: (role.expires or "", role.label), default=None)


def renewal_of(role: Standing) -> datetime:
    """Return from when on a role that holds is to be renewed: when half its life is spent."""
    return parse_utc(role.expires or "") - _life(role) / 2


def _life(role: Standing) -> timedelta:
    return IMAGE_LIFE["root" if role.role == "root" else "targets"]


def _standing(repository: str, delegator: Vouching, role: str, file: str, holding: Files) -> Standing:
    signed = _read(file, holding[file]) if file in holding else None
    return Standing(
        repository=repository,
        role=role,
        threshold=roles_of(delegator)[role].threshold,
        keys=[
            Holder(key_id=keyid, holder=str(key.unrecognized_fields.get(HOLDER_FIELD, "")))
            for keyid, key in keys_of(delegator, role).items()
        ],
        version=None if signed is None else signed.version,
        expires=None if signed is None else utc_text(signed.expires),
    )


def _read(name: str, data: bytes) -> Vouching:
    signed: Vouching = (read(data, Root, name=name) if name in _ROOTS.values() else read(data, Targets, name=name)).signed
    return signed


def _edition(name: str, signed: Vouching) -> Edition:
    if name == _ROOTS["director"]:
        return Edition(repository="director", role="root", version=signed.version)
    return Edition(repository="image", role=name.removesuffix(".json"), version=signed.version)
