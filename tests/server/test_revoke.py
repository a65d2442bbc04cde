# SPDX-License-Identifier: Apache-2.0
"""A device whose key is lost: whoever has the key is a stranger from the next request on, and the device comes back with a new one."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from surefoot.cli.main import main
from tests.server.running import csr_for, running


def test_a_revoked_key_opens_nothing_on_an_open_connection_and_a_new_token_lets_the_device_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path) as server:
        lost, other = server.join("t-1"), server.join("t-2")
        waiting = server.offer("t-1")
        assert (lost.poll().status, other.poll().status) == (200, 200)
        monkeypatch.setenv("SUREFOOT_SERVER", server.addresses.operator_url)
        monkeypatch.setenv("SUREFOOT_TOKEN_FILE", str(tmp_path / "admin.token"))
        assert main(["device", "revoke", "t-1"]) == 0
        told = capsys.readouterr().out
        assert "t-1: 1 certificate(s) revoked" in told
        assert "surefoot token new t-1 --hardware thermostat-v1 -o enrol.json" in told
        assert (lost.poll().status, other.poll().status) == (403, 200)
        assert server.enroll(waiting, csr_for(ec.generate_private_key(ec.SECP256R1()))).status == 403
        assert main(["device", "revoke", "t-1"]) == 0
        assert "t-1: 0 certificate(s) revoked" in capsys.readouterr().out
        assert server.join("t-1").poll().status == 200
        assert lost.poll().status == 403


def test_a_device_that_nobody_knows_is_not_revoked(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.call("POST", "devices/t-9/revoke", {}).status == 404
