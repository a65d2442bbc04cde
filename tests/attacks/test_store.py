# SPDX-License-Identifier: Apache-2.0
"""Attacks S12 and S16: bytes that were changed in the store, and uploads that try to get others in."""

import asyncio
import gzip
import json
import logging
import socket
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from surefoot.cli.main import main
from surefoot.model.digest import Digest, digest_of, hex_of
from surefoot.server.api.http import TooLargeError
from surefoot.server.api.operator import _fill
from surefoot.store.disk import DiskBlobs
from tests.server.running import Joined, Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


def file_of(server: Running, digest: Digest) -> Path:
    return server.data / "blobs" / hex_of(digest)[:2] / hex_of(digest)[2:]


def code_of(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    return answer.status, str(answer.json()["type"]).removeprefix("urn:surefoot:problem:")


def drafts(server: Running) -> list[Path]:
    return list((server.data / "blobs" / "drafts").iterdir())


# --- S12: an image replaced in the store ----------------------------------------------------------------------------------


def ordered(server: Running, version: str, data: bytes) -> Joined:
    server.publish(version, data)
    device = server.join()
    assert server.order(device, version).status == 201
    assert device.poll().status == 200
    return device


def test_s12_a_changed_image_is_put_aside_and_told_when_it_is_next_sent(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    data = b"an image" * 100_000
    device, digest = ordered(server, "1.1.0", data), digest_of(data)
    path = f"/v1/artifacts/{hex_of(digest)}"
    assert device.get(path).data == data
    changed = data[:-1] + b"!"
    file_of(server, digest).chmod(0o644)
    file_of(server, digest).write_bytes(changed)
    with caplog.at_level(logging.ERROR, "surefoot.server"):
        assert device.get(path).data == changed, "the device finds that out by itself; the server must as well"
        told = f"Blob {digest} was changed in the store; it is now in quarantine."
        wait_until_told(device, path, caplog, told)
    assert (server.data / "blobs" / "quarantine" / hex_of(digest)).read_bytes() == changed
    server.put(data)
    assert device.get(path).data == data


def wait_until_told(device: Joined, path: str, caplog: pytest.LogCaptureFixture, told: str) -> None:
    # The store looks after the last byte was sent, in a thread: each of these requests is served after some of that.
    for _ in range(2_000):
        if device.pool.request("HEAD", device.url + path).status == 404 and told in caplog.text:
            return
    raise AssertionError(f"it is still served, or nobody was told: {caplog.text!r}")


def test_s12_a_part_or_a_head_of_an_image_is_no_reason_to_look(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    data = b"another image" * 1000
    device, digest = ordered(server, "1.2.0", data), digest_of(data)
    path = f"{device.url}/v1/artifacts/{hex_of(digest)}"
    assert device.pool.request("HEAD", path).status == 200
    assert device.pool.request("GET", path, headers={"Range": "bytes=5-9"}).data == data[5:10]
    assert device.pool.request("GET", path, headers={"Range": "bytes=0-"}).data == data
    assert caplog.text == ""


@pytest.mark.parametrize("evil", [b"evil", b"", b"an image that is there!"])
def test_s12_an_image_that_is_there_is_not_overwritten(server: Running, evil: bytes) -> None:
    data = b"an image that is there"
    server.put(data)
    before = file_of(server, digest_of(data)).stat()
    assert code_of(server.call("PUT", f"blobs/{hex_of(digest_of(data))}", evil)) == (422, "bad_digest")
    assert file_of(server, digest_of(data)).read_bytes() == data
    assert file_of(server, digest_of(data)).stat() == before
    assert drafts(server) == []


@pytest.mark.parametrize("cut", [0, 1, 2, 32, 63, 65])
def test_s12_an_address_that_is_not_whole_leads_nowhere(server: Running, cut: int) -> None:
    data = b"an image that is known by its whole address"
    device = ordered(server, f"1.3.{cut}", data + bytes([cut]))
    whole = hex_of(digest_of(data + bytes([cut])))
    address = (whole + whole)[:cut]
    assert device.get(f"/v1/artifacts/{address}").status == 404
    assert server.call("PUT", f"blobs/{address}", data).status in {400, 404, 405}
    assert drafts(server) == []


# --- S16: tricks with uploads ---------------------------------------------------------------------------------------------


class Uploading:
    """An upload over a socket of its own, of which a test sends each piece when it likes."""

    def __init__(self, server: Running, digest: Digest, length: int) -> None:
        host, port = server.addresses.operator_url.removeprefix("http://").split(":")
        self.stream = socket.create_connection((host, int(port)), timeout=20)
        token = (server.data / "admin.token").read_text().strip()
        head = f"PUT /api/v1/blobs/{hex_of(digest)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n"
        self.stream.sendall(head.encode() + b"Connection: close\r\n\r\n")

    def send(self, piece: bytes) -> None:
        self.stream.sendall(piece)

    def status(self) -> int:
        with self.stream, self.stream.makefile("rb") as answer:
            return int(answer.readline().split()[1])


def test_s16_two_uploads_at_once_make_one_image(server: Running) -> None:
    data = b"at once" * 50_000
    first, second = (Uploading(server, digest_of(data), len(data)) for _ in range(2))
    for start in range(0, len(data), 70_000):
        for one in (first, second):
            one.send(data[start : start + 70_000])
    assert (first.status(), second.status()) == (204, 204)
    assert file_of(server, digest_of(data)).read_bytes() == data
    assert drafts(server) == []


def test_s16_an_upload_that_goes_on_with_other_bytes_is_refused_and_spoils_no_other(server: Running) -> None:
    data = b"resumed" * 50_000
    slow, quick = (Uploading(server, digest_of(data), len(data)) for _ in range(2))
    slow.send(data[:100_000])
    quick.send(data)
    assert quick.status() == 204
    slow.send(b"!" * (len(data) - 100_000))
    assert slow.status() == 422
    assert file_of(server, digest_of(data)).read_bytes() == data
    assert drafts(server) == []


def test_s16_half_an_upload_cannot_be_gone_on_with(server: Running) -> None:
    data = b"in halves" * 10_000
    address = f"{server.addresses.operator_url}/api/v1/blobs/{hex_of(digest_of(data))}"
    token = (server.data / "admin.token").read_text().strip()
    half = len(data) // 2
    for part, span in ((data[:half], f"0-{half - 1}"), (data[half:], f"{half}-{len(data) - 1}")):
        headers = {"Authorization": f"Bearer {token}", "Content-Range": f"bytes {span}/{len(data)}"}
        assert server.operators.request("PUT", address, body=part, headers=headers).status == 422
    assert server.call("HEAD", f"blobs/{hex_of(digest_of(data))}").status == 404


def test_s16_many_at_once_with_right_and_wrong_bytes_leave_the_right_ones(server: Running) -> None:
    data = b"a crowd" * 20_000
    path = f"blobs/{hex_of(digest_of(data))}"
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda n: server.call("PUT", path, data if n % 2 else data[:-1] + b"!").status, range(16)))
    assert answers == [422, 204] * 8
    assert file_of(server, digest_of(data)).read_bytes() == data
    assert drafts(server) == []


def test_s16_a_compressed_bomb_is_stored_as_it_was_sent_or_not_at_all(server: Running) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    token = (server.data / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"}
    url = f"{server.addresses.operator_url}/api/v1/blobs"
    inflated, packed = digest_of(bytes(10_000_000)), digest_of(bomb)
    assert server.operators.request("PUT", f"{url}/{hex_of(inflated)}", body=bomb, headers=headers).status == 422
    assert server.operators.request("PUT", f"{url}/{hex_of(packed)}", body=bomb, headers=headers).status == 204
    assert file_of(server, packed).stat().st_size == len(bomb)
    answer = server.operators.request("POST", url.replace("blobs", "releases"), body=bomb, headers=headers)
    assert code_of(answer) == (400, "bad_format")


@pytest.mark.parametrize("said", ["text/html", "application/json", "multipart/form-data; boundary=x", "image/svg+xml", "\t;;="])
def test_s16_what_an_upload_says_that_it_is_decides_nothing(server: Running, said: str) -> None:
    data = b"<script>alert(1)</script>" + said.encode()
    token = (server.data / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": said}
    url = f"{server.addresses.operator_url}/api/v1"
    assert server.operators.request("PUT", f"{url}/blobs/{hex_of(digest_of(data))}", body=data, headers=headers).status == 204
    assert file_of(server, digest_of(data)).read_bytes() == data
    assert code_of(server.operators.request("POST", f"{url}/releases", body=data, headers=headers)) == (400, "bad_format")


def test_s16_an_image_is_served_as_bytes_and_as_nothing_that_runs(server: Running) -> None:
    data = b"<script>alert(2)</script>"
    device = ordered(server, "1.4.0", data)
    answer = device.get(f"/v1/artifacts/{hex_of(digest_of(data))}")
    assert (answer.data, answer.headers["content-type"]) == (data, "application/octet-stream")


def test_s16_an_upload_is_read_to_its_cap_and_not_beyond(tmp_path: Path) -> None:
    blobs, read = DiskBlobs(tmp_path / "blobs"), list[int]()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield bytes(1 << 20)

    draft = blobs.draft(digest_of(b"whatever"))
    with pytest.raises(TooLargeError):
        asyncio.run(_fill(draft, endless(), 5 << 20))
    draft.discard()
    assert len(read) == 6
    assert list((tmp_path / "blobs" / "drafts").iterdir()) == []


def test_s16_the_same_publication_twice_changes_nothing_and_another_of_its_version_is_refused(server: Running) -> None:
    request = server.publish("3.0.0", b"the third")
    again = server.call("POST", "releases", request)
    assert (again.status, again.json()["is_new"]) == (200, False)
    other = {**request, "index": server.signed("3.0.1", b"the third, changed")["index"]}
    assert server.call("POST", "releases", other).status == 400
    shown = server.call("GET", "releases/thermostat/3.0.0").json()
    assert shown["hash"] == again.json()["hash"]


# --- D22 on the server's side: names become folders and files here --------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\0b", "CON", "a" * 300, "r\u0435lease", "", "."])
@pytest.mark.parametrize("field", ["product", "version", "build_id"])
def test_d22_a_release_with_a_strange_name_is_not_published(server: Running, field: str, name: str) -> None:
    if field == "build_id" and name == "CON":
        name = "C:\\CON"  # a build id may have capitals, and is part of no path
    request = server.signed("4.0.0", b"the fourth")
    index = {**json.loads(b64decode(request["index"])), field: name}
    before = sorted(path for path in server.data.rglob("*") if "surefoot.db" not in path.name)
    answer = server.call("POST", "releases", {**request, "index": b64encode(json.dumps(index).encode()).decode()})
    assert code_of(answer) == (400, "bad_format")
    assert sorted(path for path in server.data.rglob("*") if "surefoot.db" not in path.name) == before


@pytest.mark.parametrize("name", ["../x", "/etc/x", "CON", "a" * 300, "r\u0435lease", "", ".", "root", "a/b"])
def test_d22_a_product_with_a_strange_name_gets_no_key(tmp_path: Path, name: str) -> None:
    words = ["--keys", str(tmp_path / "keys")]
    assert main(["trust", "init", *words, "--data", str(tmp_path / "data"), "--product", "thermostat"]) == 0
    before = sorted(tmp_path.rglob("*"))
    assert main(["trust", "add-product", name, *words]) == 2
    assert sorted(tmp_path.rglob("*")) == before
