# SPDX-License-Identifier: Apache-2.0
"""A console on loopback and Debian's Chromium; a page that leaves the host, or complains, fails its test.

None of it outlives its module: Playwright keeps an event loop running in the thread, beside which no other test can run one.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from surefoot.server.ui.live import Pace
from tests.browser.window import CHROMIUM, FLAGS, Window
from tests.server.consoles import Desk, desk


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[Desk]:
    with desk(Pace(tick_s=0.1)) as found:
        yield found


@pytest.fixture
def console(address: Desk) -> Desk:
    address.renew()
    return address


@pytest.fixture
def window(chromium: Browser, console: Desk) -> Iterator[Window]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="Europe/Berlin")
    context.set_default_timeout(10_000)
    page = context.new_page()
    complaints = _listen(context, page, urlsplit(console.url).netloc)
    yield Window(page=page, console=console, complaints=complaints)
    context.close()
    assert complaints == []


def _listen(context: BrowserContext, page: Page, host: str) -> list[str]:
    complaints: list[str] = []
    context.on("request", lambda request: None if urlsplit(request.url).netloc == host else complaints.append(f"left for {request.url}"))
    page.on(
        "console", lambda message: complaints.append(f"{message.text} {message.location}") if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints
