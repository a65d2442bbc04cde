# SPDX-License-Identifier: Apache-2.0
"""Components in plain SQL: what the images of published releases are made of, for filters over the devices that run them."""

import sqlite3
from collections.abc import Iterable

from surefoot.fleet.field import version_key
from surefoot.model.attribute import COMPONENT
from surefoot.model.manifest import Manifest

_ADD = "INSERT INTO component (hash, name, version, version_key) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_NAME = "INSERT INTO attribute_name (name) VALUES (?) ON CONFLICT DO NOTHING"


def add(connection: sqlite3.Connection, manifests: Iterable[Manifest]) -> None:
    """Store the components of images; those of an image that is known stay as they are."""
    for manifest in manifests:
        rows = [(manifest.image.hash, one.name, one.version, version_key(one.version)) for one in manifest.components]
        connection.executemany(_ADD, rows)
        connection.executemany(_NAME, [(f"{COMPONENT}{name}",) for _, name, _, _ in rows])


def of_image(connection: sqlite3.Connection, digest: str) -> dict[str, str]:
    """Return the versions of an image's components, by the names that filters call them; nothing for an image that is not known."""
    rows = connection.execute("SELECT name, version FROM component WHERE hash = ?", (digest,))
    return {f"{COMPONENT}{name}": version for name, version in rows}
