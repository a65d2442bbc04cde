# SPDX-License-Identifier: Apache-2.0
"""The enrolment listener: ``POST /v1/enroll`` and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from surefoot.model.errors import Error, UnknownError
from surefoot.model.record import from_json, to_json
from surefoot.model.wire import EnrolmentRequest
from surefoot.server.api.http import JSON, MethodError, Receive, Scope, Send, read_body, send_answer, send_problem
from surefoot.server.services.enroll import enroll
from surefoot.server.services.ports import DeviceCertificates, Write

_MOST_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentApi:
    """The ASGI application of the enrolment listener."""

    ca: DeviceCertificates
    write: Write
    clock: Callable[[], datetime]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            if scope["path"] != "/v1/enroll":
                raise UnknownError("There is nothing here.", hint="New devices call /v1/enroll.")
            if scope["method"] != "POST":
                raise MethodError(f"{scope['method']} means nothing here.", hint="Use POST.")
            body = await read_body(scope, receive, _MOST_BYTES)
            request = from_json(body, EnrolmentRequest, what="Enrolment request")
            answer = await enroll(request, self.ca, self.write, self.clock())
            await send_answer(send, 200, to_json(answer), [JSON])
        except Error as error:
            await send_problem(send, error)
