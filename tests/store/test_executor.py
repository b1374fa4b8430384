import threading

from herd.store.executor import InlineExecutor, ThreadExecutor


async def test_calls_run_one_after_another_in_one_thread_of_their_own() -> None:
    executor = ThreadExecutor()
    seen: list[tuple[int, int]] = []

    for number in range(10):
        await executor.run(lambda number=number: seen.append((number, threading.get_ident())))  # type: ignore[misc]
    executor.close()

    assert [number for number, _ in seen] == list(range(10))
    assert {thread for _, thread in seen} not in ({threading.get_ident()}, set())
    assert len({thread for _, thread in seen}) == 1


async def test_inline_calls_run_at_once_on_the_loop() -> None:
    executor = InlineExecutor()

    assert await executor.run(threading.get_ident) == threading.get_ident()
    executor.close()
