# SPDX-License-Identifier: Apache-2.0
"""The operator API: blobs, releases, metadata, tokens, devices, groups and orders; its OpenAPI document is ``/schema/openapi.json``.

Every call carries a named token (RFC 6750); every act is stored with that name. A customer's token reaches the routes that name a rule
for it (``reach=``), and gets the same 403 from all others.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, get_args

from litestar import Litestar, MediaType, Request, Response, Router, delete, get, head, post, put
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.enroll import token_hash
from surefoot.fleet.filter import parse
from surefoot.fleet.group import GroupRule
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.attribute import AttributeValue
from surefoot.model.digest import Digest, from_hex
from surefoot.model.duration import Duration
from surefoot.model.errors import Error, FormatError, UnknownError
from surefoot.model.manifest import BuildId, Manifest
from surefoot.model.record import Name, to_json
from surefoot.model.version import SemVer
from surefoot.model.window import WallTime, ZoneName
from surefoot.model.wire import EnrolmentOffer
from surefoot.rollout.decision import Decision
from surefoot.rollout.plan import WRITTEN, Plan
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.api.http import (
    PROBLEM_TYPE,
    Problem,
    Receive,
    Scope,
    Send,
    UnauthenticatedError,
    header,
    problem_of,
    send_problem,
    too_large,
)
from surefoot.server.services.access import UserAnswer, UserRequest, add_user, remove_user
from surefoot.server.services.catalogue import (
    Catalogue,
    DevicePage,
    DeviceStory,
    FleetMix,
    GroupList,
    GroupStory,
    ReleaseList,
    ReleaseStory,
    RolloutDevices,
    RolloutList,
    RolloutStory,
    UserList,
    VersionList,
    WindowList,
)
from surefoot.server.services.enroll import Doors, TokenRequest, offer
from surefoot.server.services.expiry import end_over, over_in
from surefoot.server.services.groups import (
    AttributesRequest,
    OptRequest,
    add_member,
    define,
    end_opt,
    fill,
    give_attributes,
    moved_by,
    opt,
    remove_group,
    remove_member,
)
from surefoot.server.services.guard import EditAnswer, Guard, guarded
from surefoot.server.services.order import OrderRequest, order
from surefoot.server.services.poll import Poll
from surefoot.server.services.ports import Act, Caller, Reads, Write
from surefoot.server.services.preview import PathPlan, preview
from surefoot.server.services.publish import PublishAnswer, PublishRequest, Shelf, publish
from surefoot.server.services.quarantine import UnquarantineAnswer, WhyRequest, cancel, unquarantine
from surefoot.server.services.reach import own_consent, own_device, own_windows, require
from surefoot.server.services.revoke import RevocationAnswer, revoke
from surefoot.server.services.rollouts import CreateAnswer, SteerRequest, Verb, create, steer
from surefoot.server.services.trust_update import TrustChange, TrustStory, TrustUpdate, story, take
from surefoot.server.services.why import Tell, Why
from surefoot.server.services.windows import DeviceWindows, device_windows, remove_windows, set_windows, show_windows
from surefoot.store.blobs import Draft
from surefoot.trust.director import DirectorSigners
from surefoot.trust.online import Online

_CALLER = "surefoot.caller"
_REACH = "reach"
_FORMS = {
    meta.pattern: meta.description
    for kind in (Name, SemVer, BuildId, Digest, DeviceId, AttributeValue, Duration, WallTime, ZoneName, *WRITTEN)
    for meta in get_args(getattr(kind, "__supertype__", kind))
    if isinstance(meta, Meta) and meta.pattern
}
_MOST_RELEASE_BYTES = 8 << 20
# All role files of a product with a hundred thousand images, in Base64.
_MOST_TRUST_BYTES = 128 << 20
_MOST_BODY_BYTES = 64 << 10
_PIECE_BYTES = 1 << 20
_REPOSITORIES = ("image", "director")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorParts:
    """What the operator API works with.

    Attributes:
        reads: Reads by primary key.
        write: The way to the writer.
        catalogue: Lists for people.
        shelf: Where releases go.
        signers: The director's online keys.
        online: All of the server's own keys, changed when people sign a new root.
        poll: Told when the image repository has changed.
        doors: What enrolment offers say.
        secret: Makes the secret of a token.
        clock: Now, aware, UTC.
        why: Says why a device did or did not update; may take its time.
        most_blob_bytes: Longest blob taken.
    """

    reads: Reads
    write: Write
    catalogue: Catalogue
    shelf: Shelf
    signers: DirectorSigners
    online: Online
    poll: Poll
    doors: Doors
    secret: Callable[[], str]
    clock: Callable[[], datetime]
    why: Tell
    most_blob_bytes: int = 4 << 30


class OperatorApi:
    """The ASGI application of the operator listener: looks at the token, then lets Litestar route."""

    def __init__(self, parts: OperatorParts) -> None:
        """Serve with ``parts``."""
        self._reads = parts.reads
        self._routes = _litestar(parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scheme, _, secret = header(scope, b"authorization").partition(" ")
        caller = self._reads.caller(token_hash(secret.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            error = UnauthenticatedError("No known token came with this call.", hint="Send 'Authorization: Bearer …', as in admin.token.")
            await send_problem(send, error)
            return
        scope[_CALLER] = caller
        await self._routes(scope, receive, send)  # type: ignore[arg-type]  # Litestar names the same messages by its own types


@put("/blobs/{hex_digits:str}", status_code=204, request_max_body_size=None)
async def put_blob(request: Request[Any, Any, Any], hex_digits: FromPath[str], parts: NamedDependency[OperatorParts]) -> None:
    """Store a blob by its SHA-256; the same again changes nothing."""
    digest = from_hex(hex_digits)
    draft = parts.shelf.blobs.draft(digest)
    try:
        await _fill(draft, request.stream(), parts.most_blob_bytes)
        await asyncio.to_thread(draft.commit)
    finally:
        draft.discard()
    act = Act(at=parts.clock(), by=_by(request), what="blob.put", subject=digest)
    await parts.write(lambda ledger: ledger.add_act(act))


@head("/blobs/{hex_digits:str}")
async def head_blob(hex_digits: FromPath[str], parts: NamedDependency[OperatorParts]) -> None:
    """Say whether a blob is stored."""
    if parts.shelf.blobs.size(from_hex(hex_digits)) is None:
        raise UnknownError(f"There is no blob {hex_digits}.")


@post("/releases", status_code=200, request_max_body_size=_MOST_RELEASE_BYTES)
async def post_release(
    request: Request[Any, Any, Any], data: JSONBody[PublishRequest], parts: NamedDependency[OperatorParts]
) -> PublishAnswer:
    """Publish a release whose blobs are stored; the same again changes nothing."""
    answer = await publish(data, parts.shelf, _by(request), parts.write, parts.clock())
    parts.poll.reload()
    return answer


@get("/releases")
async def list_releases(parts: NamedDependency[OperatorParts]) -> ReleaseList:
    """List every release, newest first."""
    return parts.catalogue.releases()


@get("/releases/{product:str}/{version:str}")
async def show_release(product: FromPath[str], version: FromPath[str], parts: NamedDependency[OperatorParts]) -> ReleaseStory:
    """Show a release with its manifests."""
    release = parts.reads.release(product, version)
    if release is None:
        raise UnknownError(f"There is no release {product} {version}.", hint="See 'surefoot release list'.")
    return ReleaseStory(hash=release.digest, index=release.index, manifests=list(release.manifests))


@get("/releases/{product:str}/{version:str}/manifests/{hardware:str}/{variant:str}")
async def get_manifest(
    product: FromPath[str], version: FromPath[str], hardware: FromPath[str], variant: FromPath[str], parts: NamedDependency[OperatorParts]
) -> Manifest:
    """Return the published manifest of one hardware in one variant, with ``image.url`` and ``image.signature``."""
    release = parts.reads.release(product, version)
    for manifest in release.manifests if release is not None else ():
        if hardware in manifest.target_hardware and manifest.variant == variant:
            return manifest
    raise UnknownError(f"There is no release {product} {version} for {hardware} {variant}.", hint="See 'surefoot release list'.")


@get("/releases/{product:str}/{version:str}/provenance", media_type=MediaType.JSON)
async def get_provenance(product: FromPath[str], version: FromPath[str], parts: NamedDependency[OperatorParts]) -> Response[bytes]:
    """Return the provenance of a release in its signed envelope, byte for byte."""
    found = parts.reads.provenance(product, version)
    if found is None:
        raise UnknownError(f"There is no release {product} {version}.", hint="See 'surefoot release list'.")
    return Response(found, media_type=MediaType.JSON)


@get("/releases/{product:str}/{version:str}/paths")
async def show_paths(
    product: FromPath[str],
    version: FromPath[str],
    parts: NamedDependency[OperatorParts],
    variant: FromQuery[str] = "release",
    wanted: Annotated[str, QueryParameter(name="filter")] = "",
) -> PathPlan:
    """Say through which releases each device of the product would go to this one, or why it cannot; nothing is ordered."""
    return await asyncio.to_thread(preview, parts.catalogue, product, version, variant, wanted=parse(wanted), now=parts.clock())


@get("/metadata/{repository:str}/{name:str}", media_type=MediaType.JSON)
async def get_metadata(repository: FromPath[str], name: FromPath[str], parts: NamedDependency[OperatorParts]) -> Response[bytes]:
    """Return a file of the image repository or the director, byte for byte."""
    found = parts.reads.metadata(repository, (name,)).files.get(name) if repository in _REPOSITORIES else None
    if found is None:
        raise UnknownError(f"There is no metadata file {repository}/{name}.")
    return Response(found, media_type=MediaType.JSON)


@post("/trust", status_code=200, request_max_body_size=_MOST_TRUST_BYTES)
async def post_trust(request: Request[Any, Any, Any], data: JSONBody[TrustUpdate], parts: NamedDependency[OperatorParts]) -> TrustChange:
    """Take in roots, targets and product roles that people signed anew: all or nothing; the same again changes nothing."""
    answer = await take(data, by=_by(request), online=parts.online, write=parts.write, now=parts.clock())
    parts.poll.reload()
    return answer


@get("/trust")
async def show_trust(parts: NamedDependency[OperatorParts]) -> TrustStory:
    """Show who may sign what: every role of both repositories with its keys, threshold, version and expiry."""
    return story(parts.reads)


@post("/tokens", status_code=201)
async def post_token(
    request: Request[Any, Any, Any], data: JSONBody[TokenRequest], parts: NamedDependency[OperatorParts]
) -> EnrolmentOffer:
    """Make a single-use token for a device; what comes back is the device's ``enrol.json``."""
    return await offer(data, parts.secret(), parts.doors, by=_by(request), reads=parts.reads, write=parts.write, now=parts.clock())


@post("/users", status_code=201)
async def post_user(request: Request[Any, Any, Any], data: JSONBody[UserRequest], parts: NamedDependency[OperatorParts]) -> UserAnswer:
    """Let one more operator in; the token in the answer is told this once."""
    return await add_user(data, parts.secret(), by=_by(request), write=parts.write, now=parts.clock())


@get("/users")
async def list_users(parts: NamedDependency[OperatorParts]) -> UserList:
    """List operators."""
    return parts.catalogue.users()


@delete("/users/{name:str}")
async def delete_user(request: Request[Any, Any, Any], name: FromPath[str], parts: NamedDependency[OperatorParts]) -> None:
    """Let an operator in no longer."""
    await remove_user(name, by=_by(request), write=parts.write, now=parts.clock())


@get("/devices")
async def list_devices(
    parts: NamedDependency[OperatorParts],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100,
    wanted: Annotated[str, QueryParameter(name="filter")] = "",
) -> DevicePage:
    """List devices in the order of their ids, a page at a time: all, or those that a filter means."""
    # A filter may read the whole fleet; devices are not to wait for that.
    return await asyncio.to_thread(parts.catalogue.devices, after, limit, parse(wanted), parts.clock())


@get("/mix")
async def show_mix(
    parts: NamedDependency[OperatorParts],
    product: FromQuery[str],
    wanted: Annotated[str, QueryParameter(name="filter")] = "",
    group: FromQuery[str] = "",
) -> FleetMix:
    """Count the devices that a plan would be for, by hardware and region, and say what is usual for them."""
    now = parts.clock()
    # A filter may read the whole fleet; devices are not to wait for that.
    return await asyncio.to_thread(parts.catalogue.mix, product, parse(wanted), group, now, int(now.timestamp()) - 86_400)


@get("/versions")
async def list_versions(parts: NamedDependency[OperatorParts]) -> VersionList:
    """Say how many devices run which version."""
    return parts.catalogue.versions()


@get("/devices/{device_id:str}")
async def show_device(device_id: FromPath[str], parts: NamedDependency[OperatorParts]) -> DeviceStory:
    """Show a device with its attributes and groups, and its newest assignments and events."""
    return parts.catalogue.story(DeviceId(device_id))


@get("/devices/{device_id:str}/why")
async def show_why(device_id: FromPath[str], parts: NamedDependency[OperatorParts], rollout: FromQuery[int | None] = None) -> Why:
    """Say why a device did or did not update: for one rollout, or for all that concern it now."""
    return await asyncio.to_thread(parts.why, DeviceId(device_id), rollout)


@post("/devices/{device_id:str}/revoke", status_code=200)
async def post_revocation(
    request: Request[Any, Any, Any], device_id: FromPath[str], parts: NamedDependency[OperatorParts]
) -> RevocationAnswer:
    """End all certificates of a device; it comes back with a new token."""
    return await revoke(DeviceId(device_id), by=_by(request), write=parts.write, now=parts.clock())


@post("/devices/{device_id:str}/order", status_code=201)
async def post_order(
    request: Request[Any, Any, Any], device_id: FromPath[str], data: JSONBody[OrderRequest], parts: NamedDependency[OperatorParts]
) -> Attempt:
    """Order a release for one device, in place of what was ordered before."""
    live = parts.catalogue.live_manifests
    return await order(DeviceId(device_id), data, by=_by(request), write=parts.write, live=live, signers=parts.signers, now=parts.clock())


@post("/devices/{device_id:str}/cancel", status_code=200)
async def post_cancel(
    request: Request[Any, Any, Any], device_id: FromPath[str], data: JSONBody[WhyRequest], parts: NamedDependency[OperatorParts]
) -> Attempt:
    """Withdraw the order of a device that has not started it; a rollout does not make that offer again."""
    return await cancel(DeviceId(device_id), data, by=_by(request), write=parts.write, now=parts.clock())


@post("/devices/{device_id:str}/unquarantine", status_code=200)
async def post_unquarantine(
    request: Request[Any, Any, Any], device_id: FromPath[str], data: JSONBody[WhyRequest], parts: NamedDependency[OperatorParts]
) -> UnquarantineAnswer:
    """Let rollouts offer a device again what it is quarantined for."""
    return await unquarantine(DeviceId(device_id), data, by=_by(request), write=parts.write, now=parts.clock())


@post("/rollouts", status_code=201)
async def post_rollout(request: Request[Any, Any, Any], data: JSONBody[Plan], parts: NamedDependency[OperatorParts]) -> CreateAnswer:
    """Create a rollout from a plan; nothing is offered until it is started."""
    return await create(data, parts.secret(), by=_by(request), write=parts.write, kinds=parts.catalogue.kinds, now=parts.clock())


@get("/rollouts")
async def list_rollouts(parts: NamedDependency[OperatorParts]) -> RolloutList:
    """List every rollout, newest first."""
    return parts.catalogue.rollouts()


@get("/rollouts/{rollout_id:int}")
async def show_rollout(rollout_id: FromPath[int], parts: NamedDependency[OperatorParts]) -> RolloutStory:
    """Show a rollout: where it stands, what is known of it, and its newest decisions with their evidence."""
    return parts.catalogue.rollout(rollout_id)


@get("/rollouts/{rollout_id:int}/devices")
async def list_rollout_devices(
    rollout_id: FromPath[int],
    parts: NamedDependency[OperatorParts],
    outcome: FromQuery[Outcome | None] = None,
    after: FromQuery[int] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100,
) -> RolloutDevices:
    """List the attempts of a rollout, a page at a time; with ``outcome``, those that ended so."""
    return parts.catalogue.rollout_devices(rollout_id, outcome, after, limit)


@post("/rollouts/{rollout_id:int}/{verb:str}", status_code=200)
async def post_steer(
    request: Request[Any, Any, Any],
    rollout_id: FromPath[int],
    verb: FromPath[Verb],
    data: JSONBody[SteerRequest],
    parts: NamedDependency[OperatorParts],
) -> Decision:
    """Approve, schedule, start, pause, resume, halt or revert a rollout, or let hardware or a region in that its gate keeps out."""
    return await steer(rollout_id, verb, data, by=_by(request), write=parts.write, now=parts.clock())


@put("/devices/{device_id:str}/attributes")
async def put_attributes(
    request: Request[Any, Any, Any],
    *,
    device_id: FromPath[str],
    data: JSONBody[AttributesRequest],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """Set all attributes that a device is given; they win over those it reports."""
    device, guard = DeviceId(device_id), _guard(parts, device_id, is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: give_attributes(device, data, by=_by(request), write=write, now=parts.clock()))


@get("/groups")
async def list_groups(parts: NamedDependency[OperatorParts]) -> GroupList:
    """List groups, by name."""
    return parts.catalogue.groups()


@get("/groups/{name:str}")
async def show_group(name: FromPath[str], parts: NamedDependency[OperatorParts]) -> GroupStory:
    """Show a group: its filter, how many devices are in it, and who opted in or out."""
    return await asyncio.to_thread(parts.catalogue.group, name)


@put("/groups/{name:str}")
async def put_group(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    data: JSONBody[GroupRule],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """Make a group by filter, or change its filter; the answer comes when every device has been looked at."""
    now, by = parts.clock(), _by(request)
    moved = await moved_by(name, data, parts.catalogue, now)
    guard = Guard(parts.write, moved, now, is_preview=preview_only, confirmed=confirm)
    answer = await guarded(guard, lambda write: define(name, data, by=by, write=write, now=now, settled=moved))
    if answer.is_done:
        await fill(name, parts.catalogue, parts.write, now)
    return answer


@delete("/groups/{name:str}", status_code=200)
async def delete_group(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """Remove a group by filter that no rollout asks for which is not over."""
    guard = Guard(parts.write, [], parts.clock(), is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: remove_group(name, by=_by(request), write=write, now=parts.clock()))


@put("/groups/{name:str}/consents/{device_id:str}", reach=own_consent)
async def put_consent(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    device_id: FromPath[str],
    data: JSONBody[OptRequest],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """Write down that the people of a device want it in a group, or out of it, until a time."""
    device, guard = DeviceId(device_id), _guard(parts, device_id, is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: opt(name, device, data, by=_by(request), write=write, now=parts.clock()))


@delete("/groups/{name:str}/consents/{device_id:str}", status_code=200, reach=own_consent)
async def delete_consent(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    device_id: FromPath[str],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """End what the people of a device said about a group."""
    device, guard = DeviceId(device_id), _guard(parts, device_id, is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: end_opt(name, device, by=_by(request), write=write, now=parts.clock()))


@delete("/groups/{name:str}/consents", status_code=200)
async def delete_consents(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """End the opt-outs of a group whose time is over, and that wait for a person since their end starts updates."""
    now = parts.clock()
    devices = await over_in(name, parts.write, now)
    guard = Guard(parts.write, devices, now, is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: end_over(name, devices, by=_by(request), write=write, now=now))


@get("/groups/{name:str}/devices")
async def list_members(
    name: FromPath[str],
    parts: NamedDependency[OperatorParts],
    after: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100,
) -> DevicePage:
    """List the devices of a group in the order in which rollouts come to them, a page at a time."""
    return parts.catalogue.members(name, after, limit)


@put("/groups/{name:str}/devices/{device_id:str}")
async def put_member(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    device_id: FromPath[str],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """Put a device into a fixed group; the same again changes nothing."""
    device, guard = DeviceId(device_id), _guard(parts, device_id, is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: add_member(name, device, by=_by(request), write=write, now=parts.clock()))


@delete("/groups/{name:str}/devices/{device_id:str}", status_code=200)
async def delete_member(
    request: Request[Any, Any, Any],
    *,
    name: FromPath[str],
    device_id: FromPath[str],
    parts: NamedDependency[OperatorParts],
    preview_only: Annotated[bool, QueryParameter(name="preview")] = False,
    confirm: FromQuery[int | None] = None,
) -> EditAnswer:
    """Take a device out of a fixed group."""
    device, guard = DeviceId(device_id), _guard(parts, device_id, is_preview=preview_only, confirmed=confirm)
    return await guarded(guard, lambda write: remove_member(name, device, by=_by(request), write=write, now=parts.clock()))


@get("/windows")
async def list_windows(parts: NamedDependency[OperatorParts]) -> WindowList:
    """List all maintenance windows that are set, nearest level first."""
    return parts.catalogue.windows()


@get("/windows/{level:str}/{key:str}", reach=own_windows)
async def get_windows(level: FromPath[Level], key: FromPath[str], parts: NamedDependency[OperatorParts]) -> WindowSetting:
    """Show what is set for a device, a site, a customer, or the fleet (key ``-``)."""
    return show_windows(parts.reads, level, key)


@put("/windows/{level:str}/{key:str}", status_code=204, reach=own_windows)
async def put_windows(
    request: Request[Any, Any, Any],
    level: FromPath[Level],
    key: FromPath[str],
    data: JSONBody[WindowSetting],
    parts: NamedDependency[OperatorParts],
) -> None:
    """Set the windows of a device, a site, a customer, or the fleet (key ``-``), in place of what was set there before."""
    await set_windows(level, key, data, by=_by(request), write=parts.write, now=parts.clock())
    parts.poll.reload()


@delete("/windows/{level:str}/{key:str}", reach=own_windows)
async def delete_windows(
    request: Request[Any, Any, Any], level: FromPath[Level], key: FromPath[str], parts: NamedDependency[OperatorParts]
) -> None:
    """Remove what is set there; farther levels then count."""
    await remove_windows(level, key, by=_by(request), write=parts.write, now=parts.clock())
    parts.poll.reload()


@get("/devices/{device_id:str}/windows", reach=own_device)
async def show_device_windows(device_id: FromPath[str], parts: NamedDependency[OperatorParts]) -> DeviceWindows:
    """Show which windows apply to a device, by whose setting, in which zone, and when the next one opens."""
    return device_windows(parts.reads, DeviceId(device_id), parts.clock())


def _litestar(parts: OperatorParts) -> Litestar:
    handlers = [
        put_blob,
        head_blob,
        post_release,
        list_releases,
        show_release,
        get_manifest,
        get_provenance,
        show_paths,
        get_metadata,
        post_trust,
        show_trust,
        post_token,
        post_user,
        list_users,
        delete_user,
        list_devices,
        show_mix,
        list_versions,
        show_device,
        show_why,
        post_order,
        post_cancel,
        post_unquarantine,
        post_revocation,
        post_rollout,
        list_rollouts,
        show_rollout,
        list_rollout_devices,
        post_steer,
        put_attributes,
        list_groups,
        show_group,
        put_group,
        delete_group,
        put_consent,
        delete_consent,
        delete_consents,
        list_members,
        put_member,
        delete_member,
        list_windows,
        get_windows,
        put_windows,
        delete_windows,
        show_device_windows,
    ]
    return Litestar(
        route_handlers=[Router(path="/api/v1", route_handlers=handlers)],
        dependencies={"parts": Provide(lambda: parts, sync_to_thread=False)},
        guards=[_limited(parts)],
        exception_handlers={Error: _on_error, HTTPException: _on_http, UnicodeDecodeError: _on_text},
        request_max_body_size=_MOST_BODY_BYTES,
        openapi_config=OpenAPIConfig(
            title="Surefoot operator API", version="1", use_handler_docstrings=True, render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
    )


async def _fill(draft: Draft, pieces: AsyncIterator[bytes], most_bytes: int) -> None:
    waiting, total = bytearray(), 0
    async for piece in pieces:
        waiting += piece
        total += len(piece)
        if total > most_bytes:
            raise too_large(most_bytes)
        if len(waiting) >= _PIECE_BYTES:
            await asyncio.to_thread(draft.append, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(draft.append, bytes(waiting))


def _guard(parts: OperatorParts, device_id: str, *, is_preview: bool, confirmed: int | None) -> Guard:
    return Guard(parts.write, [DeviceId(device_id)], parts.clock(), is_preview=is_preview, confirmed=confirmed)


def _by(request: Request[Any, Any, Any]) -> str:
    return _caller(request).name


def _caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    found: Caller = connection.scope[_CALLER]  # type: ignore[literal-required]  # our own key beside ASGI's
    return found


def _limited(parts: OperatorParts) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """Return the one place where callers are limited: before any route runs, by the rule that the route names as ``reach``."""

    async def customers_at(site: str) -> set[str]:
        # A site may have many devices; others are not to wait for that.
        return await asyncio.to_thread(parts.catalogue.customers_at, site)

    async def limit(connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler) -> None:
        path = {name: str(value) for name, value in connection.path_params.items()}
        await require(_caller(connection), route.opt.get(_REACH), path, parts.reads, customers_at)

    return limit


def _on_error(_request: Request[Any, Any, Any], error: Error) -> Response[bytes]:
    return _problem(problem_of(error))


def _on_text(_request: Request[Any, Any, Any], error: UnicodeDecodeError) -> Response[bytes]:
    return _problem(problem_of(FormatError(f"The body is not UTF-8: {error.reason} at byte {error.start}.", hint="Send JSON in UTF-8.")))


def _on_http(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Say what Litestar found wrong with a request in the same form as our own errors."""
    places = [f"'{found.get('key', 'body')}': {_spoken(found['message'])}" for found in error.extra or [] if isinstance(found, dict)]
    detail, hint = (f"{'; '.join(places)}.", "Change it.") if places else (error.detail, "")
    codes = {404: "not_found", 405: "bad_method", 413: "too_large"}
    code = codes.get(error.status_code, FormatError.code if error.status_code < 500 else Error.code)  # noqa: PLR2004  # HTTP's own
    title = Problem.TITLES.get(error.status_code, "Refused")
    return _problem(Problem(type=f"urn:surefoot:problem:{code}", title=title, status=error.status_code, detail=detail, hint=hint))


def _spoken(message: str) -> str:
    """Say in words what a text should look like, where the decoder says it as a regular expression."""
    return next((f"Expected {words}" for pattern, words in _FORMS.items() if repr(pattern)[1:-1] in message), message)


def _problem(problem: Problem) -> Response[bytes]:
    return Response(to_json(problem), status_code=problem.status, media_type=PROBLEM_TYPE)
