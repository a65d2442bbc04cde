# SPDX-License-Identifier: Apache-2.0
"""The lab's negative control, which only its images have: with ``SUREFOOT_LAB_NO_SYNC`` naming a block device, nothing syncs that.

The device is held open, since the last close of one writes it back; and memory is not given back to it for the same reason. Write-back in
the background is put off by the kernel's own settings.
"""

import os

_DEVICE = os.environ.get("SUREFOOT_LAB_NO_SYNC", "")

if _DEVICE:
    for _name, _value in (("dirty_ratio", "95"), ("dirty_background_ratio", "90"), ("dirty_writeback_centisecs", "0")):
        with open(f"/proc/sys/vm/{_name}", "w") as _file:
            _file.write(_value)
    _held = os.open(_DEVICE, os.O_RDONLY)
    _number = os.fstat(_held).st_rdev
    _fsync, _fadvise = os.fsync, os.posix_fadvise

    def _forgetful_fsync(descriptor: int) -> None:
        if os.fstat(descriptor).st_rdev != _number:
            _fsync(descriptor)

    def _forgetful_fadvise(descriptor: int, offset: int, length: int, advice: int) -> None:
        if os.fstat(descriptor).st_rdev != _number:
            _fadvise(descriptor, offset, length, advice)

    # The agent names descriptors by their numbers alone.
    os.fsync = _forgetful_fsync  # type: ignore[assignment]  # as above
    os.posix_fadvise = _forgetful_fadvise
