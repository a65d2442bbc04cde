# SPDX-License-Identifier: Apache-2.0
"""One check taken out of a copy of the source; the tests that must notice."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants.mutant import ROOT, SOURCE, Mutant
from tests.mutants.witness import VARIABLE

Fate = Literal["killed", "survives", "broken"]

_PATIENCE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a mutant.

    Attributes:
        fate: ``killed`` by a test that ran and failed; ``survives`` when all passed; ``broken`` when no test could tell, because
            it could not be collected or set up, met a name that does not exist, or never ended.
        by: The test, or what happened.
        seconds: How long that took.
    """

    fate: Fate
    by: str
    seconds: float


def outcome(mutant: Mutant) -> Outcome:
    """Run the tests of ``mutant`` up to the first that fails, in a copy of the source without its check."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "src"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        (source / mutant.path).write_text(mutant.changed())
        fate, by = _run(source, Path(scratch), mutant.tests)
    return Outcome(fate=fate, by=by, seconds=time.monotonic() - begun_s)


def _run(source: Path, scratch: Path, tests: tuple[str, ...]) -> tuple[Fate, str]:
    said = scratch / "witness.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "h"),
        VARIABLE: str(said),
    }
    plugins = ["-p", "tests.mutants.witness", "-p", "no:cacheprovider", "-p", "no:randomly"]
    words = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", *plugins, *tests]
    try:
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return "broken", f"no end within {_PATIENCE_S} s"
    if done.returncode == 0:
        return "survives", ""
    if not said.exists():
        return "broken", f"pytest ended with status {done.returncode}: {(done.stdout + done.stderr)[-300:]}"
    witness = json.loads(said.read_text())
    if not witness["is_failure"]:
        return "broken", f"{witness['error']} in {witness['when']} of {witness['test']}"
    return "killed", witness["test"].removeprefix("tests/")
