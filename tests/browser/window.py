# SPDX-License-Identifier: Apache-2.0
"""A browser window at a console, and where its pictures go."""

from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page

from tests.server.consoles import TOKEN, Desk

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SCREENS = Path(__file__).parents[2] / "build" / "screens"


@dataclass
class Window:
    """One page in a browser; ``complaints`` are what it wrote to the browser's console, and requests that left the host."""

    page: Page
    console: Desk
    complaints: list[str]

    def go(self, path: str) -> None:
        self.page.goto(self.console.url + path)

    def log_in(self) -> None:
        self.go("/login")
        self.page.get_by_label("Operator token").fill(TOKEN)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("h1:text('Fleet')")

    def let_in(self) -> None:
        """Log in without the page."""
        name, _, value = self.console.log_in().partition("=")
        self.page.context.add_cookies([{"name": name, "value": value, "url": self.console.url}])

    def open(self, path: str) -> None:
        """Open a page as somebody who is logged in, and wait until it is live."""
        self.let_in()
        self.go(path)
        self.wait_live()

    def wait_live(self) -> None:
        self.page.wait_for_selector("#live[data-state=on]")

    def is_wider_than_its_screen(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def picture(self, name: str) -> None:
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=True)
