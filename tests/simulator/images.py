# SPDX-License-Identifier: Apache-2.0
"""Small images that simulated boards run: archives with one behaviour module."""

import io
import zipfile

GOOD = ""
CRASHES = "raise RuntimeError(serial)"
CRASHES_ON_ODD = "if serial[-1] in '13579': raise RuntimeError(serial)"


def image(
    at_start: str = GOOD, *, is_healthy: str = "True", environment: str = "{}", note: str = "", name: str = "app/behaviour.py"
) -> bytes:
    """Return an image whose code is this; ``note`` makes it differ from others."""
    source = f"""\
def at_start(serial):
    {at_start or "pass"}


def is_healthy():
    return {is_healthy}


def agent_environment():
    return {environment}
"""
    return packed({name: source, "note": note})


def packed(members: dict[str, str]) -> bytes:
    """Return an archive that begins as a zipapp does."""
    file = io.BytesIO()
    file.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(file, "a") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()
