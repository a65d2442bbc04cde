# SPDX-License-Identifier: Apache-2.0
"""Tests of the rounds in which servers take turns, and of the processor time that is taken for theirs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.poll_rounds import cores, pinned, tree_us
from surefoot.model.errors import DeviceError

# A parent that does next to nothing, and a child that works; both then wait for the end of what they read.
_CHILD = "import sys, time\nwhile time.process_time() < 0.2: pass\n"
_SAY = "print('done', flush=True)\n"
_PARENT = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', sys.argv[1]])\n"
_WAIT = "sys.stdin.read()\n"
# The kernel's ticks may take a hundredth of a second off each of several figures.
_MOST_OF_IT_US = 150_000


@contextmanager
def worked(program: str, *words: str) -> Iterator[int]:
    """A process whose child has worked."""
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process.pid
        process.communicate()


def test_the_time_of_a_child_counts_while_it_lives() -> None:
    with worked(_PARENT + _WAIT, _CHILD + _SAY + _WAIT) as pid:
        assert tree_us(pid) >= _MOST_OF_IT_US


def test_the_time_of_a_child_counts_after_its_end() -> None:
    with worked(_PARENT + "child.wait()\n" + _SAY + _WAIT, _CHILD) as pid:
        assert tree_us(pid) >= _MOST_OF_IT_US


def test_a_process_that_is_gone_is_named() -> None:
    with worked(f"import sys\n{_SAY}") as pid:
        pass
    with pytest.raises(DeviceError, match=f"process {pid}"):
        tree_us(pid)


def test_what_is_started_while_pinned_stays_on_that_core_and_we_do_not() -> None:
    before = os.sched_getaffinity(0)
    with pinned(cores().server), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert os.sched_getaffinity(process.pid) == {cores().server}
        process.communicate(b"\n")
    assert os.sched_getaffinity(0) == before
