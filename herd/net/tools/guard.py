"""`python -m herd.net.tools.guard [--private] COMMAND...`: runs a command that must not outlive whoever wants it.

It leads the process group in which the command and all its children are. Its standard input is a pipe from whoever
wants the command, whose end says that they are gone, however that came: then the whole group ends. It ends as the
command does, with the same status or by the same signal; what of the group is left then is for its parent to end.

With `--private` the directory that it was started in is the command's own, with what a client has sent: it goes with
the group. Of a command that ends by itself it is left, for whoever wanted that looks there for the result.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

# Programs that heed SIGTERM do so in a few milliseconds; with the rest of the group dead by SIGKILL at once after it,
# all are gone well within a second of a hang-up.
GRACE_S = 0.5

PRIVATE = "--private"

NOT_FOUND, NOT_RUNNABLE = 127, 126  # a shell's words for it


def main(words: Sequence[str]) -> int:
    """Run the command `words`; the exit status."""
    private = words[0] == PRIVATE
    words = words[1:] if private else words
    # The signals that end the group are for the others in it. A handler, because being deaf to one would be inherited.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL)  # noqa: S603 - whoever starts the guard names it
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
    alone, ended = threading.Event(), threading.Event()
    ending = threading.Thread(target=_end_with_the_pipe, args=(alone, ended), kwargs={"private": private}, daemon=True)
    ending.start()
    status = command.wait()
    ended.set()
    if alone.is_set():
        ending.join()  # it ends this process too
    if status < 0:
        _end_by(-status)
    return status


def _end_with_the_pipe(alone: threading.Event, ended: threading.Event, *, private: bool) -> None:
    while os.read(0, 1):  # nothing is ever written to it
        pass
    alone.set()
    os.killpg(0, signal.SIGTERM)
    ended.wait(GRACE_S)
    if private:
        shutil.rmtree(Path.cwd(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _end_by(number: int) -> None:
    """Die by a signal, so that the parent sees what the command died of."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
