# SPDX-License-Identifier: Apache-2.0
"""``surefoot agent``: join a fleet, run, say what the device is doing, put its updates off, and inhibit them."""

import argparse
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from surefoot.agent.assembly import assemble
from surefoot.agent.battery import battery_inhibitors
from surefoot.agent.bootloader import open_bootloader
from surefoot.agent.config import Config, read_config
from surefoot.agent.consent import end, put_off, put_off_until
from surefoot.agent.enrol import enrol, is_enrolled
from surefoot.agent.home import DATA, JOURNAL, LOCK, SAID, storage_root
from surefoot.agent.interlock import Inhibitor, allow, inhibit, inhibitors, standing
from surefoot.agent.journal import peek
from surefoot.agent.keystore import open_keys
from surefoot.agent.network import Surroundings
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.pulse import Stopping
from surefoot.agent.runner import Runner
from surefoot.agent.starting import running_slot
from surefoot.agent.state import Attempt, Phase, State
from surefoot.agent.status import BootFacts, Facts, lines, plain
from surefoot.agent.trusted import TrustedStore
from surefoot.agent.wake import next_wake
from surefoot.agent.watchdog import Keeper
from surefoot.model.duration import Duration, seconds
from surefoot.model.errors import BootError, DeviceError, Error, FormatError, InvalidInput
from surefoot.model.record import from_json, from_plain, parse_utc, to_pretty_json, utc_text
from surefoot.model.slot import SlotName
from surefoot.model.wire import EnrolmentOffer

_LOG = logging.getLogger("surefoot.agent")

_DEFER = """Put updates off: none starts before that instant. What has started finishes, and a release that is required cannot be put off
for longer than its order says."""

_INHIBIT = """Let no update start, since a reboot would do harm now; a required release waits too. What has started finishes. Each name has
a word of its own; the last one of a name counts."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    joining = verbs.add_parser("enroll", help="join a fleet with an enrol.json")
    joining.add_argument("--with", dest="offer", required=True, type=Path, metavar="ENROL.JSON", help="what 'surefoot token new' wrote")
    joining.set_defaults(run=_enroll)
    running = verbs.add_parser("run", help="poll, install, report; until stopped")
    running.add_argument("--verbose", action="store_true", help="one line a state as well")
    running.set_defaults(run=_run)
    status = verbs.add_parser("status", help="say what the device is doing")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=_status)
    deferring = verbs.add_parser("defer", help="put updates off, for whoever is at the device", description=_DEFER)
    when = deferring.add_mutually_exclusive_group(required=True)
    when.add_argument("--until", metavar="TIME", help="with its zone, as in 2026-12-01T06:00:00+01:00")
    when.add_argument("--for", dest="span", metavar="DURATION", help="as in 90m, 4h, 2d; 30 days at most")
    when.add_argument("--end", action="store_true", help="put them off no longer")
    deferring.set_defaults(run=_defer)
    inhibiting = verbs.add_parser("inhibit", help="let no update start, since a reboot would do harm now", description=_INHIBIT)
    inhibiting.add_argument("--reason", required=True, metavar="TEXT", help="why, one line; the server is told")
    inhibiting.add_argument("--for", dest="span", metavar="DURATION", help="as in 30m; 30 days at most; else until 'agent allow'")
    inhibiting.set_defaults(run=_inhibit)
    allowing = verbs.add_parser("allow", help="end what 'agent inhibit' began")
    allowing.set_defaults(run=_allow)
    for verb in (inhibiting, allowing):
        verb.add_argument("--name", default="user", help="who says so: a program, a person (default: user)")
    for verb in (joining, running, status, deferring, inhibiting, allowing):
        verb.add_argument("--config", type=Path, default=Path("/etc/surefoot/agent.toml"), metavar="AGENT.TOML")


def _enroll(arguments: argparse.Namespace) -> int:
    config, storage = _open(arguments.config)
    try:
        offer = from_json(arguments.offer.read_bytes(), EnrolmentOffer, what=str(arguments.offer))
    except FormatError as error:
        raise FormatError(error.message, hint="Make it anew with 'surefoot token new'.") from error
    except OSError as error:
        raise InvalidInput(f"{arguments.offer} cannot be read: {error.strerror}.", hint="Make it with 'surefoot token new'.") from error
    if (offer.device_id, offer.hardware) != (config.device.id, config.device.hardware):
        raise InvalidInput(
            f"The offer is for {offer.device_id} ({offer.hardware}); this device is {config.device.id} ({config.device.hardware}).",
            hint=f"Make one with 'surefoot token new {config.device.id} --hardware {config.device.hardware}', "
            "or name the device in agent.toml.",
        )
    if storage.exists(LOCK):  # made by the first agent that ran here
        storage.hold(LOCK)
    keys = open_keys(config.identity, arguments.config.resolve().parent)
    surroundings = Surroundings(settings=config.network, environment=os.environ)
    enrol(offer, storage, DATA, TrustedStore(storage, f"{DATA}/trusted"), keys, surroundings=surroundings)
    print(f"{offer.device_id} is enrolled at {offer.device_url}.")
    print(f"Next: surefoot agent run --config {arguments.config}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(stream=sys.stdout, level=logging.DEBUG if arguments.verbose else logging.INFO, format="agent: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    path = arguments.config.resolve()
    config = read_config(path)
    os.nice(config.process.nice)
    with Keeper(config.watchdog, os.environ, SystemClock()) as keeper:
        keeper.listen()
        runner: Runner | None = None
        try:
            runner = assemble(config, path.parent, os.environ, keeper)
            keeper.ready()
            runner.run()
        except Stopping:
            # One that was still coming up has noted nothing that would have to be ended.
            if runner is not None:
                _stop(runner)
    return 0


def _stop(runner: Runner) -> None:
    """Stop in order; where the disk takes no note of that, the next boot counts as one that nobody asked for."""
    try:
        runner.stop()
    except DeviceError as error:
        _LOG.warning("the stop is not noted: %s", error)


def _status(arguments: argparse.Namespace) -> int:
    config, storage = _open(arguments.config)
    found = peek(storage, JOURNAL, State)
    boot, problem = _look_at_boot(config, storage, arguments.config.resolve().parent)
    facts = Facts(
        device_id=config.device.id,
        hardware=config.device.hardware,
        is_enrolled=is_enrolled(storage, DATA),
        state=None if found is None else found.state,
        unsent_events=0 if found is None else found.pending,
        boot=boot,
        boot_problem=problem,
        put_off_until=put_off_until(storage, DATA),
        inhibitors=(*inhibitors(storage, DATA), *battery_inhibitors(config.interlock)),
        next_check=next_wake(Path(config.process.run_folder), config.device.id, SystemClock()),
        now=datetime.now(UTC),
    )
    sys.stdout.write(to_pretty_json(plain(facts)).decode() if arguments.json else "".join(f"{line}\n" for line in lines(facts)))
    return 0


def _look_at_boot(config: Config, storage: PosixStorage, folder: Path) -> tuple[BootFacts | None, str]:
    """Return what the bootloader says, or why it does not."""
    try:
        running = running_slot(config, storage, folder, os.environ)
        control = open_bootloader(config.boot, storage, folder, running, SAID)
        return BootFacts(running=running, primary=control.get_primary(), states={slot: control.get_state(slot) for slot in SlotName}), ""
    except (BootError, InvalidInput) as error:
        return None, error.message


def _defer(arguments: argparse.Namespace) -> int:
    _, storage = _open(arguments.config)
    if arguments.end:
        end(storage, DATA)
        print("Updates are not put off any longer; the agent sees that at its next poll.")
        return 0
    now = datetime.now(UTC)
    until = _instant(arguments.until) if arguments.until else now + timedelta(seconds=_span(arguments.span))
    put_off(storage, DATA, until, now)
    print(f"Updates are put off until {utc_text(until)}.")
    state = _remembered(storage)
    if state is not None and state.attempt is not None:
        _say_what_it_means(state.phase, state.attempt, until)
    return 0


def _inhibit(arguments: argparse.Namespace) -> int:
    _, storage = _open(arguments.config)
    now = datetime.now(UTC)
    until = now + timedelta(seconds=_span(arguments.span)) if arguments.span else None
    inhibit(storage, DATA, Inhibitor(name=arguments.name, reason=arguments.reason, until=until), now)
    ends = f"until {utc_text(until)}" if until else f"until 'surefoot agent allow --name {arguments.name}'"
    print(f"{arguments.name} lets no update start {ends}.")
    state = _remembered(storage)
    if state is not None and state.attempt is not None and _has_started(state.phase, state.attempt):
        _say_too_late(state.attempt)
    return 0


def _allow(arguments: argparse.Namespace) -> int:
    _, storage = _open(arguments.config)
    did = allow(storage, DATA, arguments.name)
    print(
        f"{arguments.name} inhibits updates no longer; the agent sees that at its next poll."
        if did
        else f"{arguments.name} did not inhibit updates."
    )
    for other in standing(inhibitors(storage, DATA), datetime.now(UTC)):
        print(f"{other.name} still does: {other.reason}")
    return 0


def _remembered(storage: PosixStorage) -> State | None:
    """Return what the agent remembers; nothing if it cannot be read, since what was asked for is done already."""
    try:
        found = peek(storage, JOURNAL, State)
    except Error:
        return None
    return None if found is None else found.state


def _has_started(phase: Phase, attempt: Attempt) -> bool:
    # With windows an install is weighed again after its download.
    return phase is not Phase.WAITING and not (phase is Phase.DOWNLOADING and bool(attempt.order.windows))


def _say_too_late(attempt: Attempt) -> None:
    wanted = attempt.order.must_match
    print(f"Too late for {wanted.product} {wanted.version}: it has started, and finishes.")


def _say_what_it_means(phase: Phase, attempt: Attempt, until: datetime) -> None:
    """Say what of an update that is here already cannot be put off."""
    wanted, consent_until = attempt.order.must_match, attempt.order.consent_until
    if _has_started(phase, attempt):
        _say_too_late(attempt)
    elif consent_until and parse_utc(consent_until) < until:
        print(f"{wanted.product} {wanted.version} is required: it is put off until {consent_until} and no longer.")


def _instant(text: str) -> datetime:
    try:
        return parse_utc(text)
    except FormatError as error:
        raise InvalidInput(error.message, hint="Write it as 2026-12-01T06:00:00+01:00, or say for how long: --for 4h.") from error


def _span(text: str) -> int:
    try:
        return seconds(from_plain(text, Duration, what="--for"))
    except FormatError as error:
        raise InvalidInput(f"{text!r} is no duration.", hint="Write a number and a unit, as in 90m, 4h or 2d.") from error


def _open(path: Path) -> tuple[Config, PosixStorage]:
    config = read_config(path)
    return config, PosixStorage(storage_root(config, path.resolve().parent))
