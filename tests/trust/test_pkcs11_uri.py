# SPDX-License-Identifier: Apache-2.0
"""PKCS#11 URIs: what they name, and what in them is refused without being repeated."""

from pathlib import Path

import pytest

from surefoot.model.errors import InvalidInput
from surefoot.trust.pkcs11_uri import Pkcs11Uri, parse


def test_every_part_is_read() -> None:
    text = (
        "pkcs11:token=my%20token;serial=12;manufacturer=Maker;model=M%c3%bc;slot-id=7;object=ann;id=%01%ff;type=private"
        "?module-path=/usr/lib/m.so&pin-source=file:/etc/pin"
    )
    assert parse(text) == Pkcs11Uri(
        token="my token",
        serial="12",
        manufacturer="Maker",
        model="M\u00fc",
        slot_id=7,
        label="ann",
        key_id=b"\x01\xff",
        module_path="/usr/lib/m.so",
        pin_source=Path("/etc/pin"),
    )


def test_all_may_be_left_out() -> None:
    assert parse("pkcs11:") == Pkcs11Uri()
    assert parse("pkcs11:?pin-source=file:///etc/pin").pin_source == Path("/etc/pin")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (Pkcs11Uri(token="t", label="ann"), ("t", "ann")),
        (Pkcs11Uri(serial="12", key_id=b"\x01"), ("12", "01")),
        (Pkcs11Uri(slot_id=0), ("slot 0", "the only key")),
        (Pkcs11Uri(), ("any token", "the only key")),
    ],
)
def test_token_and_key_have_a_name_in_messages(uri: Pkcs11Uri, says: tuple[str, str]) -> None:
    assert (uri.token_name, uri.key_name) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pkcs11:token=a?pin-value=S3CRET", "pin-value"),
        ("pkcs11:token=a;pin-value=S3CRET", "pin-value"),
        ("pkcs11:token=a?module-path=/m&pin-value=S3CRET", "pin-value"),
        ("pkcs11:token=a?pin=S3CRET", "no attribute 'pin'"),
        ("pkcs11:token=a;object", "no attribute 'object'"),
        ("pkcs11:token=a;x-vendor=S3CRET", "no attribute 'x-vendor'"),
        ("pkcs11:module-path=/m", "no attribute 'module-path'"),
        ("pkcs11:token=a;token=b", "'token' twice"),
        ("pkcs11:token=a%2", "percent sign"),
        ("pkcs11:token=%ff", "not UTF-8"),
        ("pkcs11:slot-id=one", "not a number"),
        ("pkcs11:slot-id=\u0661", "not a number"),
        ("pkcs11:type=public", "type=private"),
        ("pkcs11:token=a?module-path=m.so", "not an absolute path"),
        ("pkcs11:token=a?pin-source=/etc/pin", "'file:' and an absolute path"),
        ("pkcs11:token=a?pin-source=file:pin", "'file:' and an absolute path"),
        ("pkcs11:token=a?pin-source=file://host/pin", "'file:' and an absolute path"),
        ("pkcs11:token=a?pin-source=%7Ccat%20/etc/pin", "'file:' and an absolute path"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_no_value_repeated(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        parse(text)
    assert "S3CRET" not in str(refused.value)
