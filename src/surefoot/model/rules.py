# SPDX-License-Identifier: Apache-2.0
"""Version rules: whether a device may go from what it runs to another release; one text for both ends of the wire.

- The release must fit the hardware and the bootloader, and be of the product that runs.
- A patch is always allowed, a minor unless its manifest is marked ``breaking``, a major only with approval.
- A lower version only as ``revert_to`` of the running release allows.
- Whatever the version, never below the release counter or the data format that the device has reached.
- ``requires.from`` of the wanted release names the versions that may go straight to it.

A device checks ``may_install``, from what both repositories signed. The server checks ``permits``, which is that and two rules
more: that something would change, and that people approved what they must. Approvals are the server's matter: an approval is an
act of a person, which a device cannot look up, and whoever holds the director's key would claim it; so a device does not refuse
a major that the director orders.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum

from surefoot.model.errors import FormatError
from surefoot.model.manifest import Counter, Manifest, MustMatch
from surefoot.model.record import Name, Record
from surefoot.model.version import RevertTo, SemVer, is_in_range, may_revert, parse


class Rule(StrEnum):
    """Each reason why a device may not go to a release; stable words for programs."""

    HARDWARE = "hardware"
    BOOTLOADER = "bootloader"
    PRODUCT = "product"
    RELEASE_COUNTER = "release_counter"
    REVERT_TO = "revert_to"
    DATA_FORMAT = "data_format"
    REQUIRES = "requires"
    SAME_VERSION = "same_version"
    MAJOR = "major"
    BREAKING = "breaking"
    UNREADABLE = "unreadable"


class Approval(StrEnum):
    """What a person may allow that is not allowed by itself."""

    MAJOR = "major"
    BREAKING = "breaking"


class Running(Record, frozen=True, kw_only=True):
    """What of a device decides where it may go.

    Attributes:
        hardware: What it is.
        bootloader_version: Its bootloader's.
        product: What it runs.
        version: Which version of it.
        release_counter: The highest that it ever committed.
        data_format: Of what it stores, as the running release says.
        revert_to: As the running release signs it.
    """

    hardware: Name
    bootloader_version: SemVer
    product: Name
    version: SemVer
    release_counter: Counter
    data_format: Counter | None = None
    revert_to: RevertTo = "patch"


class Verdict(Record, frozen=True, kw_only=True):
    """Whether a step is permitted; if it is not, the first rule that forbids it and a sentence for people."""

    rule: Rule | None = None
    reason: str = ""

    @property
    def is_permitted(self) -> bool:
        """Say whether no rule forbids it."""
        return self.rule is None


_PERMITTED = Verdict()


def may_install(running: Running, wanted: MustMatch | Manifest) -> Verdict:
    """Say whether a device may go to a release, as the device itself judges it (update security, step 9).

    Installing again what runs is allowed: the order may be for another variant of it.

    Raises:
        FormatError: A version or range cannot be read.
    """
    fit = _fit(running, wanted)
    return fit if not fit.is_permitted else _course(running, wanted)


def permits(running: Running, wanted: Manifest, *, approvals: AbstractSet[Approval] = frozenset()) -> Verdict:
    """Say whether a device may be ordered to go to a release: what it checks itself, and what people must have approved.

    Args:
        running: The device, as it last told of itself.
        wanted: The manifest for its hardware.
        approvals: What a person approved.

    Returns:
        A verdict whatever they say: what cannot be read is not permitted, so that one strange device or release spoils no plan.
    """
    try:
        verdict = may_install(running, wanted)
        if not verdict.is_permitted:
            return verdict
        if running.version == wanted.version:
            return Verdict(rule=Rule.SAME_VERSION, reason=f"It runs {wanted.version} already.")
        return _approved(running.version, wanted, approvals)
    except FormatError as error:
        return Verdict(rule=Rule.UNREADABLE, reason=error.message)


def needed_approval(running: str, wanted: Manifest) -> Approval | None:
    """Return what a person must approve before a device goes from version ``running`` to a release; nothing for a patch, or going back.

    Going back needs none: the running release's own signature allows it, or nothing does.
    """
    from_, to = parse(running), parse(wanted.version)
    if to.major > from_.major:
        return Approval.MAJOR
    if wanted.breaking and (to.major, to.minor) > (from_.major, from_.minor):
        return Approval.BREAKING
    return None


def _approved(running: str, wanted: Manifest, approvals: AbstractSet[Approval]) -> Verdict:
    needed = needed_approval(running, wanted)
    if needed is None or needed in approvals:
        return _PERMITTED
    if needed is Approval.MAJOR:
        return Verdict(rule=Rule.MAJOR, reason=f"Going from {running} to {wanted.version} is a major update; somebody must approve it.")
    return Verdict(
        rule=Rule.BREAKING, reason=f"{wanted.version} is marked as breaking and is no patch of {running}; somebody must approve it."
    )


def _fit(running: Running, wanted: MustMatch | Manifest) -> Verdict:
    if running.hardware not in wanted.target_hardware:
        fits = ", ".join(wanted.target_hardware)
        return Verdict(rule=Rule.HARDWARE, reason=f"The image is for {fits}; this board is {running.hardware}.")
    if parse(running.bootloader_version) < parse(wanted.min_bootloader_version):
        return Verdict(
            rule=Rule.BOOTLOADER,
            reason=f"The release needs bootloader {wanted.min_bootloader_version}; this board has {running.bootloader_version}.",
        )
    return _PERMITTED


def _course(running: Running, wanted: MustMatch | Manifest) -> Verdict:
    if wanted.product != running.product:
        return Verdict(rule=Rule.PRODUCT, reason=f"The order is for the product {wanted.product}; this device runs {running.product}.")
    if wanted.release_counter < running.release_counter:
        return Verdict(
            rule=Rule.RELEASE_COUNTER,
            reason=f"Release counter {wanted.release_counter} is below {running.release_counter}, which this device has reached.",
        )
    is_down = parse(wanted.version) < parse(running.version)
    if is_down and not may_revert(running=running.version, wanted=wanted.version, revert_to=running.revert_to):
        return Verdict(rule=Rule.REVERT_TO, reason=f"The running release {running.version} does not allow going back to {wanted.version}.")
    if running.data_format is not None and (wanted.data_format or 0) < running.data_format:
        return Verdict(
            rule=Rule.DATA_FORMAT, reason=f"Data format {wanted.data_format or 'none'} is below the stored {running.data_format}."
        )
    if wanted.requires is not None and not is_in_range(running.version, wanted.requires.from_):
        return Verdict(
            rule=Rule.REQUIRES,
            reason=f"Version {wanted.version} can only be installed from {wanted.requires.from_}; this device runs {running.version}.",
        )
    return _PERMITTED
