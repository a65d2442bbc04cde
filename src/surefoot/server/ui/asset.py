# SPDX-License-Identifier: Apache-2.0
"""What pages load: one script, one style sheet, one icon, bundled by ``make assets`` and read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surefoot.model.digest import digest_of, hex_of
from surefoot.server.api.http import Scope, Send, header, send_answer
from surefoot.server.ui.answer import GUARDS, send_refusal

FOLDER = Path(__file__).with_name("static")
_KINDS = {"app.js": b"text/javascript; charset=utf-8", "app.css": b"text/css; charset=utf-8", "icon.svg": b"image/svg+xml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file as it is sent."""

    kind: bytes
    etag: bytes
    body: bytes


def read_assets(folder: Path = FOLDER) -> Mapping[str, Asset]:
    """Return the files that were bundled, by name; one that is missing is left out, and pages work without."""
    return {name: _asset(kind, (folder / name).read_bytes()) for name, kind in _KINDS.items() if (folder / name).exists()}


async def send_asset(scope: Scope, send: Send, asset: Asset | None) -> None:
    """Answer with a file, or say that the browser has it already."""
    if asset is None:
        await send_refusal(send, 404, "There is no such file. Run 'make assets'.")
        return
    headers = [(b"etag", asset.etag), (b"cache-control", b"no-cache"), *GUARDS]
    if header(scope, b"if-none-match").encode("latin-1") == asset.etag:
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send_answer(send, 200, asset.body, [(b"content-type", asset.kind), *headers])


def _asset(kind: bytes, body: bytes) -> Asset:
    return Asset(kind=kind, etag=f'"{hex_of(digest_of(body))[:32]}"'.encode(), body=body)
