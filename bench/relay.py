# SPDX-License-Identifier: Apache-2.0
"""A relay that counts: everything that passes between a client and a server on one connection, handshake included."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PIECE_BYTES = 64 * 1024


@dataclass(slots=True)
class Passed:
    """Bytes that have passed, without TCP and IP headers.

    Attributes:
        port: Where the relay listens, on the loopback interface.
        up: From the client.
        down: From the server.
    """

    port: int
    up: int = 0
    down: int = 0


@contextmanager
def relay(port: int) -> Iterator[Passed]:
    """Relay one connection to ``port`` of the loopback interface; the counts are whole when the block has ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        passed = Passed(port=listener.getsockname()[1])
        thread = threading.Thread(target=_carry, args=(listener, port, passed))
        thread.start()
        try:
            yield passed
        finally:
            # Wakes a relay that nobody has called; one that carries already has its own connection and never sees this.
            socket.create_connection(("127.0.0.1", passed.port)).close()
            thread.join()


def _carry(listener: socket.socket, port: int, passed: Passed) -> None:
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as server, selectors.DefaultSelector() as waiting:
        waiting.register(client, selectors.EVENT_READ, server)
        waiting.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in waiting.select():
                source, target = (client, server) if key.fileobj is client else (server, client)
                piece = source.recv(_PIECE_BYTES)
                if not piece:
                    return
                if source is client:
                    passed.up += len(piece)
                else:
                    passed.down += len(piece)
                target.sendall(piece)
