# SPDX-License-Identifier: Apache-2.0
"""Tests of the enrolment listener over real TLS."""

import threading
from datetime import timedelta

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.server.running import Running, csr_for

KEY = ec.generate_private_key(ec.SECP256R1())
CSR = csr_for(KEY)


def problem(answer: urllib3.BaseHTTPResponse) -> tuple[int, str, str]:
    found = answer.json()
    return answer.status, found["type"].removeprefix("urn:surefoot:problem:"), found["detail"]


def test_a_token_and_a_request_give_a_certificate_that_polls(server: Running) -> None:
    offer = server.offer()
    answer = server.enroll(offer, CSR)
    assert answer.status == 200
    assert server.present(offer, answer.json()["certificate"], KEY).poll().status == 200


def test_s05_twenty_uses_at_once_give_one_certificate(server: Running) -> None:
    offer = server.offer()
    statuses, together = list[int](), threading.Barrier(20)

    def use() -> None:
        together.wait(20)
        statuses.append(server.enroll(offer, CSR).status)

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [403] * 19


def test_s05_every_reason_reads_the_same(server: Running) -> None:
    used, late, plain = server.offer(), server.offer(), server.offer()
    server.enroll(used, CSR)
    refusals = [
        problem(server.enroll(used, CSR)),
        problem(server.enroll(plain, CSR, token="guess")),
        problem(server.enroll(plain, CSR, device_id="another")),
        problem(server.enroll(plain, CSR, hardware="another")),
    ]
    server.clock.shift = timedelta(hours=24, seconds=1)
    try:
        refusals.append(problem(server.enroll(late, CSR)))
    finally:
        server.clock.shift = timedelta()
    assert set(refusals) == {(403, "denied", "This token does not let this device join.")}


def test_s05_a_refused_use_leaves_the_token_for_its_device(server: Running) -> None:
    offer = server.offer()
    server.enroll(offer, CSR, hardware="another")
    assert server.enroll(offer, CSR).status == 200


def test_s06_a_request_that_cannot_be_used_does_not_use_the_token_up(server: Running) -> None:
    offer = server.offer()
    weak = csr_for(rsa.generate_private_key(65_537, 1024))  # noqa: S505  # weak on purpose
    assert problem(server.enroll(offer, weak))[:2] == (400, "bad_format")
    assert server.enroll(offer, CSR).status == 200


def test_s06_a_megabyte_is_not_read(server: Running) -> None:
    assert problem(server.enroll(server.offer(), "x" * 1_000_000))[:2] == (413, "too_large")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/enroll", 405), ("POST", "/v1/poll", 404), ("POST", "/v1/enroll", 400)])
def test_other_calls_are_problems(server: Running, method: str, path: str, status: int) -> None:
    offer = server.offer()
    pool = urllib3.PoolManager(ca_cert_data=offer["server_ca"], retries=False, timeout=20)
    assert problem(pool.request(method, offer["enroll_url"] + path, body=b"{}" if method == "POST" else None))[0] == status


def test_a_device_that_joins_again_gets_another_certificate(server: Running) -> None:
    first = server.join("again")
    second = server.join("again")
    assert first.poll().status == second.poll().status == 200


def test_the_offer_carries_what_the_device_trusts(server: Running) -> None:
    offer = server.offer()
    assert offer["image_root"].encode() == server.repositories.image["root.json"]
    assert offer["director_root"].encode() == server.repositories.director_root
    x509.load_pem_x509_certificate(offer["server_ca"].encode())


def test_the_secret_of_a_token_is_not_stored(server: Running) -> None:
    secret = server.offer()["token"].encode()
    stored = b"".join(path.read_bytes() for path in server.data.glob("surefoot.db*"))
    assert secret not in stored
