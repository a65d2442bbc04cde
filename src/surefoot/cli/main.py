# SPDX-License-Identifier: Apache-2.0
"""The command ``surefoot``: finds the module of a noun, lets it parse and run, and turns errors into sentences.

Exit status: 0 done, 1 refused or failed, 2 wrong use or input. A noun's module is imported only when it is called for,
so that the bare install carries the agent alone.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from surefoot.model.errors import Error, InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """One first word of the command line.

    Attributes:
        summary: One line for ``surefoot --help``.
        extras: The extras of the distribution that it needs; none for the bare install.
    """

    summary: str
    extras: tuple[str, ...] = ()


_EXTRAS = {"release": "cyclonedx", "server": "litestar"}
"""A package of each extra, by which it is known to be there."""

NOUNS = {
    "release": Noun(summary="build, verify, sign and publish releases", extras=("release",)),
    "trust": Noun(summary="make and inspect the keys and roots that devices trust"),
    "plan": Noun(summary="check the plan of a rollout, without a server", extras=("release", "server")),
    "rollout": Noun(summary="roll a release out in stages, or say what a plan would do", extras=("release",)),
    "serve": Noun(summary="run the server", extras=("server",)),
    "ca": Noun(summary="roll the CA of device certificates over", extras=("server",)),
    "token": Noun(summary="let a new device join"),
    "user": Noun(summary="say who may call the operator API"),
    "device": Noun(summary="list devices, show one, give it attributes, order a release for one, lock one out"),
    "group": Noun(summary="name devices that belong together"),
    "window": Noun(summary="say when devices may install: maintenance windows"),
    "agent": Noun(summary="run on a device: enrol, update, say what it is doing"),
    "demo": Noun(summary="show a fleet updated in stages, and a bad release stopped", extras=("server", "release")),
    "simulate": Noun(summary="run a simulated board in wall time"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except Error as error:
        print(f"surefoot: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"surefoot: {error.filename or 'The output'} cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    noun = next((word for word in words if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(prog="surefoot", description="Over-the-air updates for IoT fleets.")
    parser.add_argument("--version", action="version", version=f"surefoot {version('surefoot')}")
    nouns = parser.add_subparsers(dest="noun", metavar="COMMAND", required=True)
    for name, entry in NOUNS.items():
        chosen = nouns.add_parser(name, help=entry.summary, description=entry.summary.capitalize() + ".")
        if name == noun:
            _configure(name, entry)(chosen)
    arguments = parser.parse_args(words)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _configure(name: str, entry: Noun) -> Callable[[argparse.ArgumentParser], None]:
    missing = [extra for extra in entry.extras if importlib.util.find_spec(_EXTRAS[extra]) is None]
    if missing:
        raise InvalidInput(
            f"'surefoot {name}' needs packages that the bare install does not have.",
            hint=f"Install surefoot[{','.join(missing)}].",
        )
    configure: Callable[[argparse.ArgumentParser], None] = importlib.import_module(f"surefoot.cli.{name}").configure
    return configure


if __name__ == "__main__":
    sys.exit(main())
