# SPDX-License-Identifier: Apache-2.0
"""The transport against a real TLS server that misbehaves: every failure is a ``TransportError``, soon, and believed by nobody."""

import gzip
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from surefoot.agent.network import Patience
from surefoot.agent.transport import DEFAULT_POLL_S, MAX_ANSWER_BYTES, Credentials, HttpsServer
from surefoot.model.errors import InvalidInput, TransportError
from surefoot.model.event import EventBatch
from surefoot.model.record import to_json
from tests.agent.loopback import Authority, Loopback, authority, http, loopback
from tests.agent.moments import ANSWER

BATCH = EventBatch(journal="0" * 16, events=[])
SOON = Patience(connect_s=1, wait_s=0.3, answer_s=0.6)


@pytest.fixture
def agent(peer: Loopback, credentials: Credentials) -> HttpsServer:
    return HttpsServer(peer.url + "/", credentials, patience=SOON)


def test_an_idle_poll_names_what_it_has_and_learns_when_to_come_again(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(http("304 Not Modified", Surefoot_Next_Poll="77", Content_Length=""))
    polled = agent.poll('"7"')
    assert (polled.answer, polled.next_poll_s, polled.etag) == (None, 77, '"7"')
    assert peer.requests[0].startswith(b"GET /v1/poll HTTP/1.1\r\n")
    assert b'if-none-match: "7"' in peer.requests[0].lower()


@pytest.mark.parametrize(
    ("said", "meant"),
    [("", DEFAULT_POLL_S), ("soon", DEFAULT_POLL_S), ("0", 1), ("-5", DEFAULT_POLL_S), ("9" * 10, 86_399), ("9" * 5000, DEFAULT_POLL_S)],
)
def test_a_strange_interval_does_no_harm(peer: Loopback, agent: HttpsServer, said: str, meant: int) -> None:
    peer.will_answer(http("304 Not Modified", Surefoot_Next_Poll=said, Content_Length=""))
    assert agent.poll("1").next_poll_s == meant


@pytest.mark.parametrize("poison", ['"a\x01b"', "no quotes", '"' + "x" * 600 + '"'])
def test_a_tag_that_no_server_would_understand_is_forgotten(peer: Loopback, agent: HttpsServer, poison: str) -> None:
    peer.will_answer(http("200 OK", to_json(ANSWER), ETag=poison))
    assert agent.poll("").etag == ""


def test_news_come_with_their_tag(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(http("200 OK", to_json(ANSWER), ETag='"8"'))
    polled = agent.poll("")
    assert (polled.answer, polled.next_poll_s, polled.etag) == (ANSWER, 300, '"8"')
    assert b"if-none-match" not in peer.requests[0].lower()


def test_a_report_is_sent_whole_and_acknowledged(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(http("200 OK", b'{"acknowledged":{"journal":"%s","seq":4}}' % (b"0" * 16)))
    assert agent.send(BATCH).acknowledged.seq == 4
    assert peer.requests[0].startswith(b"POST /v1/events HTTP/1.1\r\n")
    assert peer.requests[0].endswith(to_json(BATCH))


def test_a_certificate_is_asked_for(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(http("200 OK", b'{"certificate":"PEM"}'))
    assert agent.renew("CSR") == "PEM"
    assert peer.requests[0].endswith(b'{"csr":"CSR"}')


def test_new_credentials_are_used_from_then_on_and_bad_ones_are_not(
    peer: Loopback, agent: HttpsServer, credentials: Credentials, ca: Authority
) -> None:
    peer.will_answer(*[http("304 Not Modified", Content_Length="")] * 3)
    agent.poll("1")
    credentials.certificate.write_text("garbage")
    with pytest.raises(InvalidInput):
        agent.reload()
    agent.poll("1")
    credentials.certificate.write_text(ca.issue("t-1", ec.generate_private_key(ec.SECP256R1())))
    agent.reload()
    agent.poll("1")


BAD = {
    "an error of the server": (http("500 Internal Server Error", b"it broke"), "status 500: it broke"),
    "an error without words": (http("503 Service Unavailable"), "status 503"),
    "a refusal": (http("403 Forbidden", b"{}"), "status 403"),
    "a redirect": (http("302 Found", Location="https://127.0.0.1:1/"), "status 302"),
    "an answer without a body": (http("200 OK"), "truncated"),
    "garbage": (http("200 OK", b"\xff\xfe{]"), ""),
    "another document": (http("200 OK", b'{"next_poll_s": "soon"}'), "next_poll_s"),
    "a number out of range": (http("200 OK", b'{"next_poll_s": 0, "metadata": {}}'), "next_poll_s"),
    "a body that is cut off": (http("200 OK", b"{", Content_Length="100"), "did not answer"),
    "a body that is too large": (http("200 OK", b" " * (MAX_ANSWER_BYTES + 1)), f"more than {MAX_ANSWER_BYTES} bytes"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer"),
    "nothing at all": (b"", "did not answer"),
    "a head without an end": (b"HTTP/1.1 200 OK\r\n", "truncated"),
    "a length that is none": (http("200 OK", b"{", Content_Length="-1"), ""),
    "a chunk that is none": (http("200 OK", b"zz\r\n", Content_Length="", Transfer_Encoding="chunked"), "did not answer"),
    "a packed body that nobody asked for": (http("200 OK", gzip.compress(to_json(ANSWER)), Content_Encoding="gzip"), "JSON is malformed"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=list(BAD))
def test_an_answer_that_is_none_is_a_transport_error(peer: Loopback, agent: HttpsServer, case: tuple[bytes, str]) -> None:
    answer, says = case
    peer.will_answer(answer, answer, answer)
    for ask in (lambda: agent.poll("1"), lambda: agent.send(BATCH), lambda: agent.renew("CSR")):
        with pytest.raises(TransportError) as raised:
            ask()
        assert says in raised.value.message
    assert len(peer.requests) == 3, "a redirect is not followed"


def test_a_server_that_says_nothing_is_left_soon(peer: Loopback, agent: HttpsServer) -> None:
    peer.answers.append(repeat(None))
    with pytest.raises(TransportError, match="did not answer"):
        agent.poll("1")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nX: " + b"x" * 10_000
CHUNKS = http("200 OK", Content_Length="", Transfer_Encoding="chunked")
DRIPS = {
    "the body": (http("200 OK", Content_Length="1000000"), b" "),
    "the head": (HEAD, b"x"),
    "the status": (b"", b"H"),
    "a hundred that never ends": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the size of a chunk": (CHUNKS, b"0"),
}


def dripping(begin: bytes, drop: bytes) -> Iterator[bytes | None]:
    if begin:
        yield begin
    while True:
        yield drop
        yield None


@pytest.mark.parametrize("drip", DRIPS.values(), ids=list(DRIPS))
def test_an_answer_that_drips_is_left_when_it_has_taken_too_long(peer: Loopback, agent: HttpsServer, drip: tuple[bytes, bytes]) -> None:
    peer.answers.append(dripping(*drip))
    with pytest.raises(TransportError, match="did not answer"):
        agent.poll("1")


# --- image bytes ------------------------------------------------------------------------------------------------------------


def test_a_range_is_asked_for_and_streamed(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(http("206 Partial Content", b"x" * 100_000, Content_Range="bytes 50-100049/100050"))
    response = agent.open(f"{peer.url}/image", 50)
    assert (response.status, response.start, response.total) == (206, 50, 100_050)
    assert b"".join(response.chunks) == b"x" * 100_000
    response.close()
    assert b"range: bytes=50-\r\n" in peer.requests[0].lower()
    assert b"accept-encoding: identity" in peer.requests[0].lower()


@pytest.mark.parametrize(
    ("answer", "start", "total"),
    [
        (http("200 OK", b"abc"), 0, 3),
        (http("200 OK", b"", Content_Length="", Transfer_Encoding="chunked"), 0, None),
        (http("206 Partial Content", b"abc", Content_Range="bytes 5-7/*"), 5, None),
        (http("404 Not Found", b"abc"), 0, None),
    ],
)
def test_what_the_server_says_of_the_file_is_passed_on(
    peer: Loopback, agent: HttpsServer, answer: bytes, start: int, total: int | None
) -> None:
    peer.will_answer(answer)
    response = agent.open(f"{peer.url}/image", 5)
    assert (response.start, response.total) == (start, total)
    response.close()
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "said", ["", "bytes", "bytes 5-", "bytes */9", "items 5-7/9", "bytes 5-7/x", "bytes -5-7/9", f"bytes {'9' * 19}-7/9"]
)
def test_a_range_that_cannot_be_read_is_refused(peer: Loopback, agent: HttpsServer, said: str) -> None:
    peer.will_answer(http("206 Partial Content", b"abc", Content_Range=said))
    with pytest.raises(TransportError, match="without saying which"):
        agent.open(f"{peer.url}/image", 5)


def test_a_body_that_is_cut_off_breaks_the_stream(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(http("200 OK", b"abc", Content_Length="100"))
    response = agent.open(f"{peer.url}/image", 0)
    with pytest.raises(TransportError, match="broke off"):
        list(response.chunks)


def test_a_stream_that_stops_breaks_off_soon(peer: Loopback, agent: HttpsServer) -> None:
    peer.answers.append([http("200 OK", b"abc", Content_Length="100"), *[None] * 100])
    with pytest.raises(TransportError, match="broke off"):
        list(agent.open(f"{peer.url}/image", 0).chunks)


@pytest.mark.parametrize("name", ["the head", "the status"])
def test_an_image_whose_head_drips_is_left(peer: Loopback, agent: HttpsServer, name: str) -> None:
    peer.answers.append(dripping(*DRIPS[name]))
    with pytest.raises(TransportError, match="did not answer"):
        agent.open(f"{peer.url}/image", 0)


def test_a_piece_of_an_image_that_drips_breaks_off(peer: Loopback, agent: HttpsServer) -> None:
    peer.answers.append(dripping(*DRIPS["the size of a chunk"]))
    with pytest.raises(TransportError, match="broke off"):
        list(agent.open(f"{peer.url}/image", 0).chunks)


def test_an_address_that_is_none_is_a_transport_error(agent: HttpsServer) -> None:
    for url in ("", "image", "ftp://127.0.0.1/x", "https://127.0.0.1:99999/", "https://[::1/", "http://" + "a" * 300 + "/"):
        with pytest.raises(TransportError):
            agent.open(url, 0)


# --- who is on the other side -----------------------------------------------------------------------------------------------


def test_a_server_of_another_authority_is_not_talked_to(tmp_path: Path, credentials: Credentials) -> None:
    with loopback(tmp_path, authority()) as stranger:
        with pytest.raises(TransportError, match="certificate verify failed"):
            HttpsServer(stranger.url, credentials, patience=SOON).poll("1")
        assert stranger.requests == []


def test_a_server_without_tls_is_not_talked_to(tmp_path: Path, ca: Authority, credentials: Credentials) -> None:
    with loopback(tmp_path, ca, tls=False) as plain:
        plain.will_answer(http("200 OK"))
        with pytest.raises(TransportError):
            HttpsServer(plain.url, credentials, patience=SOON).poll("1")


def test_a_server_that_does_not_know_the_device_is_a_transport_error(tmp_path: Path, ca: Authority, credentials: Credentials) -> None:
    with loopback(tmp_path, ca, client_ca=authority()) as strict, pytest.raises(TransportError):
        HttpsServer(strict.url, credentials, patience=SOON).poll("1")


def test_nobody_listening_is_a_transport_error(credentials: Credentials) -> None:
    with pytest.raises(TransportError, match="did not answer"):
        HttpsServer("https://127.0.0.1:1", credentials, patience=SOON).poll("1")


@pytest.mark.parametrize("spoil", ["certificate", "server_ca"])
def test_credentials_that_cannot_be_read_say_how_to_get_some(credentials: Credentials, spoil: str) -> None:
    path: Path = getattr(credentials, spoil)
    path.write_text("garbage")
    with pytest.raises(InvalidInput, match="surefoot agent enroll"):
        HttpsServer("https://127.0.0.1:1", credentials)
    path.unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        HttpsServer("https://127.0.0.1:1", credentials)
