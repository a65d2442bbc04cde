# SPDX-License-Identifier: Apache-2.0
"""Attack S19: a dependency or a build that was taken over."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from surefoot.model.digest import Digest, digest_of, hex_of
from tests.server.running import Running, running

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PINNED = re.compile(r"^[a-z0-9][a-z0-9._-]*(\[[a-z0-9,-]+\])?==[0-9][0-9a-z.+!-]*( ; .+)?$")
HASH = re.compile(r"^--hash=sha256:[0-9a-f]{64}$")


def faults(lock: str) -> list[str]:
    """Return what is wrong with a lock file: whatever is not pinned to one version and at least one SHA-256."""
    found: list[str] = []
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        name, *hashes = [part.strip() for part in entry.split("\\\n")]
        if PINNED.fullmatch(name) is None:
            found.append(f"not pinned: {name}")
        elif not hashes or not all(HASH.fullmatch(one) for one in hashes):
            found.append(f"no hash: {name}")
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_s19_every_dependency_is_pinned_by_hash(lock: Path) -> None:
    assert faults(lock.read_text()) == []
    assert "://" not in lock.read_text(), "a lock file says what, never where from"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("idna==3.10", "no hash: idna==3.10"),
        ("idna==3.10 \\\n    --hash=md5:00", "no hash: idna==3.10"),
        ("idna>=3.10 \\\n    --hash=sha256:" + "0" * 64, "not pinned: idna>=3.10"),
        ("--extra-index-url https://packages.example", "not pinned: --extra-index-url https://packages.example"),
        ("idna @ https://packages.example/idna.whl", "not pinned: idna @ https://packages.example/idna.whl"),
    ],
)
def test_s19_a_lock_file_without_hash_would_be_seen(text: str, fault: str) -> None:
    good = "six==1.17.0 \\\n    --hash=sha256:" + "0" * 64
    assert faults(good) == []
    assert faults(f"{good}\n{text}\n{good}") == [fault]


@pytest.mark.parametrize("lines", ["small==1.0", "small==1.0 --hash=sha256:" + "0" * 64])
def test_s19_a_lock_file_without_the_right_hash_fails_the_installation(tmp_path: Path, lines: str) -> None:
    right = f"small==1.0 --hash=sha256:{hex_of(wheel(tmp_path / 'small-1.0-py3-none-any.whl'))}"
    assert installation(tmp_path, right).returncode == 0
    refused = installation(tmp_path, lines)
    assert refused.returncode != 0
    assert "Hashes are required in --require-hashes mode" in refused.stderr or "DO NOT MATCH THE HASHES" in refused.stderr
    assert "install --require-hashes -r requirements/dev.lock" in (ROOT / "Makefile").read_text()


def installation(folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    (folder / "a.lock").write_text(lock)
    options = ["--require-hashes", "--dry-run", "--no-index", "--no-deps", "--find-links", str(folder), "-r", str(folder / "a.lock")]
    return subprocess.run([sys.executable, "-m", "pip", "install", *options], capture_output=True, text=True, check=False, timeout=60)


def wheel(path: Path) -> Digest:
    """Write the smallest distribution there is."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        archive.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("small-1.0.dist-info/RECORD", "")
    return digest_of(path.read_bytes())


def test_s19_every_asset_is_pinned_by_hash_and_runs_nothing_when_installed() -> None:
    packages: dict[str, dict[str, Any]] = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    pinned = {name: package for name, package in packages.items() if name}
    assert pinned
    assert [name for name, package in pinned.items() if not str(package.get("integrity", "")).startswith("sha512-")] == []
    assert [name for name, package in pinned.items() if "resolved" in package] == []
    assert "npm ci --ignore-scripts" in (ROOT / "Makefile").read_text()


def test_s19_nothing_is_fetched_in_the_clear() -> None:
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "package.json", ROOT / ".npmrc"]
    files += [file for folder in ("scripts", "requirements") for file in (ROOT / folder).iterdir() if file.is_file()]
    assert [file.name for file in files if "http://" in file.read_text()] == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


def test_s19_a_release_lies_in_the_store_with_its_bill_of_materials_or_not_at_all(server: Running) -> None:
    request = server.signed("1.1.0", b"an image")
    sbom = digest_of(b"sbom of 1.1.0")
    file = server.data / "blobs" / hex_of(sbom)[:2] / hex_of(sbom)[2:]
    file.unlink()
    refused = server.call("POST", "releases", request)
    assert (refused.status, refused.json()["type"]) == (404, "urn:surefoot:problem:not_found")
    assert "The SBOM" in refused.json()["detail"]
    assert server.call("GET", "releases/thermostat/1.1.0").status == 404
    server.put(b"sbom of 1.1.0")
    assert server.call("POST", "releases", request).status == 200
    assert server.call("GET", "releases/thermostat/1.1.0").json()["index"]["sbom"] == sbom
    assert file.read_bytes() == b"sbom of 1.1.0"
