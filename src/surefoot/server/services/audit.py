# SPDX-License-Identifier: Apache-2.0
"""Audit of the server's own signatures: one row a minute, with how many each role signed and the Merkle root of what was signed.

The root is that of RFC 9162 §2.1.1 over the SHA-256 of each signed payload, in the order of signing. What was noted and not yet
written is lost when the server is struck down; what it signed then was signed with nothing to show for it but the files themselves.
"""

from collections import Counter
from datetime import datetime

from surefoot.server.services.ports import SERVER, Act, Write
from surefoot.trust.merkle import tree_hash
from surefoot.trust.online import Notes

PERIOD_S = 60
"""Seconds between two rows."""


async def write_signed(notes: Notes, write: Write, now: datetime) -> None:
    """Store one row for all that was signed since the last one; none when nothing was.

    Raises:
        StoreError: It could not be stored; the notes are kept for the next row.
    """
    signed = notes.take()
    if not signed:
        return
    counts = " ".join(f"{role.replace(' ', '/')}={count}" for role, count in sorted(Counter(role for role, _ in signed).items()))
    subject = f"{counts} sha256:{tree_hash([digest for _, digest in signed]).hex()}"
    act = Act(at=now, by=SERVER, what="online.signed", subject=subject)
    try:
        await write(lambda ledger: ledger.add_act(act))
    except BaseException:
        notes.give_back(signed)
        raise
