# SPDX-License-Identifier: Apache-2.0
"""``python -m lab [--only NAME …]``: run every scenario or some on a virtual board, and print a table; 1 says that one failed."""

import argparse
import shutil
import signal
import sys
import time

from lab.packages import ROOT
from lab.scenarios import SCENARIOS
from lab.tools import LabError
from lab.world import World

CACHE = ROOT / "lab" / ".cache"
_LINE = "{:<20} {:>5} {:>8}  {}"


def main() -> int:
    """Run the lab and return its exit status: 0 all went as it must, 1 something did not, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="A virtual A/B board, and what it must come through.")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(SCENARIOS), help=f"run some: {', '.join(SCENARIOS)}")
    only = parser.parse_args().only
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        world = _open_world()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    try:
        failed = _run_all(world, only or list(SCENARIOS))
    except LabError as error:
        print(f"lab: the board is lost, and the rest was not run: {error}", file=sys.stderr)
        return 1
    finally:
        world.close()
    print(f"lab: {failed} failed; the console is in {CACHE / 'run' / 'console.log'}" if failed else "lab: the board came back every time")
    return 1 if failed else 0


def _open_world() -> World:
    began, folder = time.monotonic(), CACHE / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wheels = sorted((ROOT / "dist").glob("surefoot-*.whl"))
    if not wheels:
        raise LabError("There is no wheel; run 'make wheel'.")
    world = World(CACHE, folder, wheels[-1])
    print(f"lab: the board has joined, {time.monotonic() - began:.0f} s after the start", flush=True)
    return world


def _run_all(world: World, names: list[str]) -> int:
    """Run scenarios in turn, printing a line each; return how many failed. The board must be fit for the next one."""
    print(_LINE.format("scenario", "boots", "seconds", "result"), flush=True)
    failed = 0
    for name in names:
        began = time.monotonic()
        try:
            seen = SCENARIOS[name](world)
        except LabError as error:
            failed += 1
            print(_LINE.format(name, "-", f"{time.monotonic() - began:.0f}", f"FAILED: {error}"), flush=True)
            world.recover()
        else:
            print(_LINE.format(name, seen.boots, f"{seen.seconds:.0f}", seen.result), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
