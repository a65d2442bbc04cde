# SPDX-License-Identifier: Apache-2.0
"""The conformance adapter against repositories that python-tuf's own repository code makes, rotations included."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import pytest
from tuf.api.metadata import Metadata

from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.tuf_http import HttpFolder
from surefoot.agent.tuf_workflow import TufClient
from surefoot.cli.tuf_client import main
from surefoot.model.errors import DigestError, ExpiredError, MetadataError
from surefoot.trust.signer import generate
from tests.interop.programs import SOURCES
from tests.interop.tuf_repository import Published, served

FIRST = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
IDLE = ["2.root.json", "timestamp.json"]


@dataclass(frozen=True, slots=True)
class Client:
    """The adapter with its two folders, as the suite drives it."""

    folder: Path
    repository: Published
    url: str

    @property
    def kept(self) -> Path:
        return self.folder / "metadata"

    def words(self, *command: str, names: tuple[str, ...] = ()) -> list[str]:
        targets = [word for name in names for word in ("--target-name", name)]
        places = ["--target-dir", str(self.folder / "targets"), "--target-base-url", f"{self.url}/targets/"] if names else []
        return ["--metadata-url", f"{self.url}/metadata", "--metadata-dir", str(self.kept), *targets, *places, *command]

    def init(self) -> int:
        root = self.folder / "first.json"
        root.write_bytes(self.repository.files["metadata/1.root.json"])
        return main(["--metadata-dir", str(self.kept), "init", str(root)])

    def refresh(self) -> int:
        self.repository.asked.clear()
        return main(self.words("refresh"))

    def refresh_at(self, now: datetime) -> TufClient:
        self.repository.asked.clear()
        client = TufClient(HttpFolder(f"{self.url}/metadata", SystemClock()), PosixStorage(self.kept), now)
        client.refresh()
        return client

    def download(self, *names: str) -> int:
        self.repository.asked.clear()
        return main(self.words("download", names=names))

    def versions(self) -> dict[str, int]:
        return {path.name.removesuffix(".json"): Metadata.from_file(str(path)).signed.version for path in self.kept.iterdir()}

    def targets(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / "targets").iterdir()}


@pytest.fixture
def repository() -> Published:
    return Published()


@pytest.fixture
def client(tmp_path: Path, repository: Published) -> Iterator[Client]:
    with served(repository) as url:
        client = Client(tmp_path, repository, url)
        assert client.init() == 0
        yield client


def test_a_first_refresh_asks_in_order_and_keeps_each_file_byte_for_byte(client: Client, repository: Published) -> None:
    repository.files["metadata/timestamp.json"] += b" \n"
    assert client.refresh() == 0
    assert repository.asked == FIRST
    kept = {path.name: path.read_bytes() for path in client.kept.iterdir()}
    assert kept == {
        "root.json": repository.files["metadata/1.root.json"],
        "timestamp.json": repository.files["metadata/timestamp.json"],
        "snapshot.json": repository.files["metadata/1.snapshot.json"],
        "targets.json": repository.files["metadata/1.targets.json"],
    }


def test_nothing_that_is_known_is_asked_for_again(client: Client, repository: Published) -> None:
    assert client.refresh() == 0
    assert client.refresh() == 0
    assert repository.asked == IDLE


@pytest.mark.parametrize("with_hashes", [False, True])
def test_without_consistent_snapshots_names_carry_no_version_and_no_hash(tmp_path: Path, *, with_hashes: bool) -> None:
    repository = Published(is_consistent=False, with_hashes=with_hashes)
    repository.add("targets", "a/b.bin", b"content")
    repository.announce()
    with served(repository) as url:
        client = Client(tmp_path, repository, url)
        assert client.init() == 0
        assert client.download("a/b.bin") == 0
    assert repository.asked == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json", "targets/a/b.bin"]


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_rotation_of_every_role_is_followed(client: Client, repository: Published, role: str) -> None:
    assert client.refresh() == 0
    repository.rotate(role, count=3, threshold=2)
    with repository.edit_targets():
        pass
    repository.announce()
    assert client.refresh() == 0
    assert client.versions() == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert (client.kept / "root.json").read_bytes() == repository.newest("root")


def test_a_chain_of_rotated_roots_is_followed_one_by_one(client: Client, repository: Published) -> None:
    for _ in range(3):
        repository.rotate("root")
    assert client.refresh() == 0
    assert repository.asked[:5] == ["2.root.json", "3.root.json", "4.root.json", "5.root.json", "timestamp.json"]


@pytest.mark.parametrize(
    ("role", "kept"),
    [
        ("root", {"root": 1}),
        ("timestamp", {"root": 2}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "timestamp": 2, "snapshot": 2}),
    ],
)
def test_what_the_wrong_keys_sign_is_refused_and_what_came_before_it_is_kept(
    client: Client, repository: Published, role: str, kept: dict[str, int]
) -> None:
    repository.signers[role] = [generate()]
    for each in ("root", "targets"):
        with repository.edit(each):
            pass
    repository.announce()
    assert client.refresh() == 1
    assert client.versions() == kept


def test_too_few_of_a_threshold_are_refused(client: Client, repository: Published) -> None:
    repository.rotate("snapshot", count=3, threshold=2)
    repository.signers["snapshot"] = repository.signers["snapshot"][:1]
    repository.announce()
    assert client.refresh() == 1
    assert client.versions() == {"root": 2, "timestamp": 2}


@pytest.mark.parametrize(
    ("role", "asked"),
    [("root", ["2.root.json"]), ("timestamp", IDLE), ("snapshot", FIRST[:3]), ("targets", FIRST)],
)
def test_an_expired_file_is_refused_and_nothing_more_is_asked_for(
    client: Client, repository: Published, role: str, asked: list[str]
) -> None:
    metadata = repository.open(role)
    metadata.signed.expires -= timedelta(days=20)
    repository.put(role, metadata)
    (client.kept / "root.json").write_bytes(repository.files["metadata/1.root.json"])
    with pytest.raises(ExpiredError, match=role):
        client.refresh_at(repository.expires - timedelta(days=10))
    assert repository.asked == asked


def test_expired_files_are_the_way_to_unexpired_ones(client: Client, repository: Published) -> None:
    assert client.refresh() == 0
    later = repository.expires + timedelta(days=1)
    repository.expires += timedelta(days=30)
    for role in ("root", "targets"):
        with repository.edit(role):
            pass
    repository.announce()
    client.refresh_at(later)
    assert client.versions() == {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_an_older_timestamp_is_refused(client: Client, repository: Published) -> None:
    old = repository.files["metadata/timestamp.json"]
    repository.announce()
    assert client.refresh() == 0
    repository.files["metadata/timestamp.json"] = old
    assert client.refresh() == 1
    assert client.versions()["timestamp"] == 2


def test_a_timestamp_of_the_same_version_is_thrown_away_whatever_it_says(client: Client, repository: Published) -> None:
    assert client.refresh() == 0
    kept = (client.kept / "timestamp.json").read_bytes()
    other = repository.open("timestamp")
    other.signed.snapshot_meta.version = 100
    repository.put("timestamp", other)
    assert client.refresh() == 0
    assert (client.kept / "timestamp.json").read_bytes() == kept
    assert repository.asked == IDLE


@pytest.mark.parametrize("with_hashes", [False, True])
def test_targets_do_not_go_back(tmp_path: Path, *, with_hashes: bool) -> None:
    repository = Published(with_hashes=with_hashes)
    with repository.edit_targets():
        pass
    repository.announce()
    with served(repository) as url:
        client = Client(tmp_path, repository, url)
        assert client.init() == 0
        assert client.refresh() == 0
        with repository.edit_snapshot() as snapshot:
            snapshot.meta["targets.json"].version = 1
        repository.do_timestamp()
        assert client.refresh() == 1
    assert client.versions() == {"root": 1, "timestamp": 3, "snapshot": 2, "targets": 2}


def test_new_keys_end_a_fast_forward(client: Client, repository: Published) -> None:
    for role in ("snapshot", "timestamp"):
        far = repository.open(role)
        far.signed.version = 99_998
        repository.close(role, far)
        if role == "snapshot":
            repository.do_timestamp()
    assert client.refresh() == 0
    assert client.versions()["snapshot"] == 99_999
    repository.rotate("snapshot")
    repository.rotate("timestamp")
    for role in ("snapshot", "timestamp"):
        back = repository.open(role)
        back.signed.version = 4
        repository.close(role, back)
        if role == "snapshot":
            again = repository.open("timestamp")
            again.signed.snapshot_meta = repository.snapshot_info
            repository.put("timestamp", again)
    assert client.refresh() == 0
    assert client.versions() == {"root": 3, "timestamp": 5, "snapshot": 5, "targets": 1}


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"\x00\xff"])
def test_a_damaged_kept_file_is_fetched_anew(client: Client, repository: Published, name: str, damage: bytes) -> None:
    assert client.refresh() == 0
    whole = (client.kept / name).read_bytes()
    (client.kept / name).write_bytes(damage)
    assert client.refresh() == 0
    assert (client.kept / name).read_bytes() == whole
    assert repository.asked == (IDLE if name == "timestamp.json" else [*IDLE, f"1.{name}"])


def test_a_damaged_root_is_refused_before_anything_is_asked_for(client: Client, repository: Published) -> None:
    (client.kept / "root.json").write_bytes(repository.files["metadata/1.root.json"][:-9])
    assert client.refresh() == 1
    assert repository.asked == []


def test_a_missing_root_is_refused_with_a_sentence(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    (client.kept / "root.json").unlink()
    assert client.refresh() == 1
    assert capsys.readouterr().err == "surefoot-tuf-client: There is no trusted root. Run 'init' with one first.\n"


@pytest.mark.parametrize(("status", "expected"), [(HTTPStatus.FORBIDDEN, 0), (HTTPStatus.INTERNAL_SERVER_ERROR, 1), (HTTPStatus.FOUND, 1)])
def test_only_absence_ends_the_chain_of_roots(client: Client, repository: Published, status: HTTPStatus, expected: int) -> None:
    repository.statuses["metadata/2.root.json"] = status
    assert client.refresh() == expected


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_file_beyond_its_cap_is_refused(client: Client, repository: Published, name: str) -> None:
    repository.files[f"metadata/{name}"] = b" " * (512 * 1024 + 1)
    assert client.refresh() == 1
    assert repository.asked == [*FIRST[: FIRST.index(name)], name]


def test_delegations_are_walked_in_preorder_and_each_role_is_asked_once(client: Client, repository: Published) -> None:
    repository.delegate("targets", "A", "*")
    repository.delegate("targets", "B", "*")
    repository.delegate("A", "C", "*")
    repository.delegate("C", "A", "*")
    repository.delegate("A", "D", "*.doc")
    repository.announce()
    assert client.download("missing") == 1
    assert [name.split(".")[1] for name in repository.asked[4:]] == ["A", "C", "B"]


def test_a_terminating_delegation_ends_the_search(client: Client, repository: Published) -> None:
    repository.delegate("targets", "A", "*", is_terminating=True)
    repository.delegate("targets", "B", "*")
    repository.add("B", "wanted", b"content")
    repository.announce()
    assert client.download("wanted") == 1
    assert repository.asked[4:] == ["1.A.json"]


@pytest.mark.parametrize("role", ["?", "#", "/role", "../role", ".", "..", "two words", "%2F", "rôle"])
def test_strange_role_names_are_encoded_in_addresses_and_on_disk(client: Client, repository: Published, role: str) -> None:
    repository.delegate("targets", role, "*")
    repository.announce()
    assert client.download("missing") == 1
    assert repository.asked[4:] == [f"1.{quote(role, safe='')}.json"]
    assert {path.name for path in client.kept.iterdir()} >= {f"{quote(role, safe='')}.json", "root.json"}


def test_a_role_is_verified_by_the_parent_of_each_path(client: Client, repository: Published) -> None:
    for parent, paths in (("A", "a/*"), ("B", "b/*")):
        repository.delegate("targets", parent, paths)
        repository.delegate(parent, "shared", paths)
    repository.signers["shared"].pop()
    repository.add("shared", "a/one", b"one")
    repository.add("shared", "b/two", b"two")
    repository.announce()
    assert client.download("a/one", "b/two") == 1
    assert client.targets() == {"a%2Fone": b"one"}


def test_a_role_that_both_parents_vouch_for_is_asked_once(client: Client, repository: Published) -> None:
    for parent, paths in (("A", "a/*"), ("B", "b/*")):
        repository.delegate("targets", parent, paths)
        repository.delegate(parent, "shared", paths)
    repository.add("shared", "a/one", b"one")
    repository.add("shared", "b/two", b"two")
    repository.announce()
    assert client.download("a/one", "b/two") == 0
    assert client.targets() == {"a%2Fone": b"one", "b%2Ftwo": b"two"}
    assert sum(".shared.json" in name for name in repository.asked) == 1


def test_only_the_bin_of_a_path_is_asked_for(client: Client, repository: Published) -> None:
    repository.delegate_to_bins(4)
    repository.add("bin-f", "bar", b"content")
    repository.announce()
    assert client.download("bar") == 0
    assert [name for name in repository.asked if "bin" in name] == ["2.bin-f.json"]


def test_a_delegated_role_that_expired_in_the_folder_is_not_used(client: Client, repository: Published) -> None:
    repository.delegate("targets", "A", "*")
    repository.announce()
    assert client.download("missing") == 1
    assert (client.kept / "A.json").exists()
    later = repository.expires + timedelta(days=1)
    repository.expires += timedelta(days=30)
    for role in ("root", "targets"):
        with repository.edit(role):
            pass
    repository.announce()
    with pytest.raises(ExpiredError, match=r"A\.json"):
        client.refresh_at(later).find("missing")


@pytest.mark.parametrize(
    ("path", "served_as"),
    [("plain.bin", "{}.plain.bin"), ("path/to/a file", "path/to/{}.a%20file"), ("dots/../file", "{}.file"), ("file.new", "{}.file.new")],
)
@pytest.mark.parametrize("content", [b"", b"content" * 20_000])
def test_a_target_is_stored_under_its_encoded_path_and_fetched_once(
    client: Client, repository: Published, path: str, served_as: str, content: bytes
) -> None:
    target = repository.add("targets", path, content)
    name = f"targets/{served_as.format(target.hashes['sha256'])}"
    repository.files[name] = content
    repository.announce()
    assert client.download(path) == 0
    assert repository.asked[-1] == name
    assert client.targets() == {quote(path, safe=""): content}
    assert client.download(path) == 0
    assert repository.asked == IDLE


@pytest.mark.parametrize("algorithms", [("sha256",), ("sha512",), ("sha256", "sha512")])
def test_every_signed_hash_counts(client: Client, repository: Published, algorithms: tuple[str, ...]) -> None:
    target = repository.add("targets", "file", b"content", *algorithms)
    repository.announce()
    assert client.download("file") == 0
    repository.serve(target, b"CONTENT")
    (client.folder / "targets" / "file").write_bytes(b"CONTENT")
    assert client.download("file") == 1


@pytest.mark.parametrize("sent", [b"", b"conten", b"CONTENT", b"content.", b"content" * 100_000])
def test_wrong_bytes_are_refused_and_leave_nothing_but_what_was_there(client: Client, repository: Published, sent: bytes) -> None:
    repository.add("targets", "other", b"other")
    target = repository.add("targets", "file", b"content")
    repository.announce()
    assert client.download("other") == 0
    repository.serve(target, sent)
    assert client.download("file") == 1
    assert client.targets() == {"other": b"other"}


def test_a_target_whose_name_looks_like_a_draft_of_another_stays(client: Client, repository: Published) -> None:
    repository.add("targets", "file.new", b"one")
    repository.add("targets", "file", b"two")
    repository.announce()
    assert client.download("file.new", "file") == 0
    assert client.targets() == {"file.new": b"one", "file": b"two"}


@dataclass(slots=True)
class Endless:
    """A folder whose files never end, once it has given those that do."""

    files: dict[str, bytes]
    given: int = 0

    def open(self, name: str) -> Iterator[bytes] | None:
        if name == "2.root.json":
            return None
        return iter([self.files[name]]) if name in self.files else self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        while self.given < 10_000_000:
            self.given += 1_000
            yield b" " * 1_000


@pytest.mark.parametrize(("name", "cap"), [("timestamp.json", 16 * 1024), ("1.snapshot.json", None), ("1.targets.json", None)])
def test_an_endless_file_is_read_to_its_cap_or_signed_length_alone(tmp_path: Path, name: str, cap: int | None) -> None:
    repository = Published(with_hashes=True)
    files = {path.removeprefix("metadata/"): content for path, content in repository.files.items()}
    (tmp_path / "root.json").write_bytes(files["1.root.json"])
    endless = Endless({each: content for each, content in files.items() if each != name})
    with pytest.raises(MetadataError, match="has more than"):
        TufClient(endless, PosixStorage(tmp_path), repository.expires - timedelta(days=1)).refresh()
    assert endless.given <= (cap or len(files[name])) + 1_000


def test_an_endless_target_is_read_to_its_signed_length_alone(client: Client, repository: Published, tmp_path: Path) -> None:
    target = repository.add("targets", "file", b"content")
    repository.announce()
    endless, place = Endless({}), tmp_path / "place"
    place.mkdir()
    with pytest.raises(DigestError, match="more than the 7 bytes"):
        client.refresh_at(repository.expires - timedelta(days=1)).download(target, endless, PosixStorage(place))
    assert endless.given == 1_000
    assert list(place.iterdir()) == []


def test_a_target_that_is_listed_but_not_there_is_refused(client: Client, repository: Published) -> None:
    target = repository.add("targets", "file", b"content")
    repository.announce()
    del repository.files[f"targets/{target.get_prefixed_paths()[0]}"]
    assert client.download("file") == 1
    assert client.targets() == {}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["refresh"],
        ["--metadata-dir", "D"],
        ["--metadata-dir", "D", "unknown"],
        ["--metadata-dir", "D", "init"],
        ["--metadata-dir", "D", "init", "no-such-file"],
        ["--metadata-dir", "D", "refresh"],
        ["--metadata-dir", "D", "--metadata-url", "http://192.0.2.1/", "refresh"],
        ["--metadata-dir", "D", "--metadata-url", "http://example.com/", "refresh"],
        ["--metadata-dir", "D", "--metadata-url", "file:///", "refresh"],
        ["--metadata-dir", "D", "--metadata-url", "http://[", "refresh"],
        ["--metadata-dir", "D", "--metadata-url", "http://127.0.0.1:1/", "download"],
    ],
)
def test_wrong_use_ends_with_1_and_says_what_to_do(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert capsys.readouterr().err.strip()


@pytest.mark.parametrize("url", ["https://example.com/a", "http://localhost:1/", "http://127.0.0.2/", "http://[::1]:80/"])
def test_https_and_this_machine_may_be_named(url: str) -> None:
    HttpFolder(url, SystemClock())


def test_help_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--target-base-url" in capsys.readouterr().out


def test_a_repository_that_does_not_answer_is_a_failure(client: Client) -> None:
    assert main(["--metadata-dir", str(client.kept), "--metadata-url", "http://127.0.0.1:1/", "refresh"]) == 1


def test_as_a_program_it_ends_with_0_or_1(client: Client, repository: Published) -> None:
    entry = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]["scripts"]["surefoot-tuf-client"]
    assert entry == "surefoot.cli.tuf_client:main"
    by = [sys.executable, "-m", "surefoot.cli.tuf_client"]
    assert subprocess.run([*by, *client.words("refresh")], check=False).returncode == 0
    repository.files["metadata/timestamp.json"] = b"{}"
    done = subprocess.run([*by, *client.words("refresh")], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
