# SPDX-License-Identifier: Apache-2.0
"""The look: sights become HTML through the templates; every value is escaped unless a template of ours made it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from surefoot.schedule.words import words_of
from surefoot.server.ui import phrase
from surefoot.server.ui.live import marks
from surefoot.server.ui.session import Session
from surefoot.server.ui.sight import Sight, more_of


class Look:
    """Renders pages and their parts."""

    def __init__(self, version: str) -> None:
        """Add ``version`` to the addresses of assets, so that a new one is fetched."""
        self._environment = _environment(version)

    def page(self, sight: Sight, session: Session | None = None) -> str:
        """Return a whole page."""
        parts = self.parts(sight, session)
        live = f"{sight.live}{'' if sight.live.endswith('?') else '&'}seen={marks(parts)}" if sight.live else ""
        if sight.passing:
            # Marked as without it, so that the stream leaves it there until something else changes.
            sight = replace(sight, facts={**sight.facts, **sight.passing}, passing={})
            parts = self.parts(sight, session)
        template = self._environment.get_template(f"{sight.template}.html")
        return template.render(_context(sight, session), parts=parts, live=live)

    def parts(self, sight: Sight, session: Session | None) -> Mapping[str, str]:
        """Return the parts of a page that change, by name."""
        context = _context(sight, session)
        return {name: self._environment.get_template(f"parts/{name}.html").render(context) for name in sight.parts}


def _context(sight: Sight, session: Session | None) -> dict[str, Any]:
    return {"title": sight.title, "session": session, **sight.facts}


def _environment(version: str) -> Environment:
    loader = PackageLoader("surefoot.server.ui", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        size=phrase.size,
        duration=phrase.duration,
        short_hash=phrase.short_hash,
        of_event=phrase.of_event,
        of_status=phrase.of_status,
        of_decision=phrase.of_decision,
        facts=phrase.facts,
        pieces=phrase.pieces,
        there=phrase.there,
        window=words_of,
        more=more_of,
    )
    environment.globals.update(of_outcome=phrase.of_outcome, version=version)
    return environment
