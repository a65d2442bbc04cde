# SPDX-License-Identifier: Apache-2.0
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from surefoot.agent.enrol import keep_certificate, read_certificate
from surefoot.agent.keystore import FileKeys
from surefoot.agent.renewal import Renewal
from surefoot.agent.storage import Storage, read_file
from surefoot.fleet.enroll import certificate_terms
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import InvalidInput, TransportError
from surefoot.server.ca import DeviceCa, open_authorities
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash

NOW = datetime.fromisoformat("2026-11-23T08:00:00+00:00")
DEVICE = DeviceId("t-1")


class Issuer:
    """A device CA that can be out of reach."""

    def __init__(self, ca: DeviceCa, clock: VirtualClock) -> None:
        self.ca, self.clock, self.is_reachable = ca, clock, True
        self.issued = self.reloads = 0
        self.asks = False

    def renew(self, csr: str) -> str:
        if not self.is_reachable:
            raise TransportError("nobody there")
        self.issued += 1
        return self.ca.issue(csr, certificate_terms(DEVICE, self.clock.now())).pem

    def is_renewal_asked(self) -> bool:
        return self.asks

    def reload(self) -> None:
        self.reloads += 1


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> DeviceCa:
    return DeviceCa(open_authorities(tmp_path_factory.mktemp("ca"), (), NOW).device_ca)


def enrolled(ca: DeviceCa, flash: SimulatedFlash) -> tuple[Issuer, Renewal, VirtualClock]:
    clock = VirtualClock(NOW)
    issuer = Issuer(ca, clock)
    key = FileKeys().key_for(DEVICE)
    keep_certificate(flash, "data", key.pem, issuer.renew(key.csr))
    issuer.issued = 0
    return issuer, Renewal(flash, "data", DEVICE, issuer, clock, keys=FileKeys()), clock


def matches(storage: Storage) -> bool:
    pem = read_file(storage, "data/identity/device.pem") or b""
    key = load_pem_private_key(pem, None)
    return key.public_key() == x509.load_pem_x509_certificate(pem).public_key()


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_not_before(ca: DeviceCa) -> None:
    flash = SimulatedFlash()
    issuer, renewal, clock = enrolled(ca, flash)
    clock.sleep(timedelta(days=4, hours=15).total_seconds())
    renewal()
    assert issuer.issued == 0
    clock.sleep(timedelta(hours=1).total_seconds())
    renewal()
    renewal()
    assert (issuer.issued, issuer.reloads) == (1, 1)
    assert read_certificate(flash, "data").not_valid_after_utc == clock.now() + timedelta(days=7)
    assert matches(flash)


def test_a_clock_that_is_days_ahead_does_not_get_a_certificate_at_each_poll(ca: DeviceCa) -> None:
    issuer, renewal, clock = enrolled(ca, SimulatedFlash())
    issuer.clock = VirtualClock(NOW)
    clock.jump(timedelta(days=5).total_seconds())
    for _ in range(288):
        clock.sleep(300)
        issuer.clock.sleep(300)
        renewal()
    assert issuer.issued == 1
    issuer.asks = True
    renewal()
    assert issuer.issued == 2, "a server that asks is heard"
    issuer.asks = False
    clock.sleep(timedelta(days=2, hours=12).total_seconds())
    renewal()
    assert issuer.issued == 3, "by its own clock it is long due"


def test_the_agent_beats_between_making_a_key_and_asking_for_its_certificate(ca: DeviceCa) -> None:
    flash = SimulatedFlash()
    issuer, _, clock = enrolled(ca, flash)
    seen: list[int] = []
    renewal = Renewal(flash, "data", DEVICE, issuer, clock, keys=FileKeys(), beat=lambda: seen.append(issuer.issued))
    renewal()
    assert seen == []
    clock.sleep(timedelta(days=5).total_seconds())
    renewal()
    assert (seen, issuer.issued) == ([0], 1)


def test_while_the_server_is_away_the_old_certificate_serves_and_each_poll_tries_again(ca: DeviceCa) -> None:
    flash = SimulatedFlash()
    issuer, renewal, clock = enrolled(ca, flash)
    before = read_certificate(flash, "data")
    clock.sleep(timedelta(days=5).total_seconds())
    issuer.is_reachable = False
    with pytest.raises(TransportError):
        renewal()
    assert read_certificate(flash, "data") == before
    issuer.is_reachable = True
    renewal()
    assert read_certificate(flash, "data") != before


@pytest.mark.parametrize("damage", Damage)
def test_a_power_cut_at_any_operation_leaves_one_whole_identity(ca: DeviceCa, damage: Damage) -> None:
    flash = SimulatedFlash()
    _, renewal, clock = enrolled(ca, flash)
    clock.sleep(timedelta(days=5).total_seconds())
    first = flash.operations
    renewal()
    for cut in range(first + 1, flash.operations + 1):
        other = SimulatedFlash()
        _, again, clock = enrolled(ca, other)
        clock.sleep(timedelta(days=5).total_seconds())
        other.cut_at = cut
        with pytest.raises(PowerCut):
            again()
        assert matches(other.power_cycle(damage, seed=cut))


def test_a_device_without_a_certificate_is_told_to_enrol() -> None:
    with pytest.raises(InvalidInput, match="Enrol"):
        read_certificate(SimulatedFlash(), "data")


def test_a_server_that_asks_is_heard_at_once_and_then_not_for_an_hour(ca: DeviceCa) -> None:
    issuer, renewal, clock = enrolled(ca, SimulatedFlash())
    issuer.asks = True
    renewal()
    assert issuer.issued == 1
    clock.sleep(3_599)
    renewal()
    assert issuer.issued == 1
    clock.sleep(1)
    renewal()
    assert issuer.issued == 2


def test_an_early_renewal_that_fails_is_tried_again_an_hour_later(ca: DeviceCa) -> None:
    issuer, renewal, clock = enrolled(ca, SimulatedFlash())
    issuer.asks, issuer.is_reachable = True, False
    with pytest.raises(TransportError):
        renewal()
    renewal()
    issuer.is_reachable = True
    clock.sleep(3_600)
    renewal()
    assert issuer.issued == 1
