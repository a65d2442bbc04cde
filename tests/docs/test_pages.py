# SPDX-License-Identifier: Apache-2.0
"""What the pages name exists: commands with their options, make targets, files, headings."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.cli.main import NOUNS, _configure
from tests.docs.pages import PAGES, ROOT, blocks, prose

# The code map is drawn from docstrings, the changelog tells of commands by their first words.
WRITTEN = [page for page in PAGES if page.name not in {"code-map.md", "CHANGELOG.md"}]

_HEREDOC = re.compile(r"<<'EOF'\n.*?\nEOF$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\b(N|ROLLOUT)\b")
_PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]+\b")
_SHELL_SIGNS = {"&", "&&", "|", ";", ">", "<", "2>"}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_one_that_the_program_takes(page: Path) -> None:
    for line in _commands(page.read_text()):
        _parse(line)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        _parse("surefoot release build RECIPE --into DIR")


def test_every_command_that_the_console_names_is_one_that_the_program_takes() -> None:
    templates = (ROOT / "src/surefoot/server/ui/templates").rglob("*.html")
    named = {line for page in templates for line in re.findall(r"<code>(surefoot [^<]*)</code>", page.read_text())}
    assert named == {"surefoot rollout create", "surefoot token new"}
    for line in named:
        with pytest.raises(SystemExit) as ended:
            _parse(f"{line} --help")
        assert ended.value.code == 0


def test_every_make_target_on_a_page_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert {name for name in named if not re.search(rf"^{name}:.*##", makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)?(#[^)\s]+)?\)", prose(page.read_text()))
    broken = [file + anchor for file, anchor in links if "://" not in file and not _leads_somewhere(page, file, anchor)]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|scripts|examples|docs|requirements)/[A-Za-z0-9_./-]+)`", prose(page.read_text()))
    assert [path for path in named if not (ROOT / path).exists()] == []


def _commands(text: str) -> Iterator[str]:
    for block in blocks(text):
        if block.language == "sh":
            lines = _HEREDOC.sub("", block.text).replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line.startswith("surefoot "))
    yield from re.findall(r"`(surefoot [a-z][^`\n]*)`", prose(text))


def _parse(line: str) -> None:
    words = shlex.split(line)
    end = next((place for place, word in enumerate(words) if word in _SHELL_SIGNS), len(words))
    noun, *rest = (_PLACEHOLDER.sub("x1", _NUMBER.sub("1", word)) for word in words[1:end])
    assert noun in NOUNS, line
    parser = argparse.ArgumentParser(prog=line)
    _configure(noun, NOUNS[noun])(parser)
    parser.parse_args(rest)


def _leads_somewhere(page: Path, file: str, anchor: str) -> bool:
    target = page.parent / file if file else page
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
    return not anchor or anchor[1:] in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
