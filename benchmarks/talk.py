"""What a run has to do with the person who started it, beside its tables."""

import argparse
import os
import platform
import sys
from pathlib import Path

import psutil


def machine() -> str:
    """What it runs on, and how busy that is."""
    cores = f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}"
    return f"{platform.system()} {platform.machine()}, {cores}, Python {platform.python_version()}"


def writable(name: str) -> Path:
    """The file of this name. Raises ArgumentTypeError, before anything is measured, if it cannot be written."""
    path = Path(name)
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{name} cannot be written: a file in a directory that exists is needed")
    return path


def progress(what: str) -> None:
    """On standard error, for standard output is the result's."""
    print(what, file=sys.stderr, flush=True)
