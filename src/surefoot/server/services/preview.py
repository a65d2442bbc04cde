# SPDX-License-Identifier: Apache-2.0
"""Preview: through which releases each device of a fleet would go, before anything is ordered.

Devices that are alike in all that version rules ask are planned once. Devices that never said what they run are in no plan.
"""

from datetime import datetime

from surefoot.fleet.filter import Filter
from surefoot.fleet.path import Path, paths
from surefoot.model.errors import UnknownError
from surefoot.model.record import Record
from surefoot.model.rules import Running
from surefoot.server.services.catalogue import Catalogue

_MOST_KINDS = 5_000


class PathLine(Record, frozen=True, kw_only=True):
    """How many devices are of one kind, and which way they go."""

    devices: int
    running: Running
    path: Path


class PathPlan(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The way of every kind of device, those with most devices first; ``others`` are devices of kinds too rare to be planned."""

    product: str
    version: str
    lines: list[PathLine]
    others: int = 0


def preview(catalogue: Catalogue, product: str, version: str, variant: str, *, wanted: Filter, now: datetime) -> PathPlan:
    """Return the paths of all active devices of a product that a filter means, to one release. May take seconds: it reads the fleet.

    Raises:
        UnknownError: There is no such release that may be ordered, or not in this variant.
        FilterError: The filter names an attribute that no device has.
    """
    manifests = catalogue.live_manifests(product, variant)
    if not any(manifest.version == version for manifest in manifests):
        raise UnknownError(
            f"There is no release {product} {version} in the variant {variant} that may be ordered.", hint="See 'surefoot release list'."
        )
    found = catalogue.kinds(product, wanted, now, _MOST_KINDS)
    planned = zip(found.kinds, paths([kind.running for kind in found.kinds], version, manifests), strict=True)
    lines = [PathLine(devices=kind.devices, running=kind.running, path=path) for kind, path in planned]
    return PathPlan(product=product, version=version, lines=lines, others=found.others)
