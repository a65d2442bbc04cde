# SPDX-License-Identifier: Apache-2.0
"""Tests of metadata by URL: what is there, for whom, and how long it may be kept."""

from base64 import b64encode
from pathlib import Path

import pytest
import urllib3

from surefoot.cli.tuf_client import main
from surefoot.trust.repository import versions
from tests.server.running import Running
from tests.trust.repositories import following


def fetch(server: Running, name: str, method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return server.operators.request(method, f"{server.addresses.operator_url}/v1/metadata/{name}", headers=given)


def test_the_tuf_client_follows_a_running_server_over_a_new_root(server: Running, tmp_path: Path) -> None:
    first = tmp_path / "first.json"
    first.write_bytes(fetch(server, "image/1.root.json").data)
    words = ["--metadata-dir", str(tmp_path / "kept")]
    url = ["--metadata-url", f"{server.addresses.operator_url}/v1/metadata/image"]
    assert main([*words, "init", str(first)]) == 0
    assert main([*words, *url, "refresh"]) == 0
    server.publish("7.0.0", b"seven")
    root = following(first.read_bytes(), server.repositories.image_roots)
    answer = server.call("POST", "trust", {"image": {"2.root.json": b64encode(root).decode()}})
    assert answer.status == 200, answer.data
    assert main([*words, *url, "refresh"]) == 0
    kept = {name: (tmp_path / "kept" / name).read_bytes() for name in ("root.json", "snapshot.json", "timestamp.json")}
    assert kept["root.json"] == root
    current = {name: server.call("GET", f"metadata/image/{name}").data for name in kept}
    assert versions(kept) == versions(current)


def test_a_versioned_file_may_be_kept_for_ever_and_a_timestamp_not(server: Running) -> None:
    kept, fresh = fetch(server, "image/1.root.json"), fetch(server, "image/timestamp.json")
    assert (kept.status, kept.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert (fresh.status, fresh.headers["cache-control"]) == (200, "no-cache")
    assert fetch(server, "image/timestamp.json", If_None_Match=fresh.headers["etag"]).status == 304


@pytest.mark.parametrize(
    "name",
    [
        "image/root.json", "image/targets.json", "image/1.timestamp.json", "image/99.targets.json", "image/01.targets.json",
        "image/1.1.root.json", "image/../director/1.root.json", "image/1.%2e%2e%2fx.json", "image/", "image/99.root.json",
        "director/1.root.json", "director/timestamp.json",
    ],
)  # fmt: skip
def test_whatever_is_not_there_is_one_answer_and_no_view_is_given_to_strangers(server: Running, name: str) -> None:
    assert fetch(server, name).status == 404


def test_nothing_can_be_changed_here(server: Running) -> None:
    assert fetch(server, "image/timestamp.json", "PUT").status == 405


def test_a_device_reads_its_own_view_and_no_other(server: Running) -> None:
    mine, other = server.join(), server.join()
    assert mine.get("/v1/metadata/director/timestamp.json").status == 404
    polled = mine.poll().json()["metadata"]["director"]
    for name, data in polled.items():
        found = mine.get(f"/v1/metadata/director/{name}")
        assert (found.status, b64encode(found.data).decode()) == (200, data)
    other.poll()
    assert other.get("/v1/metadata/director/timestamp.json").data != mine.get("/v1/metadata/director/timestamp.json").data
    assert mine.get("/v1/metadata/director/1.root.json").data == server.repositories.director_root
    assert "private" in mine.get("/v1/metadata/director/1.targets.json").headers["cache-control"]
    assert mine.get("/v1/metadata/director/9.targets.json").status == 404
    assert mine.get("/v1/metadata/image/timestamp.json").status == 200
