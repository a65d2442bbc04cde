# SPDX-License-Identifier: Apache-2.0
"""The director's views: one device each, one order at most, and never a version twice."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Snapshot, Targets, Timestamp

from surefoot.model.record import parse_utc, to_plain
from surefoot.trust.director import Directed, View, refresh_view, sign_view
from surefoot.trust.metadata import read
from surefoot.trust.verify import Trusted, load, refresh
from tests.trust.repositories import DEVICE, NOW, Repositories, manifest, order_for, view_files

WORLD = Repositories()
WANTED = manifest("1.1.0", b"image")
DIRECTED = Directed(
    path="thermostat/1.1.0/thermostat-v1-release",
    size=WANTED.image.size,
    hash=WANTED.image.hash,
    order=order_for(DEVICE, WANTED, 7, NOW),
)


def first(directed: Directed | None = DIRECTED, now: datetime = NOW) -> View:
    return sign_view(None, DEVICE, directed, WORLD.director, now)


def believed(view: View, now: datetime, before: Trusted | None = None) -> Trusted:
    """Return what a device trusts after it has met this view."""
    trusted = load(WORLD.trusted_director() if before is None else before.files, device_id=DEVICE)
    return refresh(trusted, view_files(view), now)


def test_a_first_view_begins_at_one_and_names_its_device_in_every_file() -> None:
    view = first()
    targets = read(view.targets, Targets, name="targets.json").signed
    snapshot = read(view.snapshot, Snapshot, name="snapshot.json").signed
    timestamp = read(view.timestamp, Timestamp, name="timestamp.json").signed
    assert (targets.version, snapshot.version, timestamp.version) == (1, 1, 1)
    for signed in (targets, snapshot, timestamp):
        assert signed.unrecognized_fields["device_id"] == DEVICE
    assert (view.targets_version, view.snapshot_version, view.timestamp_version) == (1, 1, 1)


def test_an_order_is_written_whole() -> None:
    (target,) = read(first().targets, Targets, name="targets.json").signed.targets.values()
    assert (target.path, target.length, target.custom) == (DIRECTED.path, DIRECTED.size, to_plain(DIRECTED.order))


def test_to_stay_as_you_are_is_an_order_too() -> None:
    assert read(first(None).targets, Targets, name="targets.json").signed.targets == {}
    assert believed(first(None), NOW).targets["targets"].targets == {}


def test_each_view_is_one_above_the_one_before_and_believed_after_it() -> None:
    one = first()
    two = sign_view(one, DEVICE, None, WORLD.director, NOW + timedelta(hours=1))
    assert (two.targets_version, two.snapshot_version, two.timestamp_version) == (2, 2, 2)
    trusted = believed(one, NOW)
    assert believed(two, NOW + timedelta(hours=1), trusted).targets["targets"].version == 2


def test_a_view_that_is_refreshed_early_gets_a_new_timestamp_alone() -> None:
    one = first()
    two = refresh_view(one, DIRECTED, WORLD.director, NOW + timedelta(hours=12))
    assert (two.targets, two.snapshot) == (one.targets, one.snapshot)
    assert (two.targets_version, two.snapshot_version, two.timestamp_version) == (1, 1, 2)
    assert two.renew_at == one.renew_at


def test_a_view_that_has_spent_half_its_life_is_signed_whole() -> None:
    one = first()
    two = refresh_view(one, DIRECTED, WORLD.director, one.renew_at)
    assert (two.targets_version, two.snapshot_version, two.timestamp_version) == (2, 2, 2)
    assert two.renew_at == one.renew_at + timedelta(days=3.5)


@pytest.mark.parametrize("microseconds", [0, 1, 999_999])
def test_times_are_whole_seconds_and_the_timestamp_says_when_it_was_made(microseconds: int) -> None:
    view = first(now=NOW + timedelta(microseconds=microseconds))
    timestamp = read(view.timestamp, Timestamp, name="timestamp.json").signed
    assert parse_utc(timestamp.unrecognized_fields["issued_at"]) == NOW
    assert timestamp.expires == NOW + timedelta(days=1)
    assert (view.refresh_at, view.renew_at) == (NOW + timedelta(hours=12), NOW + timedelta(days=3.5))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12))
def test_a_view_that_is_refreshed_when_it_is_due_is_always_believed(steps: list[tuple[float, bool]]) -> None:
    view, now = first(), NOW
    trusted = believed(view, now)
    for delay, is_new in steps:
        # A device polls at any moment up to when the view is due; then the server signs.
        now = max(now, now + (view.refresh_at - now) * delay)
        trusted = believed(view, now, trusted)
        now = max(now, view.refresh_at)
        before = view
        view = sign_view(view, DEVICE, None, WORLD.director, now) if is_new else refresh_view(view, DIRECTED, WORLD.director, now)
        assert view.timestamp_version == before.timestamp_version + 1
        assert now < view.refresh_at <= view.renew_at
        trusted = believed(view, now, trusted)
