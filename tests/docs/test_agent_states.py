# SPDX-License-Identifier: Apache-2.0
"""The page of the agent's states is what the table says."""

from scripts.draw_states import PAGE, draw
from surefoot.agent.machine import RULES
from surefoot.agent.state import Phase


def test_the_page_is_what_the_table_draws() -> None:
    assert PAGE.read_text() == draw(), "run 'make docs'"


def test_every_rule_and_every_state_is_on_the_page() -> None:
    page = draw()
    assert all(f"| {rule.phase} | `{rule.event.__name__}` |" in page for rule in RULES)
    assert all(f"    {phase.replace(' ', '_')} : {phase}\n" in page for phase in Phase)
