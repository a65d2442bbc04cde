# SPDX-License-Identifier: Apache-2.0
"""What the agent imports: its own floor, the parts it is made of, and nothing that a bare install lacks."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.interop.bare import INTERPRETER, link_bare, locked

PARTS = {"agent", "cli", "model", "schedule", "trust"}
OWN_COMMAND = {"surefoot.cli", "surefoot.cli.main", "surefoot.cli.agent"}

# 'agent run' on a device that is not enrolled ends when all is imported: nothing of ours or of theirs is imported later.
_LOOK = """
import json, sys
from importlib.metadata import packages_distributions
from surefoot.cli.main import main
status = main(["agent", "run", "--config", sys.argv[1]])
owners = packages_distributions()
found = sorted({name for module in sys.modules for name in owners.get(module.partition(".")[0], [])})
print(json.dumps({"status": status, "modules": sorted(sys.modules), "distributions": found}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("imports")
    bare = link_bare(folder / "bare")
    done = subprocess.run(
        [*INTERPRETER, "-c", _LOOK, str(folder / "agent.toml")], env={"PYTHONPATH": str(bare)}, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_the_agent_imports_no_server_release_or_simulator(seen: dict[str, list[str]]) -> None:
    own = {module for module in seen["modules"] if module.startswith("surefoot.")}
    assert {module.split(".")[1] for module in own} == PARTS
    assert {module for module in own if module.startswith("surefoot.cli")} == OWN_COMMAND


def test_the_agent_imports_nothing_but_the_bare_dependencies(seen: dict[str, list[str]]) -> None:
    assert set(seen["distributions"]) - {"surefoot"} <= set(locked())
    assert {"cryptography", "tuf", "urllib3"} <= set(seen["distributions"])


def test_the_agent_imports_no_web_server_and_no_database(seen: dict[str, list[str]]) -> None:
    assert {"asyncio", "sqlite3", "http.server", "multiprocessing"}.isdisjoint(seen["modules"])


def test_the_bare_folder_shows_no_other_distribution(tmp_path: Path) -> None:
    bare = link_bare(tmp_path / "bare")
    looked = "import json; from importlib.metadata import distributions; print(json.dumps([d.name for d in distributions()]))"
    done = subprocess.run([*INTERPRETER, "-c", looked], env={"PYTHONPATH": str(bare)}, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {"surefoot", *locked()}
