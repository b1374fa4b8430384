"""The latest lines of the log."""

import logging

from herd.cli.logbook import KEPT, LogBook
from herd.cli.process import MAX_MESSAGE


def record(text: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("herd.x", logging.WARNING, "x.py", 1, text, args, None)
    made.__dict__.update(fields)
    return made


def test_lines_are_numbered_and_kept_as_a_person_reads_them() -> None:
    book = LogBook()
    book.handle(record("request %s\nwas refused", "r1", created=0.25, request_id="r1"))
    book.handle(record("x" * 2 * MAX_MESSAGE))
    first, second = book.latest(10)
    assert (first.number, first.time, first.level, first.logger) == (1, "1970-01-01T00:00:00.250Z", "warning", "herd.x")
    assert (first.message, first.request_id, second.request_id) == ("request r1\\nwas refused", "r1", None)
    assert len(second.message) < MAX_MESSAGE + 30


def test_the_oldest_are_forgotten_and_what_is_new_is_told_by_number() -> None:
    book = LogBook()
    for number in range(KEPT + 10):
        book.handle(record("line %d", number))
    assert [line.number for line in book.latest(3)] == [KEPT + 8, KEPT + 9, KEPT + 10]
    assert book.latest(2 * KEPT)[0].number == 11
    assert [line.message for line in book.since(KEPT + 8)] == [f"line {KEPT + 8}", f"line {KEPT + 9}"]
    assert book.since(KEPT + 10) == book.since(KEPT + 99) == ()
    assert len(book.since(0)) == KEPT


def test_a_line_that_another_thread_adds_meanwhile_takes_the_place_of_none() -> None:
    book = LogBook()
    for number in range(3):
        book.handle(record("line %d", number))

    class Contended:
        """A lock that is had once another thread has written a line."""

        def __enter__(self) -> None:
            book.lock = None
            book.emit(record("line 3"))

        def __exit__(self, *_: object) -> None:
            pass

    book.lock = Contended()  # type: ignore[assignment]
    assert [line.number for line in book.since(1)] == [2, 3, 4]


def test_whoever_waits_is_told_of_one_line() -> None:
    book = LogBook()
    heard: list[str] = []
    book.tell_of_next(lambda: heard.append("before"))
    book.tell_of_next(lambda: heard.append("now"))
    book.handle(record("one"))
    book.handle(record("two"))
    assert heard == ["now"]
