# SPDX-License-Identifier: Apache-2.0
"""Tests that the relay carries everything and counts it."""

import socket
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.relay import relay


@settings(max_examples=10)
@given(up=st.binary(min_size=1, max_size=300_000), down=st.binary(min_size=1, max_size=300_000))
def test_all_that_passes_arrives_and_is_counted(up: bytes, down: bytes) -> None:
    arrived = bytearray()

    def serve() -> None:
        connected, _ = listener.accept()
        with connected:
            while len(arrived) < len(up):
                arrived.extend(connected.recv(65_536))
            connected.sendall(down)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        with relay(listener.getsockname()[1]) as passed, socket.create_connection(("127.0.0.1", passed.port)) as client:
            client.sendall(up)
            returned = b"".join(iter(lambda: client.recv(65_536), b""))
        server.join()
    assert (bytes(arrived), returned) == (up, down)
    assert (passed.up, passed.down) == (len(up), len(down))


def test_a_relay_that_nobody_calls_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, relay(listener.getsockname()[1]) as passed:
        pass
    assert (passed.up, passed.down) == (0, 0)
