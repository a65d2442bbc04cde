# SPDX-License-Identifier: Apache-2.0
"""What the pages on keys take as given: a server, a keeper with releases, three people with tokens, a board that runs 1.0.0."""

import shutil
import socket
from dataclasses import dataclass
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
VERSIONS = ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0")
CEREMONY = (ROOT / "docs" / "ceremony.md").read_text()
FOUNDING = CEREMONY.split("## From generated keys")[1].split("\n## ")[0]
PEOPLE = ("ann", "bob", "cem", "dana", "release")

# Stands in for systemd, with services that say when they are ready.
SYSTEMCTL = r"""#!/bin/bash
cd "$HOME/units" && . "./$2" && pid="$PWD/$2.pid" && cd "$folder" || exit 1
runs() { [ "$(sed 's/.*) \(.\).*/\1/' /proc/$1/stat 2>/dev/null)" != "" ] && ! grep -q ') Z' /proc/$1/stat 2>/dev/null; }
case "$1" in
start)
    : > log
    setsid $command >> log 2>&1 < /dev/null &
    echo $! > "$pid"
    until grep -q "$ready" log; do runs $! || exit 1; sleep 0.1; done ;;
stop)
    running=$(cat "$pid") && rm "$pid" && kill "$running"
    while runs "$running"; do sleep 0.1; done ;;
esac
"""


@dataclass
class Workshop:
    """Everything that runs, and who types what.

    Attributes:
        people: The shells.
    """

    people: People

    @property
    def board(self) -> Path:
        return self.people.place("board") / "board"

    @property
    def data(self) -> Path:
        return self.people.place("server") / "data"

    def found(self) -> None:
        """Found the fleet as the page on the ceremony says, and start its server."""
        program = self.people.place("bin") / "systemctl"
        program.write_text(SYSTEMCTL)
        program.chmod(0o755)
        for person in PEOPLE:
            self.people.give_token(person)
        self.people.follow(FOUNDING)
        self.people.place("server")
        self.does("keeper", "mv data ../server/data")
        self._start_server()

    def set_up(self) -> None:
        """Found the fleet, publish releases, and switch the board on."""
        self.found()
        self._release()
        self._switch_on()

    def does(self, who: str, text: str) -> str:
        """Let somebody do what no page tells; it must work."""
        said = self.people.run(who, f"set -e\n{text}")
        assert "surefoot: " not in said, said
        return said

    def systemctl(self, verb: str, unit: str) -> None:
        """Start or stop the server (``surefoot``) or the board (``surefoot-agent``)."""
        self.does("units", f"systemctl {verb} {unit}")

    def close(self) -> None:
        """End what runs."""
        for pid in sorted(self.people.place("units").glob("*.pid")):
            self.systemctl("stop", pid.stem)

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

    def _start_server(self) -> None:
        ports = _free_ports()
        self._unit("surefoot", "server", f"surefoot serve --data data --poll-interval 1 {ports}", "Next: surefoot token new")
        self.systemctl("start", "surefoot")
        self.people.variables |= {
            "SUREFOOT_SERVER": f"http://127.0.0.1:{ports.split()[-1]}",
            "SUREFOOT_TOKEN_FILE": str(self.data / "admin.token"),
        }

    def _unit(self, name: str, who: str, command: str, ready: str) -> None:
        (self.people.place("units") / name).write_text(f"folder={self.people.place(who)} command='{command}' ready='{ready}'\n")

    def _release(self) -> None:
        folder = self.people.place("keeper")
        lamp = README.split("cat > lamp.py <<'EOF'\n")[1].split("EOF\n")[0]
        recipe = README.split("cat > firmware.yaml <<'EOF'\n")[1].split("EOF\n")[0]
        for version in VERSIONS:
            (folder / "lamp.py").write_text(lamp.replace("1.0.0", version))
            (folder / "firmware.yaml").write_text(recipe.replace("1.0.0", version))
            self.does("keeper", f"surefoot release build firmware.yaml -o lamp-{version}")
        for version in VERSIONS[1:-1]:
            self.does("keeper", f"surefoot release sign lamp-{version} --keys keys\nsurefoot release publish lamp-{version}")

    def _switch_on(self) -> None:
        self.does(
            "board",
            "surefoot simulate flash board --bundle ../keeper/lamp-1.0.0 --hardware lamp-v1 --serial lamp-1\n"
            "sed -i 's/settle_s = 2/settle_s = 1/' board/agent.toml\n"
            "surefoot token new lamp-1 --hardware lamp-v1 -o enrol.json\n"
            "surefoot agent enroll --with enrol.json --config board/agent.toml",
        )
        self._unit("surefoot-agent", "board", "surefoot simulate board board", "boot #")
        self.systemctl("start", "surefoot-agent")
        self.people.run_until("keeper", "surefoot device show lamp-1 | sed -n 2p", "runs       lamp 1.0.0")


def _free_ports() -> str:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b, socket.create_server(("", 0)) as c:
        device, enrol, operator = (listener.getsockname()[1] for listener in (a, b, c))
    return f"--device-port {device} --enrol-port {enrol} --operator-port {operator}"
