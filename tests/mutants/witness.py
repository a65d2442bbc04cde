# SPDX-License-Identifier: Apache-2.0
"""A plugin for pytest that writes down what failed first in a run, at which moment, and whether that was a failure at all.

A test that cannot be collected, whose fixtures cannot be made, or that meets a name that does not exist shows that the source
is broken, and not that the test looks at the check.
"""

import json
import os
from pathlib import Path

import pytest

VARIABLE = "SUREFOOT_WITNESS"
"""Names the file to write to."""

_SLIPS = (ImportError, NameError, SyntaxError)


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, call: pytest.CallInfo[object], report: pytest.CollectReport | pytest.TestReport
) -> None:
    file = Path(os.environ[VARIABLE])
    if file.exists() or call.excinfo is None:
        return
    when = report.when if isinstance(report, pytest.TestReport) else "collect"
    is_failure = when == "call" and not issubclass(call.excinfo.type, _SLIPS)
    file.write_text(json.dumps({"test": node.nodeid, "when": when, "error": call.excinfo.type.__name__, "is_failure": is_failure}))
