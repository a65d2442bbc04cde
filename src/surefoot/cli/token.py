# SPDX-License-Identifier: Apache-2.0
"""``surefoot token new|batch``: write the offers that let devices join, each once."""

import argparse
import os
from pathlib import Path

from surefoot.cli.operator import add_options, client
from surefoot.model.errors import InvalidInput
from surefoot.model.record import to_json, to_pretty_json
from surefoot.model.wire import EnrolmentOffer


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    new = verbs.add_parser("new", help="make a single-use token for a device", description="Make a single-use token for a device.")
    new.add_argument("device_id", metavar="DEVICE_ID")
    new.add_argument("--hardware", required=True, help="the hardware it is, as releases name it")
    new.add_argument("-o", "--output", type=Path, default=Path("enrol.json"), help="where to write it (%(default)s)")
    add_options(new)
    new.set_defaults(run=_new)
    batch = verbs.add_parser(
        "batch", help="let many devices join, each once", description="Write one offer a line for each of many devices."
    )
    batch.add_argument("prefix", metavar="PREFIX", help="device ids are PREFIX1, PREFIX2, …")
    batch.add_argument("--count", type=_count, required=True, help="how many")
    batch.add_argument("--hardware", required=True, help="the hardware they are")
    batch.add_argument("-o", "--output", type=Path, default=Path("offers.ndjson"), help="where to write them (%(default)s)")
    add_options(batch)
    batch.set_defaults(run=_batch)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices; write for example 24")
    return int(text)


def _new(arguments: argparse.Namespace) -> int:
    request = {"device_id": arguments.device_id, "hardware": arguments.hardware}
    offer = client(arguments).post("tokens", request, EnrolmentOffer)
    _write(arguments.output, to_pretty_json(offer))
    print(f"{arguments.output}: lets {offer.device_id} join once, within 24 hours; keep it secret.")
    print(f"Next, on the device: surefoot agent enroll --with {arguments.output} --config AGENT.TOML")
    return 0


def _batch(arguments: argparse.Namespace) -> int:
    calls = client(arguments)
    lines = bytearray()
    for number in range(1, arguments.count + 1):
        request = {"device_id": f"{arguments.prefix}{number}", "hardware": arguments.hardware}
        lines += to_json(calls.post("tokens", request, EnrolmentOffer)) + b"\n"
    _write(arguments.output, bytes(lines))
    print(f"{arguments.output}: lets {arguments.count} devices join once each, within 24 hours; keep it secret.")
    return 0


def _write(path: Path, data: bytes) -> None:
    """Write a secret whole or not at all, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.", hint="Name another file with -o.") from error
