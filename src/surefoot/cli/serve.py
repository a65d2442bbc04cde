# SPDX-License-Identifier: Apache-2.0
"""``surefoot serve``: run the server on a folder that ``surefoot trust init`` made."""

import argparse
import logging
from pathlib import Path

from surefoot.cli.key_secrets import KeySecrets
from surefoot.server.app import Addresses, ServerSettings, serve

_DEFAULTS = ServerSettings(data=Path())


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command takes."""
    parser.add_argument("--data", type=Path, required=True, help="the server's folder")
    parser.add_argument(
        "--hostname", action="append", default=[], help="name or address devices use; repeat for more, the first is told to devices"
    )
    parser.add_argument("--listen", default=_DEFAULTS.host, help="address of the device and enrolment listeners (%(default)s)")
    parser.add_argument("--device-port", type=_port, default=_DEFAULTS.device_port, help="mTLS; 0 takes any free one (%(default)s)")
    parser.add_argument("--enrol-port", type=_port, default=_DEFAULTS.enrol_port, help="for new devices (%(default)s)")
    parser.add_argument("--operator-port", type=_port, default=_DEFAULTS.operator_port, help="on 127.0.0.1 (%(default)s)")
    parser.add_argument("--poll-interval", type=_interval, default=_DEFAULTS.poll_interval_s, help="seconds (%(default)s)")
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="surefoot: %(message)s")
    settings = ServerSettings(
        data=arguments.data,
        hostnames=tuple(arguments.hostname),
        host=arguments.listen,
        device_port=arguments.device_port,
        enrol_port=arguments.enrol_port,
        operator_port=arguments.operator_port,
        poll_interval_s=arguments.poll_interval,
        secrets=KeySecrets(may_ask=False),
    )
    serve(settings, lambda addresses: _say_ready(addresses, settings.data))
    return 0


def _say_ready(addresses: Addresses, data: Path) -> None:
    print(f"devices    {addresses.device_url}")
    print(f"enrolment  {addresses.enroll_url}")
    print(f"operators  {addresses.operator_url}  (token in {data / 'admin.token'})")
    print("Next: surefoot token new DEVICE_ID --hardware HARDWARE", flush=True)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:  # noqa: PLR2004  # the width of a port number
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, which is a number up to 65535")
    return int(text)


def _interval(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 72_000:  # noqa: PLR2004  # a tenth of jitter must stay below a day
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 1 and 72000")
    return int(text)
