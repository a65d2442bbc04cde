# SPDX-License-Identifier: Apache-2.0
"""Charts: how many devices a plan lets each fault harm, as a picture in SVG; a logarithmic axis, since they differ by thousands."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from surefoot.simulator.rollouts.study import Outlook

_LEFT, _WIDE, _ROW, _TOP = 150, 520, 34, 56


def svg(title: str, fleet: int, outlooks: Sequence[Outlook]) -> str:
    """Return the chart: a bar to the mean of each fault, a line to the worst run.

    Args:
        title: What was simulated.
        fleet: How many devices there are; the end of the axis.
        outlooks: One a row.
    """
    height = _TOP + _ROW * len(outlooks) + 40
    rows = [_row(place, one, fleet) for place, one in enumerate(outlooks)]
    ticks = [_tick(10**power, fleet, height - 40) for power in range(int(math.log10(max(1, fleet))) + 1)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + 90} {height}" font-family="sans-serif" font-size="13">',
            f'<text x="12" y="22" font-size="16">{escape(title)}</text>',
            f'<text x="12" y="42" fill="#555">devices harmed of {fleet:,}: mean (bar) and worst run (line)</text>',
            *ticks,
            *rows,
            "</svg>\n",
        )
    )


def along(devices: float, fleet: int) -> float:
    """Return where a number of devices lies on the axis, 0 to 1: none at 0, one just after it, the whole fleet at 1."""
    return math.log10(1 + devices) / math.log10(1 + max(1, fleet))


def _row(place: int, one: Outlook, fleet: int) -> str:
    y = _TOP + place * _ROW
    mean, worst = _WIDE * along(one.harmed, fleet), _WIDE * along(one.harmed_worst, fleet)
    told = f"{one.harmed:,.0f}" if one.harmed >= 10 or one.harmed == 0 else f"{one.harmed:.1f}"  # noqa: PLR2004  # two digits either way
    return (
        f'<text x="{_LEFT - 8}" y="{y + 20}" text-anchor="end">{escape(one.fault)}</text>'
        f'<rect x="{_LEFT}" y="{y + 6}" width="{mean:.1f}" height="20" fill="#c0504d"/>'
        f'<line x1="{_LEFT + mean:.1f}" x2="{_LEFT + worst:.1f}" y1="{y + 16}" y2="{y + 16}" stroke="#c0504d" stroke-width="2"/>'
        f'<text x="{_LEFT + worst + 8:.1f}" y="{y + 20}">{told}</text>'
    )


def _tick(devices: int, fleet: int, bottom: int) -> str:
    x = _LEFT + _WIDE * along(devices, fleet)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="#ddd"/>'
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">{devices:,}</text>'
    )
