# SPDX-License-Identifier: Apache-2.0
"""Joining a fleet: all of an identity or none of it, whoever answers and wherever the power fails."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import structs

from surefoot.agent.enrol import Identity, enrol, read_identity
from surefoot.agent.keystore import FileKeys
from surefoot.agent.network import Patience
from surefoot.agent.renewal import Renewal
from surefoot.agent.storage import read_file
from surefoot.agent.trusted import TrustedStore
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import DeniedError, Error, InvalidInput, MetadataError, SignatureError, TransportError
from surefoot.model.record import from_json, to_json
from surefoot.model.wire import EnrolmentAnswer, EnrolmentOffer, EnrolmentRequest
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash
from surefoot.trust.verify import load
from tests.agent.loopback import Authority, Loopback, authority, http, loopback
from tests.trust.repositories import Repositories

REPOSITORIES = Repositories()
OTHER = Repositories()
ROOT = Path("/data-partition")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Loopback]:
    with loopback(tmp_path_factory.mktemp("server"), ca) as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(server: Loopback) -> None:
    server.answers.clear()
    server.requests.clear()


def offer_of(
    server: Loopback, ca: Authority, repositories: Repositories = REPOSITORIES, device_url: str = "https://devices:8443"
) -> EnrolmentOffer:
    return EnrolmentOffer(
        device_id=DeviceId("t-1"),
        hardware="thermostat-v1",
        enroll_url=server.url,
        device_url=device_url,
        token="secret",
        server_ca=ca.pem,
        director_root=repositories.director_root.decode(),
        image_root=repositories.image["root.json"].decode(),
    )


def issuing(ca: Authority) -> Callable[[bytes], bytes]:
    """Answer as a server does that takes the token."""

    def answer(body: bytes) -> bytes:
        csr = x509.load_pem_x509_csr(from_json(body, EnrolmentRequest, what="request").csr.encode())
        public = csr.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        return http("200 OK", to_json(EnrolmentAnswer(certificate=ca.issue("t-1", public=public))))

    return answer


def join(flash: SimulatedFlash, server: Loopback, ca: Authority, offer: EnrolmentOffer | None = None) -> None:
    server.answers[:] = [issuing(ca)]
    enrol(offer or offer_of(server, ca), flash, "data", TrustedStore(flash, "data/trusted"), FileKeys())


def identity(flash: SimulatedFlash) -> Identity | None:
    if read_file(flash, "data/identity/server.json") is None:
        with pytest.raises(InvalidInput, match="not enrolled"):
            read_identity(flash, ROOT, "data")
        return None
    return read_identity(flash, ROOT, "data")


def is_whole(flash: SimulatedFlash, repositories: Repositories, ca: Authority) -> bool:
    """Say whether key, certificate, CA and roots all lie there and belong together."""
    pem = read_file(flash, "data/identity/device.pem") or b""
    key = load_pem_private_key(pem, None)
    trusted = TrustedStore(flash, "data/trusted")
    return (
        key.public_key() == x509.load_pem_x509_certificate(pem).public_key()
        and read_file(flash, "data/identity/server-ca.pem") == ca.pem.encode()
        and trusted.load("director") == {"root.json": repositories.director_root}
        and trusted.load("image") == {"root.json": repositories.image["root.json"]}
    )


def test_a_device_that_joined_has_all_of_an_identity(server: Loopback, ca: Authority) -> None:
    flash = SimulatedFlash()
    assert identity(flash) is None
    join(flash, server, ca)
    found = identity(flash)
    assert found is not None
    assert found.device_url == "https://devices:8443"
    assert found.credentials.certificate == ROOT / "data/identity/device.pem"
    assert found.credentials.server_ca == ROOT / "data/identity/server-ca.pem"
    assert is_whole(flash, REPOSITORIES, ca)
    load(TrustedStore(flash, "data/trusted").load("director"))


def test_the_key_stays_at_home_and_the_token_goes_once(server: Loopback, ca: Authority) -> None:
    join(SimulatedFlash(), server, ca)
    (request,) = server.requests
    assert request.startswith(b"POST /v1/enroll HTTP/1.1\r\n")
    assert b"PRIVATE" not in request
    assert request.count(b"secret") == 1


def test_a_server_that_drips_is_left_when_it_has_taken_too_long(server: Loopback, ca: Authority) -> None:
    def drip() -> Iterator[bytes | None]:
        yield http("200 OK", Content_Length="1000000")
        while True:
            yield b" "
            yield None

    flash = SimulatedFlash()
    server.answers[:] = [drip()]
    soon = Patience(connect_s=1, wait_s=0.5, answer_s=0.5)
    with pytest.raises(TransportError, match="did not answer"):
        enrol(offer_of(server, ca), flash, "data", TrustedStore(flash, "data/trusted"), FileKeys(), patience=soon)
    assert flash.operations == 0


def unsigned(root: str) -> str:
    return root.replace('"sig":"30', '"sig":"31')


@pytest.mark.parametrize("which", ["director_root", "image_root"])
@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (unsigned, SignatureError),
        (lambda root: root.replace('"threshold":2', '"threshold":3').replace('"version":1', '"version":2'), SignatureError),
        (lambda root: root[:-1], MetadataError),
        (lambda _: "", MetadataError),
        (lambda _: REPOSITORIES.image["targets.json"].decode(), MetadataError),
    ],
)
def test_a_root_that_is_not_signed_by_itself_is_refused_before_anything_is_sent_or_written(
    server: Loopback, ca: Authority, which: str, spoil: Callable[[str], str], refusal: type[Error]
) -> None:
    flash = SimulatedFlash()
    offer = offer_of(server, ca)
    offer = structs.replace(offer, **{which: spoil(getattr(offer, which))})
    with pytest.raises(refusal):
        join(flash, server, ca, offer)
    assert (flash.operations, server.requests) == (0, [])


PROBLEM = b'{"type":"denied","status":403,"detail":"This token is not valid.","hint":"Make a new one."}'


@pytest.mark.parametrize(
    ("answer", "refusal", "says"),
    [
        (http("403 Forbidden", PROBLEM), DeniedError, "This token is not valid. Make a new one."),
        (http("404 Not Found", b"<html>"), DeniedError, "status 404. Is this the enrolment address"),
        (http("302 Found", Location="https://127.0.0.1:1/"), DeniedError, "status 302"),
        (http("500 Internal Server Error"), TransportError, "status 500"),
        (http("503 Service Unavailable", PROBLEM), TransportError, "This token is not valid."),
        (http("200 OK", b"<html>"), TransportError, "JSON is malformed"),
        (http("200 OK", b'{"certificate": 1}'), TransportError, "certificate"),
        (http("200 OK", b'{"certificate": "none"}'), TransportError, "not a certificate for this device's key"),
        (http("200 OK", b"{", Content_Length="9"), TransportError, "did not answer"),
        (b"", TransportError, "did not answer"),
    ],
    ids=["token", "page", "redirect", "broken", "away", "html", "number", "garbage", "cut", "nothing"],
)
def test_a_server_that_gives_no_certificate_changes_nothing(
    server: Loopback, ca: Authority, answer: bytes, refusal: type[Error], says: str
) -> None:
    flash = SimulatedFlash()
    server.will_answer(answer)
    with pytest.raises(refusal) as raised:
        enrol(offer_of(server, ca), flash, "data", TrustedStore(flash, "data/trusted"), FileKeys())
    assert says in str(raised.value)
    assert (flash.operations, len(server.requests)) == (0, 1)


def test_a_certificate_for_another_key_is_refused(server: Loopback, ca: Authority) -> None:
    flash = SimulatedFlash()
    foreign = ca.issue("t-1", public=ec.generate_private_key(ec.SECP256R1()).public_key())
    server.will_answer(http("200 OK", to_json(EnrolmentAnswer(certificate=foreign))))
    with pytest.raises(TransportError, match="not a certificate for this device's key"):
        enrol(offer_of(server, ca), flash, "data", TrustedStore(flash, "data/trusted"), FileKeys())
    assert flash.operations == 0


class Careless:
    """A server that renews with whatever it has."""

    def __init__(self, certificate: str) -> None:
        self.certificate = certificate

    def renew(self, _csr: str) -> str:
        return self.certificate

    def is_renewal_asked(self) -> bool:
        return False

    def reload(self) -> None:
        raise AssertionError("there is nothing new to use")


@pytest.mark.parametrize("which", ["garbage", "for another key"])
def test_a_renewal_with_a_wrong_certificate_leaves_the_old_identity(server: Loopback, ca: Authority, which: str) -> None:
    flash = SimulatedFlash()
    join(flash, server, ca)
    foreign = ca.issue("t-1", public=ec.generate_private_key(ec.SECP256R1()).public_key())
    renewal = Renewal(
        flash,
        "data",
        DeviceId("t-1"),
        Careless(foreign if which != "garbage" else "garbage"),
        VirtualClock(datetime.now(UTC) + timedelta(days=1)),
        keys=FileKeys(),
    )
    with pytest.raises(TransportError):
        renewal()
    assert is_whole(flash, REPOSITORIES, ca)


def test_a_server_of_another_authority_never_sees_the_token(server: Loopback, ca: Authority) -> None:
    flash = SimulatedFlash()
    with pytest.raises(TransportError, match="Is the server running"):
        join(flash, server, ca, structs.replace(offer_of(server, ca), server_ca=authority().pem))
    assert (flash.operations, server.requests) == (0, [])


def test_an_offer_without_a_readable_authority_asks_for_a_new_one(server: Loopback, ca: Authority) -> None:
    with pytest.raises(InvalidInput, match=r"Make a new enrol\.json"):
        join(SimulatedFlash(), server, ca, structs.replace(offer_of(server, ca), server_ca="garbage"))


@pytest.mark.parametrize("damage", Damage)
def test_a_cut_at_any_operation_leaves_a_whole_identity_or_none(server: Loopback, ca: Authority, damage: Damage) -> None:
    done = SimulatedFlash()
    join(done, server, ca)
    for cut_at in range(1, done.operations + 1):
        flash = SimulatedFlash()
        flash.cut_at = cut_at
        with pytest.raises(PowerCut):
            join(flash, server, ca)
        for seed in range(3):
            after = flash.power_cycle(damage, seed=seed)
            assert identity(after) is None or is_whole(after, REPOSITORIES, ca), after.log
            join(after, server, ca)
            assert identity(after) is not None
            assert is_whole(after, REPOSITORIES, ca)


@pytest.mark.parametrize("damage", Damage)
def test_a_cut_while_moving_to_another_fleet_never_mixes_the_two(server: Loopback, ca: Authority, damage: Damage) -> None:
    settled = SimulatedFlash()
    join(settled, server, ca)
    offer = offer_of(server, ca, OTHER, "https://others:8443")
    moved = settled.fork()
    join(moved, server, ca, offer)
    for cut_at in range(settled.operations + 1, moved.operations + 1):
        flash = settled.fork()
        flash.cut_at = cut_at
        with pytest.raises(PowerCut):
            join(flash, server, ca, offer)
        for seed in range(3):
            after = flash.power_cycle(damage, seed=seed)
            found = identity(after)
            if found is not None:
                fleet = REPOSITORIES if found.device_url == "https://devices:8443" else OTHER
                assert is_whole(after, fleet, ca), after.log
