"""The scripts `herd` and `herd-node`: Ctrl-C ends them quietly from the first moment on.

Importing the commands takes half a second, in which Python would answer Ctrl-C with a traceback.
"""

import gc
import os
import signal
from importlib import import_module

_STANDARD_ERROR = 2
_EXIT_INTERRUPTED = 130  # 128 and SIGINT's number, as shells count; herd.cli.process is not imported yet


def herd() -> None:
    """Entry point of the script `herd`."""
    _run("HERD")


def herd_node() -> None:
    """Entry point of the script `herd-node`."""
    _run("HERD_NODE")


def _open_standard_streams() -> None:
    """Give closed standard streams a place to go: a socket that got their numbers would be taken for one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)


def _run(script: str) -> None:
    _open_standard_streams()
    signal.signal(signal.SIGINT, lambda *_: os._exit(_EXIT_INTERRUPTED))
    gc.disable()  # what is imported stays: the collector would look through all of it in vain, now and later
    scripts = import_module("herd.cli.scripts")
    main = scripts.prepared(getattr(scripts, script))
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
