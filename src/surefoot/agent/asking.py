# SPDX-License-Identifier: Apache-2.0
"""The integrator's script that is asked before an update starts: whether whoever is at the device lets it.

It finds ``SUREFOOT_PRODUCT``, ``SUREFOOT_VERSION`` and ``SUREFOOT_ORDER`` in its environment. Status 0 means yes. Any other means no, and
the first line that it prints says why. One that cannot be started, prints without end or does not end in time has not said yes.
"""

import os
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from surefoot.agent.boot.tool import run_to_end
from surefoot.model.assignment import Order
from surefoot.model.errors import BootError
from surefoot.model.record import Record

_MOST_LETTERS = 200


class ConsentRule(Record, frozen=True, kw_only=True):
    """The table ``[consent]``: the command that is asked (nobody, when it is empty), and how long it may take."""

    ask: list[str] = []
    timeout_s: Annotated[float, Meta(gt=0, le=3_600)] = 60.0


def ask(rule: ConsentRule, order: Order, folder: Path) -> str:
    """Ask whether an order may start now.

    Args:
        rule: Whom to ask; the command is not empty.
        order: What would be installed.
        folder: Where the command runs.

    Returns:
        Why it may not, one line; empty when it may.
    """
    wanted = order.must_match
    about = {"SUREFOOT_PRODUCT": wanted.product, "SUREFOOT_VERSION": wanted.version, "SUREFOOT_ORDER": str(order.assignment_id)}
    try:
        ended = run_to_end(rule.ask, timeout_s=rule.timeout_s, folder=folder, environment={**os.environ, **about})
    except BootError as error:
        return f"consent cannot be asked for: {error.message}"
    if ended.status == 0:
        return ""
    first = (ended.said.decode("utf-8", "replace").strip().splitlines() or ["it does not say why"])[0]
    reason = "".join(letter if letter.isprintable() else "?" for letter in first[:_MOST_LETTERS])
    return f"{rule.ask[0]} says no: {reason}"
