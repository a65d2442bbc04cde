# SPDX-License-Identifier: Apache-2.0
"""Attributes: what a device is beside its name, in words that filters compare.

- Some are built in: the server knows them of every device. Nobody else sets a name of theirs.
- A device reports others of its own, from ``agent.toml``; operators give it others still.
- One whose name begins with ``component.`` is the version of a part of the device, in place of what the release that it runs says.
"""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from surefoot.model.errors import InvalidInput
from surefoot.model.record import Name

BUILT_IN = ("bootloader_version", "device_id", "hardware", "product", "state", "version")
"""Attributes that every device has, sorted; what comes from its report is empty before it made one."""

RESERVED = tuple(sorted((*BUILT_IN, "enrolled_at", "group", "last_seen", "seen_within", "tag")))
"""Names that no attribute may have: the built-in ones, and those by which filters ask for what is no attribute."""

COMPONENT = "component."
"""How the names of attributes begin that are versions of parts."""

AttributeValue = Annotated[
    str,
    Meta(
        max_length=200, pattern=r"\A[^\x00-\x1f\x7f]*\Z", description="at most 200 characters on one line, none of them a control character"
    ),
]

Attributes = Annotated[dict[Name, AttributeValue], Meta(max_length=50)]
"""What one side says of one device, by name."""


def check_free(names: Iterable[str]) -> None:
    """See that none of the names is reserved.

    Raises:
        InvalidInput: One is.
    """
    taken = sorted(set(names) & set(RESERVED))
    if taken:
        raise InvalidInput(
            f"The attribute '{taken[0]}' is built in; it cannot be set.", hint=f"Choose a name other than {', '.join(RESERVED)}."
        )
