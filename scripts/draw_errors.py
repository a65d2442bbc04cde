# SPDX-License-Identifier: Apache-2.0
"""Draws ``docs/errors.md`` from the classes of errors: every stable code, where it shows, and what to do about it."""

import inspect
from collections.abc import Iterator
from pathlib import Path

from surefoot.model import errors
from surefoot.model.errors import Error, InvalidInput
from surefoot.server.api import http

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"

_FAMILIES = (errors.InvalidInput, errors.TrustError, errors.TransientError, errors.ConflictError, errors.DeviceError)

_WHAT_TO_DO = {
    "invalid_input": "Read the sentence, change the command or the file, and try again.",
    "bad_format": "Go to the file and line that the message names. [Formats](formats.md) has a complete example of each.",
    "bad_recipe": "Go to the line and key of the recipe that the message names; a failed build command's last words stand below it.",
    "bad_manifest": "The bundle was put together by hand or cut short. Build or fetch it again.",
    "bad_filter": "Look at the character that the caret points at. [Formats](formats.md#filter) says what a filter may say.",
    "version_rule": "Do what the hint says: approve the update, or order the first release of the path that it names.",
    "not_found": "List what there is: `surefoot device list`, `surefoot release list`, `surefoot user list`.",
    "denied": "A device: make a new token and enrol it again. A person: use the right token file.",
    "bad_method": "Use the method that the hint names.",
    "too_large": "Send less in one call, or split it.",
    "unauthenticated": "Send `Authorization: Bearer …`; on the command line, name the file with `--token-file`.",
    "bad_range": "Ask for bytes that the file has; without a range, the whole file is sent.",
    "incomplete": "The connection broke while sending. Send the whole request again.",
    "untrusted": "Do not try the same bytes again. Find out who made them.",
    "bad_metadata": "A file is missing, cut, or contradicts the others. On a device it stays at what it trusts; look at the server's "
    "`metadata/` and at who signed last.",
    "bad_signature": "Too few keys signed. Sign again with the folder of keys that was made together with this server's.",
    "expired": "`surefoot trust status --keys DIR` says when each role ends. `surefoot trust refresh --keys DIR` renews what people "
    "sign, a product's role with each new release too; the server renews snapshots and timestamps while it runs. If only one device "
    "says so, look at its clock.",
    "metadata_rollback": "Something older than what is known was offered: a server restored from an old copy, a second folder of "
    "keys, or an attack. Sign again with the folder of keys that signed the last release.",
    "wrong_device": "The director's answer was made for another device. Look for two devices that share one identity.",
    "not_in_image_repo": "The server orders an image that no product key released. Publish it, or look for who changed the server.",
    "repositories_disagree": "Director and image repository describe an image differently. Nothing is installed; look for who changed one.",
    "wrong_hardware": "Order a release that has an image for this hardware, or update the bootloader first.",
    "version_regression": "The running release does not allow this step. Release a higher version, or one whose recipe has a fitting "
    "`revert_to`, `requires`, `release_counter` or `data_format`.",
    "failed_here": "Look at the events of its trials, and release something that mends it: this device does not take these bytes again.",
    "order_void": "The device was away for too long. Order again, if it is still wanted.",
    "bad_digest": "Bytes were changed on the way or on the disk. Build or fetch them again.",
    "transient": "Wait and try again.",
    "transport": "Look whether the server runs and is reachable. Devices try again by themselves.",
    "store": "Look at the disk of the server's data folder: is it full, is it writable? Nothing was stored by halves.",
    "signer_unavailable": "Look at the token or key service that holds the key: is it plugged in, reachable, is the PIN right? Nothing "
    "was signed; the server tries again by itself, and devices keep running what they run. See [keys](keys.md).",
    "corrupt_download": "Nothing: the device throws the bytes away and downloads again, three tries in all.",
    "download_refused": "Look whether the image is still ordered for the device and in the server's store; order again.",
    "conflict": "Look at the present state; somebody or something changed it first, or it is as wanted already.",
    "device": "Look at the board: its disk, its files, its log.",
    "boot": "Look at the bootloader's state. When it is damaged, flash the board again.",
    "slot_missing": "Name the slot's device in `[install]` of agent.toml, or look at why the board does not have it.",
    "slot_busy": "Let nothing mount or otherwise use the slot that does not run; see [installers](formats.md#installers).",
    "slot_read_only": "Look at the medium's write protection; a flash chip at the end of its life is read-only too.",
    "slot_wrong": "Name the right device in `[install]` of agent.toml, by partition label.",
    "no_space": "Order a smaller image, or give the board more room.",
    "unhealthy": "Look at why the release is not healthy; the board goes back to the release before by itself.",
}

_HEAD = """\
# Errors

<!-- Drawn by `make docs` from `surefoot.model.errors`. Do not edit: change the classes or scripts/draw_errors.py. -->

Every error has a *code*. The sentence beside it may get better from release to release; the code stays, so scripts and alerts
may rely on it. It shows in three places:

- **On the command line** the sentence is printed as `surefoot: …` and the exit status says the kind: 0 done, 1 refused or
  failed, 2 wrong use or wrong input. Ctrl-C gives 130.
- **In the API** the answer is a problem of RFC 9457, `application/problem+json`. Its `type` is `urn:surefoot:problem:` and the code,
  `detail` the sentence, and `hint` what to do.
- **From a device** the code is in the data of an event: `refused` or `failed` in `update.check.completed`, `code` in
  `update.download.failed` and `update.install.failed`.

Errors are sorted by what the caller must do. On the command line, an answer of the server ends with the status of its family.
"""


def draw() -> str:
    """Return the whole page."""
    families = [_family(kind) for kind in _FAMILIES]
    rest = [
        "## Anything else\n",
        f"The code `{Error.code}` (exit {_exit_status(Error)}, HTTP {_http_status(Error)}) has no kind of its own.\n",
    ]
    return "\n".join([_HEAD, *families, *rest])


def _family(kind: type[Error]) -> str:
    head = [f"## {kind.__name__}: {_sentence(kind)}", "", "| code | means | exit | HTTP | what to do |", "| --- | --- | --- | --- | --- |"]
    rows = [
        f"| `{each.code}` | {_sentence(each)} | {_exit_status(each)} | {_http_status(each)} | {_WHAT_TO_DO[each.code]} |"
        for each in _tree(kind)
    ]
    return "\n".join([*head, *rows, ""])


def _tree(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ in {errors.__name__, http.__name__} and "code" in vars(child):
            yield from _tree(child)


def _sentence(kind: type[Error]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _exit_status(kind: type[Error]) -> int:
    return 2 if issubclass(kind, InvalidInput) else 1


def _http_status(kind: type[Error]) -> int:
    return http.problem_of(kind("…")).status


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
