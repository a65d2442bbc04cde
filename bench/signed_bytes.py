# SPDX-License-Identifier: Apache-2.0
"""How many signed bytes a device gets, by how many requests: idle, after a re-signing, with an order, and at first contact.

Everything is polled from a real server over mutual TLS, and only its clock is moved. What is counted is the signed files as
they come out of base64; headers and TLS are not, but in the one row that counts all that the agent's own client puts on the
wire for an idle poll on a new connection. Requests are held to those of a client that asks for one file at a time, and for the next
root of each repository; enrolment, which brings the first roots, is one more at first contact.
"""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench.relay import relay
from bench.rows import Row, compared
from surefoot.agent.transport import Credentials, HttpsServer
from surefoot.model.errors import TransportError
from surefoot.model.record import from_json, from_plain
from surefoot.model.wire import EnrolmentOffer, PollAnswer
from tests.server.running import Joined, Running, running
from tests.trust.repositories import PRODUCT

RELEASES = 5
"""Releases of the product that are listed in the end."""

IDLE_BUDGET = 500
ORDER_BUDGET = 4_000
RELEASE_BUDGET = 310
CATALOGUE_BUDGET = 65_000
CONNECTION_BUDGET = 3_000

_HALF_THE_LIFE_OF_A_TIMESTAMP = timedelta(hours=13)


def measure(run: str) -> list[Row]:
    """Return one row for each kind of poll, and one for what each further release costs."""
    with TemporaryDirectory() as name, running(Path(name)) as server:
        found = _count(server)
    in_all = ORDER_BUDGET + RELEASES * RELEASE_BUDGET
    held_to = {
        "idle poll": ("budget", IDLE_BUDGET),
        "idle poll on a new connection, up and down": ("budget", CONNECTION_BUDGET),
        "idle poll, timestamp signed again": ("budget", IDLE_BUDGET),
        "new order but for the product's role": ("budget", ORDER_BUDGET),
        f"new order, {RELEASES} releases": (f"budget of {ORDER_BUDGET:,} B and {RELEASE_BUDGET} B a release", in_all),
        "each further release": ("budget", RELEASE_BUDGET),
        f"first contact and both roots, {RELEASES} releases": ("budget of any catalogue", CATALOGUE_BUDGET),
    }
    rows = [
        compared(f"bytes/{what}", found.sizes[what], "B", against=against, figure=figure, run=run)
        for what, (against, figure) in held_to.items()
    ]
    return rows + [
        compared(f"bytes/requests, {what}", ours, "req", against="one for each file and next root", figure=figure, run=run)
        for what, (ours, figure) in found.requests.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What was counted: bytes by kind of poll, and requests with those of a client that asks for one file at a time."""

    sizes: dict[str, float]
    requests: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Got:
    """What a poll brought: signed files by repository and name, the ETag of what the device then holds, and how many requests it took."""

    files: dict[str, bytes]
    holds: str
    requests: int

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def one_by_one(self) -> int:
        """How many requests a client makes that asks for each file, and for the next root of each repository it looks at."""
        repositories = {name.partition("/")[0] for name in self.files} or {"director"}
        timestamps = 0 if any(name.endswith("timestamp.json") for name in self.files) else 1
        return len(self.files) + timestamps + len(repositories)

    @property
    def product_role_size(self) -> int:
        return sum(len(data) for name, data in self.files.items() if name.endswith(f".{PRODUCT}.json"))


def _count(server: Running) -> _Counted:
    quiet, early, device = server.join(), server.join(), server.join()
    first = {joined.device_id: _poll(joined) for joined in (quiet, early, device)}
    idle = _poll(quiet, first[quiet.device_id])
    server.publish("1.0.0", b"image 0")
    with_one_release = _poll_ordered(server, early, "1.0.0", first[early.device_id])
    for n in range(1, RELEASES):
        server.publish(f"1.{n}.0", f"image {n}".encode())
    newest = f"1.{RELEASES - 1}.0"
    order = _poll_ordered(server, device, newest, first[device.device_id])
    contact = _poll_ordered(server, server.join(), newest)
    on_the_wire = _on_the_wire(server, quiet, idle)
    server.clock.shift = _HALF_THE_LIFE_OF_A_TIMESTAMP
    signed_again = _poll(quiet, idle)
    sizes: dict[str, float] = {
        "idle poll": idle.size,
        "idle poll on a new connection, up and down": on_the_wire,
        "idle poll, timestamp signed again": signed_again.size,
        "new order but for the product's role": order.size - order.product_role_size,
        f"new order, {RELEASES} releases": order.size,
        "each further release": (order.product_role_size - with_one_release.product_role_size) / (RELEASES - 1),
        f"first contact and both roots, {RELEASES} releases": contact.size + _roots_size(server),
    }
    enrolment = 1
    return _Counted(
        sizes=sizes,
        requests={
            "idle poll": (idle.requests, idle.one_by_one),
            "new order": (order.requests, order.one_by_one),
            "first contact": (contact.requests + enrolment, contact.one_by_one + enrolment),
        },
    )


def _poll_ordered(server: Running, device: Joined, version: str, before: _Got | None = None) -> _Got:
    answer = server.order(device, version)
    if answer.status != HTTPStatus.CREATED:
        raise TransportError(f"The order was answered with status {answer.status}: {answer.data!r}.")
    return _poll(device, before)


def _poll(device: Joined, before: _Got | None = None) -> _Got:
    holds = "" if before is None else before.holds
    earlier = _requests_of(device)
    answer = device.poll(holds)
    requests = _requests_of(device) - earlier
    if answer.status == HTTPStatus.NOT_MODIFIED:
        return _Got(files={}, holds=holds, requests=requests)
    if answer.status != HTTPStatus.OK:
        raise TransportError(f"The poll was answered with status {answer.status}: {answer.data!r}.")
    metadata = from_json(answer.data, PollAnswer, what="poll").metadata
    files = {
        f"{name}/{file}": data for name, part in (("director", metadata.director), ("image", metadata.image)) for file, data in part.items()
    }
    return _Got(files=files, holds=answer.headers["ETag"], requests=requests)


def _requests_of(device: Joined) -> int:
    """Return how many requests a device's connections have carried."""
    pools = device.pool.pools
    return sum(pools[key].num_requests for key in pools.keys())  # noqa: SIM118  # the container has no iterator of its own


def _roots_size(server: Running) -> int:
    offer = from_plain(server.offer(), EnrolmentOffer, what="offer")
    return len(offer.director_root) + len(offer.image_root)


def _on_the_wire(server: Running, device: Joined, before: _Got) -> int:
    authority = server.data / "server-ca.pem"
    authority.write_text(server.offer()["server_ca"])
    credentials = Credentials(certificate=device.certificate, server_ca=authority)
    with relay(urlsplit(device.url).port or 0) as passed:
        agent = HttpsServer(f"https://localhost:{passed.port}", credentials)
        polled = agent.poll(before.holds)
        agent.reload()
    if polled.answer is not None:
        raise TransportError("The poll that was to be idle brought something.")
    return passed.up + passed.down
