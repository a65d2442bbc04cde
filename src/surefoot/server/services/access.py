# SPDX-License-Identifier: Apache-2.0
"""Access: who may call the operator API. Each operator has a token of their own, so that every act has a name.

The first one, ``admin``, is the server's ``admin.token`` file; it is neither added nor removed here.
"""

from datetime import datetime

from surefoot.fleet.enroll import token_hash
from surefoot.model.errors import ConflictError, UnknownError
from surefoot.model.record import Name, Record
from surefoot.server.services.ports import Act, Ledger, Write

ADMIN = "admin"


class UserRequest(Record, frozen=True, kw_only=True):
    """The name of a new operator."""

    name: Name


class UserAnswer(Record, frozen=True, kw_only=True):
    """A new operator's name and token; the token is told this once and kept as a hash only."""

    name: Name
    token: str


async def add_user(request: UserRequest, secret: str, *, by: str, write: Write, now: datetime) -> UserAnswer:
    """Let one more operator in.

    Raises:
        ConflictError: There is an operator of that name.
    """

    def job(ledger: Ledger) -> UserAnswer:
        if ledger.has_user(request.name):
            raise ConflictError(f"There is an operator '{request.name}' already.", hint="Choose another name, or remove that one first.")
        ledger.add_api_token(request.name, token_hash(secret), now)
        ledger.add_act(Act(at=now, by=by, what="user.add", subject=request.name))
        return UserAnswer(name=request.name, token=secret)

    return await write(job)


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
