# SPDX-License-Identifier: Apache-2.0
"""Draws ``docs/code-map.md``: every package and module in the order of the floors, by the first sentence of its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "surefoot"
PAGE = ROOT / "docs" / "code-map.md"

PACKAGES = ("model", "document", "schedule", "release", "trust", "store", "fleet", "rollout", "agent", "server", "simulator", "cli")
"""The packages, from the lowest floor up; ``document`` is a floor of one module."""

_HEAD = """\
# Code map

<!-- Drawn by `make docs` from the docstrings. Do not edit: change the docstring and draw it again. -->

Every package and every module of `src/surefoot/` in one line, the lowest floor first. Read downwards.
[Architecture](architecture.md) says how they hang together.
"""


def draw() -> str:
    """Return the whole page."""
    return "\n".join(
        [_HEAD, *(_package(SOURCE / name) if (SOURCE / name).is_dir() else _module(SOURCE / f"{name}.py") for name in PACKAGES)]
    )


def modules(folder: Path) -> Iterator[Path]:
    """Yield the modules below a folder, those of a package before those of the packages in it."""
    yield from sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    for child in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from modules(child)


def _package(folder: Path) -> str:
    rows = [f"| [`{path.relative_to(folder)}`](../{path.relative_to(ROOT)}) | {_sentence(path)} |" for path in modules(folder)]
    head = [f"## `{folder.name}`", "", _sentence(folder / "__init__.py"), "", "| module | what is in it |", "| --- | --- |"]
    return "\n".join([*head, *rows, ""])


def _module(path: Path) -> str:
    row = f"| [`{path.name}`](../{path.relative_to(ROOT)}) | {_sentence(path)} |"
    return "\n".join([f"## `{path.name}`", "", "| module | what is in it |", "| --- | --- |", row, ""])


def _sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
