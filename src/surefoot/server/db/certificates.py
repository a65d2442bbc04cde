# SPDX-License-Identifier: Apache-2.0
"""How many devices hold a certificate of which device CA, as SQL; read by people who roll a CA over."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_HOLDERS = """
SELECT c.issuer, COUNT(DISTINCT c.device_id), COUNT(DISTINCT CASE WHEN NOT EXISTS (
    SELECT 1 FROM certificate o
    WHERE o.device_id = c.device_id AND o.issuer <> c.issuer AND o.revoked_at IS NULL AND o.not_after > c.not_after
  ) THEN c.device_id END)
FROM certificate c JOIN device d ON d.device_id = c.device_id
WHERE d.state = 'active' AND c.revoked_at IS NULL AND c.not_after > ?
GROUP BY c.issuer"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Active devices with a certificate of one CA that has neither ended nor been revoked.

    Attributes:
        hold: All of them.
        depend: Those that no other CA has given a later certificate since.
    """

    hold: int
    depend: int


def holders(connection: sqlite3.Connection, now: datetime) -> Mapping[str, Holders]:
    """Return the holders by issuer; a CA that nobody depends on may be absent."""
    rows = connection.execute(_HOLDERS, (int(now.timestamp()),))
    return {issuer: Holders(hold=hold, depend=depend) for issuer, hold, depend in rows}
