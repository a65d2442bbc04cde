# SPDX-License-Identifier: Apache-2.0
"""``surefoot agent enroll|run|status``: what a device says when something is missing, and what it is doing when nothing is."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import structs

from surefoot.agent.boot.file import save
from surefoot.agent.boot.state import factory
from surefoot.agent.enrol import read_identity
from surefoot.agent.home import DATA, open_journal
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import replace_file
from surefoot.cli.main import main
from surefoot.cli.simulate import agent_settings
from surefoot.model.assignment import DeviceId, Order
from surefoot.model.record import from_json, to_json, to_pretty_json
from surefoot.model.wire import EnrolmentAnswer, EnrolmentOffer, EnrolmentRequest
from tests.agent.loopback import Authority, Loopback, http, loopback
from tests.agent.moments import at_work, release, state, windowed
from tests.trust.repositories import Repositories, manifest

IMAGE = b"factory image" * 100
REPOSITORIES = Repositories()
Phase = type(state().phase)


def required() -> Order:
    """Return an order that nobody may put off any longer."""
    return structs.replace(windowed(), consent_until="2026-01-01T00:00:00Z")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Loopback]:
    with loopback(tmp_path_factory.mktemp("server"), ca) as found:
        yield found


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board as it leaves the factory."""
    storage = PosixStorage(tmp_path)
    save(storage, factory())
    replace_file(storage, "slots/a.img", IMAGE)
    replace_file(storage, "factory-manifest.json", to_pretty_json(manifest("1.0.0", IMAGE)))
    replace_file(storage, "agent.toml", agent_settings("t-1", "thermostat-v1", "2.1.0", 100_000).encode())
    return tmp_path


def agent(board: Path, *words: str) -> int:
    return main(["agent", *words, "--config", str(board / "agent.toml")])


def write_offer(board: Path, server: Loopback, ca: Authority, **changes: str) -> Path:
    offer = EnrolmentOffer(
        device_id=DeviceId("t-1"),
        hardware="thermostat-v1",
        enroll_url=server.url,
        device_url="https://devices:8443",
        token="secret",
        server_ca=ca.pem,
        director_root=REPOSITORIES.director_root.decode(),
        image_root=REPOSITORIES.image["root.json"].decode(),
    )
    path = board / "enrol.json"
    path.write_bytes(to_pretty_json(structs.replace(offer, **changes)))
    return path


def issuing(ca: Authority) -> Callable[[bytes], bytes]:
    def answer(body: bytes) -> bytes:
        public = x509.load_pem_x509_csr(from_json(body, EnrolmentRequest, what="request").csr.encode()).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        return http("200 OK", to_json(EnrolmentAnswer(certificate=ca.issue("t-1", public=public))))

    return answer


def test_a_device_joins_and_says_what_comes_next(board: Path, server: Loopback, ca: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers.append(issuing(ca))
    assert agent(board, "enroll", "--with", str(write_offer(board, server, ca))) == 0
    assert capsys.readouterr().out == (f"t-1 is enrolled at https://devices:8443.\nNext: surefoot agent run --config {board}/agent.toml\n")
    assert read_identity(PosixStorage(board), board, DATA).device_url == "https://devices:8443"
    assert (board / "data/identity/device.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        (
            {"device_id": "t-2"},
            2,
            "The offer is for t-2 (thermostat-v1); this device is t-1 (thermostat-v1). Make one with 'surefoot token new t-1",
        ),
        ({"hardware": "fridge-v1"}, 2, "The offer is for t-1 (fridge-v1)"),
        ({"director_root": "{}"}, 1, "trusted root.json"),
        ({"image_root": REPOSITORIES.image["targets.json"].decode()}, 1, "is targets metadata; expected root"),
        ({"server_ca": "garbage"}, 2, "The server CA in the offer cannot be read"),
        ({"enroll_url": "https://127.0.0.1:1"}, 1, "https://127.0.0.1:1/v1/enroll did not answer"),
    ],
)
def test_an_offer_that_does_not_fit_writes_nothing(
    *, board: Path, server: Loopback, ca: Authority, changes: dict[str, str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent(board, "enroll", "--with", str(write_offer(board, server, ca, **changes))) == status
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (board / DATA).exists()
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "enrol.json cannot be read: No such file or directory. Make it with 'surefoot token new'."),
        (b"", "enrol.json: Input data was truncated"),
        (b"\xff", "enrol.json: "),
        (b'{"device_id": "t-1"}', "enrol.json: Object missing required field"),
    ],
)
def test_an_offer_that_cannot_be_read_is_named(board: Path, content: bytes | None, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (board / "enrol.json").write_bytes(content)
    assert agent(board, "enroll", "--with", str(board / "enrol.json")) == 2
    assert says in capsys.readouterr().err


def test_a_storage_root_that_is_not_there_is_one_sentence(
    board: Path, server: Loopback, ca: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = board / "agent.toml"
    settings.write_text(settings.read_text().replace('root = "."', 'root = "nowhere"'))
    offer = write_offer(board, server, ca)
    for words in (["enroll", "--with", str(offer)], ["run"], ["status"]):
        assert agent(board, *words) == 2
        told = capsys.readouterr().err
        assert f"The storage root {board}/nowhere is not a folder" in told
        assert told.count("\n") == 1


@pytest.mark.parametrize("words", [["enroll", "--with", "enrol.json"], ["run"], ["status"]])
def test_settings_that_cannot_be_read_are_named_by_every_command(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent(tmp_path, *words) == 2
    assert f"{tmp_path}/agent.toml cannot be read: No such file or directory. Name the file with --config." in capsys.readouterr().err
    (tmp_path / "agent.toml").write_text("[devise]\n")
    assert agent(tmp_path, *words) == 2
    assert "agent.toml: Object" in capsys.readouterr().err


# --- run --------------------------------------------------------------------------------------------------------------------


def joined(board: Path, server: Loopback, ca: Authority) -> None:
    server.answers.append(issuing(ca))
    assert agent(board, "enroll", "--with", str(write_offer(board, server, ca))) == 0


def test_a_device_that_never_joined_does_not_run(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(board, "run") == 2
    assert capsys.readouterr().err == "surefoot: This device is not enrolled. Run 'surefoot agent enroll --with enrol.json'.\n"


@pytest.mark.parametrize(
    ("slot", "says"),
    [
        (None, "Nobody says which slot booted."),
        ("b", "knows of nothing in slot b, which runs. What runs was on trial: the board goes back to slot a."),
    ],
)
def test_a_board_whose_slot_is_unknown_or_empty_does_not_run(
    *,
    board: Path,
    server: Loopback,
    ca: Authority,
    slot: str | None,
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined(board, server, ca)
    if slot is None:
        monkeypatch.delenv("SUREFOOT_SLOT", raising=False)
    else:
        open_journal(PosixStorage(board)).append(state())
        (board / "run").mkdir()
        monkeypatch.setenv("SUREFOOT_SLOT", slot)
    capsys.readouterr()
    assert agent(board, "run", "--verbose") == 1
    assert says in capsys.readouterr().err


# --- status -----------------------------------------------------------------------------------------------------------------


def test_a_device_that_never_joined_or_never_ran_says_so(
    board: Path, server: Loopback, ca: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent(board, "status") == 0
    assert capsys.readouterr().out == "t-1 (thermostat-v1): not enrolled yet; run 'surefoot agent enroll --with enrol.json'\n"
    joined(board, server, ca)
    capsys.readouterr()
    assert agent(board, "status") == 0
    assert capsys.readouterr().out == "t-1 (thermostat-v1): enrolled, and its agent has not run yet; run 'surefoot agent run'\n"
    assert agent(board, "status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["is_enrolled"], told["state"], told["slots"]) == (True, None, None)


def test_an_idle_device_says_what_it_runs_and_what_it_keeps(
    board: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_SLOT", "a")
    open_journal(PosixStorage(board)).append(state(fallback=release("0.9.0"), refused="expired"))
    assert agent(board, "status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "t-1 (thermostat-v1): waiting for the next poll",
        "slot a     thermostat 1.0.0, build b-1.0.0; committed; good; runs; boots next",
        "slot b     thermostat 0.9.0, build b-0.9.0; bad",
        "enrolled   not any more; run 'surefoot agent enroll --with enrol.json'",
        "refused    the last answer of the server: expired",
        "checks     300 s after each answer of the server",
        "unsent     0 events",
    ]


def test_a_device_at_work_says_how_far_it_is(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_journal(PosixStorage(board)).append(at_work(Phase("downloading"), received=400, tries=1))
    assert agent(board, "status") == 0
    told = capsys.readouterr().out
    assert "t-1 (thermostat-v1): downloading\n" in told
    assert "attempt    order 1: thermostat 1.1.0 into slot b\n           400 of 1000 bytes, try 2\n" in told


def test_a_device_that_waits_says_for_what_and_until_when(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waits = {"waits": "window_closed", "waits_for": "window opens Tue 02:00 local (Europe/Berlin)"}
    open_journal(PosixStorage(board)).append(at_work(Phase("waiting for window"), **waits, waits_until="2026-11-24T01:20:00Z"))
    assert agent(board, "status") == 0
    told = capsys.readouterr().out
    assert "t-1 (thermostat-v1): waiting until it may start\n" in told
    assert (
        "\nwaits      window opens Tue 02:00 local (Europe/Berlin); until 2026-11-24T01:20:00Z, unless the server says otherwise\n" in told
    )


def test_updates_are_put_off_by_hand_shown_and_put_off_no_longer(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_journal(PosixStorage(board)).append(state())
    assert agent(board, "defer", "--for", "4h") == 0
    assert agent(board, "status") == 0
    told = capsys.readouterr().out
    assert (told.startswith("Updates are put off until 20"), "\nput off    until 20" in told) == (True, True)
    assert agent(board, "defer", "--end") == 0
    assert agent(board, "defer", "--end") == 0, "twice is as once"
    assert agent(board, "status") == 0
    assert "put off    " not in capsys.readouterr().out


def test_updates_are_inhibited_by_several_shown_and_allowed_one_by_one(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_journal(PosixStorage(board)).append(state())
    assert agent(board, "inhibit", "--name", "pump", "--reason", "the pump runs") == 0
    assert agent(board, "inhibit", "--reason", "a demonstration", "--for", "30m") == 0
    assert capsys.readouterr().out.startswith(
        "pump lets no update start until 'surefoot agent allow --name pump'.\nuser lets no update start until 20"
    )
    assert agent(board, "status") == 0
    told = capsys.readouterr().out
    assert "\ninhibited  by pump: the pump runs; end that: surefoot agent allow --name pump\n" in told
    assert "\ninhibited  by user: a demonstration, until 20" in told
    assert agent(board, "allow") == 0
    assert capsys.readouterr().out == (
        "user inhibits updates no longer; the agent sees that at its next poll.\npump still does: the pump runs\n"
    )
    assert agent(board, "allow", "--name", "pump") == 0
    assert agent(board, "allow", "--name", "pump") == 0, "twice is as once"
    assert capsys.readouterr().out.endswith("pump did not inhibit updates.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reason", " "], "' ' is no reason. Write one line of up to 200 characters."),
        (["--reason", "x", "--for", "31d"], "more than 30 days away"),
        (["--reason", "x", "--for", "0s"], "has passed"),
        (["--reason", "x", "--for", "soon"], "'soon' is no duration."),
        (["--reason", "x", "--name", "../journal"], "is no name for who inhibits updates."),
    ],
)
def test_what_cannot_inhibit_updates_is_one_sentence(board: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(board, "inhibit", *words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("words", [["inhibit", "--reason", "x"], ["defer", "--for", "1h"]])
def test_what_was_said_is_said_though_the_journal_cannot_be_read(board: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    replace_file(PosixStorage(board), "data/journal", b"garbage\n")
    assert agent(board, *words) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("phase", "changes", "said"),
    [
        ("downloading", {}, "Too late for thermostat 1.1.0: it has started, and finishes."),
        ("downloading", {"order": windowed()}, ""),
        ("waiting for window", {"order": required()}, ""),
    ],
)
def test_who_inhibits_updates_is_told_what_that_does_not_reach(
    board: Path, phase: str, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    open_journal(PosixStorage(board)).append(at_work(Phase(phase), **changes))
    assert agent(board, "inhibit", "--reason", "the pump runs") == 0
    assert capsys.readouterr().out.partition("\n")[2].strip() == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--until", "2020-01-01T00:00:00Z"], "2020-01-01T00:00:00Z has passed."),
        (["--until", "tomorrow"], "'tomorrow' is not an RFC 3339 time"),
        (["--until", "2026-12-01T06:00:00"], "has no time zone"),
        (["--for", "4 hours"], "'4 hours' is no duration. Write a number and a unit, as in 90m, 4h or 2d."),
        (["--for", "31d"], "is more than 30 days away"),
    ],
)
def test_what_is_no_time_to_put_updates_off_to_is_one_sentence(
    board: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent(board, "defer", *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("phase", "changes", "said"),
    [
        ("downloading", {}, "Too late for thermostat 1.1.0: it has started, and finishes."),
        ("downloading", {"order": windowed()}, ""),
        ("trial", {"received": 1_000}, "Too late for thermostat 1.1.0: it has started, and finishes."),
        ("waiting for window", {}, ""),
        (
            "waiting for window",
            {"order": required()},
            "thermostat 1.1.0 is required: it is put off until 2026-01-01T00:00:00Z and no longer.",
        ),
    ],
)
def test_who_puts_updates_off_is_told_what_that_does_not_reach(
    board: Path, phase: str, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    open_journal(PosixStorage(board)).append(at_work(Phase(phase), **changes))
    assert agent(board, "defer", "--for", "4h") == 0
    assert capsys.readouterr().out.partition("\n")[2].strip() == said


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_its_words(board: Path, phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    open_journal(PosixStorage(board)).append(state(Phase(phase)))
    assert agent(board, "status") == 0
    assert capsys.readouterr().out.startswith("t-1 (thermostat-v1): ")


def test_a_program_reads_the_status_as_json(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_journal(PosixStorage(board)).append(state(etag="7"))
    assert agent(board, "status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["device_id"], told["state"]["etag"], told["state"]["running"]["version"], told["unsent_events"]) == (
        "t-1",
        "7",
        "1.0.0",
        0,
    )


def test_a_bootloader_that_cannot_be_read_leaves_the_rest_to_be_told(
    board: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_journal(PosixStorage(board)).append(state())
    monkeypatch.setenv("SUREFOOT_SLOT", "a")
    (board / "boot.json").write_bytes(b"garbage")
    assert agent(board, "status") == 0
    told = capsys.readouterr().out
    assert "slot a     thermostat 1.0.0, build b-1.0.0; committed\n" in told
    assert "\nboot       cannot be told: " in told


def test_asking_for_the_status_writes_nothing_and_needs_no_lock(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = PosixStorage(board)
    agents.hold(f"{DATA}/lock")
    open_journal(agents).append(state())
    monkeypatch.setenv("SUREFOOT_SLOT", "a")

    def all_of_it() -> dict[Path, tuple[int, bytes]]:
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in board.rglob("*") if path.is_file()}

    before = all_of_it()
    assert agent(board, "status") == 0
    assert agent(board, "status", "--json") == 0
    assert all_of_it() == before


def test_a_damaged_journal_is_said_to_be_damaged(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace_file(PosixStorage(board), f"{DATA}/journal", b"garbage\n")
    assert agent(board, "status") == 1
    assert "Line 1 of the journal data/journal is damaged" in capsys.readouterr().err


# --- a partition that turned read-only --------------------------------------------------------------------------------------


def read_only(board: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a world of its own in which the board's folder is read-only."""
    mounted = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    command = [sys.executable, "-m", "surefoot", "agent", *words, "--config", str(board / "agent.toml")]
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", mounted, str(board), *command]
    return subprocess.run(alone, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "SUREFOOT_SLOT": "a"})


def test_a_read_only_partition_is_refused_in_one_line_and_its_status_still_told(board: Path, server: Loopback, ca: Authority) -> None:
    joined(board, server, ca)
    agents = PosixStorage(board)
    agents.hold(f"{DATA}/lock")
    open_journal(agents).append(state())
    told = read_only(board, "status")
    assert (told.returncode, told.stderr) == (0, "")
    assert "slot a     thermostat 1.0.0, build b-1.0.0; committed; good; runs; boots next\n" in told.stdout
    for words in (["run"], ["inhibit", "--reason", "x"], ["defer", "--for", "1h"]):
        refused = read_only(board, *words)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "the data partition is read-only. Mount it for writing" in refused.stderr
        assert refused.stderr.count("\n") == 1
