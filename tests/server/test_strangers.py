# SPDX-License-Identifier: Apache-2.0
"""What anyone may send to the enrolment listener, and to the others with a key: nothing of it is kept, none of it is a 500."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.server.running import Running


@contextmanager
def connected(server: Running) -> Iterator[ssl.SSLSocket]:
    """Give a TLS connection of a stranger to the enrolment listener."""
    address = urlsplit(server.addresses.enroll_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", address.port or 0), timeout=10) as plain, context.wrap_socket(plain) as secure:
        yield secure


def is_hung_up_on(peer: ssl.SSLSocket, data: bytes, *, times: int) -> bool:
    """Say whether the server ends the connection while this is sent again and again."""
    try:
        for _ in range(times):
            peer.sendall(data)
        while peer.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_headers_without_end_end_the_connection(server: Running) -> None:
    with connected(server) as peer:
        peer.sendall(b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\n")
        assert is_hung_up_on(peer, b"X-More: " + b"a" * 8_000 + b"\r\n", times=100)
    assert server.call("GET", "devices").status == 200


def test_requests_sent_ahead_without_end_end_the_connection(server: Running) -> None:
    with connected(server) as peer:
        request = b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        assert is_hung_up_on(peer, request * 1_000, times=10)
    assert server.call("GET", "devices").status == 200


def test_an_endless_length_is_refused_in_words(server: Running) -> None:
    with connected(server) as peer:
        peer.sendall(b"POST /v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 30 + b"1\r\n\r\n{")
        assert b"500" not in peer.recv(65_536).split(b"\r\n", 1)[0]


@pytest.mark.parametrize("body", [b'{"version": "\xff"}', b"\xff\xfe"])
def test_bytes_that_are_no_text_are_a_problem_and_not_a_500(server: Running, body: bytes) -> None:
    answer = server.operators.request(
        "POST",
        f"{server.addresses.operator_url}/api/v1/devices/t-1/order",
        body=body,
        headers={"Authorization": f"Bearer {(server.data / 'admin.token').read_text().strip()}", "Content-Type": "application/json"},
    )
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
