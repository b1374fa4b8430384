"""What runs on a machine, and which models it has: the lists of an agent's dashboard."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from herd.actors.desk import AgentDocument, ShownModel, ShownRequest
from herd.cli.live.bars import gib, percent, seconds
from herd.cli.live.blocks import Block
from herd.cli.live.cells import Column, Line, Look, Placed, Row, placed, table_line, title_line
from herd.cli.words import reached

T = TypeVar("T")

_GAP = 2
_ID = 28  # cells of an id that the router made up: one that is cut names no request
_FOR_EVER_S = 365 * 86_400.0  # Ollama says so of a model that is kept: it goes in three hundred years


def requests_block(document: AgentDocument, width: int, now: float, look: Look) -> Block:
    """The requests that are being answered, the oldest first, and how many were."""
    work = document.work
    columns = placed(_request_columns(document, now), width - 2, _GAP)
    counts = [f"{work.under_way} running", f"{work.served} served"]
    counts += [f"{work.failed} failed"] if work.failed else []
    counts += [f"{work.cancelled} cancelled"] if work.cancelled else []

    def line(number: int) -> Row:
        return _line(columns, work.running[number], width, look)

    return Block(f"requests: {', '.join(counts)}", len(work.running), line, _head(columns, width, look), "none now")


def models_block(document: AgentDocument, width: int, now: float, look: Look) -> Block:
    """The models, those in memory first."""
    models = sorted(document.models, key=lambda model: not model.resident)
    columns = placed(_model_columns(document, now), width - 2, _GAP)
    loaded = sum(model.resident for model in models)
    title = f"models: {loaded} of {max(document.all_models, len(models))} in memory"

    def line(number: int) -> Row:
        return _line(columns, models[number], width, look)

    return Block(title, len(models), line, _head(columns, width, look), "none")


def _line(columns: Sequence[Placed[T]], thing: T, width: int, look: Look) -> Row:
    return table_line(Line(look, width).add("  "), columns, thing, _GAP).row()


def _head(columns: Sequence[Placed[T]], width: int, look: Look) -> Row:
    return title_line(Line(look, width).add("  "), columns, _GAP).row()


def _request_columns(document: AgentDocument, now: float) -> list[Column[ShownRequest]]:
    columns: list[Column[ShownRequest]] = [
        Column("for", lambda one, _: ((seconds(now - one.since), ""),), 7, 7, 1, True),
        Column("model", lambda one, _: ((one.model or "-", "good"),), 14, 40, 0),
        Column("asked for", lambda one, _: ((one.path, "dim"),), 9, 20, 2),
        Column("request", lambda one, _: ((one.id, "dim"),), _ID, 36, 4),
    ]
    if len(document.servers) > 1:
        columns.append(Column("server", lambda one, _: ((one.backend, "dim"),), 10, 24, 3))
    return columns


def _model_columns(document: AgentDocument, now: float) -> list[Column[ShownModel]]:
    columns: list[Column[ShownModel]] = [
        Column("model", lambda one, _: ((_model(one), "good" if one.resident else "dim"),), 14, 48, 0),
        Column("in memory", lambda one, _: ((_in_memory(one), ""),), 9, 9, 1, True),
        Column("context", lambda one, _: ((_context(one), ""),), 7, 7, 4, True),
        Column("goes in", lambda one, _: ((_goes(one, now), ""),), 7, 7, 2, True),
        Column("on disk", lambda one, _: ((gib(one.size) if one.size else "-", "dim"),), 7, 7, 5, True),
    ]
    if document.machine is not None and document.machine.gpus:
        columns.insert(2, Column("on GPU", lambda one, _: ((_on_gpu(one), ""),), 6, 6, 3, True))
    if len(document.servers) > 1:
        columns.append(Column("server", lambda one, _: ((one.backend, "dim"),), 10, 24, 6))
    return columns


def _model(model: ShownModel) -> str:
    return f"{model.name}{reached(model.step, model.steps)}"


def _in_memory(model: ShownModel) -> str:
    if not model.resident:
        return "-"
    return gib(model.size_resident) if model.size_resident else "yes"


def _on_gpu(model: ShownModel) -> str:
    return percent(model.size_vram / model.size_resident) if model.resident and model.size_resident else "-"


def _context(model: ShownModel) -> str:
    return str(model.context_length) if model.resident and model.context_length else "-"


def _goes(model: ShownModel, now: float) -> str:
    """When an idle model is let go."""
    if not model.resident or not model.expires_at:
        return "-"
    try:
        left = datetime.fromisoformat(model.expires_at).timestamp() - now
    except (ValueError, OverflowError, OSError):
        return "-"
    return "never" if left > _FOR_EVER_S else seconds(left)
