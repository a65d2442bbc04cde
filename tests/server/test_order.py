# SPDX-License-Identifier: Apache-2.0
"""Tests of orders: what is chosen, and what is refused before it is signed."""

import json

import pytest

from surefoot.fleet.device import DeviceState
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.errors import ConflictError, InvalidInput, UnknownError
from surefoot.model.event import EventType
from tests.server.office import DEVICE, Office, event


def test_the_signed_order_says_which_attempt_it_is(office: Office) -> None:
    wanted = office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    view = office.ledger.view(DEVICE)
    assert view is not None
    signed = json.loads(view.view.targets)["signed"]
    custom = signed["targets"]["thermostat/1.1.0/thermostat-v1-release"]["custom"]
    assert signed["device_id"] == custom["device_id"] == DEVICE
    assert custom["assignment_id"] == attempt.assignment_id
    assert custom["must_match"]["build_id"] == wanted.build_id
    assert (custom["start_before"], custom["deadline_s"]) == ("2026-11-24T08:00:00Z", 14_400)


def test_a_new_order_supersedes_the_open_one(office: Office) -> None:
    office.add_release("1.1.0")
    first, second = office.order("1.1.0"), office.order("1.1.0")
    assert office.attempt(first).outcome is Outcome.SUPERSEDED
    assert office.ledger.open_attempt(DEVICE) == second


def test_no_assignment_id_ends_in_zero(office: Office) -> None:
    office.add_release("1.1.0")
    ids = [office.order("1.1.0").assignment_id for _ in range(21)]
    assert ids == [n for n in range(1, 24) if n % 10]


def test_who_ordered_is_stored(office: Office) -> None:
    office.add_release("1.1.0")
    office.order("1.1.0")
    acts = office.ledger._connection.execute("SELECT by, what, subject FROM act").fetchall()
    assert acts == [("ann", "device.order", "t-1 thermostat 1.1.0")]


def test_an_unknown_device_or_release_is_refused(office: Office) -> None:
    office.add_release("1.1.0")
    with pytest.raises(UnknownError, match="no device nobody"):
        office.order("1.1.0", DeviceId("nobody"))
    with pytest.raises(UnknownError, match=r"version 9\.9\.9"):
        office.order("9.9.9")
    with pytest.raises(UnknownError, match=r"no release toaster 1\.1\.0"):
        office.order("1.1.0", product="toaster")
    with pytest.raises(UnknownError, match=r"no variant 'debug'.*It has: release"):
        office.order("1.1.0", variant="debug")


def test_a_release_for_other_hardware_is_refused(office: Office) -> None:
    office.add_release("1.1.0", hardware="thermostat-v9")
    with pytest.raises(InvalidInput, match=r"does not fit device t-1, which is thermostat-v1\. It fits: thermostat-v9"):
        office.order("1.1.0")


def test_a_revoked_device_takes_no_orders(office: Office) -> None:
    office.add_release("1.1.0")
    office.add_device(DeviceId("t-2"), DeviceState.REVOKED)
    with pytest.raises(ConflictError, match="revoked"):
        office.order("1.1.0", DeviceId("t-2"))


def test_what_already_runs_is_not_ordered(office: Office) -> None:
    wanted = office.add_release("1.1.0")
    office.report(event(1, EventType.CHECK_STARTED), running=wanted.image.hash)
    with pytest.raises(ConflictError, match="already runs"):
        office.order("1.1.0")


def test_the_product_is_the_one_that_runs_when_several_have_the_version(office: Office) -> None:
    office.add_release("1.1.0")
    office.add_release("1.1.0", b"bread", product="toaster")
    with pytest.raises(InvalidInput, match="thermostat, toaster"):
        office.order("1.1.0")
    office.report(event(1, EventType.CHECK_STARTED), running=digest_of(b"an older thermostat"))
    assert office.order("1.1.0").product == "thermostat"
