# SPDX-License-Identifier: Apache-2.0
"""Tests of orders: what is chosen, and what is refused before it is signed."""

import json

import pytest
from msgspec import structs

from surefoot.fleet.device import DeviceState
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.errors import ConflictError, InvalidInput, UnknownError, VersionRuleError
from surefoot.model.event import EventType
from surefoot.model.manifest import Requires
from tests.server.office import DEVICE, Office, event, statement


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


def say(office: Office, version: str, **facts: object) -> None:
    """Let the device say what it runs."""
    said = structs.replace(statement(digest_of(version.encode())), version=version, **facts)
    office.ledger.put_report(DEVICE, said)


def acts(office: Office) -> list[str]:
    return [subject for (subject,) in office.ledger._connection.execute("SELECT subject FROM act WHERE what = 'device.order'")]


@pytest.mark.parametrize(
    ("rules", "version", "approval"),
    [({}, "2.0.0", "major"), ({"breaking": True}, "1.1.0", "breaking"), ({"breaking": True}, "2.0.0", "major")],
)
def test_what_a_person_must_approve_is_refused_without_and_kept_with_it(
    office: Office, rules: dict[str, bool], version: str, approval: str
) -> None:
    office.add_release(version, rules=rules)
    say(office, "1.0.0")
    with pytest.raises(VersionRuleError, match=rf"somebody must approve it\. If that is meant, order it with --approve-{approval}"):
        office.order(version)
    with pytest.raises(VersionRuleError):
        office.order(version, approvals=["breaking" if approval == "major" else "major"])
    assert (acts(office), office.ledger.open_attempt(DEVICE)) == ([], None)
    office.order(version, approvals=[approval])
    assert acts(office) == [f"t-1 thermostat {version}, approved: {approval}"]


def test_a_device_that_must_go_through_another_release_first_is_refused_with_the_path(office: Office) -> None:
    office.add_release("1.2.0", b"two")
    office.add_release("1.3.0", b"three", rules={"requires": Requires(from_=">=1.2.0")})
    say(office, "1.0.0")
    with pytest.raises(VersionRuleError, match=r"The path is 1\.0\.0 -> 1\.2\.0 -> 1\.3\.0: order 1\.2\.0 first\.$"):
        office.order("1.3.0")
    office.ledger.set_retired("thermostat", "1.2.0", True)  # noqa: FBT003  # the fact that is stored
    with pytest.raises(VersionRuleError, match=r"this device runs 1\.0\.0\. Release a version that leads there"):
        office.order("1.3.0")


@pytest.mark.parametrize(
    ("facts", "rules", "says"),
    [
        ({"release_counter": 2}, {}, "Release counter 1 is below 2"),
        ({"data_format": 2}, {"data_format": 1}, "Data format 1 is below the stored 2"),
        ({"version": "1.2.0"}, {}, r"1\.2\.0 does not allow going back to 1\.1\.0"),
        ({"version": "1.1.5", "revert_to": "none"}, {}, "does not allow going back"),
        ({"bootloader_version": "0.9.0"}, {}, r"needs bootloader 1\.0\.0; this board has 0\.9\.0\. Renew the bootloader"),
        ({"product": "toaster"}, {}, "this device runs toaster"),
        ({"version": "1.0.0-01"}, {}, "not a semantic version"),
    ],
)
def test_what_the_device_would_refuse_is_not_ordered(office: Office, facts: dict[str, object], rules: dict[str, int], says: str) -> None:
    office.add_release("1.1.0", rules=rules)
    say(office, **{"version": "1.0.0", **facts})  # type: ignore[arg-type]  # the version is a text
    with pytest.raises(VersionRuleError, match=says):
        office.order("1.1.0", product="thermostat")
    assert office.ledger.open_attempt(DEVICE) is None


def test_going_back_as_the_device_says_it_may_is_ordered(office: Office) -> None:
    office.add_release("1.1.0")
    say(office, "1.4.0", revert_to=["1.1.0"])
    assert office.order("1.1.0").version == "1.1.0"


def test_another_variant_of_what_runs_is_ordered(office: Office) -> None:
    office.add_release("1.1.0", rules={"variant": "debug"})
    say(office, "1.1.0")
    assert office.order("1.1.0", variant="debug").variant == "debug"
