# SPDX-License-Identifier: Apache-2.0
"""Mixes: how many devices of each hardware and region a simulated fleet has."""

from surefoot.rollout.evidence import Share

HARDWARE = {"hw-50": 0.50, "hw-25": 0.25, "hw-15": 0.15, "hw-7": 0.07, "hw-3": 0.03}
"""The published mix, by hardware: named for its percentage of the fleet."""

REGIONS = {"region-40": 0.40, "region-30": 0.30, "region-20": 0.20, "region-10": 0.10}
"""The published mix, by region."""


def published(devices: int) -> list[Share]:
    """Return a fleet of so many devices in the mix that the default gate was designed on; every device is of some kind.

    Whole devices by largest remainders, so that a small fleet has the commonest kinds only.
    """
    wanted = {(hardware, region): devices * a * b for hardware, a in HARDWARE.items() for region, b in REGIONS.items()}
    whole = {kind: int(number) for kind, number in wanted.items()}
    lacking = devices - sum(whole.values())
    for kind in sorted(wanted, key=lambda kind: whole[kind] - wanted[kind])[:lacking]:
        whole[kind] += 1
    return [Share(hardware=hardware, region=region, devices=number) for (hardware, region), number in whole.items() if number]
