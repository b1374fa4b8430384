"""The story of a request as a person reads it: what was looked at, what it waited for, and why it went as it did."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from herd.cli.process import printable
from herd.cli.words import asked_for, clock_time, ended, work, work_speed
from herd.protocols import stories
from herd.protocols.stories import CandidateEntry, Event, RequestEntry, StoryDocument

# What the signals of a score are called here; one that is not in it keeps its name.
SIGNALS = {
    "thermal": "readiness of the model",
    "memory_fit": "memory to spare",
    "queue_depth": "work there already",
    "estimated_wait": "expected wait",
    "role_affinity": "fit of sizes",
    "availability_trend": "the owner's habits",
    "context_fit": "room for the prompt",
    "overflow": "sooner elsewhere",
    "degraded": "fallen silent",
    "affinity": "same conversation",
}
# And its seconds, where a router ranks by them.
SECONDS = {
    "wait": "waiting",
    "load": "loading",
    "prefill": "reading the prompt",
    "decode": "answering",
    "doubt": "benefit of the doubt",
    "eviction": "loads of what has to go",
    "owner": "the owner's part",
    "degraded": "fallen silent",
}
# Why a field of a request was changed on the way; one that is not in it was changed without a word.
_EDITED = {
    "model": "the model that serves it, as its server spells it",
    "options.num_ctx": "the context that the model has there, so that it is not loaded anew",
    "keep_alive": "it stays loaded there",
}
# `policy.placement` takes scores that are nearer than so many points for the same, and `policy.completion` those within
# such a share of the best: this room knows neither.
_TIE, _TIE_SHARE = 2.0, 0.1
_NOTHING = 0.05  # points that would be shown as 0.0
_NO_TIME = 0.005  # seconds that would be shown as 0.00
_MATTERS = 0.2  # of what a machine lost: a smaller share is not worth a word
_TABLE_WIDTH = 100  # columns that a table of requests needs; a narrower terminal gets two lines for each


def story(document: StoryDocument) -> RenderableType:
    """A whole story."""
    request, events = document.request, document.events
    lines = Table.grid(padding=(0, 2))
    lines.add_column(justify="right", no_wrap=True, style="dim")
    lines.add_column(overflow="fold")
    for event, after in zip_longest(events, events[1:]):
        if not _goes_without_saying(event, after):
            lines.add_row(f"{event['at']:.3f} s", _event(event))
    return Group(_heading(request, events), Text(), lines, *_prediction(request))


def requests(entries: Sequence[RequestEntry], width: int) -> RenderableType:
    """Requests, a line for each; two where the terminal has fewer than 100 columns."""
    if not entries:
        return Text("no requests since the router started")
    if width < _TABLE_WIDTH:
        return Group(*(_two_lines(entry) for entry in entries))
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("when", "outcome", "machine", "model", "client"):
        table.add_column(name, overflow="fold")
    for name in ("waited", "first", "total", "in", "out"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    for entry in entries:
        words = (entry["node"] or "-", _model(entry), entry["client"])
        times = (entry["waited_s"], entry["first_token_s"], entry["total_s"])
        table.add_row(
            clock_time(entry["arrived"]),
            Text(*ended(entry["outcome"])),
            *(Text(printable(word)) for word in words),
            *("-" if seconds is None else f"{seconds:.2f} s" for seconds in times),
            *("-" if tokens is None else str(tokens) for tokens in (entry["prompt"], entry["completion"])),
            Text(printable(entry["id"])),
        )
    return table


def _two_lines(entry: RequestEntry) -> Text:
    first, second = _heading_words(entry), f"{printable(_model(entry))} for {printable(entry['client'])}"
    return Text.assemble((clock_time(entry["arrived"]), "bold"), " ", first, f"\n  {second}, {printable(entry['id'])}")


def _model(entry: RequestEntry) -> str:
    return asked_for(entry["model"], entry["served_model"])


def _prediction(request: RequestEntry) -> list[Text]:
    """`from its placement at studio: predicted 4.20 s, took 5.00 s`."""
    predicted, took = request["predicted_s"], request["took_s"]
    if predicted is None or request["node"] is None:
        return []
    came = f", took {_seconds(took)}" if took is not None else ""
    return [Text(f"\nfrom its placement at {printable(request['node'])}: predicted {_seconds(predicted)}{came}")]


# --- what is said of the whole ----------------------------------------------------------------------------------------


def _heading(request: RequestEntry, events: Sequence[Event]) -> Text:
    asked = f"{printable(_model(request))} for {printable(request['client'])}, {clock_time(request['arrived'])}"
    text = Text.assemble((printable(request["id"]), "bold"), f": {asked}\n", _heading_words(request, _speed(events)))
    if request["outcome"] is None and events:
        text.append(f"\nnow: {_now(events[-1])}")
    return text


def _heading_words(request: RequestEntry, speed: str = "") -> Text:
    """`served by studio in 2.41 s (waited 0.31 s, first token after 0.83 s), 12 tokens in, 57 out`."""
    outcome, node = request["outcome"], request["node"]
    word, style = ended(outcome)
    preposition = {"served": " by", None: " at"}.get(outcome, ", last at")
    place = "" if node is None else f"{preposition} {printable(node)}"
    details = [f"waited {_seconds(request['waited_s'])}"] if request["waited_s"] >= 0.001 else []
    if request["first_token_s"] is not None:
        details.append(f"first token after {_seconds(request['first_token_s'])}")
    if request["attempts"] > 1:
        details.append(f"{request['attempts']} attempts")
    if request["status"] is not None and request["status"] != 200:
        details.append(f"HTTP {request['status']}")
    since = "for" if outcome is None else "in" if outcome == "served" else "after"
    text = Text.assemble((word, style), f"{place} {since} {_seconds(request['total_s'])}")
    if details:
        text.append(f" ({', '.join(details)})")
    if request["prompt"] is not None:
        text.append(f"; {request['prompt']} tokens in, {request['completion']} out{speed}")
    if "work" in request and request["work"]["amount"]:
        text.append(f"; {work(request['work']['unit'], request['work']['amount'])}{speed}")
    return text


def _now(event: Event) -> str:  # noqa: PLR0911 - a line for each kind
    """What a request that is under way waits for, from its latest event."""
    match event["kind"]:
        case "held":
            return "it waits for a machine that can serve it"
        case "queued":
            return f"it waits for its turn at {printable(event['node'])}"
        case "moved":
            return f"it waits for its turn at {printable(event['candidate']['node'])}, to which it was moved"
        case "opened":
            return f"{printable(event['node'])} has it, and has not begun to answer"
        case "first-byte":
            return "the answer is coming"
        case "split" | "part":
            return "parts of it are under way"
        case _:
            return "it is between two steps"


def _speed(events: Iterable[Event]) -> str:
    """` at 36.1 tokens/s`, ` at 14x real time`: by the clock beside the model server, else by the router's."""
    began: float | None = None
    for event in events:
        if event["kind"] == "first-byte":
            began = event["at"]
        elif event["kind"] == "served" and "work" in event:
            amount, seconds = event["work"]["amount"], event["decode_s"]
            return f" at {work_speed(event['work']['unit'], amount / seconds)}" if amount and seconds > 0.0 else ""
        elif event["kind"] == "served" and event["completion"] > 1:
            seconds = event["decode_s"] or (event["at"] - began if began is not None else 0.0)
            return f" at {event['completion'] / seconds:.1f} tokens/s" if seconds > 0.0 else ""
    return ""


# --- what is said of each event ---------------------------------------------------------------------------------------


def _goes_without_saying(event: Event, after: Event | None) -> bool:
    """What the line before or after it says as well."""
    if event["kind"] == "queued":
        return after is not None and after["kind"] == "granted"
    return event["kind"] == "ended" and event["outcome"] == "served"


def _event(event: Event) -> RenderableType:  # noqa: C901, PLR0911, PLR0912 - a line for each kind
    match event["kind"]:
        case "placed":
            return _placed(event)
        case "held":
            return Text(f"waits for a machine that can serve it, for at most {_seconds(event['wait_s'])}")
        case "woken":
            return Text(_woken(event))
        case "queued":
            return Text(f"asks for its turn at {printable(event['node'])}")
        case "moved":
            where, seconds = printable(event["candidate"]["node"]), event["candidate"]["predicted_s"]
            expected = "" if seconds is None else f" (predicted: {_seconds(seconds)})"
            return Text(f"after {_seconds(event['waited_s'])} moved to {where}, which serves it sooner{expected}")
        case "refused":
            sentence = f"{printable(event['node'])} {printable(event['reason']['text'])}"
            return Text(f"not taken, after {_seconds(event['waited_s'])}: {sentence}", "red")
        case "granted":
            waited = event["waited_s"]
            return Text(f"its turn at {printable(event['node'])}, {_after(waited)}")
        case "opened":
            edits = "".join(f"; {_edit(edit)}" for edit in event["edits"])
            return Text(f"attempt {event['attempt']}: sent to {printable(event['node'])}{edits}")
        case "first-byte":
            return Text(f"the answer begins to reach the client (HTTP {event['status']})")
        case "failed":
            how = f"attempt {event['attempt']} failed" if event["attempt"] else "could not be reached"
            why = f"{printable(event['reason']['text'])} ({printable(event['reason']['kind'])})"
            return Text(f"{printable(event['node'])}: {how}: {why}", "red")
        case "served":
            return Text(_served(event))
        case "split":
            shares = ", ".join(f"{part['inputs']} to {printable(part['node'])}" for part in event["parts"])
            return Text(
                f"in {len(event['parts'])} parts, of its inputs {shares}; "
                f"predicted: {_seconds(event['predicted_s'])}, in one piece {_seconds(event['alone_s'])}"
            )
        case "part":
            status = "" if event["status"] == 200 else f" (HTTP {event['status']})"
            return Text(f"{printable(event['id'])} answered by {printable(event['node'])}{status}")
        case "unsplit":
            return Text(f"begun again in one piece: {printable(event['text'])}", "red")
        case "left-out":
            return Text(f"... {event['events']} events are left out here ...", "dim")
        case "ended":
            word, style = ended(event["outcome"])
            return Text(": ".join(filter(None, ("over", word, printable(event["text"])))), style)


def _edit(edit: stories.EditEntry) -> str:
    """`its options.num_ctx set to 32768 (the context that the model has there, so that it is not loaded anew)`."""
    why = _EDITED.get(edit["field"])
    return f"its {printable(edit['field'])} set to {printable(str(edit['value']))}" + (f" ({why})" if why else "")


def _after(waited: float) -> str:
    return "at once" if waited < 0.001 else f"after {_seconds(waited)} in its queue"


def _woken(event: stories.Woken) -> str:
    waited = _seconds(event["waited_s"])
    sentences = {
        "unlocked": f"after {waited} the fleet has changed in a way that may help: looks again",
        "expired": f"nothing has changed in {waited}: looks once more",
        "full": "not held: the router holds as many requests as it may",
        "closed": f"after {waited} not held any longer: the router is shutting down",
    }
    return sentences.get(event["by"], f"after {waited}: {printable(event['by'])}")


def _served(event: stories.Served) -> str:
    times = [
        f"{_seconds(seconds)} {what}"
        for seconds, what in (
            (event["load_s"], "to load the model"),
            (event["prefill_s"], "to read the prompt"),
            (event["decode_s"], "to work" if "work" in event else "to write"),
        )
        if seconds >= 0.001
    ]
    if event["failed"]:
        return f"the answer of {printable(event['node'])} says itself that it failed"
    said = f"; by its own clock {', '.join(times)}" if times else ""
    if "work" in event:
        amount = event["work"]["amount"]
        counted = (work(event["work"]["unit"], amount) if amount else "nobody says how much work it was") + said
    else:
        counted = f"{event['prompt']} tokens in, {event['completion']} out{said}"
    end = "" if event["complete"] else "; it lacks the end that its format asks for"
    return f"the answer of {printable(event['node'])} is whole: {counted}{end}"


def _placed(event: stories.Placed) -> RenderableType:
    candidates, out = event["candidates"], event["eliminated"]
    more, more_out = event["candidates_left_out"], event["eliminated_left_out"]
    looked_at = len(candidates) + len(out) + more + more_out
    could = len(candidates) + more
    machines = "1 machine was" if looked_at == 1 else f"{looked_at} machines were"
    if event["node"] is None:
        verdict = "none can serve it now" if looked_at else "none has joined"
    else:
        verdict = f"{printable(event['node'])} is " + ("the only one that can serve it" if could == 1 else "the best")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(candidates))
    table.add_column("machine", overflow="fold", max_width=24)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("made of" if candidates else "", overflow="fold")
    for candidate in candidates:
        score = f"{candidate['score']:.{2 if 'seconds' in candidate else 1}f}"
        table.add_row(Text(printable(candidate["node"])), score, _why(candidate, candidates[0]))
    if more:
        table.add_row("...", "", f"and {more} more that scored less")
    for text, names in _by_reason(out).items():
        table.add_row(Text(", ".join(names)), Text("out", "red"), Text(text))
    if more_out:
        table.add_row("...", Text("out", "red"), f"{more_out} more")
    model = f" for {printable(event['model'])}" if "model" in event else ""
    sentence = Text(f"{machines} looked at{model}: {verdict}")
    return Group(sentence, table) if looked_at else sentence


def _by_reason(out: Iterable[stories.EliminatedEntry]) -> dict[str, list[str]]:
    """Why machines are out, and which."""
    found: dict[str, list[str]] = {}
    for one in out:
        found.setdefault(printable(one["reason"]["text"]), []).append(printable(one["node"]))
    return found


def _why(candidate: CandidateEntry, best: CandidateEntry) -> Text:
    """When the answer is expected, what the score of a machine is made of, and for what it lost."""
    signals, seconds = candidate["signals"], candidate["predicted_s"]
    expected = "" if seconds is None else f"predicted {_seconds(seconds)}; "
    points = [f"{_name(name)} {value:+.1f}" for name, value in signals.items() if abs(value) >= _NOTHING]
    text = Text(expected)
    if "seconds" in candidate:
        named = [(SECONDS.get(name, printable(name)), value) for name, value in candidate["seconds"].items()]
        text.append(
            ", ".join([f"{name} {value:.2f} s" for name, value in named if abs(value) >= _NO_TIME]) or "no time"
        )
        text.append(f"\nthe signals, which decide nothing here: {', '.join(points)}", "dim")
    else:
        text.append(", ".join(points) or "no points")
    if candidate is best:
        return text
    behind = best["score"] - candidate["score"]
    winner = printable(best["node"])
    if not signals:  # of what the router has stored, for all but the best
        return Text(f"{behind:.1f} behind {winner}", "dim")
    if behind < (-_TIE_SHARE * best["score"] if "seconds" in best else _TIE):
        text.append(f"\na tie with {winner}: the one with less to do, then the one that waited longer, is taken", "dim")
        return text
    by = f"{behind:.2f} s" if "seconds" in best else f"{behind:.1f}"
    text.append(f"\n{by} behind {winner}: {', '.join(_lost(candidate, best, behind))}", "dim")
    return text


def _lost(candidate: CandidateEntry, best: CandidateEntry, behind: float) -> list[str]:
    """For what a machine lost so much to the best: its parts that matter, the worst first."""
    if "seconds" in candidate and "seconds" in best:  # the fewer, the better
        names, sign, own, others = SECONDS, -1.0, candidate["seconds"], best["seconds"]
    else:
        names, sign, own, others = SIGNALS, 1.0, candidate["signals"], best["signals"]
    lost = {name: sign * (others.get(name, 0.0) - own.get(name, 0.0)) for name in {**others, **own}}
    worst = sorted((name for name in lost if lost[name] > _MATTERS * behind), key=lambda name: -lost[name])
    return [
        f"{names.get(name, printable(name))} ({own.get(name, 0.0):.1f} against {others.get(name, 0.0):.1f})"
        for name in worst
    ]


def _name(signal: str) -> str:
    return SIGNALS.get(signal, printable(signal.replace("_", " ")))


def _seconds(value: float) -> str:
    """`0.012 s`, `2.41 s`, `3 min 20 s`."""
    if value < 1.0:
        return f"{value:.3f} s"
    return f"{value:.2f} s" if value < 60.0 else f"{int(value) // 60} min {value % 60:.0f} s"
