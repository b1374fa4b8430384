"""Whether what the other end of a link sent is fit to be passed on: to HTTP, to tables, to people.

`framing` has seen to the types. A flaw is the half of a sentence that says what is wrong; it is empty when nothing is.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from herd.protocols.messages import Failure, Goodbye, Head, Headers, Hello, Pause, Report, RequestHead
from herd.protocols.untrusted import MAX_GPUS, MAX_INT, MAX_MODEL_NAME, MAX_MODELS
from herd.types import Seconds, Thermal, Workload

# A sentence for a person, part of which may be the peer's own words: it stands in answers, in logs and in states.
MAX_TEXT = 300

# Agents know five kinds of pauses, each of which comes once.
MAX_PAUSES = 16

# The year 3000: as far as the C libraries of all systems show times, and from 1970 on.
MAX_TIME = Seconds(32_503_680_000.0)

# Agents make up 16 hexadecimal digits. Ids name actors and stand in URLs, headers and tables.
_NODE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# RFC 9110, 5.6.2: what methods and names of headers are made of.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110, 5.5: of the control characters only the tab. A line end would begin another header, or another answer.
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# Put behind the base URL of a model server, anything but a slash in front would name another host.
_TARGET = re.compile(r"/[^\x00-\x20\x7f]*")
_WORKLOADS, _THERMALS = tuple(Workload), tuple(Thermal)
_LENGTH = re.compile(r"[0-9]{1,19}")  # what 63 bits hold


def sentence(text: str) -> str:
    """`text` on one line, without what a terminal would obey, and not endless."""
    cut = text[:MAX_TEXT]
    return cut if cut.isprintable() else "".join(letter if letter.isprintable() else " " for letter in cut)


def flaw_of_hello(hello: Hello) -> str:
    """Why nobody can join under this hello."""
    return "" if _NODE_ID.fullmatch(hello.node_id) else "its node id is not 1 to 64 letters, digits, dots and dashes"


def flaw_of_report(report: Report) -> str:
    """Why this is no report of a house's machine."""
    for what, count, allowed in (("models", len(report.models), MAX_MODELS), ("GPUs", len(report.gpus), MAX_GPUS)):
        if count > allowed:
            return f"it lists {count} {what}, and {allowed} are allowed"
    # Routing divides by them and takes their logarithms.
    amounts: list[int] = [report.memory_total, report.memory_free]
    amounts += [amount for gpu in report.gpus for amount in (gpu.memory_total, gpu.memory_free, gpu.bandwidth)]
    amounts += [amount for backend in report.backends for amount in (backend.parallel, backend.context_length)]
    for model in report.models:
        amounts += (model.size, model.size_resident, model.size_vram)
        amounts += (model.context_length, model.kv_per_token, model.context_max, model.step, model.steps)
    if not all(0 <= amount <= MAX_INT for amount in amounts):
        return "an amount in it is none"
    if not all(0.0 < model.active_share <= 1.0 for model in report.models):
        return "a share in it is none"
    return ""


def with_fit_models(report: Report) -> Report:
    """The report without models that no client could name: names stand in URLs, headers, logs and on terminals."""
    fit = tuple([model for model in report.models if _is_name(model.name)])
    return report if len(fit) == len(report.models) else replace(report, models=fit)


def with_fit_gpus(report: Report) -> Report:
    """The report with names of GPUs on one line: they stand in the status and on terminals."""
    fit = tuple(
        [replace(gpu, id=sentence(gpu.id), name=sentence(gpu.name), vendor=sentence(gpu.vendor)) for gpu in report.gpus]
    )
    return report if fit == report.gpus else replace(report, gpus=fit)


def with_fit_owner(report: Report) -> Report:
    """The report with what it says of the node's owner in words that are known, times that can be shown, and no end of
    neither. A pause that is in force stays one, whatever else it says.
    """
    pauses = tuple([_fit_pause(pause) for pause in report.pauses[:MAX_PAUSES]])
    load = report.owner_load
    return replace(
        report,
        pauses=pauses,
        workload=report.workload if report.workload in _WORKLOADS else "",
        thermal=report.thermal if report.thermal in _THERMALS else "",
        owner_load=None if load is None else min(max(load, 0.0), 1.0),
    )


def _fit_pause(pause: Pause) -> Pause:
    since, until = _fit_time(pause.since), None if pause.until is None else _fit_time(pause.until)
    return Pause(sentence(pause.kind), sentence(pause.text), since, until)


def _fit_time(time: Seconds) -> Seconds:
    return Seconds(min(max(time, 0.0), MAX_TIME))


def flaw_of_request(head: RequestHead) -> str:
    """Why no HTTP request can begin so."""
    if not _TOKEN.fullmatch(head.method):
        return "its method is none"
    if not _TARGET.fullmatch(head.path):
        return "its path is none"
    if head.size < -1:
        return "its size is negative"
    return _flaw_of_headers(head.headers)


def flaw_of_answer(head: Head) -> str:
    """Why no HTTP answer can begin so. What is below 200 is no answer yet: a client would wait for another head."""
    if not 200 <= head.status <= 599:
        return "its status is none of a final answer"
    lengths = [value for name, value in head.headers if name.lower() == "content-length"]
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        return "its Content-Length is not one number"
    return _flaw_of_headers(head.headers)


def told(failure: Failure) -> Failure:
    """A peer's failure, fit for people."""
    return Failure(sentence(failure.kind), sentence(failure.text))


def farewell(goodbye: Goodbye) -> Goodbye:
    """A peer's goodbye, fit for people."""
    return Goodbye(sentence(goodbye.code), sentence(goodbye.text))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_MODEL_NAME and name.isprintable()


def _flaw_of_headers(headers: Headers) -> str:
    return "a header of it is none" if any(_misformed(headers)) else ""


def _misformed(headers: Headers) -> Iterable[bool]:
    return (not (_TOKEN.fullmatch(name) and _VALUE.fullmatch(value)) for name, value in headers)
