# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows through the operator API and the command line."""

from typing import Any

import pytest

from surefoot.cli.main import main
from tests.server.running import Running
from tests.server.test_operator_api import acts, problem

NIGHT: dict[str, Any] = {"windows": [{"days": ["mon", "tue"], "start": "02:00", "length": "3h"}], "timezone": "Europe/Berlin"}


def run(server: Running, *words: str) -> int:
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    return main([*words, *options])


def test_windows_are_put_shown_listed_and_removed(server: Running) -> None:
    before = len(acts(server))
    assert server.call("PUT", "windows/site/new%20york", NIGHT).status == 204
    assert server.call("GET", "windows/site/new%20york").json() == NIGHT
    assert {"level": "site", "key": "new york", "setting": NIGHT} in server.call("GET", "windows").json()["windows"]
    assert server.call("DELETE", "windows/site/new%20york").status == 204
    assert problem(server.call("GET", "windows/site/new%20york")) == (404, "not_found")
    assert acts(server)[before:] == [("admin", "window.set", "site new york"), ("admin", "window.remove", "site new york")]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("windows/galaxy/x", NIGHT, 400),
        ("windows/rollout/1", NIGHT, 400),
        ("windows/device/nobody", NIGHT, 404),
        ("windows/fleet/-", {"windows": []}, 400),
        ("windows/fleet/-", {"windows": [{"start": "2", "length": "3h"}]}, 400),
        ("windows/fleet/-", {"windows": [{"start": "02:00", "length": "3h", "zone": "+02:00"}]}, 400),
        ("windows/fleet/-", {"windows": [{"start": "02:00", "length": "3h"}], "cron": "* * * * *"}, 400),
        ("windows/fleet/-", {"timezone": "Mars/Base"}, 400),
    ],
)
def test_what_is_no_setting_is_refused(server: Running, path: str, body: dict[str, Any], expected: int) -> None:
    before = server.call("GET", "windows").json()
    assert problem(server.call("PUT", path, body))[0] == expected
    assert server.call("GET", "windows").json() == before


def test_a_mistake_in_a_window_is_said_in_words(server: Running) -> None:
    answer = server.call("PUT", "windows/fleet/-", {"windows": [{"start": "2", "length": "3h"}]})
    assert "a time of day as on a clock, as in 02:00" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"audience": ""}, "'audience': Expected a filter, as in"),
        (
            {"gate": {"simple": {"rollback_rate": {"warn": "1%", "pause": "120%"}}}},
            "'gate.simple.rollback_rate.pause': Expected a percentage",
        ),
        ({"start_at": "soon"}, "'start_at': Expected an instant in UTC"),
        ({"release": "thermostat"}, "'release': Expected a product and a version"),
        ({"windows": [{"start": "02:00", "length": "3h", "zone": "Mars/Base"}]}, "'windows[0].zone': there is no time zone 'Mars/Base'"),
        ({"windows": [{"start": "02:00", "length": "0h"}]}, "'rollout.windows[0].length': it never opens"),
        ({"limits": {"per_hour": 0}}, "'limits.per_hour': Expected `int` >= 1"),
        ({"stages": [{"name": "a"}, {"name": "b"}]}, "'rollout.stages[1]': no device is ever left for stage b"),
    ],
)
def test_a_mistake_in_a_plan_is_said_in_words(server: Running, plan: dict[str, Any], said: str) -> None:
    answer = server.call("POST", "rollouts", {"release": "thermostat 1.1.0"} | plan)
    assert (answer.status, said in answer.json()["detail"]) == (400, True), answer.json()


def test_windows_are_set_shown_listed_and_removed_by_hand(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    device = server.join().device_id
    assert run(server, "window", "set", "customer", "acme", "mon-fri 02:00 3h", "sat,sun 01:00 5h Asia/Tokyo") == 0
    assert capsys.readouterr().out == "Customer acme: mon-fri 02:00 3h; sat,sun 01:00 5h Asia/Tokyo.\n"
    assert run(server, "window", "set", "fleet", "-", "--timezone", "Europe/Berlin") == 0
    assert capsys.readouterr().out == "The fleet: time zone Europe/Berlin.\n"
    assert run(server, "window", "list") == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [words[:3] for words in listed if words[0] != "device"] == [["customer", "acme", "mon-fri"], ["fleet", "-", "time"]]
    assert run(server, "window", "show", device) == 0
    shown = capsys.readouterr().out
    assert f"{device}  zone Europe/Berlin\n" in shown
    assert "Nobody has set any windows" in shown
    assert run(server, "device", "set", device, "customer=acme") == 0
    capsys.readouterr()
    assert run(server, "window", "show", device) == 0
    shown = capsys.readouterr().out
    assert "customer   mon-fri 02:00 3h Europe/Berlin\ncustomer   sat,sun 01:00 5h Asia/Tokyo\nnext       from " in shown
    assert run(server, "window", "set", "device", device, "--metered-downloads", "window") == 0
    assert capsys.readouterr().out == f"Device {device}: metered downloads in a window.\n"
    assert run(server, "device", "set", device, "metered=true") == 0
    assert run(server, "window", "show", device) == 0
    assert "download   in a window too: its line is paid by the byte\n" in capsys.readouterr().out
    assert run(server, "window", "remove", "customer", "acme") == 0
    assert run(server, "window", "remove", "fleet", "-") == 0
    assert capsys.readouterr().out == "Customer acme has no windows of its own any more.\nThe fleet has no windows of its own any more.\n"
    assert run(server, "window", "show", device) == 0
    assert "note       Nobody says the device's time zone; UTC is used.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "fleet", "-"], "No window is given."),
        (["set", "fleet", "-", "at night"], "'at night' is no window."),
        (["set", "fleet", "-", "daily 02:00 1m"], "'windows[0].length': it is shorter than an install takes, 300 s."),
        (["set", "fleet", "-", "--timezone", "Europe/Berln"], "There is no time zone 'Europe/Berln'. Did you mean Europe/Berlin"),
        (["set", "fleet", "all", "daily 02:00 1h"], "The fleet's key is '-', and nobody else's."),
        (["show", "nobody"], "There is no device nobody."),
        (["remove", "site", "nowhere"], "No windows are set for site nowhere."),
    ],
)
def test_a_mistake_is_one_sentence(server: Running, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "window", *words) == 2
    assert capsys.readouterr().err.startswith(f"surefoot: {said}")


def test_an_order_says_that_it_waits_for_a_window_or_not(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    server.publish("7.0.0", b"image 7.0.0")
    device = server.join().device_id
    assert run(server, "window", "set", "device", device, "daily 02:00 3h") == 0
    assert run(server, "device", "order", device, "7.0.0") == 0
    assert "It downloads at its next poll and installs in its window; follow it with" in capsys.readouterr().out
    assert run(server, "device", "order", device, "7.0.0", "--any-time") == 0
    assert "It starts at its next poll; follow it with" in capsys.readouterr().out
