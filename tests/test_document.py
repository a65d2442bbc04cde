# SPDX-License-Identifier: Apache-2.0
"""Files that people write: every mistake is named with its file, line and key."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from surefoot.document import MAX_BYTES, convert, parse
from surefoot.model.digest import Digest
from surefoot.model.errors import FormatError
from surefoot.model.record import Name, Record
from surefoot.model.version import RevertTo, SemVer


class Leaf(Record, frozen=True, kw_only=True):
    name: Name
    version: SemVer
    note: str = ""


class Tree(Record, frozen=True, kw_only=True):
    leaves: Annotated[list[Leaf], Meta(min_length=1)]
    height: Annotated[int, Meta(ge=1)] = 1
    ratio: float = 0.5
    green: bool = True
    best: Leaf | None = None
    hash: Digest | None = None
    revert_to: RevertTo = "patch"


GOOD = """\
leaves:
  - name: oak
    version: "1.2.3"
  - { name: elm, version: 1.0.0-rc.1, note: no }
height: 3
ratio: 1e3
green: false
best: null
revert_to: [1.0.0]
"""


def read(text: str) -> Tree:
    return convert(parse(text.encode(), file="t.yaml"), Tree)


def test_a_good_file_becomes_records() -> None:
    tree = read(GOOD)
    assert [leaf.name for leaf in tree.leaves] == ["oak", "elm"]
    assert tree.revert_to == ["1.0.0"]


def test_scalars_follow_yaml_1_2_so_that_no_is_a_text_and_a_date_is_not_a_date() -> None:
    plain = parse(b"a: no\nb: 2025-01-01\nc: 1:30\nd: true\ne: ~\nf: 1.5\ng: '1'\nh: 007\ni:", file="t").plain
    assert plain == {"a": "no", "b": "2025-01-01", "c": "1:30", "d": True, "e": None, "f": 1.5, "g": "1", "h": 7, "i": None}


def test_a_very_long_number_is_not_converted() -> None:
    assert parse(b"a: " + b"9" * 5000, file="t").plain == {"a": "9" * 5000}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "hieght: 3\n", "t.yaml, line 10: unknown key 'hieght'. Did you mean 'height'?"),
        (GOOD.replace("note", "nope"), "t.yaml, line 4: unknown key 'nope' in 'leaves[1]'. Did you mean 'note'?"),
        (GOOD + "zzz: 3\n", "t.yaml, line 10: unknown key 'zzz'. Known here: best, green, hash, height, leaves, ratio, revert_to."),
        (GOOD.replace("best: null", "best: {nam: x}"), "t.yaml, line 8: unknown key 'nam' in 'best'. Did you mean 'name'?"),
        (GOOD.replace('"1.2.3"', "1.2"), "t.yaml, line 3: 'leaves[0].version' must be a text, not a number. Write it in quotes."),
        (GOOD.replace('"1.2.3"', "1"), "t.yaml, line 3: 'leaves[0].version' must be a text, not a whole number. Write it in quotes."),
        (
            GOOD.replace('"1.2.3"', '"1.2"'),
            "t.yaml, line 3: 'leaves[0].version' must be a semantic version like 1.2.3 or 1.2.3-rc.1. Change it.",
        ),
        (GOOD.replace("oak", "[oak]"), "t.yaml, line 2: 'leaves[0].name' must be a text, not a list. Change it."),
        (GOOD.replace("height: 3", "height: x"), "t.yaml, line 5: 'height' must be a whole number, not a text. Change it."),
        (GOOD.replace("height: 3", "height: 0"), "t.yaml, line 5: 'height' must be a whole number, at least 1. Change it."),
        (GOOD.replace("false", "no"), "t.yaml, line 7: 'green' must be true or false, not a text. Change it."),
        (GOOD.replace("[1.0.0]", "major"), "t.yaml, line 9: 'revert_to' must be one of minor, none, patch. Change it."),
        (
            GOOD.replace("[1.0.0]", "[one]"),
            "t.yaml, line 9: 'revert_to[0]' must be a semantic version like 1.2.3 or 1.2.3-rc.1. Change it.",
        ),
        (GOOD + "hash: x", "t.yaml, line 10: 'hash' must be 'sha256:' and 64 lower-case hex digits. Change it."),
        ("leaves: []\n", "t.yaml, line 1: 'leaves' is a list of at least 1, and this one is shorter. Add what is missing."),
        ("height: 1\n", "t.yaml, line 1: the key 'leaves' is missing. Add it."),
        ("leaves:\n  - name: oak\n", "t.yaml, line 2: the key 'version' is missing in 'leaves[0]'. Add it."),
        ("- a\n", "t.yaml, line 1: the file must be a mapping, not a list. Change it."),
        ("a: 1\nb: 2\na: 3\n", "t.yaml, line 3: the key 'a' is given twice. Keep one of the two."),
        ("1: a\n", "t.yaml, line 1: a key must be a text. Put it in quotes."),
        ("[a]: a\n", "t.yaml, line 1: a key must be a text. Put it in quotes."),
        ("a: &x 1\nb: 2\n", "t.yaml, line 1: anchors and aliases are not allowed. Write the value out."),
        ("a: 1\nb: *x\n", "t.yaml, line 2: anchors and aliases are not allowed. Write the value out."),
        ("a: !!python/name:os.system\n", "t.yaml, line 1: the tag 'python/name:os.system' is not allowed. Remove it."),
        ("a: 1\n---\nb: 2\n", "t.yaml, line 2: this is not YAML: but found another document."),
        ("a: [1, 2\n", "t.yaml, line 2: this is not YAML: expected ',' or ']', but got '<stream end>'."),
        ("[" * 40 + "]" * 40, "t.yaml, line 1: nested more than 32 deep. Write it flatter."),
        ('a:\n  b: "x\\0"\n', "t.yaml, line 2: a text holds a character that does not exist. Remove the escape."),
        ('a: "\\uD800"\n', "t.yaml, line 1: a text holds a character that does not exist. Remove the escape."),
        ("# nothing\n", "t.yaml is empty."),
        ("a: \x07\n", "t.yaml is not UTF-8 text: special characters are not allowed. Save it as UTF-8."),
        ("#" * (MAX_BYTES + 1), "t.yaml is larger than 1048576 bytes. Write less, or split it."),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(text)
    assert str(caught.value) == message


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(FormatError, match=r"t\.yaml is not UTF-8 text"):
        parse(b"a: \xff\xfe\n", file="t.yaml")


@given(st.one_of(st.text(), st.text(alphabet="ab:{}[]-&*!|>'\"#, \n0.~")))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        parse(text.encode("utf-8", "surrogatepass"), file="t.yaml")
    except FormatError as error:
        assert error.message.startswith("t.yaml")  # noqa: PT017  # either way of ending is right
