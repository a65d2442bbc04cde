# SPDX-License-Identifier: Apache-2.0
"""Prints the figures that tests have counted, at the end of a run, however many processes it took."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = sorted(
        {str(value) for report in reports if report.when == "call" for name, value in report.user_properties if name == "figure"}
    )
    if figures:
        terminalreporter.section("figures")
    for figure in figures:
        terminalreporter.write_line(figure)
