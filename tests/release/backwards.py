# SPDX-License-Identifier: Apache-2.0
"""Runs a Python program on a machine whose folders list their files backwards: ``python backwards.py [-m] PROGRAM …``.

Which order a folder has is the file system's choice; most choose by hash, so writing files in another order changes nothing.
"""

import os
import sys
from collections.abc import Iterator
from typing import Self

_scandir, _listdir = os.scandir, os.listdir


class Backwards:
    """What ``os.scandir`` returns, in the reverse order of names."""

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        with _scandir(path) as entries:
            self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        return self.entries

    def __next__(self) -> os.DirEntry[str]:
        return next(self.entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def close(self) -> None:
        """Do nothing; the folder is closed already."""


def main(words: list[str]) -> None:
    """Run the program with folders turned round."""
    os.scandir = Backwards  # type: ignore[assignment]  # only what pathlib, glob and os.walk use of it
    os.listdir = lambda path=".": sorted(_listdir(path), reverse=True)  # type: ignore[assignment]  # as above
    import runpy  # only now: what it imports may keep its own reference to the functions above

    is_module = words[0] == "-m"
    sys.argv = words[is_module:]
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120  # pathlib is what is being turned round
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
