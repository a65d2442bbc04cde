# SPDX-License-Identifier: Apache-2.0
"""Tests of the rules of joining."""

from datetime import UTC, datetime, timedelta

from surefoot.fleet.enroll import certificate_terms, token_for, token_hash
from surefoot.model.assignment import DeviceId

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_a_token_is_kept_as_its_hash_alone() -> None:
    token = token_for("secret", DeviceId("t-1"), "thermostat-v1", NOW, timedelta(hours=1))
    assert token.hash == token_hash("secret")
    assert b"secret" not in token.hash
    assert token.expires_at == NOW + timedelta(hours=1)


def test_a_certificate_names_its_device_and_lives_seven_days() -> None:
    terms = certificate_terms(DeviceId("t-1"), NOW)
    assert (terms.common_name, terms.uri) == ("t-1", "urn:surefoot:device:t-1")
    assert terms.not_after - NOW == timedelta(days=7)
    assert terms.not_before < NOW


def test_a_long_id_is_whole_in_the_uri_and_fits_the_common_name() -> None:
    terms = certificate_terms(DeviceId("d" * 128), NOW)
    assert terms.uri.endswith("d" * 128)
    assert len(terms.common_name) == 64
