# SPDX-License-Identifier: Apache-2.0
"""``surefoot simulate fleet``: many boards in one process, in wall time, against a running server."""

import argparse
import signal
from pathlib import Path
from threading import Event

from surefoot.agent.admission import Board
from surefoot.agent.memory import installed_from
from surefoot.cli.flashing import BOOTLOADER_VERSION, DEFAULT_CAPACITY_BYTES, make_empty, read_release, require_fit
from surefoot.model import version
from surefoot.model.errors import InvalidInput
from surefoot.model.record import from_json
from surefoot.model.wire import EnrolmentOffer
from surefoot.simulator.fleet import JOURNALS, Fleet, Model, Pace


def configure(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb ``fleet``."""
    fleet = verbs.add_parser("fleet", help="run many boards in one process until SIGTERM")
    fleet.add_argument("folder", type=Path, metavar="DIR", help=f"identities and {JOURNALS}; must be empty or not exist")
    fleet.add_argument("--offers", type=Path, required=True, help="file with one enrolment offer a line; - is standard input")
    fleet.add_argument("--count", type=int, help="how many boards (default: one for each offer)")
    fleet.add_argument("--prefix", default="", help="only offers for devices whose name begins like this")
    fleet.add_argument("--bundle", type=Path, required=True, help="folder or .tar of the release they leave the factory with")
    fleet.add_argument("--hardware", required=True, help="which of the bundle's hardware the boards are")
    fleet.add_argument("--variant", default="release", help="which variant to flash (default: release)")
    fleet.add_argument("--bootloader-version", default=BOOTLOADER_VERSION, help=f"default: {BOOTLOADER_VERSION}")
    fleet.add_argument("--slot-bytes", type=int, default=DEFAULT_CAPACITY_BYTES, help=f"size of a slot (default: {DEFAULT_CAPACITY_BYTES})")
    fleet.add_argument("--spread", type=float, default=1.0, metavar="S", help="first boots are spread over this; the poll interval (1)")
    fleet.set_defaults(run=run_fleet)


def run_fleet(arguments: argparse.Namespace) -> int:
    """Run a fleet until SIGTERM or SIGINT; return 1 when a board could not join.

    Raises:
        InvalidInput: The bundle is none or has nothing for these boards, the image is larger than a slot, there are too few
            offers or one is for other hardware, or there is something in the folder already; nothing was started.
        FormatError: A line is no offer; the message names it.
        DigestError: The bundle has been changed; nothing was started.
    """
    offers = read_offers(arguments.offers, arguments.prefix, arguments.count)
    _require_hardware(offers, arguments.hardware)
    model = _model(arguments)
    make_empty(arguments.folder)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    fleet = Fleet(
        arguments.folder, model, offers, say=lambda line: print(f"fleet: {line}", flush=True), pace=Pace(spread_s=arguments.spread)
    )
    print(
        f"fleet: {len(offers)} boards, {offers[0].device_id} to {offers[-1].device_id}; stories in {arguments.folder / JOURNALS}",
        flush=True,
    )
    fleet.run(stop)
    return 1 if fleet.failures else 0


def read_offers(path: Path, prefix: str, count: int | None) -> list[EnrolmentOffer]:
    """Return the first ``count`` offers for devices whose name begins with ``prefix``; all of them when ``count`` is ``None``.

    Raises:
        InvalidInput: The file cannot be read, or has too few.
        FormatError: A line is no offer.
    """
    try:
        lines = (Path("/dev/stdin") if str(path) == "-" else path).read_bytes().splitlines()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint="Name a file with one enrolment offer a line.") from error
    found = [from_json(line, EnrolmentOffer, what=f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    wanted = [offer for offer in found if offer.device_id.startswith(prefix)]
    if not wanted or len(wanted) < (count or 1):
        raise InvalidInput(f"{path} has {len(wanted)} offers for such boards.", hint="Make more, with one token for each device.")
    if len({offer.device_id for offer in wanted}) != len(wanted):
        raise InvalidInput(f"{path} has two offers for one device.", hint="Give each board a name of its own.")
    return wanted[:count]


def _require_hardware(offers: list[EnrolmentOffer], hardware: str) -> None:
    other = next((offer for offer in offers if offer.hardware != hardware), None)
    if other is not None:
        raise InvalidInput(f"The offer for {other.device_id} is for {other.hardware}.", hint=f"Make offers for {hardware}.")


def _model(arguments: argparse.Namespace) -> Model:
    version.parse(arguments.bootloader_version)
    _, manifest, image = read_release(arguments.bundle, arguments.hardware, arguments.variant)
    require_fit(image, arguments.slot_bytes)
    board = Board(hardware=arguments.hardware, bootloader_version=arguments.bootloader_version, slot_capacity_bytes=arguments.slot_bytes)
    return Model(board=board, running=installed_from(manifest), image=image)
