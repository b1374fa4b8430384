"""What stands beside the nodes of a fleet: its queues, the last requests, and what happened."""

from collections.abc import Sequence

from herd.cli.fleet.nodes import gap
from herd.cli.fleet.seen import Happening, Queue, Request
from herd.cli.live.bars import count, figure, seconds
from herd.cli.live.blocks import Block
from herd.cli.live.cells import Column, Line, Look, Piece, Row, placed, role_of, table_line, title_line
from herd.cli.words import asked_for, ended, hour

_KINDS = {
    "joined": "good", "resumed": "good", "breaker-closed": "good", "left": "bad", "breaker-opened": "bad",
    "load-failed": "bad", "paused": "warn", "drained": "warn", "moved": "info", "pre-warmed": "info",
}  # fmt: skip
_SLOTS = 8  # places of a queue that are drawn one by one; of more only the number is told
_WRITING = 0.1  # of an answer's time: what comes in less was not written while it went out, so it was not streamed


def requests_block(entries: Sequence[Request], longest: int, width: int, look: Look) -> Block:
    """The last requests, those under way first. `longest`: cells of a node's name, at most."""
    between = gap(width)
    columns = placed(_request_columns(longest, width), width - 2, between)

    def line(number: int) -> Row:
        return table_line(Line(look, width).add("  "), columns, entries[number], between).row()

    head = title_line(Line(look, width).add("  "), columns, between).row()
    return Block("requests", len(entries), line, head, "none yet")


def queues_block(queues: Sequence[Queue], longest: int, width: int, look: Look) -> Block:
    """The queues: those in which most waits, then those in which most runs. `longest`: as above."""
    found = sorted(queues, key=lambda queue: (-queue.waiting, -queue.running, queue.node, queue.model))
    between = gap(width)
    columns = placed(_queue_columns(longest, width, look), width - 2, between)

    def line(number: int) -> Row:
        return table_line(Line(look, width).add("  "), columns, found[number], between).row()

    head = title_line(Line(look, width).add("  "), columns, between).row()
    return Block("queues", len(found), line, head, "no model is in memory, and nothing runs")


def happenings_block(happenings: Sequence[Happening], width: int, look: Look) -> Block:
    """What happened, the latest first."""
    dot = look.glyph("●", "*")

    def line(number: int) -> Row:
        one = happenings[-1 - number]
        begun = Line(look, width).add(f"  {hour(one.at)} ", "dim").add(f"{dot} ", _KINDS.get(one.kind, "dim"))
        return begun.add(one.text or f"{one.node} {one.kind}".strip()).row()

    return Block("happenings", len(happenings), line, (), "nothing yet")


def _request_columns(longest: int, width: int) -> tuple[Column[Request], ...]:
    return (
        Column("when", lambda one, _: ((hour(one.arrived), "dim"),), 8, 8, 5),
        Column("outcome", lambda one, _: (_outcome(one),), 9, 9, 1),
        Column("node", lambda one, _: ((one.node or "-", ""),), min(longest, max(10, width // 4)), longest, 0),
        Column("model", lambda one, _: ((_model(one), ""),), 14, 40, 2),
        Column("score", lambda one, _: ((figure(one.score), ""),), 6, 6, 7, True),
        Column("wait", lambda one, _: ((seconds(one.waited_s), ""),), 6, 7, 6, True),
        Column("first", lambda one, _: ((seconds(one.first_token_s), ""),), 6, 7, 3, True),
        Column("tok/s", lambda one, _: ((figure(speed(one)), ""),), 5, 6, 4, True),
        Column("total", lambda one, _: ((seconds(one.total_s), ""),), 7, 7, 8, True),
        Column("client", lambda one, _: ((one.client, "dim"),), 10, 24, 9),
    )


def _outcome(one: Request) -> Piece:
    word, colour = ended(one.outcome)
    return word, role_of(colour)


def _model(one: Request) -> str:
    return asked_for(one.model, one.served_model)


def speed(one: Request) -> float | None:
    """Tokens a second of an answer, by the router's clock; of one that came in one piece, from its turn to its end."""
    if not one.completion or one.total_s is None or one.first_token_s is None:
        return None
    writing, whole = one.total_s - one.first_token_s, one.total_s - (one.waited_s or 0.0)
    taken = writing if writing > _WRITING * whole else whole
    return one.completion / taken if taken > 0.0 else None


def _queue_columns(longest: int, width: int, look: Look) -> tuple[Column[Queue], ...]:
    def places(queue: Queue, _: int) -> Sequence[Piece]:
        text = f"{queue.running}/{'?' if queue.limit is None else queue.limit}"
        if queue.limit is None or not 0 < max(queue.limit, queue.running) <= _SLOTS:
            return ((text, "good" if queue.running else "dim"),)
        taken = look.glyph("■", "#") * queue.running + look.glyph("□", ".") * (queue.limit - queue.running)
        return ((f"{text} {taken}", "good" if queue.running else "dim"),)

    return (
        Column("node", lambda queue, _: ((queue.node, ""),), min(longest, max(10, width // 4)), longest, 0),
        Column("model", lambda queue, _: ((queue.model, ""),), 12, 32, 3),
        Column("running", places, 7, 12, 1),
        Column("wait", lambda queue, _: ((count(queue.waiting), "warn" if queue.waiting else "dim"),), 4, 4, 2, True),
    )
