# SPDX-License-Identifier: Apache-2.0
"""What a customer's token reaches: its own windows and opt-ins, and of every other route the same refusal, whatever there is."""

import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from litestar.routes import HTTPRoute

from surefoot.cli.main import main
from surefoot.server.api.operator import OperatorParts, _litestar
from tests.server.running import Running

OPEN = {
    ("GET", "/api/v1/devices/{device_id}/windows"),
    ("GET", "/api/v1/windows/{level}/{key}"),
    ("PUT", "/api/v1/windows/{level}/{key}"),
    ("DELETE", "/api/v1/windows/{level}/{key}"),
    ("PUT", "/api/v1/groups/{name}/consents/{device_id}"),
    ("DELETE", "/api/v1/groups/{name}/consents/{device_id}"),
}
"""All that a customer's token may ever reach; a new route of this kind is added here on purpose."""

NIGHT = {"windows": [{"start": "02:00", "length": "3h"}]}
OUT = {"is_in": False, "who": "Ms Smith"}


APP = _litestar(cast("OperatorParts", None))
HTTP = [route for route in APP.routes if isinstance(route, HTTPRoute)]
ROUTES = sorted((method, route.path_format) for route in HTTP for method in route.methods)


def _filled(values: dict[str, str], found: re.Match[str]) -> str:
    return values.get(found[1], "1")


class Shop:
    """A server with devices of two customers and of none, and the token of one of them."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.devices: dict[str, str] = {}
        for name, given in {
            "own": {"customer": "acme", "site": "plant-1"},
            "mixed": {"customer": "acme", "site": "plant-2"},
            "foreign": {"customer": "other", "site": "plant-2"},
            "nobodys": {"site": "plant-3"},
        }.items():
            self.devices[name] = device_id = server.join().device_id
            assert server.call("PUT", f"devices/{device_id}/attributes", {"attributes": given}).status == 200
        for group in ("pilots", "staff"):
            assert server.call("PUT", f"groups/{group}", {"filter": "site==plant-9"}).status == 200
        request = {"name": "portal", "customer": "acme", "groups": ["pilots"]}
        self.token = server.call("POST", "users", request).json()["token"]

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        answer = self.server.call(method, path, body, self.token)
        return answer.status, answer.data


@pytest.fixture(scope="module")
def shop(server: Running) -> Shop:
    return Shop(server)


def test_no_other_route_is_open_to_customers() -> None:
    handlers = [(route.path_format, handler) for route in HTTP for handler in route.route_handlers]
    assert {(method, path) for path, handler in handlers if "reach" in handler.opt for method in handler.http_methods} == OPEN


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_each_route_refuses_what_is_not_the_customers_in_the_same_words(shop: Shop, method: str, path: str) -> None:
    refused = shop.call("GET", "devices")
    assert refused[0] == 403
    foreign = {"device_id": shop.devices["foreign"], "level": "fleet", "key": "-", "name": "pilots", "rollout_id": "1", "verb": "halt"}
    unknown = {"device_id": "nobody", "level": "device", "key": "nobody", "name": "nothing", "rollout_id": "9", "verb": "dance"}
    for values in (foreign, unknown):
        filled = re.sub(r"\{(\w+)\}", partial(_filled, values), path)
        headers = {"Authorization": f"Bearer {shop.token}", "Content-Type": "application/json"}
        answer = shop.server.operators.request(method, shop.server.addresses.operator_url + filled, body=b"{}", headers=headers)
        assert (answer.status, answer.data or refused[1]) == refused, filled


@pytest.mark.parametrize(
    ("level", "whose", "expected"),
    [
        ("customer", "acme", 204),
        ("customer", "other", 403),
        ("customer", "", 403),
        ("site", "plant-1", 204),
        ("site", "plant-2", 403),
        ("site", "plant-3", 403),
        ("site", "plant-9", 403),
        ("device", "own", 204),
        ("device", "mixed", 204),
        ("device", "foreign", 403),
        ("device", "nobodys", 403),
        ("fleet", "-", 403),
        ("rollout", "1", 403),
        ("planet", "acme", 403),
    ],
)
def test_windows_are_set_read_and_removed_where_all_is_the_customers_and_nowhere_else(
    shop: Shop, level: str, whose: str, expected: int
) -> None:
    path = f"windows/{level}/{shop.devices.get(whose, whose) or '%20'}"
    assert shop.call("PUT", path, NIGHT)[0] == expected
    assert shop.call("GET", path)[0] == (200 if expected == 204 else 403)
    assert shop.call("DELETE", path)[0] == expected


@pytest.mark.parametrize(
    ("group", "whose", "expected"),
    [("pilots", "own", 200), ("staff", "own", 403), ("pilots", "foreign", 403), ("pilots", "nobodys", 403), ("nothing", "own", 403)],
)
def test_own_devices_are_opted_out_of_groups_that_were_opened_and_of_no_others(shop: Shop, group: str, whose: str, expected: int) -> None:
    path = f"groups/{group}/consents/{shop.devices[whose]}"
    assert shop.call("PUT", path, OUT)[0] == expected
    assert shop.call("DELETE", path)[0] == expected


def test_a_device_that_changes_hands_is_reached_no_more(shop: Shop) -> None:
    device_id = shop.server.join().device_id
    for customer, expected in (("acme", 200), ("other", 403)):
        assert shop.server.call("PUT", f"devices/{device_id}/attributes", {"attributes": {"customer": customer}}).status == 200
        assert shop.call("GET", f"devices/{device_id}/windows")[0] == expected


def test_acts_carry_the_tokens_name(shop: Shop) -> None:
    assert shop.call("PUT", "windows/customer/acme", NIGHT)[0] == 204
    (line,) = [line for line in shop.server.call("GET", "windows").json()["windows"] if line["key"] == "acme"]
    assert line["level"] == "customer"
    acts = acts_of(shop.server)
    assert ("portal", "window.set", "customer acme") in acts
    assert ("admin", "user.add", "portal of customer acme pilots") in acts


def acts_of(server: Running) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(server.data / "surefoot.db")) as connection:
        return connection.execute("SELECT by, what, subject FROM act").fetchall()


def test_the_console_does_not_know_a_customers_token(shop: Shop) -> None:
    url = shop.server.addresses.operator_url
    answer = shop.server.operators.request(
        "POST", f"{url}/login", fields={"token": shop.token}, encode_multipart=False, headers={"Origin": url}
    )
    assert (answer.status, b"No operator has this token" in answer.data) == (401, True)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"name": "a", "customer": ""}, 400),
        ({"name": "a", "customer": "x\ny"}, 400),
        ({"name": "a", "groups": ["pilots"]}, 400),
        ({"name": "a", "customer": "acme", "groups": ["nothing"]}, 404),
    ],
)
def test_a_token_that_would_mean_something_else_than_was_meant_is_not_made(shop: Shop, request_: dict[str, Any], status: int) -> None:
    assert shop.server.call("POST", "users", request_).status == status


def test_by_hand(shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(token: Path, *words: str) -> tuple[int, str]:
        code = main([*words, "--server", shop.server.addresses.operator_url, "--token-file", str(token)])
        said = capsys.readouterr()
        return code, said.out + said.err

    admin, own = shop.server.data / "admin.token", tmp_path / "acme.token"
    code, said = run(admin, "user", "add", "acme-desk", "--customer", "acme", "--group", "pilots", "-o", str(own))
    assert (code, "may set windows of customer acme, of its sites and devices, and opt them in and out of pilots" in said) == (0, True), (
        said
    )
    assert run(admin, "user", "add", "acme-ops", "--customer", "acme", "-o", str(tmp_path / "ops.token"))[0] == 0
    code, said = run(admin, "user", "list")
    assert (code, "acme-desk" in said, "acme-ops" in said) == (0, True, True), said
    assert run(own, "window", "set", "site", "plant-1", "daily 02:00 3h")[0] == 0
    code, said = run(own, "device", "list")
    assert (code, said.startswith("surefoot: This token is a customer's: it does not reach that.")) == (2, True), said
