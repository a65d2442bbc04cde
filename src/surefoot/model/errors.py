# SPDX-License-Identifier: Apache-2.0
"""Every error Surefoot raises on purpose, sorted by what the caller must do.

- ``InvalidInput``: the caller must change something.
- ``TrustError``: refuse, report, never retry the same bytes.
- ``TransientError``: try again later, with back-off.
- ``ConflictError``: the state moved on; read again.
- ``DeviceError``: the board failed; report and roll back.

A programming mistake is not an ``Error``.
"""

from typing import ClassVar


class Error(Exception):
    """Root of the tree.

    Attributes:
        code: Stable machine-readable name; becomes the RFC 9457 problem type, the CLI exit status and the agent's event reason.
        message: One sentence: what is wrong and where.
        hint: What to do next; may be empty.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep the two halves apart so that each edge can lay them out in its own way."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message followed by the hint."""
        return f"{self.message} {self.hint}".rstrip()


class InvalidInput(Error):
    """The caller must change something."""

    code = "invalid_input"


class FormatError(InvalidInput):
    """A file or message does not have the documented form."""

    code = "bad_format"


class RecipeError(InvalidInput):
    """A recipe, or something it names, cannot be built."""

    code = "bad_recipe"


class ManifestError(InvalidInput):
    """A manifest or bundle contradicts itself."""

    code = "bad_manifest"


class FilterError(InvalidInput):
    """A filter cannot be read, asks what no device has, or compares a field with what it cannot be; the message points at the character."""

    code = "bad_filter"


class VersionRuleError(InvalidInput):
    """A device may not go from what it runs to the release that was ordered, or somebody must approve it first."""

    code = "version_rule"


class UnknownError(InvalidInput):
    """The thing named does not exist."""

    code = "not_found"


class DeniedError(InvalidInput):
    """The caller may not do this; strangers get the same words whatever the reason."""

    code = "denied"


class TrustError(Error):
    """Refuse, report, and never retry the same bytes."""

    code = "untrusted"


class MetadataError(TrustError):
    """Metadata is missing, malformed, or contradicts other verified metadata."""

    code = "bad_metadata"


class SignatureError(TrustError):
    """Fewer valid signatures than the role's threshold."""

    code = "bad_signature"


class ExpiredError(TrustError):
    """Metadata or a certificate is past its expiry."""

    code = "expired"


class MetadataRollbackError(TrustError):
    """Metadata has a lower version than one already trusted."""

    code = "metadata_rollback"


class WrongDeviceError(TrustError):
    """The director's metadata was made for another device."""

    code = "wrong_device"


class NotInImageRepositoryError(TrustError):
    """The director orders an image that the image repository does not list."""

    code = "not_in_image_repo"


class MismatchError(TrustError):
    """Director and image repository do not say the same of an image."""

    code = "repositories_disagree"


class WrongHardwareError(TrustError):
    """The image is for other hardware or needs a newer bootloader."""

    code = "wrong_hardware"


class VersionRegressionError(TrustError):
    """Version rules forbid going from the running release to this one."""

    code = "version_regression"


class FailedHereError(TrustError):
    """The device has tried this very image several times, and fell back from it each time."""

    code = "failed_here"


class OrderVoidError(TrustError):
    """The order was not started before the instant it names."""

    code = "order_void"


class DigestError(TrustError):
    """Bytes do not have the signed length or hash."""

    code = "bad_digest"


class TransientError(Error):
    """Try again later, with back-off."""

    code = "transient"


class TransportError(TransientError):
    """The peer could not be reached, or the connection broke."""

    code = "transport"


class StoreError(TransientError):
    """Storage on the server refused or failed."""

    code = "store"


class SignerUnavailableError(TransientError):
    """A key that signs cannot be used now: its token or key service went away, or refuses."""

    code = "signer_unavailable"


class CorruptDownloadError(TransientError):
    """A download ended with other bytes than were signed; what was written is discarded."""

    code = "corrupt_download"


class RefusedDownloadError(TransientError):
    """The peer will not give the image, or nobody says where it is; asking a few times more is enough."""

    code = "download_refused"


class ConflictError(Error):
    """The state moved on; read again."""

    code = "conflict"


class DeviceError(Error):
    """The board failed; report and roll back."""

    code = "device"


class BootError(DeviceError):
    """The bootloader's state cannot be read or changed."""

    code = "boot"


class SpaceError(DeviceError):
    """The image or the agent's own state does not fit."""

    code = "no_space"


class HealthError(DeviceError):
    """The release on trial is not healthy."""

    code = "unhealthy"


class SlotMissingError(DeviceError):
    """There is no device or file where a slot should be."""

    code = "slot_missing"


class SlotBusyError(DeviceError):
    """A slot is mounted, swapped to, or part of another device: writing there would destroy what uses it."""

    code = "slot_busy"


class SlotReadOnlyError(DeviceError):
    """A slot cannot be written: its medium is read-only."""

    code = "slot_read_only"


class WrongSlotError(DeviceError):
    """What should be a slot is the running system, or nothing that an image can be written to."""

    code = "slot_wrong"
