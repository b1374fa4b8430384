"""Whose part of which trace a request is: what is read, what is refused, and what is passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.trace_context import MAX_STATE, TraceContext, read_context, with_context

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_parent_is_read_with_what_others_have_to_say() -> None:
    headers = (("TraceParent", f" {PARENT} "), ("tracestate", "rojo=1"), ("Tracestate", "congo=2,x=3"))
    context = read_context(headers)
    assert context == TraceContext(TRACE, SPAN, 1, "rojo=1,congo=2,x=3")
    assert context.sampled
    assert not TraceContext(TRACE, SPAN, 2).sampled


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "hello",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}-extra",
        PARENT.replace("00-", "ff-", 1),
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT.replace("-01", "-0g"),
    ],
)
def test_what_is_no_parent_is_none(parent: str) -> None:
    assert read_context((("traceparent", parent), ("tracestate", "a=1"))) is None


def test_two_parents_are_none() -> None:
    assert read_context((("traceparent", PARENT), ("traceparent", PARENT))) is None


def test_a_later_version_may_have_more_fields_and_flags_that_mean_nothing_here() -> None:
    parent = PARENT.replace("00-", "cc-", 1).removesuffix("01") + "fd-what-the-future-holds"
    assert read_context((("traceparent", parent),)) == TraceContext(TRACE, SPAN, 1)


def test_a_state_that_is_too_long_is_left_out() -> None:
    state = "a=" + "x" * (MAX_STATE - 2)
    assert read_context((("traceparent", PARENT), ("tracestate", state))) == TraceContext(TRACE, SPAN, 1, state)
    assert read_context((("traceparent", PARENT), ("tracestate", f"{state}y"))) == TraceContext(TRACE, SPAN, 1)


def test_the_headers_that_go_on_name_one_parent_and_keep_the_others() -> None:
    headers = (("Traceparent", PARENT), ("baggage", "k=v"), ("TRACESTATE", "a=1"))
    assert with_context(headers, TraceContext(TRACE, 5, 1, "b=2")) == (
        ("baggage", "k=v"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-0000000000000005-01"),
        ("tracestate", "b=2"),
    )
    assert with_context(headers, TraceContext(TRACE, 5, 1))[1:] == (
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-0000000000000005-01"),
    )


@given(
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.integers(0, 3),
    st.from_regex("([a-z]=[0-9])?", fullmatch=True),
)
def test_what_is_passed_on_is_read_again(trace: int, span: int, flags: int, state: str) -> None:
    context = TraceContext(trace, span, flags, state)
    assert read_context(with_context((), context)) == context
