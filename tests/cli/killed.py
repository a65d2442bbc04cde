# SPDX-License-Identifier: Apache-2.0
"""A process that is killed between two effects on the disk: every one of them counts, and before the nth nothing more happens."""

import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@contextmanager
def killed_before(effect: int) -> Iterator[list[str]]:
    """Let the block do so many effects and no more; give what it did, in order."""
    done: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:  # noqa: ANN401  # whatever the real one takes
            if len(done) >= effect:
                raise Killed(name)
            done.append(name)
            return real(*args, **more)

        return call

    def opened(path: Any, flags: int, *args: Any, **more: Any) -> int:  # noqa: ANN401  # as os.open takes it
        return counting(path, flags, *args, **more) if flags & os.O_CREAT else real_open(path, flags, *args, **more)

    real_open = os.open
    counting = counted("create", real_open)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opened)
        patch.setattr(os, "fsync", counted("sync", os.fsync))
        for name in ("replace", "rename", "unlink"):
            patch.setattr(pathlib.Path, name, counted(name, getattr(pathlib.Path, name)))
        yield done


def kills(deed: Callable[[], object], reset: Callable[[], object]) -> Iterator[int]:
    """Do a deed again and again, killed before each of its effects in turn, and give the effect each time; then it was whole once."""
    effect = 0
    while True:
        reset()
        try:
            with killed_before(effect):
                deed()
        except Killed:
            yield effect
            effect += 1
            continue
        return
