"""What there is to say of a machine and its agent, a row for each fact."""

from collections.abc import Sequence

from herd.actors.desk import AgentDocument, ShownServer
from herd.cli.live.bars import age, bar, gib, percent
from herd.cli.live.cells import Line, Look, Piece, Row, Size, parts_line
from herd.cli.words import hour

_LABEL = 9  # cells of the word in front of a fact
_BAR = 10  # of a picture of a share; of a narrow screen a tenth
_ROOMY = 16  # rows, from which on the least important facts are told too
_MOST_SERVERS = 4  # nobody runs more of them on one machine; what is beyond is counted

Part = tuple[int, Sequence[Piece]]  # with its rank: the highest are left out first


def facts(document: AgentDocument, size: Size, now: float, look: Look) -> list[Row]:
    """All of them, the most important first; not cut in height."""
    found = [
        *_router(document, now, roomy=size.height >= _ROOMY),
        *_pauses(document, now),
        *_machine(document, max(3, min(_BAR, size.width // 10)), look),
        _owner(document),
        *_servers(document.servers),
    ]
    between = look.glyph(" · ", " | ")
    rows: list[Row] = []
    before = ""
    for label, parts in found:
        line = Line(look, size.width).add(f" {'' if label == before else label}", "dim", _LABEL + 1)
        rows.append(parts_line(line, parts, between).row())
        before = label
    return rows


_Fact = tuple[str, list[Part]]


def _router(document: AgentDocument, now: float, *, roomy: bool) -> list[_Fact]:
    """Which one it is, since when, and what was wrong with it."""
    ago = f"for {age(now - document.link_since)}" if document.link_since is not None else ""
    lost = f"{document.lost} ({hour(document.lost_at, now)})" if document.lost else ""
    if document.linked:
        parts: list[Part] = [(0, ((document.router_url or str(document.router_id), "good"),))]
        if document.router_peer and document.router_peer not in document.router_url:
            parts.append((2, ((f"at {document.router_peer}", ""),)))
        if document.router_version:
            parts.append((3, ((f"herd {document.router_version}", "dim"),)))
        parts.append((1, ((f"linked {ago}".strip(), ""),)))
        before: list[_Fact] = [("router", [(0, ((f"was lost before: {lost}", "dim"),))])] if lost and roomy else []
        return [("router", parts), *before]
    where = document.router_url or str(document.router_id or "")
    what = f"away {ago}: looking for {where}" if where else f"none yet {ago}: looking for one"
    found: list[_Fact] = [("router", [(0, ((what, "alarm"),))])]
    if document.trouble:
        found.append(("router", [(0, ((document.trouble, "warn"),))]))
    if lost and roomy and document.lost != document.trouble:
        found.append(("router", [(0, ((f"was lost: {lost}", "dim"),))]))
    return found


def _pauses(document: AgentDocument, now: float) -> list[_Fact]:
    if not document.pauses:
        return [("paused", [(0, (("no", "dim"),))])]
    found: list[_Fact] = []
    for pause in document.pauses:
        since = f" since {hour(pause.since, now)}" if pause.since is not None else ""
        until = f" until {hour(pause.until, now)}" if pause.until is not None else ""
        found.append(("paused", [(0, ((f"{pause.text}{since}{until}", "warn"),))]))
    return found


def _machine(document: AgentDocument, width: int, look: Look) -> list[_Fact]:
    """The processor and each memory that models run in, as bars."""
    machine = document.machine
    if machine is None:
        return [("machine", [(0, (("not looked at yet", "dim"),))])]
    memory = _memory("memory", machine.memory_total, machine.memory_free, width, look)
    cpu = (("cpu ", ""), *bar(machine.cpu, width, look), (f" {percent(machine.cpu)}", ""))
    parts: list[Part] = [(1, cpu), (0, memory)]
    gpus = [
        (number, _memory(gpu.name, gpu.memory_total, gpu.memory_free, width, look))
        for number, gpu in enumerate(machine.gpus)
    ]
    return [("machine", parts), *([("gpu", gpus)] if gpus else [])]


def _memory(name: str, total: int, free: int, width: int, look: Look) -> Sequence[Piece]:
    taken = max(0, total - free)
    share = taken / total if total > 0 else None
    return ((f"{name[:24]} ", ""), *bar(share, width, look), (f" {gib(taken)} of {gib(total)}", ""))


def _owner(document: AgentDocument) -> _Fact:
    heat: Part = (2, ((f"heat: {document.thermal or 'unknown'}", "warn" if _is_hot(document) else "dim"),))
    if document.dedicated:
        return "owner", [(0, (("none (--dedicated)", ""),)), heat]
    load = document.owner_load
    takes = "takes an unknown share" if load is None else f"takes {percent(load)} of the machine"
    parts: list[Part] = [(0, ((takes, ""),))]
    if document.workload:
        parts.append((1, ((f"{document.workload} use" if document.workload != "idle" else "idle", ""),)))
    return "owner", [*parts, heat]


def _is_hot(document: AgentDocument) -> bool:
    return document.thermal not in {"", "nominal"}


def _servers(servers: Sequence[ShownServer]) -> list[_Fact]:
    """The model servers; those that do not answer first."""
    if not servers:
        return [("server", [(0, (("not looked at yet", "dim"),))])]
    ordered = sorted(servers, key=lambda server: not server.trouble)
    found: list[_Fact] = [("server", _server(server)) for server in ordered[:_MOST_SERVERS]]
    if len(ordered) > _MOST_SERVERS:
        found.append(("server", [(0, ((f"and {len(ordered) - _MOST_SERVERS} more", "dim"),))]))
    return found


def _server(server: ShownServer) -> list[Part]:
    where = server.url or str(server.id)
    if server.trouble:
        return [(0, ((where, "alarm"),)), (1, ((server.trouble, "warn"),))]
    return [(0, ((f"{server.kind} {server.version}".strip(), "good"),)), (1, ((where, ""),))]
