"""The process's one thread pool, and lanes that run slices of work on it in order."""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

SliceTask = Callable[[int, int], None]

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None
_num_workers = 0


def available_threads() -> int:
    """Return how many threads this process may use: CPU affinity, capped by the cgroup quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
    quota = _cgroup_quota()
    return max(1, count if quota is None else min(count, int(quota + 0.5)))


def _cgroup_quota() -> float | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def resolve_threads(threads: int | None) -> int:
    """Return `threads` checked, or all available ones for None.

    Raises
    ------
    ValueError
        If `threads` is below 1.
    """
    if threads is None:
        return available_threads()
    if isinstance(threads, bool) or int(threads) != threads or threads < 1:
        raise ValueError(
            f"`threads` must be a whole number of at least 1 or None, got {threads!r}."
        )
    return int(threads)


def _submit(work: Callable[[], None], num_workers: int) -> Future[None]:
    """Queue `work` on the pool, which grows to `num_workers` when it is smaller."""
    global _executor, _num_workers
    with _lock:
        if _executor is None or num_workers > _num_workers:
            outgrown, _num_workers = _executor, max(num_workers, available_threads())
            _executor = ThreadPoolExecutor(_num_workers, thread_name_prefix="fusewarp")
            if outgrown is not None:
                outgrown.shutdown(wait=False)  # it still finishes what it was given
        return _executor.submit(work)


def _forget_pool() -> None:
    """In a forked child the pool's threads do not exist: start anew on first use."""
    global _executor, _num_workers, _lock
    _lock = threading.Lock()
    _executor, _num_workers = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _refuse_after_fork(pid: int) -> None:
    if os.getpid() != pid:
        raise RuntimeError(
            "This iterator was started before the process forked, and its threads stayed in the "
            "parent. Start a new iteration in the child, or start processes with 'spawn'."
        )


class Job:
    """One piece of work, cut into slices; finished when every slice is."""

    def __init__(self, task: SliceTask, slices: list[tuple[int, int]]) -> None:
        self._task: SliceTask | None = task
        self._waiting = deque(slices)
        self._lock = threading.Lock()
        self._pending = len(slices)
        self._error: BaseException | None = None
        self._finished = threading.Event()
        self._pid = os.getpid()
        if not slices:
            self._finished.set()

    def run_next(self) -> bool:
        """Run one slice that nobody has begun; return False if there is none.

        After the first error the remaining slices are skipped.
        """
        try:
            start, stop = self._waiting.popleft()
        except IndexError:
            return False
        self._run(start, stop)
        return True

    def _run(self, start: int, stop: int) -> None:
        try:
            if self._error is None and self._task is not None:
                self._task(start, stop)
        except BaseException as error:
            self._error = self._error or error
        finally:
            with self._lock:
                self._pending -= 1
                if self._pending == 0:
                    self._task = None  # it may hold whoever holds this job, and a batch's memory
                    self._finished.set()

    def cancel(self) -> None:
        """Skip the slices that have not begun; whoever waits for the job is told."""
        self._error = self._error or RuntimeError("The work was cancelled.")

    def finish(self) -> None:
        """Block until no slice is running any more, whatever came of them.

        A thread of the pool runs the slices that wait: the others may be waiting for this one.

        Raises
        ------
        RuntimeError
            In a forked child, where the threads that would finish the job do not exist.
        """
        _refuse_after_fork(self._pid)
        while _in_pool() and self.run_next():
            pass
        self._finished.wait()

    def wait(self) -> None:
        """Block until no slice is running any more, then raise the first error, if any.

        Raises
        ------
        RuntimeError
            In a forked child, where the threads that would finish the job do not exist.
        """
        self.finish()
        if self._error is not None:
            raise self._error


class Lane:
    """Runs jobs in the order they came, on at most `threads` threads of the pool at a time."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = resolve_threads(threads)
        self._lock = threading.Lock()
        self._queue: deque[Job] = deque()  # a job once for each of its slices
        self._active = 0
        self.pid = os.getpid()

    def start(self, task: SliceTask, count: int, slice_size: int) -> Job:
        """Queue `task(start, stop)` for every slice of `range(count)`; return at once."""
        _refuse_after_fork(self.pid)
        slices = [(at, min(at + slice_size, count)) for at in range(0, count, slice_size)]
        job = Job(task, slices)
        if _in_pool():  # a pool thread must not wait for the pool: all could be waiting at once
            job.finish()
            return job
        with self._lock:
            self._queue.extend([job] * len(slices))
            wanted = min(self.threads - self._active, len(slices))
            self._active += max(0, wanted)
        for _ in range(wanted):
            _submit(self._drain, self.threads)
        return job

    def cancel(self) -> None:
        """Drop what has not started; whoever waits for a dropped job is told."""
        if os.getpid() != self.pid:
            return  # forked: the lock may be held by a thread that is not here
        with self._lock:
            dropped, self._queue = self._queue, deque()
        for job in dropped:
            job.cancel()
            job.run_next()

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._active -= 1
                    return
                job = self._queue.popleft()
            job.run_next()


def run_slices(task: SliceTask, count: int, threads: int | None = None) -> None:
    """Call `task(start, stop)` for slices of `range(count)` on the pool; return when all are done.

    Parameters
    ----------
    task : callable
        Works on the half-open range it is given; must be safe to run beside itself.
    count : int
        Size of the whole range.
    threads : int, optional
        At most so many at once; 1 runs in the calling thread. Default: all available.

    Raises
    ------
    Exception
        The first error a slice raised, once no slice is running any more.
    """
    threads = resolve_threads(threads)
    if threads == 1 or count <= 1 or _in_pool():
        if count > 0:
            task(0, count)
        return
    slices_per_thread = 4  # so that one slow slice does not leave the others idle
    slice_size = max(1, count // (threads * slices_per_thread))
    lane = Lane(threads)
    job = lane.start(task, count, slice_size)
    try:
        job.wait()
    except BaseException:  # Ctrl-C too: no slice may still be running when the caller goes on
        lane.cancel()
        job.finish()
        raise


def _in_pool() -> bool:
    """Tell whether this is a thread of the pool."""
    return threading.current_thread().name.startswith("fusewarp")
