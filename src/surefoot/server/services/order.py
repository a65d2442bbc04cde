# SPDX-License-Identifier: Apache-2.0
"""Order: tell one device to run one release.

- The image is chosen by the device's hardware; an order that cannot end well is refused before it is signed.
- A device has one open attempt: a new order supersedes it.
"""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from surefoot.fleet.attempt import Attempt, end
from surefoot.fleet.device import Device, DeviceState
from surefoot.model.assignment import DeviceId, Outcome, next_assignment_id
from surefoot.model.errors import ConflictError, InvalidInput, UnknownError
from surefoot.model.manifest import Manifest, target_path
from surefoot.model.record import Name, Record, utc_text
from surefoot.model.version import SemVer
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import Act, Ledger, PublishedRelease, Write
from surefoot.server.services.views import direct, require_live
from surefoot.trust.director import DirectorSigners

_DAY_S = 86_400


class OrderRequest(Record, frozen=True, kw_only=True):
    """What an operator asks for.

    Attributes:
        version: The release's version.
        product: Its product; empty for the one the device runs, or the only one that has this version.
        variant: Which build of it.
        deadline_s: Seconds the device may take, from its start.
        start_within_s: Seconds after which an order that was not started is void; renewed while the device polls.
        ignores_windows: Whether it may be installed at any time, whatever windows the device has.
    """

    version: SemVer
    product: Name | None = None
    variant: Name = "release"
    deadline_s: Annotated[int, Meta(ge=60, le=30 * _DAY_S)] = 4 * 3_600
    start_within_s: Annotated[int, Meta(ge=60, le=30 * _DAY_S)] = _DAY_S
    ignores_windows: bool = False


async def order(device_id: DeviceId, request: OrderRequest, *, by: str, write: Write, signers: DirectorSigners, now: datetime) -> Attempt:
    """Order a release for a device; the next poll of the device carries it.

    Raises:
        UnknownError: There is no such device or release.
        InvalidInput: The release has no image for the device's hardware, or the product has to be named.
        ConflictError: The device is revoked, or says that it runs this image already.
    """
    return await write(lambda ledger: _order(ledger, device_id, request, by=by, signers=signers, now=now))


def _order(ledger: Ledger, device_id: DeviceId, request: OrderRequest, *, by: str, signers: DirectorSigners, now: datetime) -> Attempt:
    device = _orderable(ledger, device_id)
    manifest = _fitting(_release(ledger, device, request), device, request.variant)
    if device.report is not None and device.report.hash == manifest.image.hash:
        raise ConflictError(f"Device {device_id} already runs {manifest.product} {manifest.version}.")
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
    )
    keep(ledger, None, attempt)
    stored = direct(ledger, device_id, attempt, signers, now)
    words = " at any time" if request.ignores_windows else ""
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


def _supersede(ledger: Ledger, device_id: DeviceId, now: datetime) -> None:
    running = ledger.open_attempt(device_id)
    if running is not None:
        keep(ledger, running, end(running, Outcome.SUPERSEDED, utc_text(now)))
