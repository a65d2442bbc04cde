# SPDX-License-Identifier: Apache-2.0
"""Order: tell one device to run one release.

- The image is chosen by the device's hardware; an order that cannot end well is refused before it is signed.
- A device has one open attempt: a new order supersedes it.
- The version rules are held against what the device last told of itself; it checks them again. What it never told, it alone judges.
- Who approved a major or a breaking minor stands in the act.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from surefoot.fleet.attempt import Attempt, end
from surefoot.fleet.device import Device, DeviceState, running
from surefoot.fleet.path import paths
from surefoot.model.assignment import INSTALL_S, DeviceId, Outcome, next_assignment_id
from surefoot.model.errors import ConflictError, InvalidInput, UnknownError, VersionRuleError
from surefoot.model.manifest import Manifest, target_path
from surefoot.model.record import Name, Record, utc_text
from surefoot.model.rules import Approval, Rule, Running, Verdict, permits
from surefoot.model.version import SemVer
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import Act, Ledger, PublishedRelease, Write
from surefoot.server.services.usual import install_s
from surefoot.server.services.views import direct, require_live
from surefoot.trust.director import DirectorSigners

_DAY_S = 86_400
_HINTS = {
    Rule.MAJOR: "If that is meant, order it with --approve-major; your name is kept with it.",
    Rule.BREAKING: "If that is meant, order it with --approve-breaking; your name is kept with it.",
    Rule.BOOTLOADER: "Renew the bootloader at the device, or order a release that it can start.",
    Rule.PRODUCT: "Order a release of the product that runs.",
    Rule.RELEASE_COUNTER: "Nothing below that counter runs there again; release it anew with a counter as high.",
    Rule.REVERT_TO: "Release it anew with a higher version; 'revert_to' of a running release cannot be changed.",
    Rule.DATA_FORMAT: "Order a release that reads what the device stores.",
    Rule.REQUIRES: "Release a version that leads there, or widen 'requires' in a new one.",
    Rule.UNREADABLE: "Release it anew with versions and ranges that can be read.",
}


class OrderRequest(Record, frozen=True, kw_only=True):
    """What an operator asks for.

    Attributes:
        version: The release's version.
        product: Its product; empty for the one the device runs, or the only one that has this version.
        variant: Which build of it.
        deadline_s: Seconds the device may take, from its start.
        start_within_s: Seconds after which an order that was not started is void; renewed while the device polls.
        approvals: What of this update whoever orders approves.
        ignores_windows: Whether it may be installed at any time, whatever windows the device has.
    """

    version: SemVer
    product: Name | None = None
    variant: Name = "release"
    deadline_s: Annotated[int, Meta(ge=60, le=30 * _DAY_S)] = 4 * 3_600
    start_within_s: Annotated[int, Meta(ge=60, le=30 * _DAY_S)] = _DAY_S
    approvals: list[Approval] = []
    ignores_windows: bool = False


LiveManifests = Callable[[str, str], list[Manifest]]
"""Every manifest of a product, in one variant, that may be ordered; may take its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blocked:
    """A step that the rules forbid; nothing was written."""

    running: Running
    wanted: Manifest
    verdict: Verdict


async def order(
    device_id: DeviceId,
    request: OrderRequest,
    *,
    by: str,
    write: Write,
    live: LiveManifests,
    signers: DirectorSigners,
    now: datetime,
) -> Attempt:
    """Order a release for a device; the next poll of the device carries it.

    Args:
        device_id: The device.
        request: What it should run.
        by: Who says so.
        write: The way to the writer.
        live: Asked only when the device cannot go straight there, in a thread.
        signers: The director's online keys.
        now: When.

    Raises:
        UnknownError: There is no such device or release.
        InvalidInput: The release has no image for the device's hardware, or the product has to be named.
        VersionRuleError: The device may not go there from what it runs, or nobody approved it; the hint names the path.
        ConflictError: The device is revoked, or says that it runs this image already.
    """
    found = await write(lambda ledger: _order(ledger, device_id, request, by=by, signers=signers, now=now))
    if isinstance(found, Attempt):
        return found
    raise await asyncio.to_thread(_refusal, device_id, found, live)


def _order(
    ledger: Ledger, device_id: DeviceId, request: OrderRequest, *, by: str, signers: DirectorSigners, now: datetime
) -> Attempt | _Blocked:
    device = _orderable(ledger, device_id)
    manifest = _fitting(_release(ledger, device, request), device, request.variant)
    if device.report is not None and device.report.hash == manifest.image.hash:
        raise ConflictError(f"Device {device_id} already runs {manifest.product} {manifest.version}.")
    blocked = _blocked(device, manifest, request)
    if blocked is not None:
        return blocked
    _supersede(ledger, device_id, now)
    attempt = Attempt(
        assignment_id=next_assignment_id(ledger.last_assignment_id()),
        device_id=device_id,
        product=manifest.product,
        version=manifest.version,
        variant=manifest.variant,
        hardware=device.hardware,
        path=target_path(manifest.product, manifest.version, device.hardware, manifest.variant),
        hash=manifest.image.hash,
        size=manifest.image.size,
        issued_at=utc_text(now),
        start_before=utc_text(now + timedelta(seconds=request.start_within_s)),
        deadline_s=request.deadline_s,
        ignores_windows=request.ignores_windows,
        install_s=install_s(ledger, manifest.product, device.hardware, INSTALL_S),
    )
    keep(ledger, None, attempt)
    stored = direct(ledger, device_id, attempt, signers, now)
    approved = f", approved: {' '.join(sorted(set(request.approvals)))}" if request.approvals else ""
    words = f"{' at any time' if request.ignores_windows else ''}{approved}"
    ledger.add_act(Act(at=now, by=by, what="device.order", subject=f"{device_id} {manifest.product} {manifest.version}{words}"))
    return stored.attempt or attempt


def _orderable(ledger: Ledger, device_id: DeviceId) -> Device:
    device = ledger.device(device_id)
    if device is None:
        raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
    if device.state is DeviceState.REVOKED:
        raise ConflictError(f"Device {device_id} is revoked; it takes no orders.")
    return device


def _release(ledger: Ledger, device: Device, request: OrderRequest) -> PublishedRelease:
    product = request.product or _product(ledger, device, request.version)
    release = ledger.release(product, request.version)
    if release is None:
        raise UnknownError(f"There is no release {product} {request.version}.", hint="See 'surefoot release list'.")
    require_live(ledger, product, request.version)
    return release


def _product(ledger: Ledger, device: Device, version: str) -> str:
    products = ledger.products_with(version)
    if device.report is not None and (device.report.product in products or not products):
        return device.report.product
    match products:
        case []:
            raise UnknownError(f"There is no release with version {version}.", hint="See 'surefoot release list'.")
        case [product]:
            return product
        case _:
            raise InvalidInput(
                f"Version {version} exists of {', '.join(products)}, and device {device.device_id} has not said what it runs.",
                hint=f"Name the product, as in '{products[0]} {version}'.",
            )


def _fitting(release: PublishedRelease, device: Device, variant: str) -> Manifest:
    name = f"Release {release.index.product} {release.index.version}"
    of_variant = [manifest for manifest in release.manifests if manifest.variant == variant]
    if not of_variant:
        known = ", ".join(sorted({manifest.variant for manifest in release.manifests}))
        raise UnknownError(f"{name} has no variant '{variant}'.", hint=f"It has: {known}.")
    for manifest in of_variant:
        if device.hardware in manifest.target_hardware:
            return manifest
    fits = ", ".join(sorted({hardware for manifest in of_variant for hardware in manifest.target_hardware}))
    raise InvalidInput(f"{name} does not fit device {device.device_id}, which is {device.hardware}.", hint=f"It fits: {fits}.")


def _blocked(device: Device, manifest: Manifest, request: OrderRequest) -> _Blocked | None:
    now_runs = running(device)
    if now_runs is None:
        return None
    verdict = permits(now_runs, manifest, approvals=frozenset(request.approvals))
    # Other bytes of the same version are another variant of it.
    if verdict.is_permitted or verdict.rule is Rule.SAME_VERSION:
        return None
    return _Blocked(running=now_runs, wanted=manifest, verdict=verdict)


def _refusal(device_id: DeviceId, blocked: _Blocked, live: LiveManifests) -> VersionRuleError:
    wanted, verdict = blocked.wanted, blocked.verdict
    hint = "" if verdict.rule is None else _HINTS.get(verdict.rule, "")
    [path] = paths([blocked.running], wanted.version, live(wanted.product, wanted.variant))
    if len(path.steps) > 1:
        words = " -> ".join([blocked.running.version, *(step.version for step in path.steps)])
        hint = f"The path is {words}: order {path.steps[0].version} first."
    return VersionRuleError(f"Device {device_id} may not go to {wanted.product} {wanted.version}. {verdict.reason}", hint=hint)


def _supersede(ledger: Ledger, device_id: DeviceId, now: datetime) -> None:
    before = ledger.open_attempt(device_id)
    if before is not None:
        keep(ledger, before, end(before, Outcome.SUPERSEDED, utc_text(now)))
