# SPDX-License-Identifier: Apache-2.0
"""Tests of the console without a browser: who may see and do what, and what pages say."""

import html
from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec import structs

from surefoot.rollout.plan import Security, Status
from tests.server.consoles import TOKEN, Desk, desk, later
from tests.server.running import Running
from tests.server.showroom import DRAFT, PAUSED, RUNNING
from tests.trust.repositories import PRODUCT

PAGES = ["/", "/rollouts", f"/rollouts/{RUNNING}", "/devices/t-017"]
STREAMS = ["/live/fleet", "/live/rollouts", f"/live/rollouts/{RUNNING}", "/live/devices/t-017"]


@pytest.fixture(scope="module")
def address() -> Iterator[Desk]:
    with desk() as found:
        yield found


@pytest.fixture
def console(address: Desk) -> Desk:
    address.renew()
    return address


@pytest.mark.parametrize("path", [*PAGES, "/rollouts/999", "/devices/nobody", "/nothing"])
def test_a_stranger_is_led_to_the_login_whatever_there_is(console: Desk, path: str) -> None:
    answer = console.get(path)
    assert (answer.status, answer.headers["location"], answer.data) == (303, "/login", b"")


@pytest.mark.parametrize("path", [*STREAMS, "/live/rollouts/999", "/live/nothing"])
def test_a_stranger_gets_no_stream(console: Desk, path: str) -> None:
    answer = console.get(path)
    assert (answer.status, answer.data) == (401, b"Log in first.\n")


def test_a_wrong_token_lets_nobody_in(console: Desk) -> None:
    answer = console.post("/login", {"token": "wrong"})
    assert (answer.status, "set-cookie" in answer.headers) == (401, False)


def test_the_cookie_is_for_this_host_and_for_no_script(console: Desk) -> None:
    cookie = console.post("/login", {"token": TOKEN}).headers["set-cookie"]
    assert cookie.split("; ")[1:] == ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]


def test_an_alarm_is_on_the_rollouts_page_and_in_the_list_of_all(console: Desk) -> None:
    session = console.log_in()
    show = console.showroom.shows[PAUSED]
    plan = structs.replace(show.rollout.plan, security=Security(deadline="2026-01-01T00:00:00Z"))
    for is_alarmed in (False, True):
        show.rollout = structs.replace(show.rollout, plan=plan, is_alarmed=is_alarmed)
        for path in (f"/rollouts/{show.rollout_id}", "/rollouts"):
            assert (b"Its security deadline was" in console.get(path, session).data) is is_alarmed


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_kept_by_nobody_and_framed_by_nobody(console: Desk, path: str) -> None:
    answer = console.get(path, console.log_in())
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_session_ends_after_twelve_hours(console: Desk) -> None:
    cookie = console.log_in()
    later(console, timedelta(hours=12))
    assert console.get("/", cookie).status == 303


def test_a_session_ends_with_the_token_that_opened_it(console: Desk) -> None:
    cookie = console.log_in()
    console.operators.clear()
    assert console.get("/", cookie).status == 303


def test_logging_out_ends_the_session_at_the_server_too(console: Desk) -> None:
    cookie = console.log_in()
    assert console.steer(cookie, "/logout").headers["location"] == "/login"
    assert console.get("/", cookie).status == 303


@pytest.mark.parametrize("origin", ["", "null", "http://[", "http://evil.example", "http://127.0.0.1:1"])
def test_a_form_of_another_site_does_nothing(console: Desk, origin: str) -> None:
    cookie = console.log_in()
    fields = {"form_token": console.form_token(cookie)}
    assert console.post(f"/rollouts/{RUNNING}/pause", fields, cookie, origin=origin).status == 403
    assert console.showroom.shows[RUNNING].rollout.status is Status.RUNNING


@pytest.mark.parametrize("fields", [{}, {"form_token": ""}, {"form_token": "é"}])
def test_a_form_without_the_token_of_its_session_does_nothing(console: Desk, fields: dict[str, str]) -> None:
    assert console.post(f"/rollouts/{RUNNING}/pause", fields, console.log_in()).status == 403
    assert console.showroom.shows[RUNNING].rollout.status is Status.RUNNING


def test_a_form_token_of_another_session_does_nothing(console: Desk) -> None:
    fields = {"form_token": console.form_token(console.log_in())}
    assert console.post(f"/rollouts/{RUNNING}/pause", fields, console.log_in()).status == 403


def test_a_form_without_a_session_leads_to_the_login(console: Desk) -> None:
    assert console.post(f"/rollouts/{RUNNING}/halt", {"word": "halt"}).headers["location"] == "/login"
    assert console.showroom.shows[RUNNING].rollout.status is Status.RUNNING


@pytest.mark.parametrize(
    ("rollout_id", "verb", "status"),
    [(DRAFT, "start", Status.RUNNING), (RUNNING, "pause", Status.PAUSED), (PAUSED, "resume", Status.RUNNING)],
)
def test_a_button_moves_the_rollout_in_the_name_of_the_operator(console: Desk, rollout_id: int, verb: str, status: Status) -> None:
    answer = console.steer(console.log_in(), f"/rollouts/{rollout_id}/{verb}", why="seen")
    show = console.showroom.shows[rollout_id]
    assert (answer.status, answer.headers["location"]) == (303, f"/rollouts/{rollout_id}")
    assert (show.rollout.status, getattr(show.decisions[0].decision, "by", None)) == (status, "ada")


@pytest.mark.parametrize("word", ["", "stop", "halted"])
def test_nothing_is_halted_unless_the_word_is_typed(console: Desk, word: str) -> None:
    assert console.steer(console.log_in(), f"/rollouts/{RUNNING}/halt", word=word, why="smoke").status == 400
    assert console.showroom.shows[RUNNING].rollout.status is Status.RUNNING


def test_nothing_is_halted_without_a_reason(console: Desk) -> None:
    answer = console.steer(console.log_in(), f"/rollouts/{RUNNING}/halt", word="halt", why=" ")
    assert answer.status == 400
    assert "no reason is given" in answer.data.decode()
    assert console.showroom.shows[RUNNING].rollout.status is Status.RUNNING


def test_a_halt_is_stored_with_its_reason(console: Desk) -> None:
    console.steer(console.log_in(), f"/rollouts/{RUNNING}/halt", word=" Halt ", why="smoke")
    assert console.showroom.shows[RUNNING].decisions[0].decision.reason == "Halted by ada: smoke."


def test_the_address_of_a_form_leads_back_to_its_page(console: Desk) -> None:
    answer = console.get(f"/rollouts/{RUNNING}/pause", console.log_in())
    assert (answer.status, answer.headers["location"]) == (303, f"/rollouts/{RUNNING}")


def test_a_start_is_scheduled_as_a_browser_says_it_and_as_the_api_does(console: Desk) -> None:
    cookie = console.log_in()
    for at in ("2026-12-01T02:00", "2026-12-01T02:00:00Z"):
        assert console.steer(cookie, f"/rollouts/{DRAFT}/schedule", at=at).status == 303
        assert console.showroom.shows[DRAFT].rollout.starts_at == "2026-12-01T02:00:00Z"
    assert console.steer(cookie, f"/rollouts/{DRAFT}/schedule", at="tomorrow").status == 400


def test_what_was_typed_is_text_and_never_markup(console: Desk) -> None:
    answer = console.steer(console.log_in(), f"/rollouts/{PAUSED}/halt", word="x", why='"><script>alert(1)</script>')
    assert answer.status == 400
    assert "<script>alert" not in answer.data.decode()


def test_a_verb_that_comes_too_late_is_refused_in_a_sentence(console: Desk) -> None:
    answer = console.steer(console.log_in(), f"/rollouts/{PAUSED}/pause")
    assert answer.status == 409
    assert "only a running one can be paused" in answer.data.decode()


@pytest.mark.parametrize("path", ["/rollouts/999", "/rollouts/0", "/rollouts/x", "/devices/nobody", "/devices/..%2f", "/nothing"])
def test_what_is_not_there_is_told_to_those_who_are_logged_in(console: Desk, path: str) -> None:
    assert console.get(path, console.log_in()).status == 404


def test_a_form_of_too_many_fields_is_refused(console: Desk) -> None:
    fields = {f"field-{number}": "x" for number in range(20)}
    assert console.post("/login", fields).status == 400


def test_the_beginning_of_an_id_finds_the_devices_that_begin_so_and_no_other(console: Desk) -> None:
    page = console.get("/?filter=t-01", console.log_in()).data.decode()
    assert [f"t-{number:03}" for number in range(200) if f'href="/devices/t-{number:03}"' in page] == [
        f"t-01{digit}" for digit in range(10)
    ]


def test_a_whole_id_is_its_own_beginning(console: Desk) -> None:
    page = console.get("/?filter=attic-200", console.log_in()).data.decode()
    assert page.count('href="/devices/') == 1


@pytest.mark.parametrize("query", ["filter=%00", "filter=%EE%80%80", "filter=t%25", "after=%00", "filter=%FF&after=%FF"])
def test_what_no_id_has_finds_no_device(console: Desk, query: str) -> None:
    answer = console.get(f"/?{query}", console.log_in())
    assert (answer.status, answer.data.decode().count('href="/devices/')) == (200, 0)


def test_a_filter_finds_the_devices_that_it_means(console: Desk) -> None:
    console.showroom.runs("t-199", "9.9.9")
    page = console.get("/?filter=version%3E%3D9.0.0%20and%20device_id%3D%3Dt-*", console.log_in()).data.decode()
    assert ("/devices/t-199" in page, page.count('href="/devices/')) == (True, 1)


def test_a_filter_that_cannot_be_read_is_answered_with_the_place_and_what_to_do(console: Desk) -> None:
    answer = console.get("/?filter=version%3C9", console.log_in())
    page = html.unescape(answer.data.decode())
    assert (answer.status, page.count('href="/devices/')) == (200, 0)
    assert "version<9\n          ^" in page
    assert "Write it like 1.2.3" in page


def test_pages_of_devices_lead_to_the_last(console: Desk) -> None:
    cookie, path, seen = console.log_in(), "/", 0
    while path:
        page = console.get(path, cookie).data.decode()
        seen += page.count('href="/devices/')
        path = page.split('">Next page')[0].rpartition('href="')[2].replace("&amp;", "&") if "Next page" in page else ""
    assert seen == 240


def test_what_a_device_says_is_text_and_never_markup(console: Desk) -> None:
    console.showroom.happened("t-001", "update.<script>", 1, detail="<img src=x onerror=alert(1)>")
    page = console.get("/devices/t-001", console.log_in()).data.decode()
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert "<script>" not in page


def test_what_a_person_searches_for_is_text_too(console: Desk) -> None:
    page = console.get("/?filter=%22%3E%3Cscript%3E", console.log_in()).data.decode()
    assert "<script>" not in page


def test_every_decision_is_shown_with_its_reason(console: Desk) -> None:
    page = console.get(f"/rollouts/{PAUSED}", console.log_in()).data.decode().replace("&#39;", "'")
    reasons = [stored.decision.reason.partition(", at ")[0] for stored in console.showroom.shows[PAUSED].decisions]
    assert [reason for reason in reasons if reason not in page] == []


def test_harmed_and_silent_devices_are_linked(console: Desk) -> None:
    page = console.get(f"/rollouts/{PAUSED}", console.log_in()).data.decode()
    assert page.count('href="/devices/') == 9


def test_a_stream_sends_only_what_changed(console: Desk) -> None:
    cookie = console.log_in()
    page = console.get("/", cookie).data.decode()
    live = page.split('sse-connect="')[1].split('"')[0].replace("&amp;", "&")
    with console.stream(live, cookie) as messages:
        assert next(messages) == ":"
        console.showroom.runs("t-199", "1.2.0")
        news = next(message for message in messages if message != ":")
    assert news.startswith("event: versions\n")


def test_a_stream_of_a_page_as_it_was_sends_every_part(console: Desk) -> None:
    with console.stream("/live/devices/t-017", console.log_in()) as messages:
        assert [next(messages).splitlines()[0] for _ in range(5)] == [
            "event: device",
            "event: why",
            "event: windows",
            "event: attempts",
            "event: events",
        ]


def test_a_stream_ends_with_its_session(console: Desk) -> None:
    with console.stream("/live/rollouts", console.log_in()) as messages:
        next(messages)
        console.operators.clear()
        assert set(messages) <= {":"}


def test_a_stream_ends_with_the_server() -> None:
    with desk() as console:
        opened = console.stream("/live/rollouts", console.log_in())
        messages = opened.__enter__()
        next(messages)
    assert set(messages) <= {":"}
    opened.__exit__(None, None, None)


def test_a_stream_of_what_is_not_there_is_refused(console: Desk) -> None:
    assert console.get("/live/rollouts/999", console.log_in()).status == 404


def test_a_file_the_browser_has_is_not_sent_again(console: Desk) -> None:
    first = console.get("/static/app.js")
    again = console.get("/static/app.js", if_none_match=first.headers["etag"])
    assert (first.status, again.status, again.data) == (200, 304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "../console.py", "..%2fconsole.py"])
def test_no_other_file_is_served(console: Desk, name: str) -> None:
    assert console.get(f"/static/{name}").status in {303, 404}


def test_a_method_that_means_nothing_is_refused(console: Desk) -> None:
    assert console.browser.request("DELETE", f"{console.url}/rollouts/{RUNNING}").status == 405


def test_the_operator_listener_serves_programs_and_people(server: Running) -> None:
    page = server.operators.request("GET", f"{server.addresses.operator_url}/rollouts", redirect=False)
    assert (page.status, page.headers["location"]) == (303, "/login")
    assert server.call("GET", "releases").status == 200


def log_in_to(server: Running) -> dict[str, str]:
    """Return the headers of a session that the server's own token opened."""
    url = server.addresses.operator_url
    fields = {"token": (server.data / "admin.token").read_text()}
    answer = server.operators.request(
        "POST", f"{url}/login", fields=fields, encode_multipart=False, headers={"Origin": url}, redirect=False
    )
    return {"Cookie": answer.headers["set-cookie"].split(";")[0], "Origin": url}


@pytest.mark.parametrize("path", ["/", "/?filter=t", "/rollouts"])
def test_pages_are_made_from_the_servers_own_database(server: Running, path: str) -> None:
    answer = server.operators.request("GET", server.addresses.operator_url + path, headers=log_in_to(server), redirect=False)
    assert answer.status == 200


def test_a_device_of_the_server_has_its_page(server: Running) -> None:
    device = server.join()
    answer = server.operators.request(
        "GET", f"{server.addresses.operator_url}/devices/{device.device_id}", headers=log_in_to(server), redirect=False
    )
    page = answer.data.decode()
    assert f'<h1 class="id">{device.device_id}</h1>' in page
    assert "bootloader_version" not in page


def test_a_rollout_of_the_server_is_started_from_its_page(server: Running) -> None:
    server.publish("1.1.0", b"image")
    created = server.call("POST", "rollouts", {"release": f"{PRODUCT} 1.1.0"})
    assert created.status == 201, created.data
    url = f"{server.addresses.operator_url}/rollouts/{created.json()['rollout_id']}"
    headers = log_in_to(server)
    page = server.operators.request("GET", url, headers=headers).data.decode()
    fields = {"form_token": page.split('name="form_token" value="')[1].split('"')[0]}
    early = server.operators.request("POST", f"{url}/pause", fields=fields, encode_multipart=False, headers=headers, redirect=False)
    number = url.rpartition("/")[2]
    assert (early.status, f"See &#39;surefoot rollout show {number}&#39;." in early.data.decode()) == (409, True)
    answer = server.operators.request("POST", f"{url}/start", fields=fields, encode_multipart=False, headers=headers, redirect=False)
    assert answer.status == 303
    assert "Started by admin." in server.operators.request("GET", url, headers=headers).data.decode()
