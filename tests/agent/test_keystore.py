# SPDX-License-Identifier: Apache-2.0
"""Keys of devices, from the system or from a provider that fails, lies or hands them out; ``tests/interop/test_tpm.py`` has a real TPM."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from surefoot.agent import keystore
from surefoot.agent.keystore import FileKey, FileKeys, KeyStore, OpensslKey, open_keys
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import DeviceError

DEVICE = DeviceId("t-1")
TSS2 = "-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n"


def armoured(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE REQUEST-----\n"


def with_null(csr: str) -> str:
    """Return a request as tpm2-openssl 1.1 writes it: with parameters where RFC 5758 has none."""
    der = x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)
    assert der[1] == 0x81
    content = der[3:].replace(keystore._WITHOUT, keystore._WITH_NULL)
    spoilt = b"\x30\x81" + bytes([len(content)]) + content

    return armoured(spoilt)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command ``openssl`` of our own may be put; the system's tools are there too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def says(tool: Path, *, genpkey: str = TSS2, req: str) -> None:
    (tool / "key").write_text(genpkey)
    (tool / "csr").write_text(req)
    script = tool / "openssl"
    script.write_text(f'#!/bin/sh\ncase "$1" in genpkey) cat {tool}/key ;; req) cat >/dev/null; cat {tool}/csr ;; esac\n')
    script.chmod(0o700)


def keys(folder: Path, pem: str = "") -> KeyStore:
    return open_keys(OpensslKey(provider="tpm2", pem=pem), folder)


def test_a_key_of_the_file_store_signed_its_own_request_and_is_another_each_time(tmp_path: Path) -> None:
    store = open_keys(FileKey(), tmp_path)
    key, other = store.key_for(DEVICE), store.key_for(DEVICE)
    csr = x509.load_pem_x509_csr(key.csr.encode())
    assert csr.is_signature_valid
    assert load_pem_private_key(key.pem.encode(), None).public_key() == csr.public_key()
    assert key.pem != other.pem


@pytest.mark.parametrize("spoil", [str, with_null])
def test_a_request_of_a_provider_reaches_the_server_as_the_standard_has_it(tmp_path: Path, tool: Path, spoil: Callable[[str], str]) -> None:
    right = FileKeys().key_for(DEVICE).csr
    says(tool, req=spoil(right))
    found = keys(tmp_path).key_for(DEVICE)
    assert (found.pem, found.csr) == (TSS2, right)


@pytest.mark.parametrize("length", [1, 127, 128, 255, 256, 65_000])
def test_dropping_the_parameters_leaves_right_lengths(length: int) -> None:
    assert keystore._without_null(b"x" * length) == b"x" * length
    content = b"y" * (length + 200) + keystore._WITH_NULL
    spoilt = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    found = keystore._without_null(spoilt)
    head = 2 + (found[1] & 0x7F)
    assert int.from_bytes(found[2:head], "big") == len(found) - head
    assert found[2] != 0
    assert found[head:] == b"y" * (length + 200) + keystore._WITHOUT


def unsigned() -> str:
    """Return a request whose name was changed after it was signed."""
    der = x509.load_pem_x509_csr(FileKeys().key_for(DEVICE).csr.encode()).public_bytes(Encoding.DER)

    return armoured(der.replace(b"t-1", b"t-2"))


@pytest.mark.parametrize(
    "req",
    ["", "garbage", "-----BEGIN CERTIFICATE REQUEST-----\nA\n-----END CERTIFICATE REQUEST-----\n", unsigned()],
    ids=["nothing", "garbage", "no base64", "another name"],
)
def test_a_provider_that_signs_nothing_is_no_key_store(tmp_path: Path, tool: Path, req: str) -> None:
    says(tool, req=req)
    with pytest.raises(DeviceError, match="The provider tpm2 signed no certificate request"):
        keys(tmp_path).key_for(DEVICE)


@pytest.mark.parametrize("kind", ["", "EC ", "RSA ", "ENCRYPTED "])
def test_a_provider_that_hands_the_key_out_is_refused(tmp_path: Path, tool: Path, kind: str) -> None:
    key = FileKeys().key_for(DEVICE)
    says(tool, genpkey=key.pem.replace("BEGIN ", f"BEGIN {kind}"), req=key.csr)
    with pytest.raises(DeviceError, match="lies there for everybody to copy"):
        keys(tmp_path).key_for(DEVICE)


def test_a_provider_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="The provider tpm2 gives no key: The tool openssl ended with status 1") as refused:
        keys(tmp_path).key_for(DEVICE)
    assert "OPENSSL_CONF" in refused.value.hint


def test_a_key_that_should_be_there_and_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"factory\.pem cannot be read"):
        keys(tmp_path, "factory.pem").key_for(DEVICE)
    (tmp_path / "factory.pem").write_bytes(b"\xff")
    with pytest.raises(DeviceError, match=r"factory\.pem cannot be read"):
        keys(tmp_path, "factory.pem").key_for(DEVICE)
