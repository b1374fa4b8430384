"""The agent's desk as files in its data directory: `pause.json`, which the commands on its machine write and the agent
reads, and `status.json`, the other way round. Each is replaced whole.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec

from herd.actors.desk import AgentStatus, HandPause
from herd.errors import HerdError
from herd.net.identity import is_held, replace_file
from herd.net.sensing import Aside, SensorFailed
from herd.protocols.fitness import MAX_TIME
from herd.types import Seconds

logger = logging.getLogger(__name__)

_PAUSE, _STATUS = "pause.json", "status.json"

# What a link carries, and every system shows.
_Time = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_TIME)]


class _Pause(msgspec.Struct):
    """What `pause.json` holds."""

    since: _Time
    until: _Time | None


class AgentFiles:
    """The agent's side: the port `AgentDesk`.

    Args:
        data_dir: the agent's; it exists, and nobody else's agent runs on it.
        about: what else is shown of the agent, and does not change.
    """

    def __init__(self, data_dir: Path, about: Mapping[str, str]) -> None:
        self._pause = data_dir / _PAUSE
        self._status = data_dir / _STATUS
        self._about = dict(about)
        self._aside = Aside("pause")
        self._asked: HandPause | None = None  # when that could last be read
        self._trouble = ""  # with the pause, as last logged
        self._remove_status()  # what an agent before this one left behind is not true any more

    async def pause(self) -> HandPause | None:
        """Off the loop: the directory may be on a disk that is asleep, or in the network, where it may hang."""
        try:
            self._asked = await self._aside.run(lambda: _read_pause(self._pause))
        except (OSError, SensorFailed) as error:
            why = error.strerror if isinstance(error, OSError) else None
            self._complain(f"cannot read {self._pause}, so nothing changes: {why or error}")
        except HerdError as error:
            self._asked = None
            self._complain(str(error))
        else:
            self._trouble = ""
        return self._asked

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("%s", trouble)

    def show(self, status: AgentStatus) -> None:
        """Nothing is forced onto the disk: what is shown is over when the machine is."""
        content = json.dumps(self._about | asdict(status)).encode() + b"\n"
        temporary = self._status.with_suffix(".new")
        try:
            temporary.write_bytes(content)
            temporary.replace(self._status)
        except OSError as error:  # a full disk, say: the agent serves all the same
            logger.warning("cannot write %s: %s", self._status, error.strerror or error)

    def close(self) -> None:
        """The agent ends: it shows nothing any more."""
        self._remove_status()

    def _remove_status(self) -> None:
        try:
            self._status.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("cannot remove %s: %s", self._status, error.strerror or error)


# --- the side of the commands -----------------------------------------------------------------------------------------


def agent_status(data_dir: Path) -> dict[str, Any]:
    """What the agent that runs on a data directory shows of itself: the fields of `AgentStatus`, and what it added.

    Raises:
        ConfigError: the directory cannot be read.
        HerdError: no agent runs on it, or it shows nothing yet.
    """
    if not is_held(data_dir):
        raise HerdError(
            f"no agent runs on the data directory {data_dir}: start herd-node, or name its own with --data-dir"
        )
    try:
        document = json.loads((data_dir / _STATUS).read_bytes())
    except FileNotFoundError as error:
        raise HerdError(
            f"what runs on {data_dir} shows no status: is it an agent that has only just begun, or a router?"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise HerdError(f"cannot read {data_dir / _STATUS}: {error}") from error
    if not isinstance(document, dict):
        raise HerdError(f"cannot read {data_dir / _STATUS}: it holds no JSON object")
    return document


def ask_for_pause(data_dir: Path, pause: HandPause) -> None:
    """Have the agent on a data directory pause, at its next look. Raises HerdError when that cannot be written."""
    content = json.dumps(asdict(pause)).encode() + b"\n"
    try:
        replace_file(data_dir / _PAUSE, content)
    except OSError as error:
        raise HerdError(f"cannot write {data_dir / _PAUSE}: {error.strerror or error}") from error


def take_pause_back(data_dir: Path) -> None:
    """Have the agent on a data directory resume, at its next look. Raises HerdError when it cannot be told."""
    try:
        (data_dir / _PAUSE).unlink(missing_ok=True)
    except OSError as error:
        raise HerdError(f"cannot remove {data_dir / _PAUSE}: {error.strerror or error}") from error


def _read_pause(file: Path) -> HandPause | None:
    """The pause that is asked for. Raises HerdError for a file that says something else, OSError for one that cannot be
    read.
    """
    try:
        pause = msgspec.json.decode(file.read_bytes(), type=_Pause)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise HerdError(f"{file} is damaged and pauses nothing: herd-node pause writes it anew") from error
    return HandPause(Seconds(pause.since), None if pause.until is None else Seconds(pause.until))
