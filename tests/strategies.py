# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for the values of the model."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from surefoot.fleet.device import Device, DeviceState
from surefoot.fleet.filter import Filter, parse
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.attribute import BUILT_IN
from surefoot.model.digest import Digest, from_hex
from surefoot.model.event import DeviceReport
from surefoot.model.manifest import Component, Image, Manifest, ReleaseNotes, Requires
from surefoot.model.record import utc_text
from surefoot.model.slot import SlotName
from surefoot.model.version import RevertTo
from surefoot.rollout.evidence import Baseline, Control, Counts, Evidence, Facts, Share, Tally, counts_of, total
from surefoot.rollout.plan import DEFAULT, Bounds, Gates, Limits, Plan, Rollout, SimpleGate, Stage, Status

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,12}\Z")
BUILD_IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
COUNTERS = st.integers(1, 2**31 - 1)
RANGES = st.sampled_from([">=1.0.0", ">=1.0.0 <2.0.0", "==1.2.3", "!=1.0.0, <3.0.0", "1.0.0"])
HARDWARE, REGIONS, RATES = st.sampled_from(["v1", "v2"]), st.sampled_from(["", "eu"]), st.sampled_from([0.0, 0.01, 1.0])
ATTRIBUTE_NAMES = st.sampled_from(["site", "region", "a.b", "x-1", "0", "y_z"])
ATTRIBUTE_VALUES = st.sampled_from(["", "berlin", "new york", "'", '"', "\\", "and", "ü", "🦊", "%", "1", "1.0", "null"]) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), max_size=8
)


def digests() -> st.SearchStrategy[Digest]:
    """Return any digest."""
    return st.binary(min_size=32, max_size=32).map(lambda raw: from_hex(raw.hex()))


@st.composite
def versions(draw: st.DrawFn, *, max_number: int = 999_999_999) -> str:
    """Return any semantic version, sometimes a pre-release, sometimes with build metadata."""
    numbers = [str(draw(st.integers(0, max_number))) for _ in range(3)]
    pre = draw(st.sampled_from(["", "", "-rc.1", "-alpha", "-0.3.7", "-x-y"]))
    return ".".join(numbers) + pre + draw(st.sampled_from(["", "", "+5", "+build.01"]))


def revert_rules() -> st.SearchStrategy[RevertTo]:
    """Return any rule for going back."""
    words: st.SearchStrategy[RevertTo] = st.sampled_from(["patch", "minor", "none"])
    return words | st.lists(versions(max_number=9), max_size=3)


def components() -> st.SearchStrategy[Component]:
    """Return any component of a manifest."""
    return st.builds(Component, name=NAMES, version=versions(), hash=digests(), updatable=st.booleans())


def images() -> st.SearchStrategy[Image]:
    """Return any image, as built or as published and signed."""
    size = st.integers(0, 2**53 - 1)
    return st.builds(
        Image, size=size, hash=digests(), url=st.sampled_from(["", "https://x/y"]), signature=st.sampled_from(["", "base64:AA=="])
    )


def manifests() -> st.SearchStrategy[Manifest]:
    """Return any manifest."""
    return st.builds(
        Manifest,
        product=NAMES,
        version=versions(),
        build_id=BUILD_IDS,
        variant=NAMES,
        release_counter=COUNTERS,
        target_hardware=st.lists(NAMES, min_size=1, max_size=3),
        min_bootloader_version=versions(),
        components=st.lists(components(), max_size=4),
        image=images(),
        metadata=st.builds(
            ReleaseNotes, release_notes=st.text(max_size=20), rollout_percentage=st.integers(0, 100), required=st.booleans()
        ),
        data_format=st.none() | COUNTERS,
        requires=st.none() | RANGES.map(lambda text: Requires(from_=text)),
        revert_to=revert_rules(),
    )


def device_reports() -> st.SearchStrategy[DeviceReport]:
    """Return a device's statement, of few products and versions, with any attributes."""
    return st.builds(
        DeviceReport,
        hardware=st.just("v1"),
        bootloader_version=st.sampled_from(["1.0.0", "2.0.0"]),
        agent_version=st.just("0.1.0"),
        slot=st.sampled_from(SlotName),
        product=st.sampled_from(["thermostat", "lamp"]),
        version=st.sampled_from(["1.0.0", "1.1.0", "1.2.0"]),
        build_id=st.just("b"),
        hash=digests(),
        release_counter=COUNTERS,
        attributes=attribute_maps(),
    )


def attribute_maps() -> st.SearchStrategy[dict[str, str]]:
    """Return what one side says of a device."""
    return st.dictionaries(ATTRIBUTE_NAMES, ATTRIBUTE_VALUES, max_size=4)


def devices(device_id: str = "t-1") -> st.SearchStrategy[Device]:
    """Return a device of this id in any state, with or without a report."""
    return st.builds(
        Device,
        device_id=st.just(DeviceId(device_id)),
        hardware=st.sampled_from(["v1", "v2"]),
        state=st.sampled_from(DeviceState),
        enrolled_at=st.just("2026-01-01T00:00:00Z"),
        report=st.none() | device_reports(),
        given=attribute_maps(),
    )


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Return a filter as it was read from text, over attributes that ``devices`` may have."""
    names = ATTRIBUTE_NAMES | st.sampled_from(BUILT_IN)
    values = st.lists(ATTRIBUTE_VALUES | st.sampled_from(["v1", "active", "lamp", "1.1.0", "t-1"]), min_size=1, max_size=3)
    written = [f"{draw(names)}=in=({','.join(quoted(value) for value in draw(values))})" for _ in range(draw(st.integers(0, 3)))]
    return parse(draw(st.sampled_from([";", " and ", " ; "])).join(written))


def quoted(value: str) -> str:
    """Return a value as it is written in a filter."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DURATIONS = st.sampled_from(["0s", "1s", "90s", "15m", "2h", "1d"])


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """Return what one attempt may have come to."""
    outcome = draw(st.none() | st.sampled_from(Outcome))
    is_late = outcome in (Outcome.SILENT, Outcome.CANCELLED) and draw(st.booleans())
    is_good = draw(st.booleans())
    return Facts(
        is_started=outcome in (Outcome.SILENT, Outcome.SUCCEEDED) or (outcome is not Outcome.CANCELLED and draw(st.booleans())),
        is_unhealthy=outcome in (Outcome.ROLLED_BACK, Outcome.FAILED) and draw(st.booleans()),
        outcome=outcome,
        is_late_good=is_late and is_good,
        is_late_bad=is_late and not is_good,
        is_due=outcome is Outcome.SILENT,
        is_relapsed=outcome is Outcome.SUCCEEDED and draw(st.integers(0, 9)) == 0,
    )


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    """Return counts that some set of attempts has, from none to a few thousand."""
    kinds = draw(st.lists(st.tuples(facts(), st.integers(1, 500)), max_size=6))
    return total(counts_of(fact).times(times) for fact, times in kinds)


@st.composite
def stages(draw: st.DrawFn, name: str) -> Stage:
    """Return any stage of a plan that can be."""
    shares = sorted(draw(st.sets(st.integers(1, 9_999), max_size=4)))
    batches = [f"{share // 100}.{share % 100:02}%" for share in shares]
    return Stage(name=name, group=draw(st.none() | NAMES), batches=[*batches, "100%"], soak=draw(DURATIONS))


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    """Return two rates, the right way round."""
    low, high = sorted(draw(st.tuples(st.integers(0, 100), st.integers(0, 100))))
    return Bounds(warn=f"{low}%", pause=f"{high}%")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return any plan that does not contradict itself."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    gate = SimpleGate(rollback_rate=draw(bounds()), health_failure_rate=draw(bounds()), min_resolved=draw(st.integers(1, 100)))
    return Plan(
        release="thermostat 1.2.3",
        stages=[draw(stages(name)) for name in names],
        gate=draw(st.sampled_from([DEFAULT, Gates(simple=gate, default=True), Gates(simple=gate)])),
        watch=draw(DURATIONS),
        deadline=draw(st.sampled_from(["90s", "4h"])),
        limits=Limits(per_minute=draw(st.integers(1, 1_000))),
    )


@st.composite
def evidences(draw: st.DrawFn, last_stage: int) -> Evidence:
    """Return evidence of the stages up to one, as attempts may have left it."""
    places = st.tuples(st.integers(0, last_stage), HARDWARE, REGIONS)
    tallies = draw(st.dictionaries(places, counts(), max_size=4))
    return Evidence(
        tallies=[
            Tally(stage=stage, hardware=hardware, region=region, counts=value) for (stage, hardware, region), value in tallies.items()
        ],
        population=draw(st.none() | st.integers(0, 10_000)),
        is_exhausted=draw(st.booleans()),
        offered_last_minute=draw(st.integers(0, 1_500)),
        exhausted_hardware=draw(st.lists(HARDWARE, unique=True)),
        offered_lately=draw(st.none() | st.integers(0, 1_500)),
        audience=draw(st.lists(st.builds(Share, hardware=HARDWARE, region=REGIONS, devices=st.integers(0, 10_000)), max_size=3)),
        control=draw(st.lists(controls(), max_size=2, unique_by=lambda control: control.region)),
        baselines=draw(
            st.lists(st.builds(Baseline, hardware=HARDWARE, region=REGIONS, failed=RATES, silent=RATES, late=RATES), max_size=2)
        ),
    )


@st.composite
def controls(draw: st.DrawFn) -> Control:
    """Return what a sample of a region may say."""
    devices, settled = draw(st.integers(0, 300)), draw(st.integers(0, 300))
    gone, settled_gone = draw(st.integers(0, devices)), draw(st.integers(0, settled))
    return Control(region=draw(REGIONS), devices=devices, unreachable=gone, settled=settled, settled_unreachable=settled_gone)


@st.composite
def standings(draw: st.DrawFn, statuses: st.SearchStrategy[Status] | None = None) -> tuple[Rollout, Evidence, datetime]:
    """Return all that a decision is made from: a rollout anywhere in its plan, evidence that fits it, and a time."""
    plan = draw(plans())
    stage = draw(st.integers(0, len(plan.stages) - 1))
    evidence = draw(evidences(stage))
    settled = draw(st.none() | st.integers(0, 100_000))
    rollout = Rollout(
        plan=plan,
        status=draw(st.sampled_from(Status) if statuses is None else statuses),
        stage=stage,
        batch=draw(st.integers(0, len(plan.stages[stage].batches) - 1)),
        settled_at="" if settled is None else utc_text(NOON - timedelta(seconds=settled)),
        acknowledged=[evidence.of_stage(index) for index in range(draw(st.integers(0, stage + 1)))],
    )
    return rollout, evidence, NOON
