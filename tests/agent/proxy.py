# SPDX-License-Identifier: Apache-2.0
"""A small HTTP proxy on loopback that carries bytes both ways for who may CONNECT, and notes what it was asked."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """A proxy.

    Attributes:
        address: ``HOST:PORT``.
        refusal: What it answers instead of carrying anything; empty when it carries.
        requests: Head of every request.
    """

    address: str
    refusal: bytes = b""
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def proxy() -> Iterator[Proxy]:
    """Carry from threads until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        found = Proxy(f"127.0.0.1:{listener.getsockname()[1]}")
        stop = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, found, stop))
        thread.start()
        try:
            yield found
        finally:
            stop.set()
            thread.join()


def _serve(listener: socket.socket, found: Proxy, stop: threading.Event) -> None:
    while not stop.is_set():
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                _carry(connection, found, stop)


def _carry(client: socket.socket, found: Proxy, stop: threading.Event) -> None:
    client.settimeout(5)
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    found.requests.append(head)
    if found.refusal:
        client.sendall(found.refusal)
        return
    verb, target, _ = head.split(b" ", 2)
    assert verb == b"CONNECT"
    host, _, port = target.decode().rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        while not stop.is_set():
            for ready in select.select([client, server], [], [], 0.05)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                (server if ready is client else client).sendall(data)
