# SPDX-License-Identifier: Apache-2.0
import pytest

from surefoot.model.errors import InvalidInput
from surefoot.simulator.rollouts.fault import Fault, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("good", Fault(name="good")),
        ("brick", Fault(name="brick", silences=1.0)),
        ("bad:5%", Fault(name="bad:5%", fails=0.05)),
        ("silent:0.5%", Fault(name="silent:0.5%", silences=0.005)),
        ("hardware:rev-c", Fault(name="hardware:rev-c", fails=1.0, hardware="rev-c")),
        ("late:10%@36h", Fault(name="late:10%@36h", harms_late=0.1, late_after_h=36.0)),
        ("late:10%", Fault(name="late:10%", harms_late=0.1, late_after_h=12.0)),
    ],
)
def test_a_fault_is_what_its_text_says(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault
    assert fault.is_harmless is (text == "good")


@pytest.mark.parametrize(
    "text", ["", "bad", "bad:5", "bad:101%", "brick:5%", "good@3h", "bad:5%@3h", "late:x%@3h", "hardware:", "worse:5%"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no fault"):
        parse_fault(text)
