# SPDX-License-Identifier: Apache-2.0
"""How long a device takes to verify an order: both repositories from their roots, against python-tuf's own client.

Both work on the same signed files out of memory. The peer keeps what it verified in a folder, so it is held to our
verification including the writing of the agent's trusted files; the budget is held to the verification alone.
"""

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from bench.rounds import median_ms
from bench.rows import Row, compared
from surefoot.agent.posix import PosixStorage
from surefoot.agent.trusted import TrustedStore
from surefoot.model.errors import TrustError
from surefoot.trust.verify import Verdict, verify
from tests.trust.repositories import DEVICE, PRODUCT, Repositories, manifest

BUDGET_MS = 5.0
RELEASES = 20
"""Releases of the product that are listed; the last of them is ordered."""

FULL = 145
"""As many as one file may list, so that the device verifies the largest there is."""

_ROUNDS = 15
_REPEATS = 5


def measure(run: str) -> list[Row]:
    """Return the processor time of one verification, with and without keeping the result, and of one with the largest file there is."""
    orders, full = Orders(), Orders(FULL)
    with TemporaryDirectory() as name:
        folder = Path(name)
        works = {
            "verify": orders.verify,
            "full": full.verify,
            "keep": lambda: orders.verify_and_keep(folder / "ours"),
            "peer": lambda: orders.verify_by_peer(folder / "peer"),
        }
        found = median_ms(works, rounds=_ROUNDS, repeats=_REPEATS)
    peer = f"python-tuf {version('tuf')} ngclient, refresh and get_targetinfo of both"
    what = f"both repositories, {RELEASES} releases"
    return [
        compared(f"verify/{what}", found["verify"], "ms", against="budget", figure=BUDGET_MS, run=run),
        compared(f"verify/both repositories, {FULL} releases", found["full"], "ms", against="budget", figure=BUDGET_MS, run=run),
        compared(f"verify/{what}, kept on disk", found["keep"], "ms", against=peer, figure=found["peer"], run=run),
    ]


class Orders:
    """Two repositories with one order in them, and the two ways to verify it."""

    def __init__(self, count: int = RELEASES) -> None:
        """Sign everything, with so many releases, as of now: the peer reads the system's clock."""
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.repositories = Repositories(now=self.now)
        releases = [manifest(f"1.{n}.0", f"image {n}".encode()) for n in range(count)]
        self.repositories.release(*releases)
        self.repositories.order(releases[-1])
        self.path = f"{PRODUCT}/{releases[-1].version}/thermostat-v1-release"
        self.director = self.repositories.director_answer()
        self.image = self.repositories.image_answer()

    def verify(self) -> Verdict:
        """Verify as the agent does, and see that the order was found."""
        verdict = verify(
            director=self.repositories.trusted_director(),
            image=self.repositories.trusted_image(),
            fetched_director=self.director,
            fetched_image=self.image,
            device_id=DEVICE,
            now=self.now,
        )
        assert verdict.ordered is not None
        assert verdict.ordered.path == self.path
        return verdict

    def verify_and_keep(self, folder: Path) -> None:
        """Verify and write what is trusted from then on, as the agent does, into an empty folder."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        verdict = self.verify()
        store = TrustedStore(PosixStorage(folder), "trusted")
        store.save("director", verdict.director)
        store.save("image", verdict.image)

    def verify_by_peer(self, folder: Path) -> None:
        """Let python-tuf's client do the same with an empty folder for each repository."""
        shutil.rmtree(folder, ignore_errors=True)
        roots = {"director": self.repositories.director_root, "image": self.repositories.image["root.json"]}
        for name, files in (("director", self.director), ("image", self.image)):
            (folder / name).mkdir(parents=True)
            updater = Updater(str(folder / name), f"memory://{name}/", fetcher=_Memory(files), bootstrap=roots[name])
            updater.refresh()
            if updater.get_targetinfo(self.path) is None:
                raise TrustError(f"python-tuf does not find {self.path} in the {name} repository.")


class _Memory(FetcherInterface):
    """Fetches from memory; what is not there does not exist."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._files.get(urlsplit(url).path.removeprefix("/"))
        if data is None:
            raise DownloadHTTPError(f"{url} is not there", 404)
        return iter((data,))
