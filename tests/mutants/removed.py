# SPDX-License-Identifier: Apache-2.0
"""One check taken out of a copy of the source; the tests that must notice."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.table import SOURCE, Mutant

_KILLER = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_PATIENCE_S = 60


def killed_by(mutant: Mutant) -> str | None:
    """Return the first test that fails without the check; ``None`` when none does."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "src"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        file = source / mutant.path
        file.write_text(file.read_text().replace(mutant.text, mutant.replacement))
        for test in mutant.tests:
            killer = _first_failure(source, Path(scratch), test)
            if killer is not None:
                return killer
    return None


def _first_failure(source: Path, scratch: Path, test: str) -> str | None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "h"),
    }
    words = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", test]
    try:
        done = subprocess.run(words, cwd=SOURCE.parent, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"{test} (never ends)"
    if done.returncode == 0:
        return None
    killer = _KILLER.search(done.stdout)
    if done.returncode != 1 or killer is None:
        raise RuntimeError(f"{test} could not be run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return killer[1]
