# SPDX-License-Identifier: Apache-2.0
"""The agent's connections where a network is bad: each trouble is one line that says who is in the way, and nothing waits for ever."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.clock import Clock, ClockLift, FlooredClock
from surefoot.agent.download import Downloader, DownloadTarget, InterruptedDownloadError
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.network import NetworkSettings, Patience, Surroundings, proxy_for
from surefoot.agent.transport import Credentials, HttpsServer
from surefoot.model.digest import digest_of
from surefoot.model.errors import ClockError, DeviceError, FormatError, TransportError
from surefoot.model.event import EventBatch
from surefoot.model.record import from_plain, utc_text
from surefoot.model.slot import SlotName
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.loopback import Authority, Loopback, authority, http, loopback
from tests.agent.proxy import Proxy, proxy

SOON = Patience(connect_s=1, wait_s=0.5, answer_s=1)
UNCHANGED = http("304 Not Modified", Content_Length="")
YEAR = timedelta(days=365)
NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: DTZ005, RUF100, TID251  # certificates are made for it
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Y2040 = datetime(2040, 1, 1, tzinfo=UTC)


def agent_of(
    server: Loopback, credentials: Credentials, *, clock: Clock | None = None, environment: dict[str, str] | None = None, via: str = ""
) -> HttpsServer:
    surroundings = Surroundings(settings=NetworkSettings(proxy=via), environment=environment or {})
    return HttpsServer(server.url, credentials, patience=SOON, clock=clock, surroundings=surroundings)


def refusal_of(agent: HttpsServer) -> TransportError:
    with pytest.raises(TransportError) as raised:
        agent.poll("1")
    assert "\n" not in str(raised.value)
    return raised.value


# --- the clock --------------------------------------------------------------------------------------------------------------


def test_a_clock_at_1970_reaches_a_server_whose_certificate_begins_later(peer: Loopback, credentials: Credentials) -> None:
    peer.will_answer(UNCHANGED)
    assert agent_of(peer, credentials, clock=VirtualClock(EPOCH)).poll("1").answer is None


def test_a_clock_at_2040_is_told_with_both_times_and_recovers_alone(peer: Loopback, credentials: Credentials) -> None:
    clock = VirtualClock(Y2040)
    agent = agent_of(peer, credentials, clock=clock)
    refused = refusal_of(agent)
    assert isinstance(refused, ClockError)
    assert (refused.code, "and it is 2040-01-01T00:00:00Z here" in refused.message) == ("clock", True)
    assert peer.requests == [], "nothing is said to it"
    peer.will_answer(UNCHANGED)
    clock.jump((NOW - Y2040).total_seconds())
    assert agent.poll("1").answer is None


@pytest.mark.parametrize("clock", [EPOCH, NOW])
def test_a_certificate_that_has_ended_is_told_with_its_dates_whatever_a_clock_behind_the_floor_says(
    tmp_path: Path, ca: Authority, credentials: Credentials, clock: datetime
) -> None:
    begin, end = NOW - YEAR, NOW - timedelta(days=3)
    floored = FlooredClock(VirtualClock(clock), lambda: NOW - timedelta(days=2))
    with loopback(tmp_path, ca, valid=(begin, end)) as server:
        refused = refusal_of(agent_of(server, credentials, clock=floored))
        assert server.requests == []
    assert f"The certificate of 127.0.0.1 was valid from {utc_text(begin)} until {utc_text(end)}" in refused.message
    assert "Renew the server's certificate, or set this device's clock" in refused.hint


class Wall(VirtualClock):
    """A wall clock that can be set, or not."""

    def __init__(self, start: datetime, *, may: bool = True) -> None:
        super().__init__(start)
        self.may = may

    def set(self, now: datetime) -> None:
        if not self.may:
            raise DeviceError("The clock cannot be set: Operation not permitted.")
        self.jump((now - self.now()).total_seconds())


def test_a_clock_behind_the_floor_is_set_to_it_and_one_ahead_is_left_alone() -> None:
    clock = Wall(EPOCH)
    lift = ClockLift(clock, may_set=True)
    lift(NOW)
    assert clock.now() == NOW
    lift(NOW - YEAR)
    assert clock.now() == NOW


@pytest.mark.parametrize(("may_set", "may"), [(False, True), (True, False)])
def test_a_clock_that_may_not_be_set_is_told_once(*, may_set: bool, may: bool, caplog: pytest.LogCaptureFixture) -> None:
    clock = Wall(EPOCH, may=may)
    lift = ClockLift(clock, may_set=may_set)
    lift(NOW)
    lift(NOW + YEAR)
    assert clock.now() == EPOCH
    assert len(caplog.records) == 1
    assert f"the clock says 1970-01-01T00:00:00Z, and it is {utc_text(NOW)} at the least" in caplog.text


@given(wall=st.datetimes(datetime(1970, 1, 1), datetime(2040, 1, 1)), floor=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001  # Hypothesis wants them naive
def test_a_floored_clock_is_never_behind_the_floor_nor_ahead_of_both(wall: datetime, floor: datetime) -> None:
    wall, floor = wall.replace(tzinfo=UTC), floor.replace(tzinfo=UTC)
    assert FlooredClock(VirtualClock(wall), lambda: floor).now() == max(wall, floor)


# --- who answers ------------------------------------------------------------------------------------------------------------


def test_a_stranger_in_the_servers_place_is_told_by_the_name_in_its_certificate(tmp_path: Path, credentials: Credentials) -> None:
    with loopback(tmp_path, authority(), named="login.hotel.example") as stranger:
        refused = refusal_of(agent_of(stranger, credentials))
        assert stranger.requests == []
    assert "another host is there, server, login.hotel.example, which the CA of this device's server does not vouch for" in refused.message
    assert "captive portal" in refused.message


def test_another_server_of_ours_under_the_name_is_told_by_its_own(tmp_path: Path, ca: Authority, credentials: Credentials) -> None:
    with loopback(tmp_path, ca, named="other.example") as other:
        refused = refusal_of(agent_of(other, credentials))
        assert other.requests == []
    assert "another host is there, server, other.example (certificate verify failed: " in refused.message
    assert "vouch" not in refused.message


def test_a_name_that_leads_nowhere_is_told_so(credentials: Credentials) -> None:
    server = HttpsServer("https://nowhere.invalid:8443", credentials, patience=SOON)
    assert "the name nowhere.invalid leads nowhere (DNS)" in refusal_of(server).message


@pytest.mark.parametrize("answer", [http("302 Found", Location="http://login.example/"), b"\0\0\0\0\0\0\0\0"])
def test_what_speaks_no_tls_is_named(tmp_path: Path, ca: Authority, credentials: Credentials, answer: bytes) -> None:
    with loopback(tmp_path, ca, tls=False) as portal:
        portal.answers.append([answer])
        portal.is_hasty = True
        assert "speaks no TLS; is that the login page of a network" in refusal_of(agent_of(portal, credentials)).message


PORTALS = {
    "a redirect": (
        http("302 Found", Location="https://login.example/?from=x"),
        "sends to 'https://login.example/?from=x'; is that",
    ),
    "a page": (http("200 OK", b"<html>", Content_Type="text/html; charset=utf-8"), "answered with a page for people; is that"),
}


@pytest.mark.parametrize("case", PORTALS.values(), ids=list(PORTALS))
def test_a_login_page_is_named_and_no_try_of_a_download_is_lost_to_it(
    peer: Loopback, credentials: Credentials, case: tuple[bytes, str]
) -> None:
    answer, says = case
    peer.will_answer(answer, answer, answer)
    agent = agent_of(peer, credentials)
    asks: list[Callable[[], object]] = [
        lambda: agent.poll("1"),
        lambda: agent.send(EventBatch(journal="0" * 16, events=[])),
        lambda: agent.open(f"{peer.url}/image", 0),
    ]
    for ask in asks:
        with pytest.raises(TransportError) as raised:
            ask()
        assert says in raised.value.message
    assert len(peer.requests) == 3


def test_a_server_that_has_ipv6_only_is_reached(tmp_path: Path, ca: Authority, credentials: Credentials) -> None:
    with loopback(tmp_path, ca, host="::1") as server:
        server.will_answer(UNCHANGED, http("206 Partial Content", b"abc", Content_Range="bytes 0-2/3"))
        agent = agent_of(server, credentials)
        assert agent.poll("1").answer is None
        assert b"".join(agent.open(f"{server.url}/image", 0).chunks) == b"abc"


# --- a proxy ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def between() -> Iterator[Proxy]:
    with proxy() as found:
        yield found


def test_a_proxy_carries_what_it_cannot_read(peer: Loopback, credentials: Credentials, between: Proxy) -> None:
    peer.will_answer(UNCHANGED)
    assert agent_of(peer, credentials, via=f"http://device:se%2Fcret@{between.address}").poll("1").answer is None
    (asked,) = between.requests
    assert asked.startswith(f"CONNECT {peer.url.removeprefix('https://')} HTTP/1.".encode())
    assert b"proxy-authorization: basic zgv2awnlonnll2nyzxq=" in asked.lower()
    assert b"authorization" not in peer.requests[0].lower(), "what the proxy is told is for the proxy"


@pytest.mark.parametrize("refusal", [b"407 Proxy Authentication Required", b"403 Forbidden"])
def test_a_proxy_that_refuses_is_named_and_its_password_is_not(
    peer: Loopback, credentials: Credentials, between: Proxy, refusal: bytes
) -> None:
    between.refusal = b"HTTP/1.1 " + refusal + b"\r\n\r\n"
    refused = refusal_of(agent_of(peer, credentials, via=f"http://device:secret@{between.address}"))
    assert f"Tunnel connection failed: {refusal.decode()}" in refused.message
    assert "secret" not in refused.message


def test_a_stranger_behind_a_proxy_is_not_talked_to(tmp_path: Path, credentials: Credentials, between: Proxy) -> None:
    with loopback(tmp_path, authority()) as stranger:
        assert "certificate verify failed" in refusal_of(agent_of(stranger, credentials, via=f"http://{between.address}")).message
        assert stranger.requests == []


def test_nobody_at_the_proxys_place_is_the_proxys_fault(peer: Loopback, credentials: Credentials) -> None:
    assert "proxy" in refusal_of(agent_of(peer, credentials, via="http://127.0.0.1:1")).message


@pytest.mark.parametrize(
    ("url", "setting", "environment", "expected"),
    [
        ("https://server:8443/v1/poll", "", {}, ""),
        ("https://server:8443/v1/poll", "", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("https://server:8443/v1/poll", "", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://server:8443/v1/poll", "", {"http_proxy": "http://p:1"}, ""),
        ("http://cdn/x", "", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("https://server:8443/", "http://q:2", {"https_proxy": "http://p:1"}, "http://q:2"),
        ("https://server:8443/", "none", {"https_proxy": "http://p:1"}, ""),
        ("https://server:8443/", "", {"https_proxy": "http://p:1", "no_proxy": "x, server"}, ""),
        ("https://a.b.example/", "", {"https_proxy": "http://p:1", "NO_PROXY": ".example"}, ""),
        ("https://ab.example/", "", {"https_proxy": "http://p:1", "no_proxy": "b.example"}, "http://p:1"),
        ("https://server/", "", {"https_proxy": "http://p:1", "no_proxy": "*"}, ""),
        ("https://localhost:8443/", "", {"https_proxy": "http://p:1"}, ""),
        ("https://[::1]:8443/", "", {"https_proxy": "http://p:1"}, ""),
        ("https://127.0.0.1/", "http://q:2", {}, "http://q:2"),
    ],
)
def test_the_settings_come_before_the_environment(url: str, setting: str, environment: dict[str, str], expected: str) -> None:
    assert proxy_for(url, NetworkSettings(proxy=setting), environment) == expected


@pytest.mark.parametrize("named", ["socks5://p:1", "p:1", "http://"])
def test_a_proxy_of_another_kind_is_one_line(named: str) -> None:
    with pytest.raises(TransportError, match="https_proxy names no proxy that is understood"):
        proxy_for("https://server/", NetworkSettings(), {"https_proxy": named})
    with pytest.raises(FormatError):
        from_plain({"proxy": named}, NetworkSettings, what="agent.toml")


# --- one byte a second ------------------------------------------------------------------------------------------------------


class Slow(VirtualClock):
    """A clock by which every look at the time takes a second: bytes that arrive one by one arrive one a second."""

    def monotonic(self) -> float:
        self.sleep(1)
        return super().monotonic()


def test_a_line_of_one_byte_a_second_is_left_taken_up_again_and_ends_with_the_attempt(peer: Loopback, credentials: Credentials) -> None:
    image = bytes(range(250)) * 4
    head = http("206 Partial Content", Content_Length="", Content_Range=f"bytes 0-999/{len(image)}")

    def drip(start: int) -> Iterator[bytes]:
        yield head.replace(b"bytes 0-", b"bytes %d-" % start)
        yield from (image[at : at + 1] for at in range(start, len(image)))

    flash, clock = SimulatedFlash(), Slow(NOW)
    slots = SlotFiles(flash, {SlotName.A: "slots/a.img", SlotName.B: "slots/b.img"}, 10_000)
    agent = HttpsServer(peer.url, credentials, patience=SOON)
    downloader = Downloader(agent, slots, clock)
    target = DownloadTarget(urls=(f"{peer.url}/image",), size=len(image), hash=digest_of(image), slot=SlotName.B)
    received, tries = 0, 0
    while received < 200:
        peer.answers.append(drip(received))
        with pytest.raises(InterruptedDownloadError, match="too slow") as broken:
            downloader.step(target, received, len(image))
        assert broken.value.received > received, "what came is kept"
        received, tries = broken.value.received, tries + 1
        assert tries < 50
    peer.answers.append(drip(received))
    with pytest.raises(InterruptedDownloadError, match="The time for the image is over"):
        downloader.step(target, received, len(image), within_s=20)
    assert flash.open("slots/b.img").read_at(0, received) == image[:received]
