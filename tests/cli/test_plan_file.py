# SPDX-License-Identifier: Apache-2.0
"""Plan files: what is taken, and how a mistake is named."""

from pathlib import Path

import pytest

from surefoot.cli.plan_file import read_plan
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.rollout.plan import Bounds, Plan, SimpleGate

STAGE = "rollout:\n  release: thermostat 1.2.3\n  stages:\n    - name: canary\n"


def written(folder: Path, text: str) -> Path:
    (folder / "plan.yaml").write_text(text)
    return folder / "plan.yaml"


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    assert read_plan(written(tmp_path, "rollout: { release: thermostat 1.2.3 }")) == Plan(release="thermostat 1.2.3")


def test_percentages_need_no_quotes(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, STAGE + "  gate: { simple: { rollback_rate: { warn: 2%, pause: 5.5% } } }\n"))
    assert plan.simple == SimpleGate(rollback_rate=Bounds(warn="2%", pause="5.5%"))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("rollout:\n  release: thermostat 1.2.3\n  stages: []\n", 3, "'rollout.stages' is a list of at least 1"),
        (STAGE + "      batches: []\n", 5, "'rollout.stages[0].batches' is a list of at least 1"),
        (STAGE + "      batches: [10%, 5%, 100%]\n", 5, "'rollout.stages[0].batches': 10%, 5%, 100% do not grow"),
        (STAGE + "      batches:\n        - 10%\n        - 50%\n", 5, "'rollout.stages[0].batches': they end at 50%"),
        (STAGE + "    - name: canary\n", 5, "'rollout.stages[1].name': there is a stage 'canary' already"),
        (STAGE + "      baches: [100%]\n", 5, "unknown key 'baches' in 'rollout.stages[0]'. Did you mean 'batches'?"),
        (STAGE + "  windows: []\n", 5, "unknown key 'windows' in 'rollout'"),
        (STAGE + "      batches: [1.005%, 100%]\n", 5, "'rollout.stages[0].batches[0]' must be a percentage with at most two decimals"),
        (STAGE + "      batches: [50, 100%]\n", 5, "'rollout.stages[0].batches[0]' must be a"),
        (STAGE + "      soak: 1 hour\n", 5, "'rollout.stages[0].soak' must be a whole number of seconds, minutes, hours or days"),
        (STAGE + "  deadline: 10s\n", 5, "'rollout.deadline': it is not between a minute and 30 days"),
        (STAGE + "  gate: defualt\n", 5, "'rollout.gate'"),
        (STAGE + "  gate:\n    simple:\n      rollback_rate: { warn: 9%, pause: 5% }\n", 7, "it warns at 9%, after it pauses at 5%"),
        ("rollout:\n  release: thermostat\n", 2, "'rollout.release' must be a product and a version"),
        ("rollout:\n  name: all\n", 1, "the key 'release' is missing in 'rollout'"),
        ("rolout: {}\n", 1, "unknown key 'rolout'. Did you mean 'rollout'?"),
    ],
)
def test_a_mistake_names_file_line_and_key(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FormatError) as refused:
        read_plan(path)
    assert (str(refused.value).startswith(f"{path}, line {line}: "), says in str(refused.value)) == (True, True), refused.value


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"Cannot read the plan .*plan\.yaml: No such file"):
        read_plan(tmp_path / "plan.yaml")
