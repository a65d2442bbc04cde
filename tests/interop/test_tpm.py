# SPDX-License-Identifier: Apache-2.0
"""A device whose key never leaves a TPM: it enrols, polls and renews over mutual TLS, against a real TPM's software and a real server."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.interop.programs import SOURCES, Programs
from tests.interop.tpm import Tpm

DEVICE, HARDWARE = "tpm-1", "lamp-v1"
RECIPE = """\
firmware:
  product: lamp
  version: "1.0.0"
  hardware: [lamp-v1]
  components:
    - { name: application, version: "1.0.0", path: lamp.bin, license: MIT }
"""
HOLD = """
[identity]
key = "openssl"
provider = "tpm2"
"""
TSS2 = "-----BEGIN TSS2 PRIVATE KEY-----"
"""What the key that only its TPM can use begins with."""

RENEW = (sys.executable, str(SOURCES / "tests" / "interop" / "tpm_device.py"))


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tpm]:
    with Tpm(tmp_path_factory.mktemp("tpm")) as found:
        yield found


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """A server, and a board with an offer."""
    with Programs(tmp_path) as found:
        found.start_server("lamp")
        (tmp_path / "firmware.yaml").write_text(RECIPE)
        (tmp_path / "lamp.bin").write_bytes(b"shine")
        found.run("release", "build", found.at("firmware.yaml"), "-o", found.at("1.0.0"))
        flash = ["--bundle", found.at("1.0.0"), "--hardware", HARDWARE, "--serial", DEVICE]
        found.run("simulate", "flash", found.at("board"), *flash)
        (tmp_path / "board" / "run").mkdir()
        found.run("token", "new", DEVICE, "--hardware", HARDWARE, "-o", found.at("enrol.json"))
        yield found


def settle(programs: Programs, settings: str) -> Path:
    toml = programs.folder / "board" / "agent.toml"
    toml.write_text(toml.read_text() + settings)
    return toml


def join(programs: Programs, toml: Path, *, status: int = 0) -> str:
    return programs.run("agent", "enroll", "--with", programs.at("enrol.json"), "--config", str(toml), status=status)


def identity(programs: Programs) -> str:
    return (programs.folder / "board/data/identity/device.pem").read_text()


def test_a_device_enrols_polls_and_renews_with_keys_that_stay_in_its_tpm(tpm: Tpm, programs: Programs) -> None:
    toml = settle(programs, HOLD)
    programs.environment |= tpm.environment
    join(programs, toml)
    first = identity(programs)
    assert first.startswith(TSS2)

    agent = programs.start("agent", "agent", "run", "--verbose", "--config", str(toml), more={"SUREFOOT_SLOT": "a"})
    programs.wait_for("idle polls", lambda: programs.log("agent").count("-> idle") > 1)
    assert programs.story(DEVICE)["device"]["report"]["version"] == "1.0.0"
    agent.terminate()
    agent.wait()
    del programs.running["agent"]

    programs.run(str(toml), by=RENEW)
    second = identity(programs)
    assert second.startswith(TSS2)
    assert x509.load_pem_x509_certificate(first.encode()).public_key() != x509.load_pem_x509_certificate(second.encode()).public_key()


def test_what_lies_on_the_disk_is_worth_nothing_without_the_tpm(tpm: Tpm, programs: Programs) -> None:
    toml = settle(programs, HOLD)
    programs.environment |= tpm.environment
    join(programs, toml)
    with pytest.raises(ValueError, match="PEM"):
        load_pem_private_key(identity(programs).encode(), None)
    for name in tpm.environment:
        del programs.environment[name]
    assert "OPENSSL_CONF must load its provider" in programs.run(
        "agent", "run", "--config", str(toml), by=("env", "SUREFOOT_SLOT=a", sys.executable, "-m", "surefoot"), status=2
    )


def test_a_key_that_the_factory_made_in_the_tpm_serves_for_every_certificate(tpm: Tpm, programs: Programs) -> None:
    toml = settle(programs, f'{HOLD}pem = "factory-key.pem"\n')
    programs.environment |= tpm.environment
    made = programs.run("genpkey", "-propquery", "provider=tpm2", "-algorithm", "EC", "-pkeyopt", "group:P-256", by=("openssl",))
    (programs.folder / "board" / "factory-key.pem").write_text(made)
    join(programs, toml)
    first = identity(programs)
    programs.run(str(toml), by=RENEW)
    second = identity(programs)
    assert first.startswith(made)
    assert second.startswith(made)
    assert first != second


def test_without_the_tpm_nothing_is_sent_and_no_key_is_made_in_the_open(programs: Programs) -> None:
    toml = settle(programs, HOLD)
    said = join(programs, toml, status=1)
    assert "The provider tpm2 gives no key" in said
    assert "Let OPENSSL_CONF name settings that load it" in said
    assert not (programs.folder / "board/data/identity/device.pem").exists()
    # The offer is good still.
    toml.write_text(toml.read_text().replace(HOLD, ""))
    join(programs, toml)


def test_a_key_in_the_open_is_refused_where_a_token_is_promised(tpm: Tpm, programs: Programs) -> None:
    toml = settle(programs, f'{HOLD}pem = "factory-key.pem"\n')
    made = programs.run("genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", by=("openssl",))
    (programs.folder / "board" / "factory-key.pem").write_text(made)
    programs.environment |= tpm.environment
    assert "The key is not held by the provider tpm2" in join(programs, toml, status=1)
