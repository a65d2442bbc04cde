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
        (STAGE + "  window: []\n", 5, "unknown key 'window' in 'rollout'. Did you mean 'windows'?"),
        (STAGE + "  windows:\n    - start: '02:00'\n      length: 0s\n", 7, "'rollout.windows[0].length': it never opens"),
        (STAGE + "  windows:\n    - start: '02:00'\n      length: 4m\n", 7, "it is shorter than an install takes, 300 s"),
        (STAGE + "  windows:\n    - { start: '02:00', length: 3h, zone: Mars/Olympus }\n", 6, "there is no time zone 'Mars/Olympus'"),
        (STAGE + "  windows:\n    - { start: '25:00', length: 3h }\n", 6, "'rollout.windows[0].start' must be a time of day"),
        (STAGE + "  audience: region==\n", 5, "'rollout.audience': In the filter, at character 9, a value is expected"),
        (STAGE + "      audience: region==\n", 5, "'rollout.stages[0].audience': In the filter, at character 9"),
        (STAGE + "  audience: ''\n", 5, "'rollout.audience' must be a filter"),
        (STAGE + "      audience: ' '\n", 5, "'rollout.stages[0].audience' must be a filter"),
        (
            STAGE + "    - name: rest\n",
            5,
            "'rollout.stages[1]': no device is ever left for stage rest, since stage canary is for everybody",
        ),
        (STAGE + "      group: g\n    - { name: again, group: g }\n", 6, "since stage canary is for group g"),
        (STAGE + "      order_by: [region: [eu, eu]]\n", 5, "region 'eu' is given twice"),
        (STAGE + "      order_by: [region: [Others]]\n", 3, "two of the stages that are walked are called 'canary-others'"),
        (STAGE + "      order_by: [region: []]\n", 5, "'rollout.stages[0].order_by[0].region' is a list of at least 1"),
        (STAGE + "  limits:\n    per_minute: 0\n", 6, "'rollout.limits.per_minute' must be a whole number from 1 to 1,000,000"),
        (STAGE + "  limits:\n    per_hour: 0\n", 6, "'rollout.limits.per_hour' must be a whole number from 1 to 1,000,000"),
        (
            STAGE + "  limits:\n    regions:\n      na: { concurrent_downloads: 9 }\n      eu:\n        bytes_per_second: 0\n",
            9,
            "'rollout.limits.regions.eu.bytes_per_second' must be a whole number of bytes, at least 1",
        ),
        (STAGE + "  limits:\n    regions:\n      eu: { speed: 1 }\n", 7, "unknown key 'speed' in 'rollout.limits.regions.eu'"),
        (STAGE + "  limits:\n    sites:\n      '*': {}\n", 7, "'rollout.limits.sites.*': it limits nothing"),
        (
            STAGE + "  limits:\n    sites:\n      berlin: { per_minute: 0 }\n",
            7,
            "'rollout.limits.sites.berlin.per_minute' must be a whole number from 1 to 1,000,000",
        ),
        (STAGE + "  limits:\n    regions:\n      eu: {}\n", 7, "'rollout.limits.regions.eu': it limits nothing"),
        (STAGE + "  security: { deadline: soon }\n", 5, "'rollout.security.deadline': 'soon' is not an RFC 3339 time"),
        (STAGE + "  security:\n    deadline: 2026-12-01T00:00:00Z\n    grace: 40d\n", 7, "'rollout.security.grace': it is not between"),
        (STAGE + "  retries: { max: 11 }\n", 5, "'rollout.retries.max' must be a whole number from 0 to 10"),
        (STAGE + "  retries: { backoff: 0s }\n", 5, "'rollout.retries.backoff': it is not between a minute and 30 days"),
        (STAGE + "  install_time: 2d\n", 5, "'rollout.install_time': it is longer than a day"),
        (STAGE + "  kind: firmwear\n", 5, "'rollout.kind' must be one of firmware, application, config, flags, security"),
        (STAGE + "  approve: [all]\n", 5, "'rollout.approve[0]' must be one of major, breaking"),
        (
            STAGE + "  windows:\n    - { start: '02:00', length: 3h, days: [sunday] }\n",
            6,
            "must be one of mon, tue, wed, thu, fri, sat, sun",
        ),
        (
            STAGE + "  gate: { simple: { min_resolved: 0 } }\n",
            5,
            "'rollout.gate.simple.min_resolved' must be a whole number from 1 to 10,000",
        ),
        (STAGE + "  precedence: 1001\n", 5, "'rollout.precedence' must be a whole number from -1,000 to 1,000"),
        (STAGE + "  on_halt: stop\n", 5, "'rollout.on_halt' must be one of hold, revert"),
        (STAGE + "  gate: { simple: { rollback_rate: { warn: 5%, pause: 100% } } }\n", 5, "no rate is above 100%, so it never pauses"),
        (STAGE + "      batches: [1.005%, 100%]\n", 5, "'rollout.stages[0].batches[0]' must be a percentage with at most two decimals"),
        (STAGE + "      batches: [50, 100%]\n", 5, "'rollout.stages[0].batches[0]' must be a"),
        (STAGE + "      soak: 1 hour\n", 5, "'rollout.stages[0].soak' must be a whole number of seconds, minutes, hours or days"),
        (STAGE + "  deadline: 10s\n", 5, "'rollout.deadline': it is not between a minute and 30 days"),
        (STAGE + "  gate: defualt\n", 5, "'rollout.gate' must be default or a mapping"),
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
