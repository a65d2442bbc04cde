# SPDX-License-Identifier: Apache-2.0
"""Attack D27: the agent's own client at an origin that is hostile: redirects, garbage, and a name that leads elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.agent.download import Downloader, DownloadTarget
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.transport import Credentials, HttpsServer, Patience
from surefoot.model.digest import digest_of
from surefoot.model.errors import CorruptDownloadError, TransportError
from surefoot.model.event import EventBatch
from surefoot.model.slot import SlotName
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.loopback import Authority, Loopback, authority, http, loopback
from tests.attacks.stage import IMAGE_BYTES, Stage
from tests.trust.repositories import NOW

REDIRECTS = ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]


@pytest.fixture
def agent(peer: Loopback, credentials: Credentials) -> HttpsServer:
    return HttpsServer(peer.url, credentials, patience=Patience(connect_s=1, wait_s=1, answer_s=2))


@pytest.fixture
def elsewhere(tmp_path: Path, ca: Authority) -> Iterator[Loopback]:
    (tmp_path / "elsewhere").mkdir()
    with loopback(tmp_path / "elsewhere", ca) as found:
        yield found


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_d27_a_redirect_is_not_followed_by_any_request(
    peer: Loopback, elsewhere: Loopback, agent: HttpsServer, status: str, scheme: str
) -> None:
    there = elsewhere.url.replace("https", scheme) + "/v1/poll"
    peer.will_answer(*[http(status, Location=there)] * 2)
    with pytest.raises(TransportError, match=f"status {status[:3]}"):
        agent.poll("")
    with pytest.raises(TransportError, match=f"status {status[:3]}"):
        agent.send(EventBatch(journal="0" * 16, events=[]))
    assert (len(peer.requests), elsewhere.requests) == (2, [])


@pytest.mark.parametrize("status", REDIRECTS)
def test_d27_an_image_that_has_moved_is_not_fetched_from_there(
    peer: Loopback, elsewhere: Loopback, agent: HttpsServer, status: str
) -> None:
    peer.will_answer(http(status, Location=elsewhere.url + "/image"))
    downloader = Downloader(agent, SlotFiles(SimulatedFlash(), {SlotName.B: "b"}, 100), VirtualClock(NOW))
    with pytest.raises(TransportError, match=f"status {status[:3]}"):
        downloader.step(target(peer.url), 0, 5)
    assert (len(peer.requests), elsewhere.requests) == (1, [])


def test_d27_twenty_redirects_are_one_answer_each(peer: Loopback, agent: HttpsServer) -> None:
    peer.will_answer(*[http("302 Found", Location=f"{peer.url}/v1/poll?{number}") for number in range(20)])
    with pytest.raises(TransportError, match="status 302"):
        agent.poll("")
    assert [request.split(b" ")[1] for request in peer.requests] == [b"/v1/poll"]


@pytest.mark.parametrize("garbage", [b"\0" * 5, b"<html>", b"imagf"])
def test_d27_garbage_of_a_dead_origin_that_was_taken_over_stays_out_of_the_slot(peer: Loopback, agent: HttpsServer, garbage: bytes) -> None:
    peer.will_answer(http("200 OK", garbage))
    flash = SimulatedFlash()
    slots = SlotFiles(flash, {SlotName.B: "b"}, 100)
    with pytest.raises((CorruptDownloadError, TransportError)):
        Downloader(agent, slots, VirtualClock(NOW)).step(target(peer.url), 0, 5)
    assert slots.writer(SlotName.B).size() == 0


def test_d27_a_name_that_leads_to_a_stranger_is_not_talked_to(tmp_path: Path, credentials: Credentials) -> None:
    (tmp_path / "stranger").mkdir()
    with loopback(tmp_path / "stranger", authority()) as stranger:
        agent = HttpsServer(stranger.url, credentials, patience=Patience(connect_s=1, wait_s=1, answer_s=2))
        with pytest.raises(TransportError, match="certificate verify failed"):
            agent.poll("")
        assert stranger.requests == []


def test_d27_a_stranger_with_a_certificate_of_ours_for_another_name_is_not_talked_to(peer: Loopback, credentials: Credentials) -> None:
    agent = HttpsServer(peer.url.replace("127.0.0.1", "localhost"), credentials, patience=Patience(connect_s=1, wait_s=1, answer_s=2))
    with pytest.raises(TransportError, match="certificate verify failed"):
        agent.poll("")
    assert peer.requests == []


@pytest.mark.parametrize("status", REDIRECTS)
def test_d27_a_redirected_poll_is_an_outage_and_no_more(stage: Stage, peer: Loopback, agent: HttpsServer, status: str) -> None:
    peer.will_answer(*[http(status, Location=f"{peer.url}/v1/poll")] * 20)
    stage.refused(agent.poll, "transport", is_outage=True, polls=1)


@pytest.mark.parametrize("status", REDIRECTS)
def test_d27_a_redirected_image_is_given_up_at_the_deadline(
    stage: Stage, peer: Loopback, elsewhere: Loopback, agent: HttpsServer, status: str
) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted, deadline_s=60)
    peer.will_answer(*[http(status, Location=f"{elsewhere.url}/image")] * 20)
    images = {wanted.url: lambda offset: agent.open(f"{peer.url}/image", offset)}
    stage.refused(stage.answer(), "deadline", images=images, is_verified=True)
    assert elsewhere.requests == []


def test_d27_an_image_from_a_hostile_origin_is_refused_by_its_hash(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    stage.refused(stage.answer(), "corrupt_download", images={wanted.url: bytes(IMAGE_BYTES) + b"1.1.0"}, is_verified=True)


def target(url: str) -> DownloadTarget:
    return DownloadTarget(urls=(f"{url}/image",), size=5, hash=digest_of(b"image"), slot=SlotName.B)
