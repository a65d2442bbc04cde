# SPDX-License-Identifier: Apache-2.0
"""Attacks D13 to D16 on the device: endless data, slow data, roots with too few keys, one key counted twice."""

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Key, Signature, Signer
from tuf.api.metadata import Metadata, Root

from surefoot.agent.download import PATIENCE_S, Response
from surefoot.agent.network import Patience
from surefoot.agent.transport import Credentials, HttpsServer
from surefoot.model.errors import TransportError
from surefoot.model.record import parse_utc, to_json
from surefoot.model.wire import PollAnswer
from surefoot.trust.signer import generate
from tests.agent.loopback import Loopback, http
from tests.attacks.stage import Stage, edited, forged, next_root, sending, successor
from tests.trust.repositories import DEVICE, PRODUCT

ALIAS = "0123456789abcdef"
QUICK = Patience(connect_s=1, wait_s=0.1, answer_s=0.15)
DROPS = 100


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def wire(peer: Loopback, credentials: Credentials) -> HttpsServer:
    """The agent's real transport, at a real peer."""
    return HttpsServer(peer.url, credentials, patience=QUICK)


class Endless(Iterable[bytes | None]):
    """An answer that begins so, and then goes on and on."""

    def __init__(self, begin: bytes, more: bytes) -> None:
        self._begin, self._more = begin, more

    def __iter__(self) -> Iterator[bytes | None]:
        yield self._begin
        yield from repeat(self._more)


class Drip(Iterable[bytes | None]):
    """An answer that begins so, and then drips in; far longer than any patience, and it knows who waited for the last drop."""

    def __init__(self, begin: bytes, drop: bytes) -> None:
        self._begin, self._drop = begin, drop
        self.waited_out = 0

    def __iter__(self) -> Iterator[bytes | None]:
        yield self._begin
        for _ in range(DROPS):
            yield self._drop
            yield None
        self.waited_out += 1


# --- D13: endless data ------------------------------------------------------------------------------------------------------


def stuffed(data: bytes, signers: Sequence[Signer], size: int) -> bytes:
    return edited(data, signers, lambda signed: signed.update(x="x" * size))


def nested(data: bytes, depth: int) -> bytes:
    return data.replace(b'"signed":{', b'"signed":{"x":' + b"[" * depth + b"]" * depth + b",", 1)


def sized(stage: Stage, size: int) -> dict[str, dict[str, bytes]]:
    """Return files of either repository that whoever has their keys has stuffed to more than ``size`` bytes."""
    it, view = stage.repositories, stage.repositories.views[DEVICE]
    return {
        "timestamp": {"timestamp.json": stuffed(view.timestamp, [it.director.timestamp], size)},
        "snapshot": {f"{view.snapshot_version}.snapshot.json": stuffed(view.snapshot, [it.director.snapshot], size)},
        "targets": {f"{view.targets_version}.targets.json": stuffed(view.targets, [it.director.targets], size)},
        "root": {"2.root.json": next_root(stuffed(it.director_root, it.director_roots, size), it.director_roots)},
    }


@pytest.mark.parametrize(
    ("name", "size"), [("timestamp", 16_384), ("timestamp", 10_000_000), ("root", 65_536), ("snapshot", 524_288), ("targets", 524_288)]
)
def test_d13_a_file_that_is_too_large_is_not_parsed_though_it_is_signed(stage: Stage, name: str, size: int) -> None:
    stage.order(stage.release("1.1.0"))
    report = stage.refused(stage.answer(director=sized(stage, size)[name]), "bad_metadata")
    assert ("at most" in report.data["detail"]) or name == "snapshot", "a snapshot's length is signed as well"


@pytest.mark.parametrize("depth", [1_000, 7_000, 200_000])
@pytest.mark.parametrize(
    "make", [nested, lambda _, depth: b"[" * depth, lambda _, depth: b'{"signed":' * depth], ids=["inside", "lists", "objects"]
)
def test_d13_json_that_is_nested_deeply_is_refused(stage: Stage, make: Callable[[bytes, int], bytes], depth: int) -> None:
    answer = stage.answer(director={"timestamp.json": make(stage.repositories.views[DEVICE].timestamp, depth)})
    stage.refused(answer, "bad_metadata")


BOMB = gzip.compress(b" " * 20_000_000)
BODIES: dict[str, Callable[[bytes], Iterable[bytes | None]]] = {
    "a body without an end": lambda _: Endless(
        http("200 OK", Content_Length="", Transfer_Encoding="chunked"), b"10000\r\n" + b" " * 65536 + b"\r\n"
    ),
    "a length of terabytes": lambda _: Endless(http("200 OK", Content_Length="9" * 13), b" " * 65536),
    "an honest answer that is packed": lambda honest: [http("200 OK", gzip.compress(honest), Content_Encoding="gzip")],
    "a gzip bomb": lambda _: [http("200 OK", BOMB, Content_Encoding="gzip")],
    "a length that is too long": lambda honest: [http("200 OK", honest, Content_Length=str(len(honest) + 1))],
    "a length that is too short": lambda honest: [http("200 OK", honest, Content_Length=str(len(honest) - 1))],
    "headers without an end": lambda _: Endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "a header without an end": lambda _: Endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536),
    "a number of thousands of digits": lambda _: [http("200 OK", b'{"next_poll_s":' + b"9" * 100_000 + b',"metadata":{}}')],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_d13_an_answer_without_measure_is_left_unread(
    stage: Stage, peer: Loopback, wire: HttpsServer, body: Callable[[bytes], Iterable[bytes | None]]
) -> None:
    peer.answers += [body(to_json(stage.answer())) for _ in range(20)]
    report = stage.refused(wire.poll, "transport", is_outage=True, polls=1)
    assert report.type == "update.check.completed"


@pytest.mark.parametrize("total", [True, False])
def test_d13_an_image_without_an_end_is_cut_at_its_signed_length(stage: Stage, *, total: bool) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        yield wanted.content
        for piece in repeat(b"x" * 65536):
            taken.append(len(piece))
            yield piece

    images = {wanted.url: lambda _: sending(endless(), total=len(wanted.content) if total else None)}
    stage.refused(stage.answer(), "corrupt_download", images=images, is_verified=True)
    assert len(taken) == 3, "one piece too many is enough, at each of three tries"


@pytest.mark.parametrize("is_bomb", [True, False])
def test_d13_an_image_that_is_packed_on_the_way_is_not_unpacked(stage: Stage, peer: Loopback, wire: HttpsServer, *, is_bomb: bool) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    packed = BOMB if is_bomb else gzip.compress(wanted.content)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    peer.answers += [[http("200 OK", body, Content_Length="", Transfer_Encoding="chunked", Content_Encoding="gzip")] for _ in range(20)]
    images = {wanted.url: lambda offset: wire.open(f"{peer.url}/image", offset)}
    stage.refused(stage.answer(), "corrupt_download", images=images, is_verified=True)


# --- D14: slow retrieval ----------------------------------------------------------------------------------------------------


def test_d14_an_image_at_a_byte_a_second_is_given_up_at_the_deadline_and_asked_for_again_and_again_until_then(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    asked: list[tuple[int, float]] = []

    def drip(offset: int) -> Response:
        asked.append((offset, stage.clock.monotonic()))
        return Response(status=206, start=offset, total=len(wanted.content), chunks=drops(offset), close=lambda: None)

    def drops(offset: int) -> Iterator[bytes]:
        for at in range(offset, len(wanted.content)):
            stage.clock.sleep(1)
            yield wanted.content[at : at + 1]

    stage.refused(stage.answer(), "deadline", images={wanted.url: drip}, is_verified=True)
    assert len(asked) > 100
    assert asked[-1][1] - asked[0][1] <= 4 * 3600, "no longer than the order allows"
    for (before, left_s), (after, asked_s) in pairwise(asked):
        assert after > before, "it goes on where it stopped"
        assert asked_s - left_s <= PATIENCE_S + 5


def test_d14_one_part_of_an_image_that_takes_all_day_is_given_up_at_the_deadline(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted, deadline_s=60)

    def steady(offset: int) -> Response:
        return Response(status=206, start=offset, total=None, chunks=pieces(offset), close=lambda: None)

    def pieces(offset: int) -> Iterator[bytes]:
        for at in range(offset, len(wanted.content), 100):
            stage.clock.sleep(1)
            yield wanted.content[at : at + 100]

    report = stage.refused(stage.answer(), "deadline", images={wanted.url: steady}, is_verified=True)
    begun = next(event for event in stage.server.events.values() if event.type == "update.download.started")
    assert (parse_utc(report.at) - parse_utc(begun.at)).total_seconds() <= 60 + 5


def test_d14_a_peer_that_never_sends_is_asked_less_and_less_often(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    asked: list[float] = []

    def silence(_: int) -> Response:
        stage.clock.sleep(30)
        asked.append(stage.clock.monotonic())
        raise TransportError("Nobody answered.")

    stage.refused(stage.answer(), "deadline", images={wanted.url: silence}, is_verified=True)
    pauses = [round(after - before) - 30 for before, after in pairwise(asked)]
    assert pauses[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(pauses[9:]) == {300}


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "the head": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000, b"y"),
    "the status": (b"H", b"T"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "hundreds": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the size of a chunk": (http("200 OK", Content_Length="", Transfer_Encoding="chunked"), b"0"),
    "the body": (http("200 OK", Content_Length="1000000"), b" "),
}


@pytest.mark.parametrize("name", DRIPS)
def test_d14_an_answer_that_drips_is_left_and_polls_are_spaced_out(stage: Stage, peer: Loopback, wire: HttpsServer, name: str) -> None:
    drip = Drip(*DRIPS[name])
    peer.answers += [drip] * 20
    stage.refused(wire.poll, "transport", is_outage=True, polls=1)
    assert drip.waited_out == 0


@pytest.mark.parametrize("name", ["the head", "the size of a chunk"])
def test_d14_an_image_of_which_only_the_head_drips_in_is_given_up_at_the_deadline(
    stage: Stage, peer: Loopback, wire: HttpsServer, name: str
) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted, deadline_s=60)
    drip = Drip(*DRIPS[name])
    peer.answers += [drip] * 20
    images = {wanted.url: lambda offset: wire.open(f"{peer.url}/image", offset)}
    stage.refused(stage.answer(), "deadline", images=images, is_verified=True, polls=1)
    assert drip.waited_out == 0


# --- D15: roots with too few keys -------------------------------------------------------------------------------------------


def hand_over(heirs: Sequence[Signer]) -> Callable[[Root], None]:
    """Return what gives a root other root keys."""

    def change(root: Root) -> None:
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        for heir in heirs:
            root.add_key(heir.public_key, "root")

    return change


def skip(root: Root) -> None:
    root.version += 1


def stay(root: Root) -> None:
    root.version -= 1


HEIRS = [generate() for _ in range(3)]
RootAttack = Callable[[bytes, list[Signer]], bytes]
ROOTS: dict[str, tuple[RootAttack, str]] = {
    "one of three": (lambda root, keys: next_root(root, keys[:1]), "bad_signature"),
    "nobody": (lambda root, _: next_root(root, []), "bad_signature"),
    "strangers": (lambda root, _: next_root(root, HEIRS), "bad_signature"),
    "only the old keys": (lambda root, keys: next_root(root, keys, hand_over(HEIRS)), "bad_signature"),
    "only the new keys": (lambda root, _: next_root(root, HEIRS, hand_over(HEIRS)), "bad_signature"),
    "all the new and one old": (lambda root, keys: next_root(root, [*HEIRS, keys[0]], hand_over(HEIRS)), "bad_signature"),
    "all the old and one new": (lambda root, keys: next_root(root, [*keys, HEIRS[0]], hand_over(HEIRS)), "bad_signature"),
    "a gap": (lambda root, keys: next_root(root, keys, skip), "metadata_rollback"),
    "the same version": (lambda root, keys: next_root(root, keys, stay), "metadata_rollback"),
    "the very same": (lambda root, _: root, "metadata_rollback"),
    "signatures of the one before": (lambda root, _: forged(root, lambda plain: plain["signed"].update(version=2)), "bad_signature"),
    "a threshold of one": (
        lambda root, keys: next_root(root, keys[:1], lambda r: setattr(r.roles["root"], "threshold", 1)),
        "bad_signature",
    ),
}


def rooted(stage: Stage, repository: str, version: int, root: bytes) -> PollAnswer:
    files = {f"{version}.root.json": root}
    return stage.answer(director=files) if repository == "director" else stage.answer(image=files)


def root_of(stage: Stage, repository: str) -> tuple[bytes, list[Signer]]:
    it = stage.repositories
    return (it.director_root, it.director_roots) if repository == "director" else (it.image["root.json"], it.image_roots)


@pytest.mark.parametrize("repository", ["director", "image"])
@pytest.mark.parametrize(("attack", "code"), ROOTS.values(), ids=list(ROOTS))
def test_d15_a_root_that_too_few_signed_or_of_another_version_is_refused(
    stage: Stage, repository: str, attack: RootAttack, code: str
) -> None:
    stage.order(stage.release("1.1.0"))
    stage.refused(rooted(stage, repository, 2, attack(*root_of(stage, repository))), code)


@pytest.mark.parametrize("repository", ["director", "image"])
def test_d15_a_second_root_of_one_version_with_other_content_changes_nothing(stage: Stage, repository: str) -> None:
    root, keys = root_of(stage, repository)
    second = next_root(root, keys[:2])
    stage.order(stage.release("1.1.0"))
    stage.says(rooted(stage, repository, 2, second))
    stage.run(lambda runner: runner.state.attempt is not None)
    stage.poll()
    other = next_root(root, keys[1:], lambda r: r.unrecognized_fields.update(x=1))
    stage.order(stage.release("1.2.0"))
    stage.refused(rooted(stage, repository, 3, other), "metadata_rollback")
    stage.order(None)
    stage.says(rooted(stage, repository, 2, other))
    stage.poll()
    assert stage.board.trusted(repository)["root.json"] == second
    assert stage.server.refusals() == ["metadata_rollback"]


@pytest.mark.parametrize("repository", ["director", "image"])
def test_d15_a_root_after_a_gap_is_not_looked_at(stage: Stage, repository: str) -> None:
    root, keys = root_of(stage, repository)
    stage.says(rooted(stage, repository, 3, next_root(next_root(root, keys), keys)))
    stage.poll()
    assert stage.board.trusted(repository)["root.json"] == root
    stage.recovers()


# --- D16: one key counted twice ---------------------------------------------------------------------------------------------


def compressed(public: str) -> str:
    key = load_pem_public_key(public.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    # SubjectPublicKeyInfo of a P-256 key (RFC 5480), whose point may be written in either form.
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    return "-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der).decode() + "\n-----END PUBLIC KEY-----\n"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "letter for letter": lambda public: public,
    "another line": lambda public: f"\n{public.strip()}\n\n",
    "a comment": lambda public: f"# another key\n{public}",
    "the point compressed": compressed,
}


def listed_twice(signed: dict[str, Any], role: dict[str, Any], key: Key, spell: Callable[[str], str]) -> None:
    """Let a role list a key under a second id."""
    again = key.to_dict()
    keys = signed["keys"] if "keys" in signed else signed["delegations"]["keys"]
    keys[ALIAS] = {**again, "keyval": {"public": spell(again["keyval"]["public"])}}
    role["keyids"].append(ALIAS)


def signed_twice(data: bytes, signer: Signer) -> bytes:
    """Return metadata with one key's signature under its own id and under the second."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    signature = signer.sign(metadata.signed_bytes)
    metadata.signatures = {signer.public_key.keyid: signature, ALIAS: Signature(ALIAS, signature.signature)}
    return metadata.to_bytes()


@pytest.mark.parametrize("repository", ["director", "image"])
def test_d16_a_signature_that_stands_there_twice_is_refused(stage: Stage, repository: str) -> None:
    stage.order(stage.release("1.1.0"))
    root, keys = root_of(stage, repository)

    def double(plain: dict[str, Any]) -> None:
        plain["signatures"] *= 2

    stage.refused(rooted(stage, repository, 2, forged(next_root(root, keys[:1]), double)), "bad_metadata")


@pytest.mark.parametrize("repository", ["director", "image"])
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=list(SPELLINGS))
def test_d16_one_root_key_under_two_ids_is_one_key(stage: Stage, repository: str, spell: Callable[[str], str]) -> None:
    """People were careless and signed a root that lists one of them twice; the thief of that one key makes the next root."""
    root, keys = root_of(stage, repository)
    careless = successor(root, keys[:2], lambda signed: listed_twice(signed, signed["roles"]["root"], keys[0].public_key, spell))
    thief = signed_twice(successor(careless, [], lambda _: None), keys[0])
    stage.order(stage.release("1.1.0"))
    files = {"2.root.json": careless, "3.root.json": thief}
    stage.refused(stage.answer(director=files) if repository == "director" else stage.answer(image=files), "bad_signature")
    stage.recovers(**{repository: {"2.root.json": careless}})


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=list(SPELLINGS))
def test_d16_one_targets_key_under_two_ids_is_one_key(stage: Stage, spell: Callable[[str], str]) -> None:
    it = stage.repositories
    thief = it.targets[0]
    careless = successor(
        it.image["root.json"], it.image_roots, lambda signed: listed_twice(signed, signed["roles"]["targets"], thief.public_key, spell)
    )
    stage.order(stage.release("1.1.0"))
    targets = signed_twice(successor(it.image["targets.json"], [], lambda _: None), thief)
    files = {**stage.republished("targets.json", targets), "2.root.json": careless}
    stage.refused(stage.answer(image=files), "bad_signature")


def test_d16_one_product_key_under_two_ids_is_one_key(stage: Stage) -> None:
    it = stage.repositories

    def careless(signed: dict[str, Any]) -> None:
        (role,) = signed["delegations"]["roles"]
        role["threshold"] = 2
        listed_twice(signed, role, it.product.public_key, SPELLINGS["another line"])

    stage.order(stage.release("1.1.0"))
    targets = successor(it.image["targets.json"], it.targets, careless)
    honest = dict(it.image)
    it.image["targets.json"] = targets
    files = stage.republished("targets.json", targets)
    it.image = honest
    files |= {next(name for name in files if name.endswith(f"{PRODUCT}.json")): signed_twice(it.image[f"{PRODUCT}.json"], it.product)}
    stage.refused(stage.answer(image=files), "bad_signature")


def test_d16_a_signature_under_the_id_of_somebody_elses_key_counts_for_nobody(stage: Stage) -> None:
    it, view = stage.repositories, stage.repositories.views[DEVICE]
    stranger = edited(view.timestamp, [generate()], lambda _: None)

    def rename(plain: dict[str, Any]) -> None:
        plain["signatures"][0]["keyid"] = it.director.timestamp.public_key.keyid

    stage.refused(stage.answer(director={"timestamp.json": forged(stranger, rename)}), "bad_signature")


@pytest.mark.parametrize("repository", ["director", "image"])
def test_d16_a_key_id_is_only_a_name(stage: Stage, repository: str) -> None:
    """An id that is no hash of its key is believed, as the threshold of the root before it signed it; it makes no key count more."""
    root, keys = root_of(stage, repository)

    def rename(signed: dict[str, Any]) -> None:
        keyid = keys[0].public_key.keyid
        signed["keys"][ALIAS] = signed["keys"].pop(keyid)
        role = signed["roles"]["root"]
        role["keyids"] = [ALIAS if known == keyid else known for known in role["keyids"]]

    renamed = successor(root, keys, rename)
    stage.recovers(**{repository: {"2.root.json": renamed}})
    assert json.loads(stage.board.trusted(repository)["root.json"])["signed"]["version"] == 2
