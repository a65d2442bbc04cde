# SPDX-License-Identifier: Apache-2.0
"""Membership kept: who is in which group is stored, and held against rules and consents whenever a device or one of them changes.

What enrol, report, revoke and the verbs of groups share. It costs what the number of groups by filter is, never the fleet.
"""

from datetime import datetime
from functools import lru_cache

from surefoot.fleet.filter import Filter, matches
from surefoot.fleet.group import GroupRule, belongs, rule_filter
from surefoot.model.assignment import DeviceId
from surefoot.server.services.ports import Ledger


def regroup(ledger: Ledger, device_id: DeviceId, now: datetime) -> None:
    """Hold a device that may have changed against every group by filter."""
    rules = ledger.group_rules()
    traits = ledger.traits_of(device_id) if rules else None
    if traits is None:
        return
    for name, rule in rules.items():
        _keep(ledger, name, device_id, now, is_meant=matches(_filter(rule), traits, now))


def settle(ledger: Ledger, group: str, device_id: DeviceId, now: datetime) -> None:
    """Hold a device against one group whose rule or consent has changed."""
    _keep(ledger, group, device_id, now, is_meant=_is_meant(ledger, group, device_id, now))


def is_named(ledger: Ledger, group: str, device_id: DeviceId) -> bool:
    """Say whether operators named a device as a member of a fixed group; a consent remembers it, else being in the group says it."""
    if ledger.group_rule(group) is not None:
        return False
    said = ledger.consent(group, device_id)
    return group in ledger.groups_of(device_id) if said is None else said.is_named


def end_consent(ledger: Ledger, group: str, device_id: DeviceId, now: datetime) -> None:
    """Forget what was said for a device about a group, and put it where it belongs without that."""
    named = is_named(ledger, group, device_id)
    ledger.put_consent(group, device_id, None)
    _put(ledger, group, device_id, now, is_in=named or _is_meant(ledger, group, device_id, now))


def _keep(ledger: Ledger, group: str, device_id: DeviceId, now: datetime, *, is_meant: bool) -> None:
    said, named = ledger.consent(group, device_id), is_named(ledger, group, device_id)
    _put(ledger, group, device_id, now, is_in=belongs(said, now, is_named=named, is_meant=is_meant))


def _put(ledger: Ledger, group: str, device_id: DeviceId, now: datetime, *, is_in: bool) -> None:
    if is_in:
        ledger.add_member(group, device_id, now)
    else:
        ledger.remove_member(group, device_id)


def _is_meant(ledger: Ledger, group: str, device_id: DeviceId, now: datetime) -> bool:
    rule, traits = ledger.group_rule(group), ledger.traits_of(device_id)
    return rule is not None and traits is not None and matches(_filter(rule), traits, now)


@lru_cache(maxsize=500)
def _filter(rule: GroupRule) -> Filter:
    return rule_filter(rule)
