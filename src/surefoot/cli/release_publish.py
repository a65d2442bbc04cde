# SPDX-License-Identifier: Apache-2.0
"""``surefoot release sign``, ``publish`` and ``list``: from a bundle to a release that devices may be ordered to run."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surefoot.cli.keys_folder import open_keys
from surefoot.cli.operator import OperatorClient, add_options, client
from surefoot.cli.release_signatures import ENVELOPE, SIGNATURES, TARGETS, role_files, sign
from surefoot.model.errors import InvalidInput
from surefoot.model.record import from_json, to_json
from surefoot.release.bundle import Bundle, read_bundle, verify_bundle
from surefoot.release.draft import add_signed
from surefoot.release.layout import INDEX


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot release``."""
    signer = add_parser("sign", help="sign a bundle with the product's key", description="Sign a bundle with the product's key.")
    signer.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or .tar")
    signer.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the folder that 'surefoot trust init' made")
    signer.set_defaults(run=_sign)
    publisher = add_parser("publish", help="give a signed bundle to the server", description="Give a signed bundle to the server.")
    publisher.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or .tar")
    publisher.add_argument("--keys", type=Path, metavar="DIR", help="note in this keys folder which retired releases it has carried")
    add_options(publisher)
    publisher.set_defaults(run=_publish)
    lister = add_parser(
        "list", help="list published releases", description="List published releases: the live ones, and those that are retired."
    )
    lister.add_argument("--json", action="store_true", help="as JSON")
    add_options(lister)
    lister.set_defaults(run=_list)


def _sign(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle)
    verify_bundle(bundle)
    add_signed(bundle, sign(bundle, open_keys(arguments.keys), datetime.now(UTC)))
    print(f"Signed {bundle.index.product} {bundle.index.version}, build {bundle.index.build_id}: {len(bundle.manifests)} image(s).")
    print(f"Next: surefoot release publish {arguments.bundle}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle)
    verify_bundle(bundle)
    roles = role_files(bundle)
    if not roles or SIGNATURES not in bundle.signed or TARGETS not in bundle.signed:
        raise InvalidInput(f"{arguments.bundle} is not signed.", hint=f"Run 'surefoot release sign {arguments.bundle} --keys DIR' first.")
    if ENVELOPE not in bundle.signed:
        raise InvalidInput(
            f"{arguments.bundle} has no signed provenance.",
            hint=f"Sign the bundle again: 'surefoot release sign {arguments.bundle} --keys DIR'.",
        )
    keys = None if arguments.keys is None else open_keys(arguments.keys)
    signatures = from_json(bundle.signed[SIGNATURES], dict[str, str], what=SIGNATURES)
    calls = client(arguments)
    _send_blobs(calls, bundle)
    request = {
        "index": b"".join(bundle.files.pieces(INDEX)),
        "manifests": {file: b"".join(bundle.files.pieces(file)) for file in bundle.manifests},
        "roles": roles,
        "targets": bundle.signed[TARGETS],
        "signatures": signatures,
        "provenance": bundle.signed[ENVELOPE],
    }
    answer = calls.post("releases", request, dict[str, Any])
    if keys is not None:
        keys.note_carried(bundle.index.product, roles)
    word = "Published" if answer["is_new"] else "Was published already:"
    print(f"{word} {answer['product']} {answer['version']}, bundle {answer['hash']}.")
    print(f"Next: surefoot device order DEVICE_ID {answer['product']} {answer['version']}")
    return 0


def _send_blobs(calls: OperatorClient, bundle: Bundle) -> None:
    if not calls.has_blob(bundle.index.sbom):
        calls.put_blob(bundle.index.sbom, bundle.sbom)
    for manifest in bundle.manifests.values():
        if not calls.has_blob(manifest.image.hash):
            print(f"sending {manifest.target_hardware[0]}-{manifest.variant}, {manifest.image.size} bytes", flush=True)
            calls.put_blob(manifest.image.hash, bundle.image_pieces(manifest))


def _list(arguments: argparse.Namespace) -> int:
    releases = client(arguments).get("releases", dict[str, Any])
    if arguments.json:
        print(to_json(releases).decode())
        return 0
    row = "{:<24} {:<14} {:<8} {:<26} {}"
    print(row.format("PRODUCT", "VERSION", "STATE", "BUILD", "PUBLISHED"))
    for release in releases["releases"]:
        state = "retired" if release["is_retired"] else "live"
        print(row.format(release["product"], release["version"], state, release["build_id"], release["published_at"]))
    return 0
