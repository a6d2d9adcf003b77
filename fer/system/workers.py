"""A few helper processes that compute in parallel, and end when the process that started them does.

Not threads: what is done here releases and takes the interpreter's lock every few microseconds, and two threads are
then slower than one. Not multiprocessing: its children outlive a parent that is killed, and run its main script again.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TypeVar, cast

from fer.errors import FerError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Room for a whole item or result: fewer waits than with the usual 64 KB.
_PIPE = 1 << 20
# glibc gives arrays of this size back to the kernel at once, and half the time would go into getting them again;
# and the processes are the parallelism, so that NumPy need not start threads.
_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "OPENBLAS_NUM_THREADS": "1",
}
_START = "import sys; sys.path[:] = {path!r}; from fer.system.workers import serve; serve()"


class Workers:
    """`count` processes that help the caller's own with `map`; for 0 that one does it alone. A context manager."""

    def __init__(self, count: int):
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pipesize=_PIPE,
                env=os.environ | _ENVIRONMENT,
            )
            self._processes.append(process)
            self._idle.put(process)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        for process in self._processes:
            if exc_type is not None:
                process.kill()
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], process.stdin).close()
            cast(IO[bytes], process.stdout).close()
            process.wait()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`function` of each of `items`, in order, with few items under way, so that memory stays bounded.

        Function, items and results must be picklable where there are processes. An exception of `function` is raised
        at its item's turn; a process that died is a FerError.
        """
        if not self._processes:
            yield from map(function, items)
            return
        pending: deque[Future[Result]] = deque()
        # The threads only wait: each hands one item to an idle process and takes its result.
        with ThreadPoolExecutor(len(self._processes)) as threads:
            try:
                for item in items:
                    pending.append(self._submit(threads, function, item, pending))
                    while pending and (pending[0].done() or len(pending) > 4 * len(self._processes) + 4):
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _submit(
        self,
        threads: ThreadPoolExecutor,
        function: Callable[[Item], Result],
        item: Item,
        pending: Iterable[Future[Result]],
    ) -> Future[Result]:
        """Give the item to a process; when each has one and another waiting, do it here."""
        if sum(not future.done() for future in pending) < 2 * len(self._processes):
            return threads.submit(self._call, function, item)
        future: Future[Result] = Future()
        try:
            future.set_result(function(item))
        except Exception as error:  # raised at its item's turn
            future.set_exception(error)
        return future

    def _call(self, function: Callable[[Item], Result], item: Item) -> Result:
        process = self._idle.get()
        try:
            stdin = cast(IO[bytes], process.stdin)
            pickle.dump((function, item), stdin, protocol=pickle.HIGHEST_PROTOCOL)
            stdin.flush()
            answer: tuple[Result, BaseException | None] = pickle.load(cast(IO[bytes], process.stdout))
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):
            raise FerError("a helper process of fer ended early: it was killed, or memory ran out. Run again") from None
        finally:
            self._idle.put(process)
        result, error = answer
        if error is not None:
            raise error
        return result


def serve() -> None:
    """The life of a helper process: (function, item) in on stdin, (result, exception) out, until stdin closes."""
    # Ctrl-C is the parent's to answer; it closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb") as out:
        # Whatever prints must not meet the results.
        os.dup2(2, 1)
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                function, item = pickle.load(sys.stdin.buffer)
                pickle.dump(_attempt(function, item), out, protocol=pickle.HIGHEST_PROTOCOL)
                out.flush()


def _attempt(function: Callable[[Item], Result], item: Item) -> tuple[Result | None, BaseException | None]:
    try:
        return function(item), None
    except Exception as error:  # raised again in the parent
        return None, error
