# SPDX-License-Identifier: Apache-2.0
"""What the pages on keys take as given: a server, a keeper with releases, three people with tokens, a board that runs 1.0.0."""

import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tuf.api.metadata import Root

from surefoot.agent.posix import PosixStorage
from surefoot.agent.trusted import Repository, TrustedStore
from surefoot.trust.director import DirectorSigners
from surefoot.trust.keyring import read_ring
from surefoot.trust.metadata import read
from surefoot.trust.repository import OnlineSigners
from surefoot.trust.secret import NO_SECRETS
from tests.docs.pages import ROOT
from tests.docs.people import People

README = (ROOT / "README.md").read_text()
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.3.0")
ROOTS = ("image-root", "director-root")
HOLDERS = {"ann": (*ROOTS, "image-targets"), "bob": (*ROOTS, "image-targets"), "cem": ROOTS, "release": ("lamp",)}

TAKE_OVER = r"""
id() { surefoot trust show-key keys/$1.pem | sed -n 's/^key \([0-9a-f]*\),.*/\1/p'; }
number=0
for who in ann bob cem; do
    number=$((number + 1))
    for role in image-root director-root; do
        surefoot trust rotate $role $(id $role-$number) $who:$STICK/$who-$role.pub --keys keys --no-sign
    done
done
surefoot trust rotate image-targets $(id image-targets-1) ann:$STICK/ann-image-targets.pub --keys keys --no-sign
surefoot trust rotate image-targets $(id image-targets-2) bob:$STICK/bob-image-targets.pub --keys keys --no-sign
surefoot trust rotate product-lamp release:$STICK/release-lamp.pub --keys keys --no-sign
for role in image-root director-root; do
    surefoot trust sign keys/proposals/$role-2.proposal.json --keys keys
done
surefoot trust sign keys/proposals/image-lamp-2.proposal.json --key 'pkcs11:token=release;object=lamp'
cp keys/proposals/*.proposal.json $STICK/
"""


@dataclass
class Workshop:
    """Everything that runs, and who types what.

    Attributes:
        people: The shells.
    """

    people: People
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def board(self) -> Path:
        return self.people.place("bench") / "board"

    @property
    def data(self) -> Path:
        return self.people.place("server") / "data"

    def set_up(self) -> None:
        """Make keys, hand them over to people with tokens, start the server, publish releases, and switch the board on."""
        for person, roles in HOLDERS.items():
            self.people.give_token(person)
            for role in roles:
                self.does(person, f"surefoot trust new-key 'pkcs11:token={person};object={role}' --out $STICK/{person}-{role}.pub")
        self.does("keeper", "surefoot trust init --keys keys --data ../server/data --product lamp")
        self.does("keeper", TAKE_OVER)
        for person in ("ann", "bob"):
            for role in HOLDERS[person]:
                self.does(person, f"surefoot trust sign $STICK/{role}-2.proposal.json --key 'pkcs11:token={person};object={role}'")
        self.start_server()
        self.does(
            "keeper",
            "surefoot trust publish $STICK/*-[rt]*-2.proposal.json --keys keys && rm $STICK/* keys/*.pem\n"
            "echo 'pkcs11:token=release;object=lamp' > keys/product-lamp.uri",
        )
        self._release()
        self._switch_on()

    def does(self, who: str, text: str) -> str:
        """Let somebody do what no page tells; it must work."""
        said = self.people.run(who, f"set -e\n{text}")
        assert "surefoot: " not in said, said
        return said

    def start_server(self) -> None:
        ports = self.people.variables.setdefault("PORTS", _free_ports())
        self._start("server", f"surefoot serve --data data --poll-interval 1 {ports}")
        self.people.run_until("server", "cat log", "…\nNext: surefoot token new DEVICE_ID --hardware HARDWARE")
        self.people.variables |= {
            "SUREFOOT_SERVER": f"http://127.0.0.1:{ports.split()[-1]}",
            "SUREFOOT_TOKEN_FILE": str(self.data / "admin.token"),
        }

    def stop(self, who: str) -> None:
        """Switch the server, or the board on the bench, off."""
        process = self._running.pop(who)
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    def close(self) -> None:
        for who in reversed(list(self._running)):
            self.stop(who)

    def trusted(self, repository: Repository) -> dict[str, bytes]:
        """Return what the board trusts."""
        return TrustedStore(PosixStorage(self.board), "data/trusted").load(repository)

    def online(self) -> tuple[DirectorSigners, OnlineSigners]:
        """Return the server's own keys as somebody has them who copies its disk now."""
        metadata = self.people.place("keeper") / "keys" / "metadata"
        ring = read_ring(self.data / "keys", NO_SECRETS)
        director, image = (read((metadata / name).read_bytes(), Root, name=name).signed for name in ("director-root.json", "root.json"))
        return ring.director(director), ring.image(image)

    def copy_of_the_keys(self) -> None:
        """Let a thief copy the keeper's folder, and with it the use of the product's key."""
        shutil.copytree(self.people.place("keeper") / "keys", self.people.place("thief") / "keys", dirs_exist_ok=True)

    def _start(self, who: str, text: str) -> None:
        folder = self.people.place(who)
        with (folder / "log").open("wb") as log:
            self._running[who] = subprocess.Popen(
                ["bash", "-c", f"exec {text}"],
                cwd=folder,
                env=self.people.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _release(self) -> None:
        folder = self.people.place("keeper")
        lamp = README.split("cat > lamp.py <<'EOF'\n")[1].split("EOF\n")[0]
        recipe = README.split("cat > firmware.yaml <<'EOF'\n")[1].split("EOF\n")[0]
        for version in VERSIONS:
            (folder / "lamp.py").write_text(lamp.replace("1.0.0", version))
            (folder / "firmware.yaml").write_text(recipe.replace("1.0.0", version))
            self.does("keeper", f"surefoot release build firmware.yaml -o lamp-{version}")
        for version in VERSIONS[1:]:
            self.does("keeper", f"surefoot release sign lamp-{version} --keys keys\nsurefoot release publish lamp-{version}")

    def _switch_on(self) -> None:
        self.does(
            "bench",
            "surefoot simulate flash board --bundle ../keeper/lamp-1.0.0 --hardware lamp-v1 --serial lamp-1\n"
            "sed -i 's/settle_s = 2/settle_s = 1/' board/agent.toml\n"
            "surefoot token new lamp-1 --hardware lamp-v1 -o enrol.json\n"
            "surefoot agent enroll --with enrol.json --config board/agent.toml",
        )
        self._start("bench", "surefoot simulate board board")


def _free_ports() -> str:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b, socket.create_server(("", 0)) as c:
        device, enrol, operator = (listener.getsockname()[1] for listener in (a, b, c))
    return f"--device-port {device} --enrol-port {enrol} --operator-port {operator}"
