# SPDX-License-Identifier: Apache-2.0
"""Access: who may call the operator API. Each operator and each customer has a token of their own, so that every act has a name.

The first one, ``admin``, is the server's ``admin.token`` file; it is neither added nor removed here. What a customer's token reaches
says ``surefoot.server.services.reach``.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from surefoot.fleet.enroll import token_hash
from surefoot.model.attribute import AttributeValue
from surefoot.model.errors import ConflictError, InvalidInput, UnknownError
from surefoot.model.record import Name, Record
from surefoot.server.services.ports import Act, Caller, Ledger, Reads, Write

ADMIN = "admin"


class UserRequest(Record, frozen=True, kw_only=True):
    """Whom a new token is for.

    Attributes:
        name: What acts are to carry.
        customer: The one customer whose devices it reaches, as their attribute ``customer`` says it; nothing for an operator.
        groups: The groups that a customer may opt devices in and out of.
    """

    name: Name
    customer: Annotated[AttributeValue, Meta(min_length=1)] | None = None
    groups: Annotated[list[Name], Meta(max_length=50)] = []


class UserAnswer(Record, frozen=True, kw_only=True):
    """A new token and its name; the token is told this once and kept as a hash only."""

    name: Name
    token: str


async def add_user(request: UserRequest, secret: str, *, by: str, write: Write, now: datetime) -> UserAnswer:
    """Let one more operator in, or a customer.

    Raises:
        ConflictError: There is an operator of that name.
        InvalidInput: An operator's token opens groups: it reaches all of them.
        UnknownError: There is no such group.
    """
    caller = Caller(name=request.name, customer=request.customer, groups=tuple(request.groups))
    if caller.groups and caller.customer is None:
        raise InvalidInput("An operator reaches every group.", hint="Name the customer whose token it is, or no group.")

    def job(ledger: Ledger) -> UserAnswer:
        unknown = next((group for group in caller.groups if not ledger.has_group(group)), None)
        if unknown is not None:
            raise UnknownError(f"There is no group '{unknown}'.", hint="See 'surefoot group list'.")
        if ledger.has_user(request.name):
            raise ConflictError(f"There is an operator '{request.name}' already.", hint="Choose another name, or remove that one first.")
        ledger.add_caller(caller, token_hash(secret), now)
        whose = "" if caller.customer is None else f" of customer {caller.customer}"
        ledger.add_act(Act(at=now, by=by, what="user.add", subject=f"{request.name}{whose} {' '.join(caller.groups)}".rstrip()))
        return UserAnswer(name=request.name, token=secret)

    return await write(job)


def operator_name(reads: Reads, hashed: bytes) -> str | None:
    """Return the name of the operator of the fleet whose token has this hash; nothing when nobody knows it, or it is a customer's."""
    caller = reads.caller(hashed)
    return caller.name if caller is not None and caller.customer is None else None


async def remove_user(name: str, *, by: str, write: Write, now: datetime) -> None:
    """Let an operator in no longer; the token is refused from the next call on.

    Raises:
        UnknownError: There is no operator of that name.
        ConflictError: It is ``admin``.
    """

    def job(ledger: Ledger) -> None:
        if name == ADMIN:
            raise ConflictError("'admin' is the server's own admin.token.", hint="Delete that file and restart the server to change it.")
        if not ledger.remove_user(name):
            raise UnknownError(f"There is no operator '{name}'.", hint="See 'surefoot user list'.")
        ledger.add_act(Act(at=now, by=by, what="user.remove", subject=name))

    await write(job)
