"""The traffic of one's own router, for `herd simulate --from-history`."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from herd import config
from herd.cli.options import config_file
from herd.cli.process import printable
from herd.config import RouterSettings
from herd.net.clock import SystemClock
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.workload.history import Recorded, recorded
from herd.store.database import DATABASE
from herd.store.history import read_history

FromHistory = Annotated[
    bool, typer.Option("--from-history", help="Replay the shape of what your router was asked: no text is kept.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Data directory of that router (HERD_DATA_DIR; default: ~/.herd).", show_default=False),
]


def recorded_traffic(data_dir: Path | None, playable: list[SimulatedModel], remarks: Console) -> Recorded:
    """What was asked of the router with this data directory, None for the one that `herd` would use here.

    Args:
        data_dir: as given.
        playable: models that may be asked for.
        remarks: takes what whoever reads the figures has to know.

    Raises:
        ConfigError: there is no such router, or nothing that it was asked can be asked again.
    """
    file = config_file(RouterSettings, None, data_dir)
    directory = config.load(RouterSettings, {"data_dir": data_dir}, os.environ, file).data_dir.expanduser()
    found = recorded(read_history(directory / DATABASE, SystemClock().wall()), playable)
    remarks.print("; ".join(map(printable, found.remarks())), markup=False)
    return found


def hour_of_week(moment: float) -> int:
    """The hour of the local week in which a moment lies; 0 is Monday 00:00."""
    local = time.localtime(moment)
    return local.tm_wday * 24 + local.tm_hour
