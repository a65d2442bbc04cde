# SPDX-License-Identifier: Apache-2.0
"""Upkeep: sign what has spent half its life, and say so when that fails.

An alarm is one line that begins with the stable code ``metadata_due`` and says what expires when. Devices go on running what they
run; what they may do while nothing is signed is the affair of ``surefoot.server.services.poll``.
"""

from collections.abc import Mapping
from datetime import datetime

from surefoot.model.errors import SignerUnavailableError
from surefoot.model.record import utc_text
from surefoot.server.services.ports import Ledger, Write
from surefoot.server.services.views import Outage
from surefoot.trust.metadata import DIRECTOR_LIFE
from surefoot.trust.repository import OnlineSigners, overdue, versions
from surefoot.trust.repository import refresh as refresh_files

METADATA_DUE = "metadata_due"
"""The stable code that begins every alarm of this module."""


async def refresh(signers: OnlineSigners, write: Write, now: datetime) -> bool:
    """Sign the image repository's own files again where half their life is gone; say whether any was due.

    Raises:
        SignerUnavailableError: One of its keys does not sign at present; nothing was changed.
    """

    def job(ledger: Ledger) -> bool:
        changed = refresh_files(ledger.metadata("image").files, signers, now)
        ledger.put_metadata("image", changed, versions(changed))
        return bool(changed)

    return await write(job)


def image_alarm(files: Mapping[str, bytes], failure: SignerUnavailableError, now: datetime) -> str:
    """Return the alarm for an image repository whose ``files`` could not be signed again."""
    what = ", ".join(f"image {role} expires {utc_text(expires)}" for role, expires in overdue(files, now).items())
    return f"{METADATA_DUE}: {what or 'nothing yet'}. {failure}"


def director_alarm(outage: Outage) -> str:
    """Return the alarm for devices' views that could not be signed again."""
    # Who polls in time holds a view that was not due before the outage, so at least half of its life was left.
    first = outage.since + DIRECTOR_LIFE["timestamp"] / 2
    return f"{METADATA_DUE}: devices' director timestamps expire from {utc_text(first.replace(microsecond=0))} on. {outage.error}"
