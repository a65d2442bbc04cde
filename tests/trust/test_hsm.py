# SPDX-License-Identifier: Apache-2.0
"""Keys on a real token (SoftHSM): they sign as keys in files do, never leave, and outlive a token that goes away for a while."""

import logging
import os
import subprocess
import threading
import traceback
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.exceptions import AttributeSensitive, PKCS11Error
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Root

from surefoot.model.errors import InvalidInput, SignerUnavailableError
from surefoot.trust.hsm import Pkcs11Signer, generate_on_token, open_key
from surefoot.trust.key_file import read_public, write_public
from surefoot.trust.metadata import read, verified
from surefoot.trust.secret import NO_SECRETS
from surefoot.trust.signer import generate, open_signer
from tests.trust.repositories import NOW, create_root
from tests.trust.tokens import PIN, Given, Token, module_path, new_token


@pytest.fixture
def token() -> Token:
    return new_token()


def test_a_root_signed_on_a_token_is_believed_as_any_other(token: Token) -> None:
    signers: list[Signer] = [generate_on_token(token.uri(name), Given()) for name in ("ann", "ben")]
    online = {role: [generate().public_key] for role in ("targets", "snapshot", "timestamp")}
    data = create_root(signers, online, NOW, thresholds={})
    root = read(data, Root, name="root.json").signed
    assert verified(data, Root, root, "root", name="root.json").version == 1
    assert root.roles["root"].keyids == [signer.public_key.keyid for signer in signers]


def test_a_key_has_the_id_that_its_public_part_has_as_a_file(token: Token, tmp_path: Path) -> None:
    made = generate_on_token(token.uri("ann"), Given())
    write_public(tmp_path / "ann.pub", made.public_key)
    assert read_public(tmp_path / "ann.pub") == made.public_key
    assert open_signer(token.uri("ann"), Given()).public_key == made.public_key


def test_s11_private_key_cannot_leave_the_token(token: Token) -> None:
    signer = generate_on_token(token.uri("ann"), Given())
    protection = signer.protection()
    assert protection.is_sensitive
    assert protection.was_always_sensitive
    assert protection.was_never_extractable
    assert not protection.is_extractable
    session = pkcs11.lib(module_path()).get_token(token_label=token.label).open()
    key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, key_type=KeyType.EC, label="ann")
    with pytest.raises(AttributeSensitive):
        key[Attribute.VALUE]
    wrapper = session.generate_key(KeyType.AES, 256)
    with pytest.raises(PKCS11Error):
        wrapper.wrap_key(key)  # type: ignore[attr-defined]  # the type checker does not know what kind of key this is
    session.close()


def test_s11_no_pin_and_no_key_in_logs_and_errors(token: Token, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong, said = "99-wrong-17", list[str]()
    for uri, secrets in (
        (token.uri("ann"), Given(wrong)),
        (token.uri("ann"), Given(wrong)),
        (token.uri("nobody"), Given()),
        (token.uri("ann", f"&pin-value={PIN}"), Given()),
        (f"pkcs11:token={token.label}?pin-value={PIN}", Given()),
        (token.uri("ann", f"&pin={PIN}"), Given()),
        (token.uri("ann", f"&pin-source=file:{tmp_path}/none"), Given()),
        (f"pkcs11:token=none?module-path={module_path()}", Given()),
    ):
        with pytest.raises((InvalidInput, SignerUnavailableError)) as refused:
            open_signer(uri, secrets)
        said.append("".join(traceback.format_exception(refused.value)))
    signer = generate_on_token(token.uri("ann"), Given())
    signer.sign(b"data")
    token.take_away()
    with pytest.raises(SignerUnavailableError) as gone:
        signer.sign(b"data")
    token.bring_back()
    said += ["".join(traceback.format_exception(gone.value)), repr(signer), str(signer), caplog.text]
    for text in said:
        assert PIN not in text
        assert wrong not in text
        assert "PRIVATE KEY" not in text
    assert str(signer.public_key.keyid) in repr(signer)


def test_a_session_is_kept_from_one_signature_to_the_next(token: Token) -> None:
    secrets = Given()
    signer = generate_on_token(token.uri("ann"), secrets)
    asked = len(secrets.asked)
    for _ in range(50):
        signer.sign(b"data")
    assert len(secrets.asked) == asked
    assert set(secrets.asked) == {f"{token.label}.pin"}


def test_a_token_that_went_away_and_came_back_signs_again(token: Token) -> None:
    signer = generate_on_token(token.uri("ann"), Given())
    signer.sign(b"data")
    token.take_away()
    for _ in range(3):
        with pytest.raises(SignerUnavailableError, match=r"is not there|does not sign"):
            signer.sign(b"data")
    token.bring_back()
    verify(signer.public_key, signer)


def test_another_tokens_absence_does_not_silence_this_one(token: Token) -> None:
    other = new_token()
    signer, gone = generate_on_token(token.uri("ann"), Given()), generate_on_token(other.uri("ben"), Given())
    other.take_away()
    for _ in range(3):
        with pytest.raises(SignerUnavailableError):
            gone.sign(b"data")
        verify(signer.public_key, signer)
    other.bring_back()
    verify(gone.public_key, gone)


def test_a_module_that_was_finalised_behind_our_back_is_started_again(token: Token) -> None:
    signer = generate_on_token(token.uri("ann"), Given())
    pkcs11.lib(module_path()).finalize()
    verify(signer.public_key, signer)


def test_somebody_elses_logout_is_outlived(token: Token) -> None:
    signer = generate_on_token(token.uri("ann"), Given())
    signer.sign(b"data")
    found = pkcs11.lib(module_path()).get_token(token_label=token.label)
    stranger = generate_on_token(token.uri("ben"), Given())
    found.open(user_pin=None).close()
    verify(stranger.public_key, stranger)
    verify(signer.public_key, signer)


def test_a_wrong_pin_is_tried_once_and_the_right_one_afterwards(token: Token) -> None:
    right = generate_on_token(token.uri("ann"), Given())
    pkcs11.lib(module_path()).finalize()
    secrets = Given("99-wrong-17")
    signer = open_key(token.uri("ann"), secrets, right.public_key)
    with pytest.raises(SignerUnavailableError, match="The PIN does not open"):
        signer.sign(b"data")
    for _ in range(20):
        with pytest.raises(SignerUnavailableError, match="refused this PIN before"):
            signer.sign(b"data")
    secrets.value = PIN
    verify(right.public_key, signer)


def test_a_token_with_a_wrong_pin_is_not_opened(token: Token) -> None:
    generate_on_token(token.uri("ann"), Given())
    pkcs11.lib(module_path()).finalize()
    with pytest.raises(InvalidInput, match=f"The PIN does not open the token {token.label}"):
        open_key(token.uri("ann"), Given("99-wrong-17"))


def test_a_pin_comes_from_the_file_that_the_uri_names(token: Token, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(f"{PIN}\n")
    signer = generate_on_token(token.uri("ann", f"&pin-source=file:{tmp_path}/pin"), NO_SECRETS)
    verify(signer.public_key, signer)


def test_two_threads_sign_with_two_keys_of_one_token(token: Token) -> None:
    signers = [generate_on_token(token.uri(name), Given()) for name in ("ann", "ben")]
    failed: list[BaseException] = []

    def sign(signer: Pkcs11Signer) -> None:
        try:
            for _ in range(100):
                verify(signer.public_key, signer)
        except BaseException as error:  # noqa: BLE001  # told below
            failed.append(error)

    threads = [threading.Thread(target=sign, args=(signer,)) for signer in [*signers, *signers]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_signer_made_before_a_fork_signs_on_both_sides(token: Token) -> None:
    signer = generate_on_token(token.uri("ann"), Given())
    signer.sign(b"data")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            verify(signer.public_key, signer)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    verify(signer.public_key, signer)


def test_what_is_not_on_the_token_is_said(token: Token) -> None:
    generate_on_token(token.uri("ann"), Given())
    with pytest.raises(InvalidInput, match="holds no private EC key ben"):
        open_key(token.uri("ben"), Given())
    with pytest.raises(SignerUnavailableError, match="The token nowhere is not there"):
        open_key(f"pkcs11:token=nowhere;object=ann?module-path={module_path()}", Given())


def test_a_key_that_vanished_is_unavailable_to_whoever_asks_for_a_signature(token: Token) -> None:
    generate_on_token(token.uri("ann"), Given())
    other = generate().public_key
    with pytest.raises(SignerUnavailableError, match="holds no private EC key ben"):
        open_key(token.uri("ben"), Given(), other).sign(b"data")
    with pytest.raises(SignerUnavailableError, match=f"{other.keyid} is wanted"):
        open_key(token.uri("ann"), Given(), other).sign(b"data")


def test_keys_are_found_by_id_and_never_overwritten(token: Token) -> None:
    made = generate_on_token(f"pkcs11:token={token.label};object=ann;id=%01%02?module-path={module_path()}", Given())
    by_id = open_key(f"pkcs11:token={token.label};id=%01%02?module-path={module_path()}", Given())
    assert by_id.public_key == made.public_key
    for taken in ("object=ann", "object=ben;id=%01%02"):
        with pytest.raises(InvalidInput, match="already"):
            generate_on_token(f"pkcs11:token={token.label};{taken}?module-path={module_path()}", Given())
    with pytest.raises(InvalidInput, match="needs a name"):
        generate_on_token(f"pkcs11:token={token.label}?module-path={module_path()}", Given())


def test_a_uri_that_fits_several_is_refused(token: Token) -> None:
    generate_on_token(token.uri("ann"), Given())
    generate_on_token(token.uri("ben"), Given())
    with pytest.raises(InvalidInput, match="2 keys on"):
        open_key(f"pkcs11:token={token.label}?module-path={module_path()}", Given())
    new_token()
    pkcs11.lib(module_path()).finalize()
    with pytest.raises(InvalidInput, match="tokens fit the PKCS#11 URI"):
        open_key(f"pkcs11:object=ann?module-path={module_path()}", Given())


def test_a_token_can_be_named_by_serial_slot_maker_and_model(token: Token) -> None:
    made = generate_on_token(token.uri("ann"), Given())
    found = pkcs11.lib(module_path()).get_token(token_label=token.label)
    serial, slot = found.serial.decode().strip(), found.slot.slot_id
    for name in (f"serial={serial}", f"slot-id={slot};manufacturer={found.manufacturer_id};model={found.model}".replace(" ", "%20")):
        assert open_key(f"pkcs11:{name};object=ann?module-path={module_path()}", Given()).public_key == made.public_key
    with pytest.raises(SignerUnavailableError, match="is not there"):
        open_key(f"pkcs11:serial=0{serial};object=ann?module-path={module_path()}", Given())


def test_other_kinds_of_keys_are_refused(token: Token) -> None:
    generate_on_token(token.uri("ann"), Given())
    session = pkcs11.lib(module_path()).get_token(token_label=token.label).open(rw=True)
    curve = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: bytes.fromhex("06052b81040022")}, local=True)
    curve.generate_keypair(label="p384", store=True)
    session.close()
    with pytest.raises(InvalidInput, match=r"p384 on .* is not an ECDSA P-256 key"):
        open_key(token.uri("p384"), Given())


def test_a_key_without_a_public_part_on_the_token_needs_it_as_a_file(token: Token) -> None:
    made = generate_on_token(token.uri("ann"), Given())
    session = pkcs11.lib(module_path()).get_token(token_label=token.label).open(rw=True)
    session.get_key(object_class=ObjectClass.PUBLIC_KEY, label="ann").destroy()
    session.close()
    with pytest.raises(InvalidInput, match="no public part of ann"):
        open_key(token.uri("ann"), Given())
    verify(made.public_key, open_key(token.uri("ann"), Given(), made.public_key))


def test_the_module_is_named_by_the_environment_or_the_uri(token: Token, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = generate_on_token(token.uri("ann"), Given())
    short = f"pkcs11:token={token.label};object=ann"
    monkeypatch.delenv("SUREFOOT_PKCS11_MODULE", raising=False)
    with pytest.raises(InvalidInput, match="which PKCS#11 module"):
        open_key(short, Given())
    monkeypatch.setenv("SUREFOOT_PKCS11_MODULE", module_path())
    assert open_key(short, Given()).public_key == made.public_key
    with pytest.raises(InvalidInput, match="no PKCS#11 module at"):
        open_key(f"{short}?module-path={tmp_path}/none.so", Given())
    (tmp_path / "text.so").write_text("no module")
    with pytest.raises(SignerUnavailableError):
        open_key(f"{short}?module-path={tmp_path}/text.so", Given())


def test_openssl_reads_the_public_part_and_verifies_with_it(token: Token, tmp_path: Path) -> None:
    signer = generate_on_token(token.uri("ann"), Given())
    write_public(tmp_path / "ann.pub", signer.public_key)
    (tmp_path / "data").write_bytes(b"data")
    (tmp_path / "signature").write_bytes(bytes.fromhex(signer.sign(b"data").signature))
    command = ["openssl", "dgst", "-sha256", "-verify", "ann.pub", "-signature", "signature", "data"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout == "Verified OK\n"


def verify(public_key: Key, signer: Signer) -> None:
    public_key.verify_signature(signer.sign(b"data"), b"data")


def test_a_token_is_opened_by_the_one_door_alone() -> None:
    with pytest.raises(InvalidInput, match="is not opened this way"):
        Pkcs11Signer.from_priv_key_uri("pkcs11:token=x;object=y", generate().public_key)
