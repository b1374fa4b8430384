"""How this machine's agent stands, as `herd-node status` prints it."""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from herd.cli.process import printable
from herd.cli.remote import node_view
from herd.cli.words import clock_time, dated, gib, reached, times_of

_HOURS = 168  # of a week


def lines(shown: dict[str, Any]) -> list[Text]:
    """What an agent shows, below its name. Of another version, or damaged: what makes no sense is left out."""
    rows = {
        "router": _router(shown),
        "servers": [_server(server) for server in listed(shown, "servers")],
        "models": [_model(model) for model in listed(shown, "models")] or ["none"],
        "running": [_request(request) for request in listed(_part(shown, "work"), "running")],
        "done": _done(_part(shown, "work")),
        "machine": _machine(_part(shown, "machine")),
        "owner": [_owner(shown)],
        "heat": [str(shown.get("thermal") or "unknown")],
        "pauses": [words(pause) for pause in listed(shown, "pauses")] or ["none"],
        "as of": [clock_time(at)] if _is_number(at := shown.get("at")) and at else [],
    }
    return [
        Text(f"  {'' if number else title:<8}{printable(line)}")
        for title, row in rows.items()
        for number, line in enumerate(row)
    ]


def week(shown: dict[str, Any], *, plain: bool) -> list[Text]:
    """What its owner is expected to take, as a picture; nothing where it was not told."""
    known, now = _part(shown, "week"), shown.get("week_slot")
    load, confidence = known.get("load"), known.get("confidence")
    if not (isinstance(load, list) and isinstance(confidence, list) and isinstance(now, int)):
        return []
    if not all(share is None or _is_number(share) for share in load) or not all(map(_is_number, confidence)):
        return []
    if not len(load) == len(confidence) == _HOURS or not 0 <= now < _HOURS or not any(confidence):
        return []
    hours = [{"load": share, "confidence": sure} for share, sure in zip(load, confidence, strict=True)]
    return [Text(), *node_view.week({"week": hours, "week_slot": now}, plain=plain)]


def listed(shown: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in a list."""
    found = shown.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def words(pause: dict[str, Any]) -> str:
    """`is in a meeting since 11-29 10:00:00: its camera is in use`."""
    return dated(str(pause.get("text")), times_of(pause))


def _part(shown: dict[str, Any], key: str) -> dict[str, Any]:
    part = shown.get(key)
    return part if isinstance(part, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told(form: Callable[[Any], str], value: Any) -> str:
    """A number as a text; `?` for what is none."""
    try:
        return form(value) if _is_number(value) else "?"
    except (ValueError, OverflowError):
        return "?"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _router(shown: dict[str, Any]) -> list[str]:
    known, url = shown.get("router_id"), shown.get("router_url")
    name = f"{url} ({known})" if url and known else known
    since = times_of({"since": shown.get("link_since")})
    if shown.get("linked"):
        found = [f"{name}, connected{since}"]
    else:
        looking = f"looking for it ({trouble})" if (trouble := shown.get("trouble")) else "looking for it"
        found = [f"{name}, away{since}: {looking}" if known else f"none yet: {looking}"]
    if lost := shown.get("lost"):
        at = shown.get("lost_at")
        when = f" at {clock_time(at)}" if isinstance(at, int | float) else ""
        found.append(f"last lost{when}: {lost}")
    return found


def _server(server: dict[str, Any]) -> str:
    where = server.get("url") or server.get("id")
    if trouble := server.get("trouble"):
        return f"{where} does not answer: {trouble}"
    program = f"{server.get('kind')} {server.get('version')}".strip()
    return f"{program} at {where}"


def _model(model: dict[str, Any]) -> str:
    if not model.get("resident"):
        return str(model.get("name"))
    size, step, steps = model.get("size_resident"), model.get("step", 0), model.get("steps", 0)
    image = reached(step, steps) if _is_number(step) and _is_number(steps) else ""
    return f"{model.get('name')} (in memory{f', {_told(gib, size)}' if size else ''}{image})"


def _request(request: dict[str, Any]) -> str:
    """`01J..: llama3.2:3b, /api/chat since 11-29 10:00:00`."""
    what = ", ".join(str(request[key]) for key in ("model", "path") if request.get(key))
    return f"{request.get('id')}: {what}{times_of({'since': request.get('since')})}"


def _done(work: dict[str, Any]) -> list[str]:
    counts = [f"{work[key]} {key}" for key in ("served", "failed", "cancelled") if work.get(key)]
    speed = work.get("tokens_per_s")
    return [", ".join(counts) + (f"; {_told('{:.1f}'.format, speed)} tokens/s" if speed else "")] if counts else []


def _machine(machine: dict[str, Any]) -> list[str]:
    if not machine:
        return []
    found = [f"{_told(_percent, machine.get('cpu'))} of its processor in use, {_free(machine)}"]
    return found + [f"{gpu.get('name')}: {_free(gpu)}" for gpu in listed(machine, "gpus")]


def _free(memory: dict[str, Any]) -> str:
    free, total = (_told(gib, memory.get(key)) for key in ("memory_free", "memory_total"))
    return f"memory: {free} of {total} free"


def _owner(shown: dict[str, Any]) -> str:
    if shown.get("dedicated"):
        return "has none (--dedicated)"
    load = shown.get("owner_load")
    takes = f", takes {_told(_percent, load)} of the machine" if load is not None else ""
    return f"{shown.get('workload') or 'unknown'}{takes}"
