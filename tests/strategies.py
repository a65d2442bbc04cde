# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for the values of the model."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from surefoot.fleet.device import Device, DeviceState
from surefoot.fleet.field import Kind, kind_of
from surefoot.fleet.filter import Filter, parse
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.attribute import RESERVED
from surefoot.model.digest import Digest, from_hex
from surefoot.model.event import DeviceReport
from surefoot.model.manifest import Component, Image, Manifest, ReleaseNotes, Requires
from surefoot.model.record import utc_text
from surefoot.model.rules import Running
from surefoot.model.slot import SlotName
from surefoot.model.version import RevertTo
from surefoot.model.window import Weekday, Window
from surefoot.rollout.evidence import Baseline, Control, Counts, Evidence, Facts, Share, Tally, counts_of, total
from surefoot.rollout.plan import DEFAULT, Bounds, Gates, Limits, Plan, Rollout, SimpleGate, Stage, Status

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,12}\Z")
BUILD_IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
COUNTERS = st.integers(1, 2**31 - 1)
RANGES = st.sampled_from([">=1.0.0", ">=1.0.0 <2.0.0", "==1.2.3", "!=1.0.0, <3.0.0", "1.0.0"])
HARDWARE, REGIONS, RATES = st.sampled_from(["v1", "v2"]), st.sampled_from(["", "eu"]), st.sampled_from([0.0, 0.01, 1.0])
_SETTABLE = ("site", "region", "a.b", "x-1", "0", "y_z", "tags", "component.modem")
ATTRIBUTE_NAMES = st.sampled_from(_SETTABLE)
ATTRIBUTE_VALUES = (
    st.sampled_from(
        ["", "berlin", "bern", "b*", "new york", "'", '"', "\\", "and", "ü", "🦊", "%", "[a]", "?", "null", "\U0010ffff", "\ud7ff"]
    )
    | st.sampled_from(["1", "1.0", "-1", "10", "2.5", "1e3", "0x1", "12345678901.123456", "1.1.0", "1.1.0-rc.1", "x,y", " y , x,,", "x"])
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
)
VERSIONS = st.sampled_from(["1.0.0", "1.1.0-rc.1", "1.1.0-rc.10", "1.1.0-rc.9", "1.1.0", "1.1.0+5", "1.2.0", "10.0.0", "0.9.99"])
INSTANT_TEXTS = st.sampled_from(["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-11-24T11:59:00Z"])


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
        breaking=st.booleans(),
    )


_NEAR = st.builds("{}.{}.{}".format, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2))
_NEAR_WORDS: st.SearchStrategy[RevertTo] = st.sampled_from(["patch", "minor", "none"])
_NEAR_REVERTS = _NEAR_WORDS | st.lists(_NEAR, max_size=4)
_NEAR_RANGES = st.builds("{}{}".format, st.sampled_from([">=", "<", "==", "!="]), _NEAR)


def runnings() -> st.SearchStrategy[Running]:
    """Return what a device may run, of few versions, so that rules between it and ``neighbours`` matter."""
    return st.builds(
        Running,
        hardware=st.sampled_from(["v1", "v2"]),
        bootloader_version=st.sampled_from(["1.0.0", "2.0.0"]),
        product=st.sampled_from(["thermostat", "thermostat", "thermostat", "lamp"]),
        version=_NEAR,
        release_counter=st.integers(1, 3),
        data_format=st.none() | st.integers(1, 2),
        revert_to=_NEAR_REVERTS,
    )


def neighbours() -> st.SearchStrategy[Manifest]:
    """Return a manifest of one product, of few versions, for one or both of two boards."""
    return st.builds(
        Manifest,
        product=st.just("thermostat"),
        version=_NEAR,
        build_id=st.just("b"),
        variant=st.just("release"),
        release_counter=st.integers(1, 3),
        target_hardware=st.sampled_from([["v1"], ["v1", "v2"]]),
        min_bootloader_version=st.sampled_from(["1.0.0", "1.0.0", "2.0.0"]),
        components=st.just([]),
        image=st.builds(Image, size=st.just(1), hash=st.just(from_hex("0" * 64))),
        metadata=st.just(ReleaseNotes()),
        data_format=st.none() | st.integers(1, 2),
        requires=st.none() | st.builds(Requires, from_=_NEAR_RANGES),
        revert_to=_NEAR_REVERTS,
        breaking=st.booleans(),
    )


def device_reports() -> st.SearchStrategy[DeviceReport]:
    """Return a device's statement, of few products and versions, with any attributes."""
    return st.builds(
        DeviceReport,
        hardware=st.just("v1"),
        bootloader_version=VERSIONS,
        agent_version=st.just("0.1.0"),
        slot=st.sampled_from(SlotName),
        product=st.sampled_from(["thermostat", "lamp"]),
        version=VERSIONS,
        build_id=st.just("b"),
        hash=digests(),
        release_counter=COUNTERS,
        data_format=st.none() | COUNTERS,
        revert_to=revert_rules(),
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
        enrolled_at=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-11-24T11:59:00Z"]),
        report=st.none() | device_reports(),
        given=attribute_maps(),
    )


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Return a filter as it was read from text, over fields that ``devices`` may have."""
    return parse(draw(st.just("") | _joined_clauses()))


def _joined_clauses() -> st.SearchStrategy[str]:
    joints = st.sampled_from([";", " and ", " ; ", ",", " or ", " , "])

    def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = st.tuples(parts, joints, parts).map("".join)
        return pairs | pairs.map(lambda inner: f"({inner})")

    return st.recursive(clauses(), joined, max_leaves=5)


@st.composite
def clauses(draw: st.DrawFn) -> str:
    """Return one comparison, as text, of a field with what it can be compared with."""
    name = draw(ATTRIBUTE_NAMES | st.sampled_from((*RESERVED, "component.os")))
    order = st.sampled_from(["<", "<=", ">", ">=", "=lt=", "=le=", "=gt=", "=ge="])
    match kind_of(name):
        case Kind.TEXT | Kind.WORDS:
            return draw(_equality(name, _texts()))
        case Kind.ATTRIBUTE:
            numbers = st.sampled_from(["0", "1", "-1", "1.0", "2.5", "10", "-0.5", "12345678901.123456"])
            return draw(_equality(name, _texts()) | st.tuples(st.just(name), order, numbers).map("".join))
        case Kind.VERSION:
            some = st.sampled_from(["*", "1.*", "1.1.*", "0.9.*"])
            ordered = st.tuples(st.just(name), order, VERSIONS).map("".join)
            return draw(_equality(name, VERSIONS | some) | ordered | RANGES.map(lambda wanted: f"{name}=range={quoted(wanted)}"))
        case Kind.TIME:
            return draw(_equality(name, INSTANT_TEXTS | st.just("*")) | st.tuples(st.just(name), order, INSTANT_TEXTS).map("".join))
        case Kind.AGE:
            return name + draw(st.sampled_from(["==", "!="])) + draw(st.sampled_from(["0s", "1s", "90s", "2m", "1h", "7d"]))


def _texts() -> st.SearchStrategy[str]:
    """Return a value as it is written: quoted, or a bare word with asterisks."""
    known = st.sampled_from(["v1", "active", "lamp", "t-1", "x", "y", "pilot", "lab"])
    words = st.lists(
        st.sampled_from(["", "b", "be", "r", "in", "x", "t-", "[", "?", "a", "ü", "pi", "\U0010ffff", "\ud7ff", "1"]),
        min_size=2,
        max_size=4,
    )
    return (ATTRIBUTE_VALUES | known).map(quoted) | words.map("*".join)


def _equality(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.tuples(st.just(name), st.sampled_from(["==", "!="]), values).map("".join)
    several = st.lists(values, min_size=1, max_size=3).map(lambda found: f"({','.join(found)})")
    return one | st.tuples(st.just(name), st.sampled_from(["=in=", "=out="]), several).map("".join)


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
def stages(draw: st.DrawFn, name: str, group: str | None) -> Stage:
    """Return any stage of a plan that can be."""
    shares = sorted(draw(st.sets(st.integers(1, 9_999), max_size=4)))
    batches = [f"{share // 100}.{share % 100:02}%" for share in shares]
    return Stage(name=name, group=group, batches=[*batches, "100%"], soak=draw(DURATIONS))


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    """Return two rates, the right way round."""
    low, high = sorted(draw(st.tuples(st.integers(0, 99), st.integers(0, 99))))
    return Bounds(warn=f"{low}%", pause=f"{high}%")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return any plan that does not contradict itself."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    gate = SimpleGate(rollback_rate=draw(bounds()), health_failure_rate=draw(bounds()), min_resolved=draw(st.integers(1, 100)))
    return Plan(
        release="thermostat 1.2.3",
        # A stage of everybody leaves none for those after it.
        stages=[draw(stages(name, name)) for name in names[:-1]] + [draw(stages(names[-1], draw(st.sampled_from([None, names[-1]]))))],
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


ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Antarctica/Troll", "Asia/Gaza", "UTC"]
)
INSTANTS = st.datetimes(datetime(2011, 12, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # Hypothesis adds the zone
WALL_TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 45, 59]))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Return any window that can be used, in one of a few zones with odd clocks."""
    days = draw(st.sets(st.sampled_from(Weekday), min_size=1))
    return Window(
        days=[day for day in Weekday if day in days],
        start=draw(WALL_TIMES),
        length=draw(st.sampled_from(["1m", "5m", "90m", "3h", "23h", "1d", "25h", "2d", "7d"])),
        zone=draw(ZONES),
    )


DAILY_WINDOWS = st.builds(Window, start=WALL_TIMES, length=st.sampled_from(["1m", "3h", "12h"]))
"""Windows of every day, in the device's own zone."""
