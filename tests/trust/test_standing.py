# SPDX-License-Identifier: Apache-2.0
"""How things stand: every role by its name, what a server lacks or has newer, and what expires first."""

from datetime import timedelta
from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.model.record import parse_utc
from surefoot.trust.standing import Edition, Standing, compare, editions, first_to_expire, renewal_of, standings
from tests.trust.repositories import NOW, Repositories

ROLES = st.sampled_from([("image", "root"), ("director", "root"), ("image", "targets"), ("image", "lamp"), ("image", "toy")])
EDITIONS = st.dictionaries(ROLES, st.integers(1, 3))


@cache
def files() -> dict[str, bytes]:
    world = Repositories()
    signed = {name: data for name, data in world.image.items() if name not in {"snapshot.json", "timestamp.json"}}
    return {**signed, "director-root.json": world.director_root}


def served(repository: str, role: str, version: int | None) -> Standing:
    return Standing(repository=repository, role=role, threshold=1, keys=[], version=version, expires="2027-01-01T00:00:00Z")


def test_every_role_is_called_as_the_command_line_calls_it() -> None:
    assert [(role.label, role.version, role.is_ours) for role in standings(files())] == [
        ("image-root", 1, True),
        ("image-targets", 1, True),
        ("product-thermostat", 1, True),
        ("image-snapshot", None, False),
        ("image-timestamp", None, False),
        ("director-root", 1, True),
        ("director-targets", None, False),
        ("director-snapshot", None, False),
        ("director-timestamp", None, False),
    ]


def test_what_nobody_signed_yet_says_who_is_to_sign_and_has_no_version() -> None:
    root = standings(files(), {"root.json"})[0]
    assert (root.version, root.expires, len(root.keys), root.threshold) == (None, None, 3, 2)
    assert standings({name: data for name, data in files().items() if name != "thermostat.json"})[2].version is None


@given(EDITIONS, EDITIONS)
def test_each_file_is_lacking_newer_or_the_same_and_never_two_of_these(
    here: dict[tuple[str, str], int], there: dict[tuple[str, str], int]
) -> None:
    ours = [Edition(repository=repository, role=role, version=version) for (repository, role), version in here.items()]
    theirs = [served(repository, role, version) for (repository, role), version in there.items()]
    found = compare(ours, [*theirs, served("image", "timestamp", 9), served("director", "targets", None)])
    assert {(each.repository, each.role) for each in found.lacks} == {place for place in here if there.get(place, 0) < here[place]}
    assert {(each.repository, each.role) for each in found.newer} == {place for place in there if here.get(place, 0) < there[place]}
    assert {(each.repository, each.role) for each in found.same} == {place for place in here if there.get(place) == here[place]}
    assert all(each.version == here[each.repository, each.role] for each in [*found.lacks, *found.same])


def test_a_folder_is_the_same_as_a_server_that_has_what_it_has() -> None:
    ours = editions(files())
    found = compare(ours, standings(files()))
    assert (found.lacks, found.newer, found.same) == ([], [], ours)
    assert {edition.kept_as for edition in ours} == files().keys()
    assert {str(edition) for edition in ours} >= {"director root 1", "image targets 1"}


def test_a_bin_that_fell_out_of_use_is_nobodys_lack() -> None:
    stray = {**files(), "thermostat+bin-0.json": files()["thermostat.json"]}
    assert editions(stray) == editions(files())


def test_what_people_sign_and_expires_first_is_to_be_renewed_at_half_its_life() -> None:
    roles = standings(files())
    soon = structs.replace(roles[5], expires="2026-01-01T00:00:00Z")
    assert first_to_expire([*roles[:5], soon]) == soon
    assert renewal_of(soon) == parse_utc("2026-01-01T00:00:00Z") - timedelta(days=365) / 2
    targets = first_to_expire(roles)
    assert targets is not None
    assert (targets.label, renewal_of(targets)) == ("image-targets", NOW.replace(microsecond=0) + timedelta(days=45))
    online = served("image", "timestamp", 1)
    assert first_to_expire([online]) is None
