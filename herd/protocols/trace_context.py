"""W3C Trace Context: whose part of which trace a request is. https://www.w3.org/TR/trace-context/"""

import re
from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]

SAMPLED = 0x01  # section 3.2.3.5: whoever called records its own part
RANDOM = 0x02  # level 2: the trace id is made by chance

# Version 00 has exactly these four fields; a later one may have more behind another dash.
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# Section 3.3.1.3: at least so much is passed on; a longer one is left out as a whole.
MAX_STATE = 512


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span, as others name it."""

    trace: int  # 128 bits
    span: int  # 64 bits
    flags: int = SAMPLED
    state: str = ""  # what the tracing systems on the way have to say to themselves

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def read_context(headers: Headers) -> TraceContext | None:
    """The span that a request belongs to. None: it says nothing, or nothing that is valid."""
    parents = [value.strip() for name, value in headers if name.lower() == "traceparent"]
    match = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace, span = int(match[2], 16), int(match[3], 16)
    if not trace or not span:
        return None
    state = ",".join([value.strip() for name, value in headers if name.lower() == "tracestate" and value.strip()])
    # Flags of a version that is not known here mean nothing here.
    return TraceContext(trace, span, int(match[4], 16) & (SAMPLED | RANDOM), state if len(state) <= MAX_STATE else "")


def with_context(headers: Headers, context: TraceContext) -> Headers:
    """The headers of a request that is made on behalf of this span."""
    others = [pair for pair in headers if pair[0].lower() not in {"traceparent", "tracestate"}]
    parent = f"00-{context.trace:032x}-{context.span:016x}-{context.flags:02x}"
    state = (("tracestate", context.state),) if context.state else ()
    return (*others, ("traceparent", parent), *state)
