# SPDX-License-Identifier: Apache-2.0
"""Tests of the commands that call the operator API."""

import json
import socket
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.cli.main import main
from surefoot.model.digest import digest_of
from surefoot.model.manifest import Requires
from surefoot.model.record import from_json, to_plain
from surefoot.model.wire import EnrolmentOffer
from surefoot.server.services.preview import PathPlan
from tests.server.office import statement
from tests.server.running import Running


def surefoot(server: Running, *words: str) -> int:
    return main([*words, "--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")])


def test_a_token_is_written_whole_for_its_owner_alone(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "enrol.json"
    assert surefoot(server, "token", "new", "t-9", "--hardware", "thermostat-v1", "-o", str(file)) == 0
    offer = from_json(file.read_bytes(), EnrolmentOffer, what="enrol.json")
    assert (offer.device_id, offer.device_url) == ("t-9", server.addresses.device_url)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_devices_are_listed(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    device = server.join()
    assert surefoot(server, "device", "list") == 0
    assert f"{device.device_id} " in capsys.readouterr().out
    assert surefoot(server, "device", "list", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert device.device_id in {line["device_id"] for line in lines}


@pytest.mark.parametrize("words", [["5.0.0"], ["thermostat", "5.0.0"], ["thermostat 5.0.0"]])
def test_a_release_is_ordered_and_shown(server: Running, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if server.call("GET", "releases/thermostat/5.0.0").status == 404:
        server.publish("5.0.0", b"image 5.0.0")
    device = server.join()
    assert surefoot(server, "device", "order", device.device_id, *words) == 0
    assert "thermostat 5.0.0 (assignment" in capsys.readouterr().out
    device.send({"journal": "f1" * 8, "events": [{"seq": 1, "type": "update.download.started", "at": "2026-11-23T08:00:00Z"}]})
    assert surefoot(server, "device", "show", device.device_id) == 0
    shown = capsys.readouterr().out
    assert "update.download.started" in shown
    assert "open" in shown
    assert surefoot(server, "device", "show", device.device_id, "--json") == 0
    assert json.loads(capsys.readouterr().out)["assignments"][0]["hash"] == digest_of(b"image 5.0.0")


def test_what_the_server_refuses_is_said_in_its_words(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert surefoot(server, "device", "show", "nobody") == 2
    assert capsys.readouterr().err == "surefoot: There is no device nobody. See 'surefoot device list'.\n"
    assert surefoot(server, "device", "order", "nobody", "a", "b", "c") == 2
    assert "is not a release" in capsys.readouterr().err


def test_no_server_is_one_sentence(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    words = ["device", "list", "--server", f"http://127.0.0.1:{port}", "--token-file", str(server.data / "admin.token")]
    assert main(words) == 1
    assert capsys.readouterr().err.startswith(f"surefoot: No server answers at http://127.0.0.1:{port}. ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token-file", "/nowhere/admin.token"], "cannot be read"),
        (["--server", "127.0.0.1:8080", "--token-file", "x"], "is not the URL"),
        ([], "No API token is named"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUREFOOT_TOKEN_FILE", raising=False)
    assert main(["device", "list", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_wrong_token_is_denied(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("wrong\n")
    assert main(["device", "list", "--server", server.addresses.operator_url, "--token-file", str(tmp_path / "token")]) == 2
    assert "No known token" in capsys.readouterr().err


def test_serve_without_repositories_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--data", str(tmp_path)]) == 2
    assert "Run 'surefoot trust init'" in capsys.readouterr().err


PLAN = "rollout:\n  name: steadier\n  release: thermostat 6.0.0\n"


def test_a_rollout_is_made_followed_and_halted(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.publish("6.0.0", b"image 6.0.0")
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    assert surefoot(server, "rollout", "create", str(plan)) == 0
    number = capsys.readouterr().out.partition(":")[0].split()[1]
    assert surefoot(server, "rollout", "show", number, "--follow") == 0
    assert capsys.readouterr().out.endswith(f"Next: surefoot rollout start {number}\n")
    assert surefoot(server, "rollout", "list") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[0] == number)
    assert line.split() == [number, "thermostat", "6.0.0", "draft", "-", "0", "0", "0", "steadier"]
    assert surefoot(server, "rollout", "halt", number, "--why", "it was only a try") == 0
    assert surefoot(server, "rollout", "show", number, "--follow") == 0
    shown = capsys.readouterr().out
    assert "  halt     Halted by admin: it was only a try.\n" in shown
    assert f"Rollout {number}  thermostat 6.0.0  halted  steadier\n" in shown


def test_a_halt_wants_a_reason(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert surefoot(server, "rollout", "halt", "1") == 2
    assert "no reason is given. Say why" in capsys.readouterr().err


def test_a_list_of_what_is_not_there_is_only_the_refusal(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert surefoot(server, "rollout", "devices", "999") == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "surefoot: There is no rollout 999. See 'surefoot rollout list'.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rollout", "show", "steadier"], "'steadier' is not the number of a rollout; 'surefoot rollout list' shows it"),
        (["token", "batch", "sim-", "--count", "0", "--hardware", "thermostat-v1"], "'0' is no number of devices; write for example 24"),
    ],
)
def test_a_word_where_a_number_belongs_is_named(words: list[str], says: str, server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        surefoot(server, *words)
    assert says in capsys.readouterr().err


def test_a_name_that_no_device_can_have_is_refused_in_a_sentence(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert surefoot(server, "token", "new", "attic 1", "--hardware", "thermostat-v1") == 2
    said = capsys.readouterr().err
    assert said == "surefoot: 'device_id': Expected up to 128 letters, digits, dots, colons, hyphens and underscores. Change it.\n"


def test_a_token_file_that_is_not_there_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "list", "--token-file", str(tmp_path / "no.token")]) == 2
    assert f"The token file {tmp_path}/no.token cannot be read: No such file or directory. Name the file" in capsys.readouterr().err


def tell(server: Running, device_id: str, version: str, **facts: object) -> None:
    """Let a new device say that it runs a version of the lamp."""
    device = server.join(device_id)
    report = structs.replace(statement(digest_of(version.encode())), version=version, **facts)
    assert device.send({"journal": "f2" * 8, "events": [], "report": to_plain(report)}).status == 200


def test_paths_are_shown_before_anything_is_ordered(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.publish("31.2.0", b"image 31.2.0")
    server.publish("31.3.0", b"image 31.3.0", requires=Requires(from_=">=31.2.0"))
    server.publish("32.0.0", b"image 32.0.0", min_bootloader_version="2.0.0", requires=Requires(from_=">=31.3.0"))
    tell(server, "path-1", "31.0.0", attributes={"street": "mill"})
    tell(server, "path-2", "31.0.0", attributes={"street": "mill"}, release_counter=1, data_format=None)
    tell(server, "path-3", "31.2.0", attributes={"street": "mill"})
    tell(server, "path-4", "31.3.0", attributes={"street": "mill"})
    tell(server, "path-5", "31.3.0", attributes={"street": "mill"}, bootloader_version="2.0.0")
    mill = ["--filter", "street==mill"]
    assert surefoot(server, "release", "path", "thermostat", "31.3.0", *mill) == 0
    rows = sorted(line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines())
    assert rows == [
        ["1", "thermostat-v1", "31.2.0 -> 31.3.0"],
        ["2", "thermostat-v1", "31.0.0 -> 31.2.0 -> 31.3.0"],
        ["2", "thermostat-v1", "31.3.0 is there"],
        ["DEVICES", "HARDWARE", "PATH"],
    ]
    (tmp_path / "plan.yaml").write_text("rollout:\n  release: thermostat 32.0.0\n  audience: street==mill\n")
    assert surefoot(server, "rollout", "create", str(tmp_path / "plan.yaml")) == 0
    assert f"4 of its devices cannot go straight to thermostat 32.0.0; see: surefoot rollout path {tmp_path}" in capsys.readouterr().out
    (tmp_path / "straight.yaml").write_text("rollout:\n  release: thermostat 31.2.0\n  audience: version==31.0.0\n")
    assert surefoot(server, "rollout", "create", str(tmp_path / "straight.yaml")) == 0
    assert "straight to" not in capsys.readouterr().out
    assert surefoot(server, "rollout", "path", str(tmp_path / "plan.yaml")) == 0
    said = capsys.readouterr().out
    assert "31.3.0 -> 32.0.0 (with --approve-major)\n" in said
    assert "  2  thermostat-v1        31.0.0 cannot: The release needs bootloader 2.0.0; this board has 1.0.0.\n" in said
    assert surefoot(server, "release", "path", "thermostat", "32.0.0", *mill, "--json") == 0
    plan = from_json(capsys.readouterr().out.encode(), PathPlan, what="answer")
    assert (sum(line.devices for line in plan.lines), plan.others) == (5, 0)
    assert surefoot(server, "release", "path", "thermostat", "31.3.0", "--filter", "street==elm") == 0
    assert capsys.readouterr().out == "No active device runs thermostat, of those that the filter means.\n"
    assert surefoot(server, "release", "path", "thermostat", "31.9.9") == 2
    assert "There is no release thermostat 31.9.9 in the variant release that may be ordered." in capsys.readouterr().err
    assert surefoot(server, "release", "path", "thermostat", "31.3.0", "--filter", "stret==mill") == 2
    assert "street" in capsys.readouterr().err


def test_a_major_is_ordered_by_whoever_approves_it(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    server.publish("41.0.0", b"image 41.0.0")
    tell(server, "major-1", "40.0.0")
    assert surefoot(server, "device", "order", "major-1", "thermostat", "41.0.0") == 2
    assert "order it with --approve-major" in capsys.readouterr().err
    assert surefoot(server, "device", "order", "major-1", "thermostat", "41.0.0", "--approve-major") == 0
