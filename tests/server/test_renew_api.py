# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.server.running import Joined, Running, csr_for, running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as server:
        yield server


def test_a_device_gets_its_next_certificate_with_the_one_it_has_and_both_serve(fresh: Running) -> None:
    offer = fresh.offer()
    device = fresh.present(offer, *_enrolled(fresh, offer))
    key = ec.generate_private_key(ec.SECP256R1())
    asked_for = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
    answer = call(device, "/v1/renew", {"csr": csr_for(key, asked_for)})
    assert answer.status == 200, answer.data
    pem = json.loads(answer.data)["certificate"]
    subject = x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()
    assert subject == f"CN={offer['device_id']}", "nothing of a request counts but its key"
    renewed = fresh.present(offer, pem, key)
    assert (device.poll().status, renewed.poll().status) == (200, 200)


def test_a_renewal_that_is_no_request_is_refused(fresh: Running) -> None:
    device = fresh.join()
    assert call(device, "/v1/renew", {"csr": "nonsense"}).status == 400
    assert call(device, "/v1/renew", {"csr": "x", "device_id": "other"}).status == 400
    assert device.get("/v1/renew").status == 405


def call(device: Joined, path: str, request: dict[str, str]) -> urllib3.BaseHTTPResponse:
    return device.pool.request("POST", device.url + path, body=json.dumps(request))


def _enrolled(server: Running, offer: dict[str, str]) -> tuple[str, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    answer = server.enroll(offer, csr_for(key))
    return json.loads(answer.data)["certificate"], key
