# SPDX-License-Identifier: Apache-2.0
"""Paths: through which releases a device gets to the one that is wanted, or why it cannot.

- Every step is one that ``surefoot.model.rules.permits``, with everything approved; a step says what must be.
- Fewest steps win; then fewest approvals; then the highest versions, the first step first.
- No step leads above both what runs and what is wanted: nobody means to install a later release to get to an earlier one.
- The search goes backward from the wanted release, once for each hardware, bootloader and height, and reaches each release once: going
  back by ``revert_to`` cannot make it loop, and what it costs grows with the kinds of device and the releases, not with the fleet.
- After any step only the release that was installed decides what comes next: none lowers the release counter or the data format.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec import structs

from surefoot.model.errors import FormatError
from surefoot.model.manifest import Manifest
from surefoot.model.record import Record
from surefoot.model.rules import Approval, Rule, Running, Verdict, needed_approval, permits
from surefoot.model.version import SemVer, parse

_ALL = frozenset(Approval)
_OTHERS_MIGHT_LEAD_ON = {Rule.REQUIRES, Rule.REVERT_TO}


class Step(Record, frozen=True, kw_only=True):
    """One release on the way, and what a person must approve before a device is ordered to go to it."""

    version: SemVer
    approval: Approval | None = None


class Path(Record, frozen=True, kw_only=True):
    """The releases that a device goes through, the wanted one last; or none, and why it cannot get there."""

    steps: list[Step] = []
    obstacle: Verdict | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """From a release, or a device, to the wanted release: how it goes on, and the approvals that takes."""

    release: Manifest
    approvals: int
    onward: "_Way | None"


def paths(kinds: Sequence[Running], version: str, releases: Iterable[Manifest]) -> list[Path]:
    """Return the path of each kind of device to ``version``, in the order of ``kinds``.

    Args:
        kinds: What devices run; name each kind once.
        version: The wanted version.
        releases: Manifests that may be ordered, of one product and variant: those of the wanted version among them.
    """
    offered = [manifest for manifest in releases if _is_readable(manifest.version)]
    boards: dict[tuple[str, str, str], list[int]] = {}
    for index, kind in enumerate(kinds):
        boards.setdefault((kind.hardware, kind.bootloader_version, _top(kind.version, version)), []).append(index)
    found: dict[int, Path] = {}
    for (hardware, _, top), indices in boards.items():
        below = (manifest for manifest in reversed(offered) if parse(manifest.version) <= parse(top))
        fitting = {manifest.version: manifest for manifest in below if hardware in manifest.target_hardware}
        wanted = fitting.get(version)
        if wanted is None:
            missing = Verdict(rule=Rule.HARDWARE, reason=f"{version} has no image for {hardware}.")
            found |= dict.fromkeys(indices, Path(obstacle=missing))
        else:
            found |= _of_board({index: kinds[index] for index in indices}, wanted, list(fitting.values()))
    return [found[index] for index in range(len(kinds))]


def _of_board(kinds: dict[int, Running], wanted: Manifest, fitting: list[Manifest]) -> dict[int, Path]:
    """Return the paths of kinds that are alike but for what they run."""
    height = {manifest.version: place for place, manifest in enumerate(sorted(fitting, key=lambda m: (parse(m.version), m.version)))}
    found = {index: Path(obstacle=_obstacle(kind, wanted)) for index, kind in kinds.items()}
    open_kinds = {index: kind for index, kind in kinds.items() if _may_get_there(kind, wanted)}
    unreached = [manifest for manifest in fitting if manifest.version != wanted.version]
    level = [_Way(wanted, 0, None)]
    while level and open_kinds:
        for index, way in ((index, _best(kind, level, height)) for index, kind in open_kinds.items()):
            if way is not None:
                found[index] = Path(steps=_steps(kinds[index].version, way))
        open_kinds = {index: kind for index, kind in open_kinds.items() if not found[index].steps}
        board = next(iter(kinds.values()))
        reached = [(manifest, _best(_after(board, manifest), level, height)) for manifest in unreached]
        level = [_Way(manifest, _cost(manifest.version, way), way) for manifest, way in reached if way is not None]
        unreached = [manifest for manifest, way in reached if way is None]
    return found


def _best(running: Running, level: list[_Way], height: dict[str, int]) -> _Way | None:
    """Return the best way of a level that one permitted step leads to."""
    ways = [way for way in level if permits(running, way.release, approvals=_ALL).is_permitted]
    return min(ways, key=lambda way: (_cost(running.version, way), -height[way.release.version]), default=None)


def _cost(running: str, way: _Way) -> int:
    return way.approvals + (needed_approval(running, way.release) is not None)


def _after(board: Running, release: Manifest) -> Running:
    return structs.replace(
        board,
        product=release.product,
        version=release.version,
        release_counter=release.release_counter,
        data_format=release.data_format,
        revert_to=release.revert_to,
    )


def _steps(running: str, way: _Way) -> list[Step]:
    steps: list[Step] = []
    onward: _Way | None = way
    while onward is not None:
        steps.append(Step(version=onward.release.version, approval=needed_approval(running, onward.release)))
        running, onward = onward.release.version, onward.onward
    return steps


def _may_get_there(kind: Running, wanted: Manifest) -> bool:
    """Say whether a kind is to be searched for at all: whatever a device goes through, counter and data format only rise."""
    rule = permits(kind, wanted, approvals=_ALL).rule
    return rule is None or rule in _OTHERS_MIGHT_LEAD_ON


def _obstacle(kind: Running, wanted: Manifest) -> Verdict:
    verdict = permits(kind, wanted, approvals=_ALL)
    if verdict.rule not in _OTHERS_MIGHT_LEAD_ON:
        return verdict
    return structs.replace(verdict, reason=f"{verdict.reason} No release that may be ordered leads there.")


def _top(running: str, wanted: str) -> str:
    """Return the higher one of two versions; what cannot be read is below everything."""
    return max(filter(_is_readable, (wanted, running)), key=parse, default="0.0.0")


def _is_readable(version: str) -> bool:
    try:
        parse(version)
    except FormatError:
        return False
    return True
