import os
import subprocess
import sys
import threading
import time

import pytest

from fusewarp.engine.threads import Job, Lane, available_threads, resolve_threads, run_slices


@pytest.mark.parametrize("threads", [1, 2, 5, None])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_every_index_is_visited_once(threads, count):
    visits = [0] * count

    def visit(start, stop):
        for at in range(start, stop):
            visits[at] += 1

    run_slices(visit, count, threads)
    assert visits == [1] * count


def test_an_error_is_raised_after_every_slice_has_stopped():
    running = []

    def work(start, stop):
        running.append(start)
        time.sleep(0.01)
        running.remove(start)
        raise KeyError(start)

    with pytest.raises(KeyError):
        run_slices(work, 40, 3)
    assert running == []


def test_a_lane_runs_at_most_its_threads_at_once():
    lock, running, most = threading.Lock(), 0, 0

    def work(start, stop):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    lane = Lane(2)
    for job in [lane.start(work, 10, 1) for _ in range(3)]:
        job.wait()
    assert most == 2


def test_a_lane_finishes_the_earlier_job_first():
    order = []
    lane = Lane(1)
    jobs = [lane.start(lambda a, b, k=k: order.append(k), 3, 1) for k in range(4)]
    jobs[-1].wait()
    assert order == sorted(order)


def test_a_cancelled_job_tells_its_waiter():
    running, release = threading.Event(), threading.Event()

    def hold(start, stop):
        running.set()
        release.wait(5)

    lane = Lane(1)
    first = lane.start(hold, 1, 1)
    running.wait(5)
    second = lane.start(lambda a, b: None, 1, 1)
    lane.cancel()
    release.set()
    first.wait()
    with pytest.raises(RuntimeError, match="cancelled"):
        second.wait()


def test_work_started_from_a_pool_thread_does_not_wait_for_the_pool():
    done = []

    def outer(start, stop):
        run_slices(lambda a, b: done.append(b - a), 8, 4)

    run_slices(outer, 16, 4)
    assert sum(done) % 8 == 0
    assert done


def test_ctrl_c_leaves_no_slice_running(monkeypatch):
    running, started = [], []

    def work(start, stop):
        started.append(start)
        running.append(start)
        time.sleep(0.02)
        running.remove(start)

    def interrupted(job):
        while not started:
            time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_slices(work, 64, 2)
    assert running == []
    assert len(started) < 8


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_must_be_a_count(threads):
    with pytest.raises(ValueError, match="`threads`"):
        resolve_threads(threads)


def test_available_threads_respects_the_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from fusewarp.engine.threads import available_threads; print(available_threads())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "1"
    assert available_threads() >= 1


FORK = """
import os, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads: that is the test
from fusewarp.engine.threads import Lane, run_slices
run_slices(lambda a, b: None, 8, 2)
lane = Lane(2)
job = lane.start(lambda a, b: None, 4, 1)
child = os.fork()
if child == 0:
    run_slices(lambda a, b: None, 8, 2)  # a new pool, not the parent's dead threads
    for call in (job.wait, lambda: lane.start(lambda a, b: None, 1, 1)):
        try:
            call()
        except RuntimeError as error:
            assert "forked" in str(error)
        else:
            os._exit(1)
    lane._lock.acquire()  # as a thread of the parent may have held it
    lane.cancel()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_anew_and_refuses_the_parents_work():
    result = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "0"


def test_a_cancelled_job_skips_what_has_not_begun():
    begun, go_on = [], threading.Event()

    def work(start, stop):
        begun.append(start)
        go_on.wait(10)

    job = Lane(1).start(work, 5, 1)
    while not begun:
        time.sleep(0.001)
    job.cancel()
    go_on.set()
    job.finish()
    assert begun == [0]
    with pytest.raises(RuntimeError, match="cancelled"):
        job.wait()
