"""Run a function over many items on all processors, in threads."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Yield function(item) of each item, in order, from threads on all processors that this process may use.

    Threads work only a few items ahead of the caller, so that results do not pile up where the caller is slower.
    """
    ahead = 2 * processors()
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(processors()) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # after an error, or where the caller stops
            for future in waiting:
                future.cancel()
