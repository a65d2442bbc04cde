# SPDX-License-Identifier: Apache-2.0
"""A call that is not waited for longer than so long, whatever it hangs in: a name that does not resolve, a disk that is gone."""

import threading
from collections.abc import Callable


class Bounded:
    """Makes one call at a time on a thread of its own; while one has not come back, there is no other."""

    def __init__(self, name: str) -> None:
        """Call it ``name``, in words: 'The probe of …'."""
        self._name = name
        self._thread: threading.Thread | None = None

    def call(self, ask: Callable[[], str], timeout_s: float) -> str:
        """Return what ``ask`` returns, or that it did not come back within ``timeout_s``."""
        if self._thread is not None and self._thread.is_alive():
            return f"{self._name} has not come back from the look before."
        said: list[str] = []
        self._thread = threading.Thread(target=lambda: said.append(ask()), name=self._name, daemon=True)
        self._thread.start()
        self._thread.join(timeout_s)
        return said[0] if said else f"{self._name} did not come back within {timeout_s:g} s."
