import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.errors import ProtocolError
from herd.protocols.credit import (
    CONNECTION_BATCH,
    CONNECTION_WINDOW,
    INITIAL_WINDOW,
    LINK,
    MAX_STREAMS,
    MAX_WINDOW,
    SURPLUS,
    CreditLedger,
)
from herd.types import StreamId

ONE = StreamId(1)


def read_through(ledger: CreditLedger, stream: StreamId, window: int) -> int:
    """Receive and consume one whole window; the window that follows."""
    ledger.receive(stream, window)
    ledger.consume(stream, window)
    return dict(ledger.grants())[stream]


def grow(ledger: CreditLedger, stream: StreamId) -> int:
    """Read a stream until its window grows no more; that window."""
    window = INITIAL_WINDOW
    while (wider := read_through(ledger, stream, window)) > window:
        window = wider
    return window


# --- One stream -------------------------------------------------------------------------------------------------------


def test_a_stream_begins_with_a_window_that_nobody_announces() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    ledger.receive(ONE, INITIAL_WINDOW)
    assert ledger.grants() == []


def test_a_byte_beyond_the_window_is_refused() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    ledger.receive(ONE, 8000)
    with pytest.raises(ProtocolError, match="Stream 1 sent 193 bytes and had credit for 192"):
        ledger.receive(ONE, 193)


def test_credit_comes_back_once_it_is_half_a_window() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    ledger.receive(ONE, INITIAL_WINDOW)
    ledger.consume(ONE, 4095)
    assert ledger.grants() == []
    ledger.consume(ONE, 1)
    assert ledger.grants() == [(ONE, 4096)]
    assert ledger.grants() == []


def test_grants_of_one_stream_are_merged() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    ledger.receive(ONE, 8000)
    ledger.consume(ONE, 4096)
    ledger.consume(ONE, 3904)
    ledger.receive(ONE, 4096)
    ledger.consume(ONE, 4096)
    assert ledger.grants() == [(ONE, 4096 + 8000 + INITIAL_WINDOW)]


def test_a_stream_that_is_read_doubles_its_window_up_to_256_kib() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    windows = [INITIAL_WINDOW]
    for _ in range(7):
        windows.append(read_through(ledger, ONE, windows[-1]))
    assert [window // 1024 for window in windows] == [8, 16, 32, 64, 128, 256, 256, 256]


def test_what_was_not_received_cannot_be_consumed() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    ledger.receive(ONE, 10)
    with pytest.raises(ValueError, match="stream 1 holds 10 bytes, and 11 were consumed"):
        ledger.consume(ONE, 11)


def test_consuming_on_a_stream_that_has_ended_is_no_mistake() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    ledger.receive(ONE, 10)
    ledger.close(ONE)
    ledger.consume(ONE, 10)
    assert ledger.grants() == []


# --- The link ---------------------------------------------------------------------------------------------------------


def test_the_links_credit_comes_back_in_lumps() -> None:
    ledger = CreditLedger()
    ledger.open(ONE)
    assert grow(ledger, ONE) == MAX_WINDOW
    back = 0
    for _ in range(8):
        ledger.receive(ONE, MAX_WINDOW)
        ledger.consume(ONE, MAX_WINDOW)
        back += dict(ledger.grants()).get(LINK, 0)
    assert back >= 2 * CONNECTION_BATCH
    assert back % CONNECTION_BATCH < MAX_WINDOW


@pytest.mark.parametrize("late", [False, True])
def test_bytes_that_nobody_will_read_go_back_to_the_link(late: bool) -> None:
    ledger = CreditLedger()
    for number in range(1, CONNECTION_BATCH // INITIAL_WINDOW + 1):
        assert ledger.grants() == []
        if late:
            ledger.receive_late(INITIAL_WINDOW)
        else:
            stream = StreamId(number)
            ledger.open(stream)
            ledger.receive(stream, INITIAL_WINDOW)
            ledger.close(stream)
    assert ledger.grants() == [(LINK, CONNECTION_BATCH)]


def test_a_peer_that_sends_without_the_links_credit_is_refused() -> None:
    ledger = CreditLedger()
    for _ in range(CONNECTION_WINDOW // MAX_WINDOW):
        ledger.receive_late(MAX_WINDOW)
    with pytest.raises(ProtocolError, match="The link sent 16777217 bytes and had credit for 16777216"):
        ledger.receive_late(CONNECTION_WINDOW + 1)


def test_whatever_others_hold_a_new_stream_gets_its_first_window() -> None:
    ledger = CreditLedger()
    streams = [StreamId(number) for number in range(1, MAX_STREAMS)]
    room = dict.fromkeys(streams, INITIAL_WINDOW)
    for stream in streams:
        ledger.open(stream)
    for stream in streams[:100]:  # more than the surplus is good for
        for _ in range(6):
            size = room[stream]
            ledger.receive(stream, size)
            ledger.consume(stream, size)
            room[stream] -= size
            for granted, amount in ledger.grants():
                if granted != LINK:
                    room[granted] += amount
    assert sum(room.values()) == len(streams) * INITIAL_WINDOW + SURPLUS
    for stream in streams:  # and now nobody reads any more
        ledger.receive(stream, room[stream])
    last = StreamId(MAX_STREAMS)
    ledger.open(last)
    ledger.receive(last, INITIAL_WINDOW)
    ledger.consume(last, INITIAL_WINDOW)
    assert dict(ledger.grants())[last] == INITIAL_WINDOW


def test_what_a_stream_had_grown_by_is_lent_to_others_when_it_ends() -> None:
    ledger = CreditLedger()
    windows = []
    for number in range(1, SURPLUS // (MAX_WINDOW - INITIAL_WINDOW) + 3):
        ledger.open(StreamId(number))
        windows.append(grow(ledger, StreamId(number)))
    assert windows[0] == MAX_WINDOW
    assert windows[-1] == INITIAL_WINDOW, "nothing was left to lend"
    ledger.close(ONE)
    assert grow(ledger, StreamId(len(windows))) == MAX_WINDOW


# --- Any course of events ---------------------------------------------------------------------------------------------


class Sender(RuleBasedStateMachine):
    """A ledger, and the sender who knows only what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = CreditLedger()
        self.room: dict[StreamId, int] = {}
        self.held: dict[StreamId, int] = {}
        self.link = CONNECTION_WINDOW
        self.last = 0

    @precondition(lambda self: len(self.room) < 5)
    @rule()
    def open(self) -> None:
        self.last += 1
        stream = StreamId(self.last)
        self.ledger.open(stream)
        self.room[stream] = INITIAL_WINDOW
        self.held[stream] = 0

    @precondition(lambda self: self.room)
    @rule(data=st.data(), share=st.floats(0, 1))
    def send(self, data: st.DataObject, share: float) -> None:
        stream = data.draw(st.sampled_from(sorted(self.room)))
        size = int(min(self.room[stream], self.link) * share)
        self.ledger.receive(stream, size)
        self.room[stream] -= size
        self.link -= size
        self.held[stream] += size

    @precondition(lambda self: self.room)
    @rule(data=st.data(), share=st.sampled_from([0.1, 0.5, 1]))
    def consume(self, data: st.DataObject, share: float) -> None:
        stream = data.draw(st.sampled_from(sorted(self.room)))
        size = int(self.held[stream] * share)
        self.ledger.consume(stream, size)
        self.held[stream] -= size

    @precondition(lambda self: self.room)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(sorted(self.room)))
        self.ledger.close(stream)
        del self.room[stream], self.held[stream]

    @rule()
    def hear(self) -> None:
        for stream, amount in self.ledger.grants():
            assert amount > 0
            if stream == LINK:
                self.link += amount
            else:
                self.room[stream] += amount

    @invariant()
    def nothing_exceeds_its_bound(self) -> None:
        assert 0 <= self.link <= CONNECTION_WINDOW
        assert self.link + sum(self.held.values()) <= CONNECTION_WINDOW
        for stream, room in self.room.items():
            assert 0 <= room + self.held[stream] <= MAX_WINDOW

    @invariant()
    def a_stream_that_is_read_is_never_stuck(self) -> None:
        for stream, room in self.room.items():
            pending = dict(self.ledger._grants).get(stream, 0)
            assert room + pending > 0 or self.held[stream] > 0


TestSender = Sender.TestCase
TestSender.settings = settings(max_examples=30, stateful_step_count=40, derandomize=True, database=None)
