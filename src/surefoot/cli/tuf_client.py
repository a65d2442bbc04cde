# SPDX-License-Identifier: Apache-2.0
"""The command ``surefoot-tuf-client``: the agent's verification behind the command line of the public TUF conformance suite.

Exit status: 0 done, 1 anything else, wrong use included. The clock is the C library's, so that a test may fake it.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.storage import replace_file
from surefoot.agent.tuf_http import HttpFolder
from surefoot.agent.tuf_workflow import TufClient
from surefoot.model.errors import Error, InvalidInput


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        arguments = _parser().parse_args(argv)
        _COMMANDS[arguments.command](arguments)
    except SystemExit as stop:
        # The suite knows 0 and 1 alone; argparse ends wrong use with 2.
        return 1 if stop.code else 0
    except Error as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'The output'} cannot be used: {error.strerror}.")
    except KeyboardInterrupt:
        return _fail("Interrupted.")
    return 0


def _fail(sentence: str) -> int:
    print(f"surefoot-tuf-client: {sentence}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="surefoot-tuf-client", description="A TUF client for the public conformance suite.")
    parser.add_argument("--metadata-dir", metavar="DIR", type=Path, required=True, help="where trusted metadata is kept")
    parser.add_argument("--metadata-url", metavar="URL", help="where the repository's metadata lies")
    parser.add_argument("--target-name", metavar="PATH", action="append", default=[], help="a target to download; may be repeated")
    parser.add_argument("--target-dir", metavar="DIR", type=Path, help="where downloaded targets are kept")
    parser.add_argument("--target-base-url", metavar="URL", help="where the repository's targets lie")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("init", help="trust a root").add_argument("root", metavar="ROOT", type=Path, help="the file of the first root")
    commands.add_parser("refresh", help="bring the top-level metadata up to date")
    commands.add_parser("download", help="refresh, then download targets")
    return parser


def _init(arguments: argparse.Namespace) -> None:
    # The root is judged each time it is used, and here it is only given.
    replace_file(_storage(arguments.metadata_dir), "root.json", arguments.root.read_bytes())


def _refresh(arguments: argparse.Namespace) -> None:
    _client(arguments).refresh()


def _download(arguments: argparse.Namespace) -> None:
    if not arguments.target_name or arguments.target_dir is None:
        raise InvalidInput("There is nothing to download, or no place for it.", hint="Add --target-name and --target-dir.")
    source = _folder(arguments.target_base_url, "--target-base-url")
    client, place = _client(arguments), _storage(arguments.target_dir)
    client.refresh()
    for path in arguments.target_name:
        client.download(client.find(path), source, place)


_COMMANDS = {"init": _init, "refresh": _refresh, "download": _download}


def _client(arguments: argparse.Namespace) -> TufClient:
    source = _folder(arguments.metadata_url, "--metadata-url")
    return TufClient(source, _storage(arguments.metadata_dir), datetime.now(UTC))


def _folder(url: str | None, option: str) -> HttpFolder:
    if url is None:
        raise InvalidInput("The command needs the repository's address.", hint=f"Add {option}.")
    return HttpFolder(url, SystemClock())


def _storage(folder: Path) -> PosixStorage:
    folder.mkdir(parents=True, exist_ok=True)
    return PosixStorage(folder)


if __name__ == "__main__":
    sys.exit(main())
