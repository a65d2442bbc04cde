# SPDX-License-Identifier: Apache-2.0
"""What tests of several packages need: a TLS peer on loopback with a device's credentials, and figures printed at the end of a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.agent.transport import Credentials
from tests.agent.loopback import Authority, Loopback, authority, credentials_of, loopback


@pytest.fixture(scope="session")
def ca() -> Authority:
    """A certificate authority; nothing that a test does changes it."""
    return authority()


@pytest.fixture
def peer(tmp_path: Path, ca: Authority) -> Iterator[Loopback]:
    """A TLS server that knows the authority's devices, and answers what it is told to."""
    with loopback(tmp_path, ca, client_ca=ca) as found:
        yield found


@pytest.fixture
def credentials(tmp_path: Path, ca: Authority) -> Credentials:
    """What the device ``t-1`` presents."""
    return credentials_of(tmp_path, ca)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have counted, however many processes it took."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = sorted(
        {str(value) for report in reports if report.when == "call" for name, value in report.user_properties if name == "figure"}
    )
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        terminalreporter.write_line(figure)
