# SPDX-License-Identifier: Apache-2.0
"""The layer for Yocto: every line of it is of BitBake's grammar, and what it names is there, with the versions and hashes of the lock."""

import hashlib
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.size import AGENT
from tests.interop.bare import INTERPRETER, LOCK, link_bare
from tests.interop.programs import SOURCES

LAYER = SOURCES / "packaging" / "yocto" / "meta-surefoot"
RECIPES = sorted(LAYER.glob("recipes-*/*/*.bb"))
(OURS,) = LAYER.glob("recipes-surefoot/surefoot/surefoot_*.bb")
PROJECT = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]

# Where OpenEmbedded's packages of Python's library hold a module that python3-core lacks.
PACKAGES = {
    "base64 hmac http mimetypes secrets urllib uuid _uuid": "netclient",
    "calendar datetime _datetime _strptime": "datetime",
    "decimal _decimal fractions numbers contextvars": "numbers",
    "difflib": "difflib",
    "email": "email",
    "hashlib _hashlib _blake2 _md5 _sha1 _sha2 _sha3": "crypt",
    "json _json": "json",
    "logging": "logging",
    "pickle _pickle": "pickle",
    "quopri": "mime",
    "queue _queue": "threading",
    "random _random": "math",
    "shlex": "shell",
    "socket _socket ssl _ssl tempfile": "io",
    "string": "stringold",
    "tarfile zipfile gzip": "compression",
    "tomllib": "tomllib",
    "zoneinfo _zoneinfo": "zoneinfo",
    "asyncio concurrent": "asyncio",
    "ctypes _ctypes": "ctypes",
    "mmap": "mmap",
    "pprint": "pprint",
    "resource": "resource",
    "sqlite3": "sqlite3",
    "xml pyexpat": "xml",
}
_LINE = re.compile(r'(?P<name>[A-Za-z][\w:{}$\[\]-]*) *(?P<how>\+=|\?=|\?\?=|:=|\.=|=\+|=) *"(?P<value>(?:[^"\\]|\\.)*)"')


def statements(path: Path) -> Iterator[tuple[str, str]]:
    """Give name and value of each assignment, ``inherit`` and its classes, and each function's name and body.

    Raises:
        ValueError: A line is none of these.
    """
    lines = iter(path.read_text().splitlines())
    for line in lines:
        text = line
        while text.endswith("\\"):
            text = text[:-1] + next(lines)
        if not text or text.startswith("#"):
            continue
        if match := re.fullmatch(r"(do_\w+(?::\w+)?) *\(\) \{", text):
            body: list[str] = []
            while (inner := next(lines)) != "}":
                body.append(inner)
            yield match[1], "\n".join(body)
        elif match := re.fullmatch(r"inherit (.+)", text):
            yield "inherit", match[1]
        elif match := _LINE.fullmatch(text):
            yield match["name"], match["value"]
        else:
            raise ValueError(f"{path.name}: {text}")


def values(path: Path) -> dict[str, str]:
    return dict(statements(path))


def name_and_version(recipe: Path) -> tuple[str, str]:
    name, _, version = recipe.stem.partition("_")
    return name.removeprefix("python3-"), version


def needs(recipe: Path) -> dict[str, str]:
    """Return what a recipe's package needs on the board, each with its condition."""
    found = re.findall(r"([a-z][a-z0-9-]+)(?: \(([^)]+)\))?", values(recipe).get("RDEPENDS:${PN}", ""))
    return dict(found)


@pytest.mark.parametrize("path", [*RECIPES, LAYER / "conf" / "layer.conf"], ids=lambda path: path.name)
def test_every_line_is_of_bitbakes_grammar(path: Path) -> None:
    assert values(path)


def test_a_line_that_is_not_would_be_noticed(tmp_path: Path) -> None:
    recipe = tmp_path / "x_1.bb"
    recipe.write_text('SUMMARY = "no end\n')
    with pytest.raises(ValueError, match="no end"):
        values(recipe)


def test_the_recipe_is_for_the_version_that_lies_here_and_knows_its_licence() -> None:
    assert name_and_version(OURS) == ("surefoot", PROJECT["version"])
    licence = hashlib.md5((SOURCES / "LICENSE").read_bytes(), usedforsecurity=False).hexdigest()
    assert values(OURS)["LIC_FILES_CHKSUM"] == f"file://LICENSE;md5={licence}"
    outwards = re.search(r"THISDIR'\) \+ '/([./]+)'", values(OURS)["EXTERNALSRC"])
    assert outwards is not None
    assert (OURS.parent / outwards[1]).resolve() == SOURCES


@pytest.mark.parametrize("recipe", [path for path in RECIPES if path != OURS], ids=lambda path: path.stem)
def test_a_dependency_is_what_the_lock_has(recipe: Path) -> None:
    name, version = name_and_version(recipe)
    block = re.search(rf"^{name}=={re.escape(version)} .*?(?=^\S|\Z)", LOCK.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    assert f"sha256:{values(recipe)['SRC_URI[sha256sum]']}" in block[0]


def test_it_needs_what_the_project_needs() -> None:
    found = needs(OURS)
    for each in map(Requirement, PROJECT["dependencies"]):
        if each.name == "tzdata":  # the system's own, which is kept up to date
            assert "tzdata" in found
        else:
            assert found[f"python3-{each.name}"] == str(each.specifier).replace(">=", ">= ")


def test_what_its_own_recipes_make_is_what_openembedded_lacks() -> None:
    own = {f"python3-{name_and_version(path)[0]}" for path in RECIPES if path != OURS}
    assert own == {"python3-msgspec", "python3-securesystemslib", "python3-semver", "python3-tuf"}
    assert own <= set(needs(OURS))


def test_what_it_installs_is_there_and_what_it_leaves_out_no_agent_loads() -> None:
    body = values(OURS)["do_install:append"]
    installed = re.findall(r"\$\{S\}/(\S+)", body)
    assert len(installed) == 2
    assert all((SOURCES / path).is_file() for path in installed)
    left_out = re.search(r"for part in ([a-z ]+);", body)
    assert left_out is not None
    folders = {path.name for path in (SOURCES / "src" / "surefoot").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(left_out[1].split()) == folders - AGENT
    assert 'hardware = "set-me"' in (SOURCES / "packaging" / "debian" / "agent.toml").read_text()


def test_it_brings_every_module_of_pythons_library_that_an_agent_loads(tmp_path: Path) -> None:
    look = "import json, sys; import surefoot.cli.main, surefoot.cli.agent; print(json.dumps(sorted(sys.modules)))"
    bare = link_bare(tmp_path / "bare")
    done = subprocess.run([*INTERPRETER, "-c", look], env={"PYTHONPATH": str(bare)}, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    wanted = {f"python3-{package}" for modules, package in PACKAGES.items() if loaded & set(modules.split())}
    # python3-logging brings what it needs itself.
    assert wanted - {"python3-pickle"} <= set(needs(OURS))
    assert "python3-asyncio" not in wanted
