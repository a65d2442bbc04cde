# SPDX-License-Identifier: Apache-2.0
"""The checks of a device, in its order, and each of them taken out: what to replace by what, and which tests must then fail."""

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"

STEPS = {
    1: "clock: never behind what was verified",
    2: "director root",
    3: "director timestamp",
    4: "director snapshot",
    5: "director targets",
    6: "nothing ordered",
    7: "image repository",
    8: "both say the same",
    9: "hardware, bootloader, versions",
    10: "order still to be begun, its windows, room",
    11: "download",
    12: "read the slot back",
    13: "trial, commit, fall back",
    14: "report",
}
"""The device's order of checks."""

VERIFY, METADATA, ADMISSION = "trust/verify.py", "trust/metadata.py", "agent/admission.py"
DOWNLOAD, INSTALL, MACHINE, RUNNER = "agent/download.py", "agent/install.py", "agent/machine.py", "agent/runner.py"

PERMISSION, OPENING = "schedule/permission.py", "schedule/opening.py"

_TESTS = {
    PERMISSION: ("tests/schedule/test_permission.py",),
    OPENING: ("tests/schedule/test_opening.py",),
    VERIFY: ("tests/trust/test_checks.py", "tests/trust/test_verify.py"),
    METADATA: ("tests/trust/test_metadata.py", "tests/trust/test_checks.py", "tests/trust/test_verify.py"),
    ADMISSION: ("tests/agent/test_admission.py",),
    DOWNLOAD: ("tests/agent/test_download.py",),
    INSTALL: ("tests/agent/test_install.py", "tests/agent/test_runner.py"),
    MACHINE: ("tests/agent/test_machine.py", "tests/agent/test_machine_waiting.py", "tests/agent/test_runner.py"),
    RUNNER: ("tests/agent/test_runner.py", "tests/agent/test_waiting.py"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One check taken out; ``text`` stands exactly once in ``file``."""

    step: int
    check: str
    file: str
    text: str
    replacement: str

    @property
    def path(self) -> str:
        """Return the file, from the source folder on."""
        return f"surefoot/{self.file}"

    @property
    def tests(self) -> tuple[str, ...]:
        """Return the test files of which one must fail."""
        return _TESTS[self.file]

    def is_current(self) -> bool:
        """Say whether the source still has the check as it stands here."""
        return (SOURCE / self.path).read_text().count(self.text) == 1


def _m(step: int, check: str, file: str, text: str, replacement: str) -> Mutant:
    return Mutant(step=step, check=check, file=file, text=text, replacement=replacement)


MUTANTS = (
    _m(
        1,
        "the clock is raised to the floor",
        RUNNER,
        "return max(self.parts.clock.now(), floor, counted)",
        "return self.parts.clock.now()",
    ),
    _m(1, "the order is judged by the verified time", RUNNER, "now = max(now, verdict.issued_at)", "now = now"),
    _m(
        1,
        "the floor only grows",
        RUNNER,
        "floor = utc_text(max(verdict.issued_at, parse_utc(self.state.time_floor)))",
        "floor = utc_text(verdict.issued_at)",
    ),
    _m(1, "what the director's files say holds when it speaks", VERIFY, "    if now >= fresh_until:\n", "    if False:\n"),
    _m(1, "no time past the timestamp's end", VERIFY, "if issued_at > directed.timestamp.expires:", "if False:"),
    _m(
        2,
        "signed by the old root",
        VERIFY,
        'root = verified(data, Root, trusted.root, "root", name=name)\n',
        "root = read(data, Root, name=name).signed\n",
    ),
    _m(2, "signed by the new root", VERIFY, '    verified(data, Root, root, "root", name=name)\n', ""),
    _m(2, "version is the next", VERIFY, "if root.version != trusted.root.version + 1:", "if False:"),
    _m(2, "unexpired at the end", VERIFY, '_require_unexpired(trusted.root, "root.json", now)', "pass"),
    _m(2, "the first root signs itself", VERIFY, 'return verified(data, Root, root, "root", name="trusted root.json")', "return root"),
    _m(2, "a cap before parsing", METADATA, "if len(data) > cap:", "if False:"),
    _m(2, "of the expected type", METADATA, "if not isinstance(metadata.signed, kind):", "if False:"),
    _m(
        2,
        "a rotated key disowns what it signed",
        VERIFY,
        "    except SignatureError:\n        return None\n",
        "    except SignatureError:\n        return read(data, kind, name=role).signed\n",
    ),
    _m(
        3,
        "signed",
        VERIFY,
        'timestamp = verified(data, Timestamp, trusted.root, "timestamp", name="timestamp.json")',
        'timestamp = read(data, Timestamp, name="timestamp.json").signed',
    ),
    _m(3, "for this device", VERIFY, '    _require_device(timestamp, trusted.device_id, "timestamp.json")\n', ""),
    _m(
        3,
        "not older than trusted",
        VERIFY,
        '        _require_not_older("timestamp.json", timestamp.version, trusted.timestamp.version)\n',
        "",
    ),
    _m(
        3,
        "its snapshot not older than trusted",
        VERIFY,
        '        _require_not_older("snapshot.json", timestamp.snapshot_meta.version, trusted.timestamp.snapshot_meta.version)\n',
        "",
    ),
    _m(
        3,
        "one version, one content",
        VERIFY,
        "if timestamp.version == trusted.timestamp.version and timestamp != trusted.timestamp:",
        "if False:",
    ),
    _m(3, "unexpired", VERIFY, '    _require_unexpired(timestamp, "timestamp.json", now)\n', ""),
    _m(
        4,
        "length and hash",
        VERIFY,
        '    _require_named(meta, data, "snapshot.json")\n',
        "",
    ),
    _m(
        4,
        "signed",
        VERIFY,
        'snapshot = verified(data, Snapshot, trusted.root, "snapshot", name="snapshot.json")',
        'snapshot = read(data, Snapshot, name="snapshot.json").signed',
    ),
    _m(4, "for this device", VERIFY, '    _require_device(snapshot, trusted.device_id, "snapshot.json")\n', ""),
    _m(4, "version", VERIFY, "if snapshot.version != meta.version:", "if False:"),
    _m(4, "no file disappears", VERIFY, "        if name not in snapshot.meta:\n", "        if False:\n"),
    _m(
        4,
        "no file goes back",
        VERIFY,
        "        _require_not_older(name, snapshot.meta[name].version, known.version)\n",
        "        pass\n",
    ),
    _m(4, "unexpired", VERIFY, '    _require_unexpired(snapshot, "snapshot.json", now)\n', ""),
    _m(5, "listed in the snapshot", VERIFY, "    if meta is None:\n", "    if False:\n"),
    _m(5, "length and hash", VERIFY, "    with refusals(name):\n        meta.verify_length_and_hashes(data)\n", ""),
    _m(
        5,
        "signed",
        VERIFY,
        "targets = verified(data, Targets, delegator, role, name=name)",
        "targets = read(data, Targets, name=name).signed",
    ),
    _m(5, "for this device", VERIFY, "    _require_device(targets, trusted.device_id, name)\n", ""),
    _m(5, "version", VERIFY, "if targets.version != meta.version:", "if False:"),
    _m(5, "unexpired", VERIFY, "    _require_unexpired(targets, name, now)\n", ""),
    _m(5, "no delegations", VERIFY, "    if targets.delegations is not None:\n        raise", "    if False:\n        raise"),
    _m(5, "one entry at most", VERIFY, "if len(targets.targets) > 1:", "if False:"),
    _m(5, "the entry for this device", VERIFY, "if ordered.order.device_id != device_id:", "if False:"),
    _m(
        6,
        "nothing ordered keeps what is trusted of the image repository",
        VERIFY,
        "return Verdict(director=directed.files, image=image, ordered=None",
        "return Verdict(director=directed.files, image={}, ordered=None",
    ),
    _m(6, "an order that has ended is not done again", MACHINE, "    if event.order.assignment_id == state.finished:\n", "    if False:\n"),
    _m(
        7,
        "a role's keys are its delegator's",
        METADATA,
        "    if len(keys) < result.threshold:\n",
        "    if False:\n",
    ),
    _m(
        7,
        "a role speaks for its paths only",
        VERIFY,
        "        yield from targets.delegations.get_roles_for_target(path)\n",
        "        yield from ((name, False) for name in targets.delegations.roles or {})\n",
    ),
    _m(7, "a terminating role ends the search", VERIFY, "            if is_terminating:\n", "            if False:\n"),
    _m(7, "each role once", VERIFY, "        if role in seen:\n", "        if False:\n"),
    _m(7, "a bound on roles", VERIFY, "while waiting and len(seen) < _MAX_DELEGATIONS:", "while waiting:"),
    _m(7, "no key twice in one object", METADATA, "    if len(value) != len(pairs):\n", "    if False:\n"),
    _m(7, "no number but integers", METADATA, "parse_float=_refuse_number,", "parse_float=float,"),
    _m(7, "one spelling of a signature", METADATA, '_HEX.fullmatch(signature["sig"]) is None', "False"),
    _m(7, "one spelling of a key id", METADATA, '_KEY_ID.fullmatch(signature["keyid"]) is None', "False"),
    _m(8, "length and hashes", VERIFY, "if (entry.length, entry.hashes) != (listed.length, listed.hashes):", "if False:"),
    _m(8, "must-match block", VERIFY, "if _block(entry) != _block(listed):", "if False:"),
    _m(8, "SHA-256 and no other", VERIFY, 'if set(entry.hashes) != {"sha256"}:', "if False:"),
    _m(
        8,
        "the path is the block's",
        VERIFY,
        "    if not any(entry.path.startswith(begun)",
        "    if False and not any(entry.path.startswith(begun)",
    ),
    _m(9, "hardware", ADMISSION, "if board.hardware not in wanted.target_hardware:", "if False:"),
    _m(9, "bootloader", ADMISSION, "if parse(board.bootloader_version) < parse(wanted.min_bootloader_version):", "if False:"),
    _m(9, "product", ADMISSION, "if wanted.product != running.product:", "if False:"),
    _m(9, "release counter", ADMISSION, "if wanted.release_counter < state.release_counter:", "if False:"),
    _m(9, "going back only where allowed", ADMISSION, "    if is_down and not may_revert(", "    if False and not may_revert("),
    _m(9, "data format", ADMISSION, "(wanted.data_format or 0) < running.data_format:", "False:"),
    _m(9, "requires", ADMISSION, "if wanted.requires is not None and not is_in_range(", "if False and not is_in_range("),
    _m(10, "start_before", ADMISSION, "if now > parse_utc(ordered.order.start_before):", "if False:"),
    _m(10, "fits a slot", ADMISSION, "if ordered.size > board.slot_capacity_bytes:", "if False:"),
    _m(
        10,
        "deadline of the attempt",
        MACHINE,
        "    if event.now > parse_utc(attempt.started_at) + timedelta(seconds=attempt.order.deadline_s):\n",
        "    if False:\n",
    ),
    _m(10, "not empty", ADMISSION, "if ordered.size == 0:", "if False:"),
    _m(10, "a window is waited for", MACHINE, "if order.windows and (is_here or", "if False and (is_here or"),
    _m(
        10,
        "the server is asked before a window is used",
        MACHINE,
        "return state, (Poll(etag=state.etag),)",
        "return state, (_weigh(state),)",
    ),
    _m(10, "start_before of what waits", PERMISSION, "if now > terms.start_before:", "if False:"),
    _m(10, "the interlock before the deadline", PERMISSION, "    if interlock:\n", "    if False:\n"),
    _m(10, "no deadline before its time", PERMISSION, "if forced is not None and now >= forced:", "if forced is not None:"),
    _m(10, "an install fits before the window closes", PERMISSION, "opening.closes_at - install >= max(", "opening.closes_at >= max("),
    _m(10, "not before the device's own moment", PERMISSION, "    if now >= starts_at:\n", "    if now >= opening.opens_at:\n"),
    _m(10, "a grace of the device's own", PERMISSION, "max(deadline, first_offered + grace)", "deadline"),
    _m(10, "a day that never was has no window", OPENING, "in window.days and _exists(day, zone):", "in window.days:"),
    _m(10, "a zone of the order is known", RUNNER, "            require_readable(ordered.order)\n", ""),
    _m(11, "fits the slot", DOWNLOAD, "if target.size > self._slots.capacity_bytes:", "if False:"),
    _m(11, "stop at the signed length", DOWNLOAD, "if self._arrived or self._has_more():", "if False:"),
    _m(11, "length stated by the peer", DOWNLOAD, "if response.total not in {None, self.target.size}:", "if False:"),
    _m(11, "hash while writing", DOWNLOAD, "if found != self.target.hash:", "if False:"),
    _m(11, "the range asked for", DOWNLOAD, "if response.start + self._skip != self.position:", "if False:"),
    _m(11, "what was kept is read again", DOWNLOAD, "        if not session.reread(received):\n", "        if False:\n"),
    _m(11, "a bound on tries", MACHINE, "if attempt.tries >= policy.max_tries:", "if False:"),
    _m(12, "the slot is read back", RUNNER, "            self.parts.slots.verify(attempt.slot, attempt.size, attempt.hash)\n", ""),
    _m(12, "length in the slot", INSTALL, "if found_bytes != size:", "if False:"),
    _m(12, "hash in the slot", INSTALL, "if found != digest:", "if False:"),
    _m(12, "never the running slot", INSTALL, "if slot is running:", "if False:"),
    _m(12, "bad while it is written", INSTALL, "    boot.set_state(slot, SlotState.BAD)\n", ""),
    _m(13, "the ordered image booted", MACHINE, "    if not event.is_wanted:\n", "    if False:\n"),
    _m(13, "a bound on starts", MACHINE, "    elif attempt.boots > policy.max_boots:\n", "    elif False:\n"),
    _m(13, "health holds long enough", MACHINE, "not event.failing and event.healthy_s >= policy.settle_s", "True"),
    _m(13, "the server was reached", MACHINE, "if is_settled and (event.is_reported or not policy.needs_server):", "if is_settled:"),
    _m(13, "a trial ends", MACHINE, "if event.trial_s < policy.trial_s:", "if True:"),
    _m(
        13,
        "the release counter is stored",
        MACHINE,
        "release_counter=max(state.release_counter, attempt.order.must_match.release_counter),",
        "release_counter=state.release_counter,",
    ),
    _m(13, "never to a bad slot", INSTALL, "    if boot.get_state(to) is SlotState.BAD:\n", "    if False:\n"),
    _m(14, "the hash that really lies there", RUNNER, "hash=self.running.found,", "hash=installed.hash,"),
    _m(14, "an acknowledgement of what was sent", RUNNER, "answer.acknowledged.journal != journal.id or ", ""),
    _m(14, "the refusal's code", MACHINE, "if state.refused != event.code else ()", "if False else ()"),
    _m(14, "no more is acknowledged than was sent", RUNNER, "min(answer.acknowledged.seq, events[-1].seq)", "answer.acknowledged.seq"),
)
