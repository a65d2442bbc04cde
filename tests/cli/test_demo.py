# SPDX-License-Identifier: Apache-2.0
"""Tests of ``surefoot demo`` that need less than its whole story."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

ROOT = Path(__file__).parents[2]


def test_a_demo_that_is_told_to_end_takes_its_programs_along(tmp_path: Path) -> None:
    folder, example = tmp_path / "demo", tmp_path / "thermostat"
    shutil.copytree(ROOT / "examples" / "thermostat", example, ignore=shutil.ignore_patterns("build"))
    words = ["demo", "--folder", str(folder), "--example", str(example), "--exit"]
    with subprocess.Popen([sys.executable, "-m", "surefoot", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:
        assert demo.stdout is not None
        # By the fourth act the server has said where it is.
        assert any(line.startswith("4. ") for line in demo.stdout)
        address = urlsplit(msgspec.json.decode((folder / "server" / "server.json").read_bytes())["operator_url"])
        demo.send_signal(signal.SIGTERM)
        demo.stdout.read()
        assert demo.wait(30) == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0), timeout=5)
