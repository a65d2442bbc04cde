# SPDX-License-Identifier: Apache-2.0
"""A repository made by python-tuf's own repository code, served on the loopback, with a log of what was asked for."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp
from tuf.repository import Repository

from surefoot.trust.signer import generate

TOP = {"root": Root, "timestamp": Timestamp, "snapshot": Snapshot, "targets": Targets}


class Published(Repository):
    """Every version of every role, and the targets, by the path under which they are served."""

    def __init__(self, *, is_consistent: bool = True, with_hashes: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, HTTPStatus] = {}
        self.asked: list[str] = []
        self.signers: dict[str, list[Signer]] = {role: [generate()] for role in TOP}
        self.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        self._newest: dict[str, Metadata[Any]] = {}
        self._infos: dict[str, MetaFile] = {}
        self._with_hashes = with_hashes
        with self.edit_root() as root:
            root.consistent_snapshot = is_consistent
            for role, signers in self.signers.items():
                root.add_key(signers[0].public_key, role)
        with self.edit_targets():
            pass
        self.announce()

    def open(self, role: str) -> Metadata[Any]:
        if role not in self._newest:
            fresh: Metadata[Any] = Metadata(TOP.get(role, Targets)())
            fresh.signed.version = 0
            # A new snapshot and timestamp already name version 1 of what they list, without its hashes.
            if role == "snapshot":
                fresh.signed.meta = {}
            if role == "timestamp":
                fresh.signed.snapshot_meta = self.snapshot_info
            return fresh
        return deepcopy(self._newest[role])

    def close(self, role: str, md: Metadata[Any]) -> None:
        md.signed.version += 1
        md.signed.expires = self.expires
        self.put(role, md)

    def put(self, role: str, md: Metadata[Any]) -> None:
        """Sign and serve a version as it is."""
        md.signatures.clear()
        for signer in self.signers[role]:
            md.sign(signer, append=True)
        data = md.to_bytes()
        self._newest[role] = md
        self._infos[f"{role}.json"] = self._described(md.signed.version, data)
        is_versioned = role == "root" or (role != "timestamp" and self._newest["root"].signed.consistent_snapshot)
        self.files[f"metadata/{f'{md.signed.version}.' if is_versioned else ''}{quote(role, safe='')}.json"] = data

    def _described(self, version: int, data: bytes) -> MetaFile:
        if not self._with_hashes:
            return MetaFile(version)
        return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        return {name: info for name, info in self._infos.items() if name.removesuffix(".json") not in {"root", "timestamp", "snapshot"}}

    @property
    def snapshot_info(self) -> MetaFile:
        return self._infos["snapshot.json"]

    def announce(self) -> None:
        """Make a snapshot of what is there now, and a timestamp of that."""
        self.do_snapshot(force=True)
        self.do_timestamp(force=True)

    def newest(self, role: str) -> bytes:
        return self._newest[role].to_bytes()

    def rotate(self, role: str, count: int = 1, threshold: int = 1) -> None:
        """Give a top-level role new keys; a root is signed by the old ones as well."""
        fresh: list[Signer] = [generate() for _ in range(count)]
        old = self.signers[role]
        self.signers[role] = [*old, *fresh] if role == "root" else fresh
        with self.edit_root() as root:
            for signer in old:
                root.revoke_key(signer.public_key.keyid, role)
            for signer in fresh:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = threshold
        self.signers[role] = fresh

    def delegate(self, parent: str, role: str, *paths: str, is_terminating: bool = False) -> None:
        """Let ``parent`` delegate paths to a role, which gets a key of its own for this parent."""
        signer = generate()
        self.signers.setdefault(role, []).append(signer)
        with self.edit_targets(parent) as targets:
            if targets.delegations is None:
                targets.delegations = Delegations({}, {})
            assert targets.delegations.roles is not None
            targets.delegations.roles[role] = DelegatedRole(role, [], 1, is_terminating, list(paths))
            targets.add_key(signer.public_key, role)
        if role not in self._newest:
            with self.edit_targets(role):
                pass

    def delegate_to_bins(self, bit_length: int) -> None:
        signer = generate()
        bins = SuccinctRoles([], 1, bit_length, "bin")
        with self.edit_targets() as targets:
            targets.delegations = Delegations({}, None, bins)
            targets.add_key(signer.public_key)
        for role in bins.get_roles():
            self.signers[role] = [signer]
            with self.edit_targets(role):
                pass

    def add(self, role: str, path: str, content: bytes, *algorithms: str) -> TargetFile:
        """List a target in a role and serve it under all its names."""
        target = TargetFile.from_data(path, content, list(algorithms) or ["sha256"])
        with self.edit_targets(role) as targets:
            targets.targets[path] = target
        self.serve(target, content)
        return target

    def serve(self, target: TargetFile, content: bytes) -> None:
        names = target.get_prefixed_paths() if self.root().consistent_snapshot else [target.path]
        self.files.update({f"targets/{name}": content for name in names})


@contextmanager
def served(repository: Published) -> Iterator[str]:
    """Serve a repository on the loopback and give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            repository.asked.append(name.removeprefix("metadata/"))
            content = repository.files.get(name)
            status = repository.statuses.get(name, HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
