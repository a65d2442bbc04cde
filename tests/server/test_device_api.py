# SPDX-License-Identifier: Apache-2.0
"""Tests of the device listener over real TLS."""

import json
import socket
import sqlite3
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec

from surefoot.fleet.enroll import CertificateTerms, certificate_terms
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import digest_of, hex_of
from surefoot.model.event import MAX_BATCH
from surefoot.server.ca import DeviceCa, open_authorities
from tests.server.running import Joined, Running, csr_for

IMAGE = bytes(range(256)) * 20
JOURNAL = "f1c2f1c2f1c2f1c2"


def event(seq: int, kind: str = "update.check.started", **more: object) -> dict[str, object]:
    return {"seq": seq, "type": kind, "at": "2026-11-23T08:00:00Z", **more}


@pytest.fixture(scope="module")
def ordered(server: Running) -> Joined:
    device = server.join()
    server.publish("1.1.0", IMAGE)
    assert server.order(device, "1.1.0").status == 201
    return device


def artifact(device: Joined, data: bytes = IMAGE) -> str:
    return f"{device.url}/v1/artifacts/{hex_of(digest_of(data))}"


def problem(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.json()["type"].removeprefix("urn:surefoot:problem:")


def outside(server: Running, certificate: str | None, *, tls12: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=server.offer()["server_ca"])
    if certificate is not None:
        context.load_cert_chain(certificate)
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def signed_by(ca: DeviceCa, server: Running, terms: CertificateTerms) -> Joined:
    key = ec.generate_private_key(ec.SECP256R1())
    offer = server.offer()
    return server.present(offer, ca.issue(csr_for(key), terms).pem, key)


def test_an_idle_poll_is_304_without_a_body_and_says_when_to_come_again(server: Running) -> None:
    device = server.join()
    etag = device.poll().headers["etag"]
    answer = device.poll(etag)
    assert (answer.status, answer.data, answer.headers["etag"]) == (304, b"", etag)
    assert 270 <= int(answer.headers["surefoot-next-poll"]) <= 330


def test_a_poll_with_an_order_says_where_the_image_is(ordered: Joined) -> None:
    answer = ordered.poll()
    hint = answer.json()["artifacts"][0]
    assert ordered.pool.request("GET", hint["urls"][0]).data == IMAGE


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-", 100, 5120), ("bytes=5000-9999", 5000, 5120), ("bytes=-20", 5100, 5120), ("bytes=-9999", 0, 5120)],
)
def test_a_range_is_served_as_asked(ordered: Joined, asked: str, start: int, end: int) -> None:
    answer = ordered.pool.request("GET", artifact(ordered), headers={"Range": asked})
    assert (answer.status, answer.data) == (206, IMAGE[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/5120"


@pytest.mark.parametrize("asked", ["bytes=5120-", "bytes=9999-10000", "bytes=-0"])
def test_a_range_outside_the_file_is_416(ordered: Joined, asked: str) -> None:
    assert problem(ordered.pool.request("GET", artifact(ordered), headers={"Range": asked})) == (416, "bad_range")


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=x-", "bytes=5-2", "bytes=-"])
def test_a_range_that_means_nothing_is_passed_over(ordered: Joined, asked: str) -> None:
    answer = ordered.pool.request("GET", artifact(ordered), headers={"Range": asked})
    assert (answer.status, answer.data) == (200, IMAGE)


def test_head_says_the_length_and_sends_nothing(ordered: Joined) -> None:
    answer = ordered.pool.request("HEAD", artifact(ordered))
    assert (answer.status, answer.headers["content-length"], answer.data) == (200, "5120", b"")


def test_s04_an_image_of_another_device_looks_like_one_that_is_not_there(server: Running, ordered: Joined) -> None:
    stranger = server.join()
    not_yours = stranger.pool.request("GET", artifact(ordered))
    not_there = stranger.pool.request("GET", artifact(ordered, b"nothing"))
    nonsense = stranger.pool.request("GET", f"{stranger.url}/v1/artifacts/..%2f..%2fsurefoot.db")
    assert not_yours.status == not_there.status == nonsense.status == 404
    assert not_yours.data == not_there.data == nonsense.data


def test_s01_without_a_certificate_there_is_no_answer(server: Running, ordered: Joined) -> None:
    pool = urllib3.PoolManager(ssl_context=outside(server, None), retries=False, timeout=20)
    for path in ("/v1/poll", "/v1/events", "/v1/artifacts/00"):
        with pytest.raises(urllib3.exceptions.HTTPError):
            pool.request("GET", ordered.url + path)


def test_s01_a_certificate_of_another_ca_gets_no_answer(server: Running, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    foreign = DeviceCa(open_authorities(tmp_path / "ca", (), now).device_ca)
    device = signed_by(foreign, server, certificate_terms(DeviceId("t-1"), now))
    with pytest.raises(urllib3.exceptions.HTTPError):
        device.poll()


def test_s01_the_servers_own_certificate_is_no_device(server: Running, ordered: Joined) -> None:
    context = outside(server, str(server.data / "ca" / "server.pem"))
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.PoolManager(ssl_context=context, retries=False, timeout=20).request("GET", ordered.url + "/v1/poll")


def test_s01_an_expired_certificate_gets_no_answer(server: Running) -> None:
    own = DeviceCa(open_authorities(server.data / "ca", (), datetime.now(UTC)).device_ca)
    device = signed_by(own, server, certificate_terms(DeviceId("t-1"), datetime.now(UTC) - timedelta(days=8)))
    with pytest.raises(urllib3.exceptions.HTTPError):
        device.poll()


def test_s01_a_certificate_the_server_does_not_know_is_denied(server: Running) -> None:
    own = DeviceCa(open_authorities(server.data / "ca", (), datetime.now(UTC)).device_ca)
    device = signed_by(own, server, certificate_terms(DeviceId("t-1"), datetime.now(UTC)))
    assert problem(device.poll()) == (403, "denied")


def test_s01_an_older_tls_is_refused(server: Running, ordered: Joined) -> None:
    context = outside(server, str(ordered.certificate), tls12=True)
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.PoolManager(ssl_context=context, retries=False, timeout=20).request("GET", ordered.url + "/v1/poll")


def test_s02_expiry_counts_on_a_kept_connection(server: Running) -> None:
    device = server.join()
    assert device.poll().status == 200
    server.clock.shift = timedelta(days=7, seconds=1)
    try:
        assert problem(device.poll()) == (403, "denied")
    finally:
        server.clock.shift = timedelta()
    assert device.poll().status == 200
    assert [pool.num_connections for pool in pools(device)] == [1]


@pytest.mark.parametrize(
    "revocation",
    [
        "UPDATE certificate SET revoked_at = 1 WHERE device_id = ?",
        "UPDATE device SET state = 'revoked' WHERE device_id = ?",
        "DELETE FROM certificate WHERE device_id = ?",
    ],
)
def test_s02_revocation_counts_on_a_kept_connection(server: Running, revocation: str) -> None:
    device = server.join()
    assert device.poll().status == 200
    with closing(sqlite3.connect(server.data / "surefoot.db", timeout=20)) as database, database:
        database.execute(revocation, (device.device_id,))
    for answer in (device.poll(), device.send({"journal": JOURNAL, "events": [event(1)]}), device.get("/v1/artifacts/00")):
        assert problem(answer) == (403, "denied")
    assert [pool.num_connections for pool in pools(device)] == [1]


def test_s02_sessions_cannot_be_resumed(server: Running, ordered: Joined) -> None:
    host, port = ordered.url.removeprefix("https://").split(":")
    context = outside(server, str(ordered.certificate))
    with socket.create_connection((host, int(port)), timeout=20) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
        secure.sendall(b"GET /v1/poll HTTP/1.1\r\nHost: x\r\n\r\n")
        assert secure.recv(100).startswith(b"HTTP/1.1 200")
        assert secure.session is None or not secure.session.has_ticket


def test_s03_an_identity_in_a_header_is_not_read(server: Running, ordered: Joined) -> None:
    stranger = server.join()
    answer = stranger.get("/v1/poll", X_Client_Cert="t-1", X_Forwarded_Client_Cert=f"URI=urn:surefoot:device:{ordered.device_id}")
    assert answer.json().get("artifacts", []) == []


def test_events_are_acknowledged_once_stored(server: Running) -> None:
    device = server.join()
    answer = device.send({"journal": JOURNAL, "events": [event(1), event(2)]})
    assert (answer.status, answer.json()) == (200, {"acknowledged": {"journal": JOURNAL, "seq": 2}})
    assert [stored["event"]["seq"] for stored in server.story(device)["events"]] == [2, 1]


def test_a_newer_agents_words_are_kept_and_change_nothing(server: Running, ordered: Joined) -> None:
    batch = {"journal": JOURNAL, "events": [{**event(1, "update.made.up"), "surprise": 1}], "more": True}
    assert ordered.send(batch).status == 200
    assert server.story(ordered)["events"][0]["event"]["type"] == "update.made.up"
    assert "outcome" not in server.story(ordered)["assignments"][0]


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"not json",
        b"[1]",
        b'{"journal": "short", "events": []}',
        {"journal": JOURNAL, "events": [event(0)]},
        {"journal": JOURNAL, "events": [event(1, "Not A Word")]},
        {"journal": JOURNAL, "events": [event(2), event(1)]},
        {"journal": JOURNAL, "events": [event(1, assignment_id=0)]},
        {"journal": JOURNAL, "events": [event(n) for n in range(1, MAX_BATCH + 2)]},
    ],
)
def test_a_malformed_batch_is_a_problem_and_stores_nothing(server: Running, ordered: Joined, batch: object) -> None:
    before = server.story(ordered)["events"]
    assert problem(ordered.send(batch)) == (400, "bad_format")
    assert server.story(ordered)["events"] == before


def test_the_largest_batch_is_taken(server: Running) -> None:
    device = server.join()
    assert (
        device.send({"journal": JOURNAL, "events": [event(n) for n in range(1, MAX_BATCH + 1)]}).json()["acknowledged"]["seq"] == MAX_BATCH
    )


def test_an_oversize_batch_is_refused_before_it_is_read(ordered: Joined) -> None:
    assert problem(ordered.send(b" " * ((1 << 20) + 1))) == (413, "too_large")


def test_an_oversize_batch_without_a_length_is_refused_too(ordered: Joined) -> None:
    pieces = (b" " * 65_536 for _ in range(17))
    answer = ordered.pool.request("POST", ordered.url + "/v1/events", body=pieces, headers={"Transfer-Encoding": "chunked"})
    assert problem(answer) == (413, "too_large")


def test_what_is_not_there_and_what_is_not_meant_are_problems(ordered: Joined) -> None:
    assert problem(ordered.get("/v1/nothing")) == (404, "not_found")
    assert problem(ordered.get("/v1/events")) == (405, "bad_method")
    assert problem(ordered.pool.request("POST", ordered.url + "/v1/poll", body=b"")) == (405, "bad_method")


def test_a_report_ends_the_attempt_and_the_next_poll_says_stay(server: Running) -> None:
    device = server.join()
    server.publish("1.4.0", b"image 1.4.0")
    assignment = server.order(device, "1.4.0").json()["assignment_id"]
    etag = device.poll().headers["etag"]
    report = {
        "hardware": "thermostat-v1",
        "bootloader_version": "1.0.0",
        "agent_version": "0.1.0",
        "slot": "b",
        "product": "thermostat",
        "version": "1.4.0",
        "build_id": "x",
        "hash": digest_of(b"image 1.4.0"),
        "release_counter": 1,
    }
    device.send({"journal": JOURNAL, "events": [event(1, "update.health.ok", assignment_id=assignment)], "report": report})
    story = server.story(device)
    assert story["assignments"][0]["outcome"] == "succeeded"
    assert story["device"]["report"] == report
    answer = device.poll(etag)
    assert answer.status == 200
    assert json.loads(answer.data).get("artifacts", []) == []


def pools(device: Joined) -> list[urllib3.HTTPConnectionPool]:
    return [device.pool.pools[key] for key in device.pool.pools.keys()]  # noqa: SIM118  # not a mapping
