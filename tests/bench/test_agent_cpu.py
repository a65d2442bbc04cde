# SPDX-License-Identifier: Apache-2.0
"""Tests that what is measured of an agent's processor time is spent: every poll has a connection of its own, and costs something."""

import socket
import threading

from bench.agent_cpu import measure
from bench.forgetful import QUIET_S, forgetful


def test_an_agent_leaves_the_processor_to_the_device() -> None:
    poll, waiting, share = measure("now", count=2, wait_s=0.5)
    assert 0 < poll.value < 300
    assert waiting.value >= 0
    assert share.ratio < 1


def echo(listener: socket.socket, connections: int) -> None:
    for _ in range(connections):
        connection, _ = listener.accept()
        with connection:
            while piece := connection.recv(100):
                connection.sendall(piece)


def test_the_relay_closes_what_is_quiet_and_takes_the_next_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = threading.Thread(target=echo, args=(listener, 2))
        peer.start()
        with forgetful(listener.getsockname()[1]) as relay:
            for said in (b"one", b"two"):
                with socket.create_connection(("127.0.0.1", relay.port), timeout=100 * QUIET_S) as client:
                    client.sendall(said)
                    assert client.recv(100) == said
                    assert client.recv(100) == b""
        peer.join()
    assert relay.connections == 2
