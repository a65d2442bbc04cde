# SPDX-License-Identifier: Apache-2.0
"""``surefoot token new``: write the ``enrol.json`` that lets one device join, once."""

import argparse
import os
from pathlib import Path

from surefoot.cli.operator import add_options, client
from surefoot.model.errors import InvalidInput
from surefoot.model.record import to_pretty_json
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


def _new(arguments: argparse.Namespace) -> int:
    request = {"device_id": arguments.device_id, "hardware": arguments.hardware}
    offer = client(arguments).post("tokens", request, EnrolmentOffer)
    _write(arguments.output, to_pretty_json(offer))
    print(f"{arguments.output}: lets {offer.device_id} join once, within 24 hours; keep it secret.")
    print(f"Next, on the device: surefoot agent enroll --with {arguments.output} --config AGENT.TOML")
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
