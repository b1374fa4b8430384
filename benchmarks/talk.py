"""What a run tells a person beside its tables."""

import platform
import sys

import psutil


def machine() -> str:
    """What it runs on, and how busy that is."""
    cores = f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}"
    return f"{platform.system()} {platform.machine()}, {cores}, Python {platform.python_version()}"


def progress(what: str) -> None:
    """On standard error, for standard output is the result's."""
    print(what, file=sys.stderr, flush=True)
