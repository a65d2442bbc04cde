# SPDX-License-Identifier: Apache-2.0
"""Tests of the certificate authorities: what is in a certificate, and which requests get one."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from surefoot.fleet.enroll import certificate_terms
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import FormatError, InvalidInput, StoreError
from surefoot.server.ca import RENEWAL_WINDOW_S, DeviceCa, open_authorities, retire_device_ca, rotate_device_ca
from surefoot.server.services.ports import Peer
from tests.server.running import csr_for

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
TERMS = certificate_terms(DeviceId("t-1"), NOW)


@pytest.fixture(scope="module")
def device_ca(tmp_path_factory: pytest.TempPathFactory) -> DeviceCa:
    return DeviceCa(open_authorities(tmp_path_factory.mktemp("ca"), (), NOW).device_ca)


def greedy_request(key: ec.EllipticCurvePrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:surefoot:device:other")]), critical=False)
    )
    return csr_for(key, builder)


def test_s06_only_the_public_key_of_a_request_is_used(device_ca: DeviceCa) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = device_ca.issue(greedy_request(key), TERMS)
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    extensions = certificate.extensions
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=t-1"
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:surefoot:device:t-1"]
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7)
    assert f"{certificate.serial_number:x}" == issued.serial


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_strong_keys_get_a_certificate(device_ca: DeviceCa, key: CertificateIssuerPrivateKeyTypes) -> None:
    assert device_ca.issue(csr_for(key), TERMS).pem.startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65_537, 1024),  # noqa: S505  # weak on purpose
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
)
def test_s06_other_keys_do_not(device_ca: DeviceCa, key: CertificateIssuerPrivateKeyTypes) -> None:
    with pytest.raises(FormatError, match="may not use"):
        device_ca.issue(csr_for(key), TERMS)


def test_s06_a_request_not_signed_by_its_own_key_is_refused(device_ca: DeviceCa) -> None:
    signed = x509.load_pem_x509_csr(csr_for(ec.generate_private_key(ec.SECP256R1())).encode())
    other = x509.load_pem_x509_csr(csr_for(ec.generate_private_key(ec.SECP256R1())).encode())
    body = signed.tbs_certrequest_bytes
    swapped = signed.public_bytes(Encoding.DER).replace(body, other.tbs_certrequest_bytes)
    with pytest.raises(FormatError, match=r"own key|read"):
        device_ca.issue(ssl.DER_cert_to_PEM_cert(swapped).replace("CERTIFICATE", "CERTIFICATE REQUEST"), TERMS)


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"])
def test_s06_what_is_no_request_is_refused(device_ca: DeviceCa, text: str) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        device_ca.issue(text, TERMS)


def test_the_server_certificate_covers_the_names_asked_for_and_its_ca_stays(tmp_path: Path) -> None:
    first = open_authorities(tmp_path, (), NOW)
    second = open_authorities(tmp_path, ("ota.example.com", "192.0.2.7"), NOW)
    certificate = x509.load_pem_x509_certificate(second.server_chain.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "ota.example.com"}
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1", "192.0.2.7"}
    assert first.server_ca == second.server_ca
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(second.server_ca.encode()))


def test_a_server_certificate_is_kept_until_it_nears_its_end(tmp_path: Path) -> None:
    chain = open_authorities(tmp_path, (), NOW).server_chain
    before = chain.read_bytes()
    open_authorities(tmp_path, (), NOW + timedelta(days=300))
    assert chain.read_bytes() == before
    open_authorities(tmp_path, (), NOW + timedelta(days=340))
    assert chain.read_bytes() != before


def test_the_two_trees_share_nothing_and_keys_are_for_their_owner(tmp_path: Path) -> None:
    found = open_authorities(tmp_path, (), NOW)
    assert found.server_ca != found.device_ca.pem
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_damaged_authority_stops_the_start_and_is_not_replaced(tmp_path: Path) -> None:
    open_authorities(tmp_path, (), NOW)
    (tmp_path / "device-ca.pem").write_text("damaged")
    with pytest.raises(StoreError, match="cannot be used"):
        open_authorities(tmp_path, (), NOW)
    assert (tmp_path / "device-ca.pem").read_text() == "damaged"


def test_the_newest_device_ca_issues_and_the_others_stay_accepted(tmp_path: Path) -> None:
    first = open_authorities(tmp_path, (), NOW)
    made = rotate_device_ca(tmp_path, NOW + timedelta(days=1))
    after = open_authorities(tmp_path, (), NOW + timedelta(days=1))
    assert [ca.name for ca in after.accepted] == ["device-ca", "device-ca-2"]
    assert after.accepted[0].pem == first.device_ca.pem
    issued = DeviceCa(after.device_ca).issue(csr_for(ec.generate_private_key(ec.SECP256R1())), TERMS)
    assert issued.issuer == made.issuer
    x509.load_pem_x509_certificate(issued.pem.encode()).verify_directly_issued_by(made.certificate)


def test_a_name_is_not_given_twice_and_the_first_ca_does_not_come_back(tmp_path: Path) -> None:
    open_authorities(tmp_path, (), NOW)
    assert rotate_device_ca(tmp_path, NOW).name == "device-ca-2"
    retire_device_ca(tmp_path, "device-ca")
    assert [ca.name for ca in open_authorities(tmp_path, (), NOW).accepted] == ["device-ca-2"]
    assert rotate_device_ca(tmp_path, NOW).name == "device-ca-3"


@pytest.mark.parametrize("name", ["device-ca", "server-ca", "../device-ca", ""])
def test_neither_the_issuing_ca_nor_what_is_none_is_retired(tmp_path: Path, name: str) -> None:
    open_authorities(tmp_path, (), NOW)
    with pytest.raises(InvalidInput):
        retire_device_ca(tmp_path, name)
    assert (tmp_path / "device-ca.pem").exists()


def test_a_folder_without_a_device_ca_is_not_rotated(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="first start"):
        rotate_device_ca(tmp_path, NOW)


def test_only_certificates_of_another_ca_are_asked_to_renew_early(tmp_path: Path) -> None:
    old = open_authorities(tmp_path, (), NOW)
    rotate_device_ca(tmp_path, NOW)
    device_ca = DeviceCa(open_authorities(tmp_path, (), NOW).device_ca)
    now_s = int(NOW.timestamp())
    peers = [Peer(device_id=DeviceId(f"t-{n}"), serial="1", not_after=2**40, issuer=old.accepted[0].issuer) for n in range(200)]
    moments = [device_ca.renew_in_s(peer, now_s) for peer in peers]
    assert all(moment is not None and 0 <= moment < RENEWAL_WINDOW_S for moment in moments)
    assert len(set(moments)) > 190
    assert device_ca.renew_in_s(replace(peers[0], issuer=DeviceCa(old.device_ca).issue(csr_for(KEY), TERMS).issuer), now_s) == moments[0]
    assert device_ca.renew_in_s(replace(peers[0], issuer=device_ca.issue(csr_for(KEY), TERMS).issuer), now_s) is None
