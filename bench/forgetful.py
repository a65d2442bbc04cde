# SPDX-License-Identifier: Apache-2.0
"""A relay that lets no connection stay open: what is quiet for a moment is closed, as servers and routers do after minutes."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

QUIET_S = 0.25

_PIECE_BYTES = 64 * 1024


@dataclass(slots=True)
class Forgotten:
    """Where the relay listens on the loopback interface, and how many connections it has carried to their end."""

    port: int
    connections: int = 0


@contextmanager
def forgetful(port: int) -> Iterator[Forgotten]:
    """Relay connections to ``port`` of the loopback interface, one after the other, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Forgotten(port=listener.getsockname()[1])
        stop = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, port, found, stop))
        thread.start()
        try:
            yield found
        finally:
            stop.set()
            socket.create_connection(("127.0.0.1", found.port)).close()
            thread.join()


def _serve(listener: socket.socket, port: int, found: Forgotten, stop: threading.Event) -> None:
    while True:
        client, _ = listener.accept()
        if stop.is_set():
            client.close()
            return
        with client, socket.create_connection(("127.0.0.1", port)) as server, suppress(OSError):
            _carry(client, server)
        found.connections += 1


def _carry(client: socket.socket, server: socket.socket) -> None:
    with selectors.DefaultSelector() as waiting:
        waiting.register(client, selectors.EVENT_READ, server)
        waiting.register(server, selectors.EVENT_READ, client)
        while ready := waiting.select(QUIET_S):
            for key, _ in ready:
                source, target = (client, server) if key.fileobj is client else (server, client)
                piece = source.recv(_PIECE_BYTES)
                if not piece:
                    return
                target.sendall(piece)
