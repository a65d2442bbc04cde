# SPDX-License-Identifier: Apache-2.0
"""A director or image key that does not sign for a while: nobody is harmed, somebody is told, and it ends by itself."""

import asyncio
import json
import logging
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer

from surefoot.model.errors import SignerUnavailableError
from surefoot.model.event import EventType
from surefoot.server.api.device import DeviceApi, Presence
from surefoot.server.ca import DeviceCa, open_authorities
from surefoot.server.services.poll import Changed, Poll, PollSettings
from surefoot.server.services.ports import Ledger, Peer
from surefoot.server.services.upkeep import director_alarm, image_alarm, refresh
from surefoot.store.disk import DiskBlobs
from surefoot.trust.director import DirectorSigners
from surefoot.trust.hsm import generate_on_token
from surefoot.trust.key_file import write_public
from surefoot.trust.repository import OnlineSigners
from surefoot.trust.signer import generate
from tests.server.office import DEVICE, JOURNAL, Office, event, serial_of
from tests.server.running import Clock as WallClock
from tests.server.running import running, write_data
from tests.trust.repositories import Repositories
from tests.trust.tokens import PIN, new_token

_T = TypeVar("_T")


class Power:
    """Whether the token has any."""

    def __init__(self) -> None:
        self.is_on = True
        self.tries = 0


class Pluggable(Signer):
    """A real key that can be unplugged."""

    def __init__(self, inner: Signer, power: Power) -> None:
        self.inner, self.power = inner, power

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None) -> Signer:
        raise NotImplementedError

    @property
    def public_key(self) -> Key:
        return self.inner.public_key

    def sign(self, payload: bytes) -> Signature:
        self.power.tries += 1
        if not self.power.is_on:
            raise SignerUnavailableError("The token is not there.")
        return self.inner.sign(payload)


class Site:
    """The verbs over keys that can be unplugged, and the device listener over the verbs."""

    def __init__(self, office: Office, folder: Path) -> None:
        self.office, self.power = office, Power()
        keys, online = office.repositories.director, office.repositories.online
        self.director = office.repositories.director = DirectorSigners(
            targets=Pluggable(keys.targets, self.power),
            snapshot=Pluggable(keys.snapshot, self.power),
            timestamp=Pluggable(keys.timestamp, self.power),
        )
        self.online = OnlineSigners(snapshot=Pluggable(online.snapshot, self.power), timestamp=Pluggable(online.timestamp, self.power))
        settings = PollSettings(interval_s=300, device_url="https://server:8443")
        office.poll_verb = Poll(reads=office.ledger, write=office.do, signers=self.director, settings=settings)
        self.api = DeviceApi(
            reads=office.ledger,
            write=office.do,
            poll=office.poll_verb,
            signers=self.director,
            blobs=DiskBlobs(folder / "blobs"),
            ca=DeviceCa(open_authorities(folder / "ca", (), office.now).device_ca),
            presence=Presence(),
            peer_key="peer",
            clock=lambda: office.now,
        )

    def poll(self, etag: str = "") -> tuple[int, dict[bytes, bytes], bytes]:
        peer = Peer(device_id=DEVICE, serial=serial_of(DEVICE), not_after=2**40, issuer="")
        scope: MutableMapping[str, Any] = {
            "path": "/v1/poll",
            "method": "GET",
            "headers": [(b"if-none-match", etag.encode())],
            "peer": peer,
        }
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request"}

        asyncio.run(self.api(scope, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    def tick(self) -> list[str]:
        """Return the alarms of one tick, as the server logs them."""
        alarms = []
        try:
            asyncio.run(refresh(self.online, self.office.do, self.office.now))
        except SignerUnavailableError as error:
            alarms.append(image_alarm(self.office.ledger.metadata("image").files, error, self.office.now))
        outage = self.office.poll_verb.take_outage()
        return alarms if outage is None else [*alarms, director_alarm(outage)]


@pytest.fixture
def site(office: Office, tmp_path: Path) -> Site:
    return Site(office, tmp_path)


def test_s20_two_days_without_a_signer_alarm_harm_no_device_and_end_by_themselves(site: Site) -> None:
    status, headers, _ = site.poll()
    etag = headers[b"etag"].decode()
    site.power.is_on = False
    began, statuses, alarms = site.office.now, list[int](), list[list[str]]()
    while site.office.now < began + timedelta(days=2):
        site.office.pass_time(minutes=30)
        status, headers, _ = site.poll(etag)
        statuses.append(status)
        alarms.append(site.tick())
    # What the device holds is believed for a day; so long it hears that nothing is new, and afterwards to come again later.
    assert statuses == [304] * 47 + [503] * 49
    assert (headers[b"retry-after"], headers[b"content-type"]) == (b"30", b"application/problem+json")
    # Nobody is woken before half of a life is gone; from then on each tick says it once for each repository.
    assert [len(told) for told in alarms] == [0] * 23 + [2] * 73
    assert all(line.startswith("metadata_due: ") for told in alarms for line in told)
    expires = (began + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert f"image timestamp expires {expires}" in alarms[-1][0]
    assert f"director timestamps expire from {expires} on" in alarms[-1][1]
    assert "The timestamp key" in alarms[-1][0]
    site.power.is_on = True
    site.office.pass_time(minutes=30)
    status, headers, body = site.poll(etag)
    assert status == 200
    assert set(json.loads(body)["metadata"]["director"]) == {"timestamp.json"}
    assert site.tick() == []
    assert site.poll(headers[b"etag"].decode())[0] == 304


def test_the_answer_without_a_view_that_holds_has_the_stable_code(site: Site) -> None:
    site.power.is_on = False
    status, headers, body = site.poll()
    assert (status, headers[b"retry-after"]) == (503, b"30")
    assert json.loads(body)["type"] == "urn:surefoot:problem:signer_unavailable"


def test_a_key_that_does_not_sign_is_not_asked_at_every_poll(site: Site) -> None:
    site.poll()
    site.power.is_on = False
    site.office.pass_time(hours=13)
    for _ in range(50):
        site.poll()
    assert site.power.tries == 3 + 1
    site.office.pass_time(seconds=31)
    site.poll()
    assert site.power.tries == 3 + 2


def test_polls_that_wait_together_ask_a_dead_key_once(site: Site) -> None:
    site.poll()
    site.power.is_on = False
    site.office.pass_time(hours=13)
    waiting: list[tuple[Callable[[Ledger], Any], asyncio.Future[Any]]] = []
    are_all_waiting = asyncio.Event()

    def write(job: Callable[[Ledger], _T]) -> asyncio.Future[_T]:
        waiting.append((job, asyncio.get_running_loop().create_future()))
        if len(waiting) == 20:
            are_all_waiting.set()
        return waiting[-1][1]

    async def all_at_once() -> list[Changed]:
        settings = PollSettings(interval_s=300, device_url="https://server:8443")
        verb = Poll(reads=site.office.ledger, write=write, signers=site.director, settings=settings)
        polls = [asyncio.ensure_future(verb.answer(DEVICE, "", site.office.now)) for _ in range(20)]
        await are_all_waiting.wait()
        for job, answer in waiting:
            try:
                answer.set_result(job(site.office.ledger))
            except SignerUnavailableError as error:
                answer.set_exception(error)
        return await asyncio.gather(*polls)

    assert len(asyncio.run(all_at_once())) == 20
    assert site.power.tries == 3 + 1


def test_a_device_whose_view_still_holds_gets_its_order(site: Site) -> None:
    site.office.add_release("1.1.0")
    site.office.order("1.1.0")
    site.power.is_on = False
    site.office.pass_time(hours=13)
    status, _, body = site.poll()
    assert status == 200
    assert json.loads(body)["artifacts"] != []


def test_an_order_past_its_time_is_not_served_only_to_be_refused(site: Site) -> None:
    site.office.add_release("1.1.0")
    site.office.order("1.1.0", start_within_s=3600)
    site.power.is_on = False
    site.office.pass_time(minutes=59)
    assert site.poll()[0] == 200
    site.office.pass_time(minutes=1)
    assert site.poll()[0] == 503


def test_an_order_that_was_begun_in_time_is_served_on(site: Site) -> None:
    site.office.add_release("1.1.0")
    attempt = site.office.order("1.1.0", start_within_s=3600)
    site.office.report(event(1, EventType.DOWNLOAD_STARTED, attempt))
    site.power.is_on = False
    site.office.pass_time(hours=13)
    assert site.poll()[0] == 200


def test_an_order_that_was_taken_back_is_not_served(site: Site) -> None:
    site.office.add_release("1.1.0")
    site.office.order("1.1.0")
    site.power.is_on = False
    site.office.ledger.call_again(DEVICE)
    attempt = site.office.ledger.open_attempt(DEVICE)
    assert attempt is not None
    site.office.report(event(1, EventType.DOWNLOAD_FAILED, attempt))
    assert site.poll()[0] == 503
    site.power.is_on = True
    site.office.pass_time(seconds=31)
    status, _, body = site.poll()
    assert status == 200
    assert "artifacts" not in json.loads(body)


def test_what_a_device_reports_is_stored_though_nothing_can_be_signed(site: Site) -> None:
    wanted = site.office.add_release("1.1.0")
    attempt = site.office.order("1.1.0")
    site.power.is_on = False
    acknowledged = site.office.report(event(1, EventType.HEALTH_OK, attempt), running=wanted.image.hash)
    assert (acknowledged.acknowledged.journal, acknowledged.acknowledged.seq) == (JOURNAL, 1)
    assert site.office.attempt(attempt).outcome is not None
    assert not site.office.ledger.is_ordered(DEVICE, wanted.image.hash)
    site.power.is_on = True
    assert "artifacts" not in json.loads(site.poll()[2])


def test_an_operators_order_is_refused_whole(site: Site) -> None:
    site.office.add_release("1.1.0")
    site.power.is_on = False
    with pytest.raises(SignerUnavailableError, match="The snapshot key"):
        site.office.order("1.1.0")


def test_a_server_starts_and_serves_with_its_token_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = new_token()
    (tmp_path / "pin").write_text(PIN)
    uris = {role: token.uri(role, f"&pin-source=file:{tmp_path}/pin") for role in ("targets", "snapshot", "timestamp")}
    on_token = {role: generate_on_token(uri, _Nobody()) for role, uri in uris.items()}
    online = OnlineSigners(snapshot=generate(), timestamp=generate())
    director = DirectorSigners(targets=generate(), snapshot=generate(), timestamp=generate())
    repositories = Repositories(now=WallClock()(), online=online, director=director)
    write_data(tmp_path / "data", repositories)
    moved = Repositories(now=repositories.now, online=online, director=DirectorSigners(**on_token))
    (tmp_path / "data/metadata/director/root.json").write_bytes(moved.director_root)
    for role, uri in uris.items():
        (tmp_path / f"data/keys/hsm-{role}.uri").write_text(uri)
        write_public(tmp_path / f"data/keys/hsm-{role}.pub", on_token[role].public_key)
    token.take_away()
    with caplog.at_level(logging.DEBUG), running(tmp_path / "data", repositories) as server:
        device = server.join()
        refused = device.poll()
        assert (refused.status, refused.json()["type"]) == (503, "urn:surefoot:problem:signer_unavailable")
        token.bring_back()
        server.clock.shift += timedelta(seconds=31)
        assert device.poll().status == 200
        token.take_away()
        server.clock.shift += timedelta(hours=13)
        assert device.poll().status == 200
    token.bring_back()
    assert "metadata_due: devices' director timestamps" in caplog.text
    assert PIN not in caplog.text


class _Nobody:
    def secret(self, what: str) -> str:
        raise AssertionError(what)
