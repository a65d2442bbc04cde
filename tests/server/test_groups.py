# SPDX-License-Identifier: Apache-2.0
"""Groups, given attributes and filters, through the API and the command line."""

from typing import Any

import pytest
from msgspec import structs

from surefoot.cli.main import main
from surefoot.model.digest import digest_of
from surefoot.model.event import EventBatch
from surefoot.rollout.cohort import place
from tests.server.office import JOURNAL, statement
from tests.server.running import Running
from tests.server.test_operator_api import acts, problem


def run(server: Running, *words: str) -> int:
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    return main([*words, *options])


def listed(server: Running, path: str) -> list[str]:
    return [device["device_id"] for device in server.call("GET", path).json()["devices"]]


def give(server: Running, device_id: str, attributes: dict[str, Any]) -> int:
    return server.call("PUT", f"devices/{device_id}/attributes", {"attributes": attributes}).status


@pytest.fixture(scope="module")
def fleet(server: Running) -> list[str]:
    return [server.join().device_id for _ in range(5)]


def test_a_device_is_put_into_a_group_once_and_taken_out(server: Running, fleet: list[str]) -> None:
    before = len(acts(server))
    for _ in range(2):
        assert server.call("PUT", f"groups/canary/devices/{fleet[0]}").status == 200
    assert {"name": "canary", "devices": 1} in server.call("GET", "groups").json()["groups"]
    assert server.call("DELETE", f"groups/canary/devices/{fleet[0]}").status == 200
    assert "canary" not in [group["name"] for group in server.call("GET", "groups").json()["groups"]]
    subject = f"canary {fleet[0]}"
    assert acts(server)[before:] == [("admin", "group.add", subject), ("admin", "group.remove", subject)]


def test_members_come_in_pages_in_the_order_of_rollouts(server: Running, fleet: list[str]) -> None:
    for device_id in fleet:
        server.call("PUT", f"groups/paged/devices/{device_id}")
    found, after = list[str](), ""
    while True:
        page = server.call("GET", f"groups/paged/devices?limit=2&after={after}").json()
        found += [device["device_id"] for device in page["devices"]]
        after = page["next"]
        if not after:
            break
    assert found == sorted(fleet, key=place)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("PUT groups/canary/devices/nobody", (404, "not_found")),
        ("PUT groups/Canary%20Birds/devices/{device}", (400, "invalid_input")),
        ("DELETE groups/nothing/devices/{device}", (404, "not_found")),
        ("GET groups/nothing/devices", (404, "not_found")),
        ("GET devices?filter=hardware", (400, "bad_filter")),
        ("GET devices?filter=colour==red", (400, "bad_filter")),
        ("GET devices?filter=version%3C2", (400, "bad_filter")),
    ],
)
def test_what_is_not_there_or_cannot_be_read_is_refused(server: Running, fleet: list[str], call: str, expected: tuple[int, str]) -> None:
    method, path = call.format(device=fleet[0]).split()
    assert problem(server.call(method, path)) == expected


def test_a_given_attribute_wins_over_a_reported_one_until_it_is_taken_back(server: Running) -> None:
    device = server.join()
    report = statement(digest_of(b"image"))
    batch = EventBatch(journal=JOURNAL, events=[], report=structs.replace(report, attributes={"site": "factory"}))
    assert device.send(batch).status == 200
    assert give(server, device.device_id, {"site": "berlin", "note": "it's ü"}) == 200
    assert server.story(device)["attributes"]["site"] == "berlin"
    assert listed(server, "devices?filter=site==berlin") == [device.device_id]
    assert give(server, device.device_id, {}) == 200
    assert server.story(device)["attributes"]["site"] == "factory"
    assert acts(server)[-1] == ("admin", "device.set", device.device_id)


@pytest.mark.parametrize("attributes", [{"state": "x"}, {"Site": "x"}, {"site": 1}, {"site": "x" * 201}, {"site": "a\nb"}])
def test_an_attribute_that_cannot_be_is_refused(server: Running, fleet: list[str], attributes: dict[str, Any]) -> None:
    assert give(server, fleet[0], attributes) == 400


def test_a_device_that_there_is_not_is_given_nothing(server: Running) -> None:
    assert give(server, "nobody", {"site": "x"}) == 404


def test_devices_that_a_filter_means_come_in_pages(server: Running, fleet: list[str]) -> None:
    for device_id in fleet[1:4]:
        give(server, device_id, {"row": "one"})
    first = server.call("GET", "devices?limit=2&filter=row==one").json()
    rest = listed(server, f"devices?limit=2&filter=row==one&after={first['next']}")
    assert [device["device_id"] for device in first["devices"]] + rest == sorted(fleet[1:4])


def test_a_device_that_joins_again_keeps_what_it_was_given(server: Running) -> None:
    device = server.join()
    give(server, device.device_id, {"site": "attic"})
    assert server.story(server.join(device.device_id))["attributes"]["site"] == "attic"


def test_the_command_line_sets_shows_and_lists(server: Running, fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    one, other = fleet[:2]
    assert run(server, "device", "set", one, "floor=2", "wing=new=old") == 0
    assert run(server, "device", "set", one, "--unset", "wing") == 0
    assert run(server, "group", "add", "pilot", one, other) == 0
    assert run(server, "group", "remove", "pilot", other) == 0
    assert run(server, "group", "list") == 0
    capsys.readouterr()
    assert run(server, "device", "show", one) == 0
    shown = capsys.readouterr().out.splitlines()
    assert run(server, "device", "list", "--filter", f"group==pi* and floor>1 and (seen_within!=1h or device_id=={one})") == 0
    assert run(server, "group", "show", "pilot") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith(("attribute", "groups"))] == [
        f"groups     {group_names(server, one)}",
        "attribute  floor=2 (given)",
    ]
    assert [line.split()[0] for line in lines] == ["DEVICE", one, "pilot", "DEVICE", one]


def group_names(server: Running, device_id: str) -> str:
    return ", ".join(server.call("GET", f"devices/{device_id}").json()["groups"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["device", "set", "{device}"], "Nothing is to be set"),
        (["device", "set", "{device}", "floor"], "gives no value"),
        (["device", "set", "{device}", "--unset", "cellar"], "was not given"),
        (["device", "list", "--filter", "hardwre==x"], "Did you mean 'hardware'?"),
        (["device", "list", "--filter", "state==active and version<2"], "\n  state==active and version<2\n                            ^\n"),
        (["group", "show", "nothing"], "no group 'nothing'"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    server: Running, fleet: list[str], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert run(server, *(word.format(device=fleet[0]) for word in words)) == 2
    assert says in capsys.readouterr().err
