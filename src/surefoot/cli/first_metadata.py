# SPDX-License-Identifier: Apache-2.0
"""The metadata folder of a server that is yet to start: what people signed first, with the first snapshot and timestamp."""

from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root, Targets

from surefoot.cli.key_secrets import KeySecrets
from surefoot.cli.keys_folder import KeysFolder, new_folder, write_new
from surefoot.trust.changes import roles_of
from surefoot.trust.founding import publish_first
from surefoot.trust.keyring import read_ring
from surefoot.trust.metadata import read


def write_first(keys: KeysFolder, online: Path, metadata: Path, now: datetime) -> None:
    """Make the metadata folder, whole or not at all; all of it was verified as a device would.

    Args:
        keys: Holds all that people sign, finished.
        online: The folder of the server's keys.
        metadata: Where; there is nothing yet.
        now: When.

    Raises:
        InvalidInput: There is something already, the keys folder lacks a file, or the server a key.
        TrustError: A device would refuse it.
        SignerUnavailableError: One of the server's keys does not sign at present.
    """
    top = keys.metadata("targets.json")
    signed = {"root.json": keys.metadata("root.json"), "targets.json": top}
    for product in roles_of(read(top, Targets, name="targets.json").signed):
        signed |= keys.roles_of(product)
    director_root = keys.metadata("director-root.json")
    ring = read_ring(online, KeySecrets(may_ask=True))
    image, director = (
        read(data, Root, name=name).signed for name, data in (("root.json", signed["root.json"]), ("director-root.json", director_root))
    )
    files = publish_first(signed, director_root, ring.image(image), ring.director(director), now)
    with new_folder(metadata) as draft:
        for name, data in files.items():
            write_new(draft / "image" / name, data, 0o644)
        write_new(draft / "director" / "root.json", director_root, 0o644)
