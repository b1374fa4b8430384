"""Waits for the end of processes that are no children of the test's."""

import os
import select
from collections.abc import Iterable
from contextlib import suppress

# The end comes within a second; this allows for a machine that is busy with other tests.
PATIENCE_S = 30


class Ends:
    """Watches processes from now on. Linux only."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._descriptors = []
        for pid in pids:
            with suppress(ProcessLookupError):  # it has ended
                self._descriptors.append(os.pidfd_open(pid))

    def come(self) -> bool:
        """Wait, blocking, until all have ended; whether they have."""
        try:
            return all(select.select([each], [], [], PATIENCE_S)[0] for each in self._descriptors)
        finally:
            for each in self._descriptors:
                os.close(each)
