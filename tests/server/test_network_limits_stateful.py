# SPDX-License-Identifier: Apache-2.0
"""A rollout with limits by region and site, through the verbs on a real database, against a naive account of who fetches what where.

Whatever the order of things: no network ever bears more than its limit, and with time everybody is offered the release.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState
from surefoot.model.assignment import DeviceId
from surefoot.model.event import EventType
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.plan import Bounds, Gates, Limits, NetworkLimits, Plan, SimpleGate, Stage, Status
from surefoot.server.db.recount import counters_off
from surefoot.server.services.rollout_store import MOST_OFFERS
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import open_office, statement

IMAGE = b"x" * 40
LAX = Gates(simple=SimpleGate(rollback_rate=Bounds(warn="99.99%", pause="99.99%"), min_resolved=1))
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SITES = ("berlin", "paris", "")
REGIONS = ("eu", "us")
FEW = st.none() | st.integers(1, 3)
OWN = st.builds(
    NetworkLimits,
    per_minute=FEW,
    per_hour=st.none() | st.integers(3, 6),
    bytes_per_second=st.sampled_from([None, 1, 2]),
    concurrent_downloads=FEW,
).filter(lambda own: not own.is_nothing)


@dataclass
class Offer:
    """One offer as somebody in the network sees it."""

    at: datetime
    site: str
    region: str
    is_fetching: bool = False
    has_ended: bool = False

    def may_fetch(self, now: datetime) -> bool:
        return not self.has_ended and (self.is_fetching or now - self.at < HOUR)


class Fleet(RuleBasedStateMachine):
    """Eighteen devices in two regions and two sites; some are in no site."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.offers: dict[int, Offer] = {}
        self.limits = Limits()
        self.pauses = 0

    @initialize(
        regions=st.dictionaries(st.sampled_from(["eu", "*"]), OWN, max_size=2),
        sites=st.dictionaries(st.sampled_from(["berlin", "*", ""]), OWN, min_size=1, max_size=3),
        batches=st.sampled_from([["100%"], ["50%", "100%"]]),
    )
    def begin(self, regions: dict[str, NetworkLimits], sites: dict[str, NetworkLimits], batches: list[str]) -> None:
        office = self.stack.enter_context(open_office(Path(self.stack.enter_context(tempfile.TemporaryDirectory()))))
        office.add_release("1.1.0", IMAGE)
        self.campaign = Campaign(office=office)
        self.place = {DeviceId(f"t-{number:02}"): (REGIONS[number % 5 == 0], SITES[number % 3]) for number in range(18)}
        for device_id in self.place:
            self.put(device_id)
        self.limits = Limits(regions=regions, sites=sites)
        stages = [Stage(name="all", batches=batches, soak="0s")]
        plan = Plan(release="thermostat 1.1.0", gate=LAX, watch="0s", stages=stages, deadline="30d", start_within="30d", limits=self.limits)
        self.campaign.begin(plan)

    @rule(seconds=st.sampled_from([1, 10, 59, 61, 600, 3_599, 3_601]), times=st.integers(1, 4))
    def time_passes(self, seconds: int, times: int) -> None:
        for _ in range(times):
            self.advance(seconds)

    @rule(which=st.integers(0, 20), kind=st.sampled_from([EventType.DOWNLOAD_STARTED] * 2 + [EventType.DOWNLOAD_COMPLETED]))
    def a_device_fetches(self, which: int, kind: EventType) -> None:
        """Within the hour; one that began later would come on top of what is counted."""
        live = [one for one in self.campaign.open_attempts() if self.offers[one.assignment_id].may_fetch(self.now)]
        if live:
            self.tell(live[which % len(live)], kind)

    @rule(which=st.integers(0, 20))
    def a_device_ends(self, which: int) -> None:
        live = self.campaign.open_attempts()
        if live:
            self.succeed(live[which % len(live)])

    @rule(which=st.integers(0, 17), site=st.sampled_from(SITES))
    def a_device_moves(self, which: int, site: str) -> None:
        device_id = DeviceId(f"t-{which:02}")
        self.place[device_id] = (self.place[device_id][0], site)
        self.put(device_id)

    @rule()
    def a_person_pauses_and_resumes(self) -> None:
        self.pauses += 1
        # A device whose offer is withdrawn again and again is given up at the fifth.
        if self.campaign.status is Status.RUNNING and self.pauses < MOST_OFFERS:
            self.campaign.steer(Verb.PAUSE)
            self.look()
            self.campaign.steer(Verb.RESUME)

    @invariant()
    def no_network_bears_more_than_its_limit(self) -> None:
        for kind, names in (("region", REGIONS), ("site", SITES)):
            for name in names:
                own = self.limits.of_network(f"{kind}:{name}")
                if own is not None:
                    self.within(own, [offer for offer in self.offers.values() if getattr(offer, kind) == name])

    def within(self, own: NetworkLimits, offers: list[Offer]) -> None:
        times = sorted(offer.at for offer in offers)
        in_a_minute = max((sum(begin <= at < begin + MINUTE for at in times) for begin in times), default=0)
        in_an_hour = max((sum(begin <= at < begin + HOUR for at in times) for begin in times), default=0)
        assert own.per_minute is None or in_a_minute <= own.per_minute
        assert own.per_hour is None or in_an_hour <= own.per_hour
        assert own.bytes_per_second is None or in_a_minute * len(IMAGE) <= own.bytes_per_second * 60
        assert own.concurrent_downloads is None or sum(offer.may_fetch(self.now) for offer in offers) <= own.concurrent_downloads

    @invariant()
    def counters_say_what_attempts_say(self) -> None:
        if hasattr(self, "campaign"):
            assert counters_off(self.campaign.connection, self.campaign.rollout_id) == {}

    def teardown(self) -> None:
        with self.stack:
            if hasattr(self, "campaign"):
                self.everybody_is_offered_it_in_the_end()
                self.campaign.made_again()

    def everybody_is_offered_it_in_the_end(self) -> None:
        for _ in range(60):
            for attempt in self.campaign.open_attempts():
                self.succeed(attempt)
            self.advance(1_800)
            self.no_network_bears_more_than_its_limit()
            if self.campaign.status is Status.FINISHED:
                break
        done = {attempt.device_id for attempt in self.campaign.attempts() if attempt.outcome == "succeeded"}
        assert (self.campaign.status, done) == (Status.FINISHED, set(self.place))

    @property
    def now(self) -> datetime:
        return self.campaign.office.now

    def put(self, device_id: DeviceId) -> None:
        region, site = self.place[device_id]
        office = self.campaign.office
        given = {"region": region} | ({"site": site} if site else {})
        device = office.ledger.device(device_id) or Device(
            device_id=device_id, hardware="thermostat-v1", state=DeviceState.ACTIVE, enrolled_at=utc_text(office.now)
        )
        office.ledger.put_device(structs.replace(device, given=given))
        if device.report is None:
            office.ledger.put_report(device_id, statement(OLD_IMAGE))

    def advance(self, seconds: int) -> None:
        self.campaign.advance(seconds=seconds)
        self.look()

    def look(self) -> None:
        """Enter what was offered, and what was withdrawn or given up."""
        for attempt in self.campaign.attempts():
            if attempt.assignment_id not in self.offers:
                region, site = self.place[attempt.device_id]
                self.offers[attempt.assignment_id] = Offer(parse_utc(attempt.issued_at), site, region)
            self.offers[attempt.assignment_id].has_ended |= attempt.outcome is not None

    def tell(self, attempt: Attempt, kind: EventType) -> None:
        self.campaign.tell(attempt, kind)
        offer = self.offers[attempt.assignment_id]
        offer.is_fetching, offer.has_ended = kind is EventType.DOWNLOAD_STARTED, kind is EventType.DOWNLOAD_COMPLETED

    def succeed(self, attempt: Attempt) -> None:
        self.campaign.tell(attempt, EventType.DOWNLOAD_COMPLETED)
        self.campaign.tell(attempt, EventType.HEALTH_OK, running=attempt.hash)
        self.offers[attempt.assignment_id].has_ended = True


TestFleet = Fleet.TestCase
TestFleet.settings = settings(deadline=None, max_examples=10, stateful_step_count=15)
