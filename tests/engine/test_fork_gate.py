"""Forks wait for calls that they must not interrupt, and for nothing else."""

import os
import signal
import threading
import time

import pytest

from fusewarp.engine import fork_gate
from fusewarp.engine.fork_gate import ForkGate

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

gate = ForkGate()  # one for all: it stays registered


@pytest.fixture
def somebody_inside():
    """A thread that is inside until it is told to go."""
    arrived, go = threading.Event(), threading.Event()

    def stay():
        with gate, gate:
            arrived.set()
            go.wait(60)

    thread = threading.Thread(target=stay)
    thread.start()
    assert arrived.wait(60)
    yield go
    go.set()
    thread.join()


def ended(child: int) -> int | None:
    """Return the exit code of a child, and None of one that hung."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def child_goes_in() -> int:
    child = os.fork()
    if child == 0:
        with gate:
            os._exit(7)
    return child


def wait_for_a_fork() -> None:
    deadline = time.monotonic() + 20
    while not gate._forking:
        assert time.monotonic() < deadline, "no fork waits"
        time.sleep(0.001)


def fork_in_a_thread():
    children = []
    thread = threading.Thread(target=lambda: children.append(child_goes_in()))
    thread.start()
    return thread, children


def test_a_fork_waits_until_nobody_is_inside_and_the_child_goes_in(somebody_inside):
    thread, children = fork_in_a_thread()
    thread.join(0.3)
    assert (thread.is_alive(), children) == (True, [])
    somebody_inside.set()
    thread.join(60)
    assert [ended(child) for child in children] == [7]


def test_nobody_goes_in_while_a_fork_waits(somebody_inside):
    thread, children = fork_in_a_thread()
    wait_for_a_fork()
    went_in = threading.Event()

    def go_in():
        with gate:
            went_in.set()

    late = threading.Thread(target=go_in)
    late.start()
    assert not went_in.wait(0.3)
    somebody_inside.set()
    assert went_in.wait(60)
    late.join()
    thread.join(60)
    assert [ended(child) for child in children] == [7]


def test_who_is_inside_may_go_in_again_while_a_fork_waits_and_fork():
    with gate:
        assert ended(child_goes_in()) == 7
        thread, children = fork_in_a_thread()
        wait_for_a_fork()
        with gate:
            assert children == []
    thread.join(60)
    assert [ended(child) for child in children] == [7]


def test_two_threads_fork_at_once(somebody_inside):
    first, second = fork_in_a_thread(), fork_in_a_thread()
    time.sleep(0.1)
    somebody_inside.set()
    for thread, children in (first, second):
        thread.join(60)
        assert [ended(child) for child in children] == [7]


def test_a_fork_does_not_wait_for_ever(somebody_inside, monkeypatch):
    monkeypatch.setattr(fork_gate, "_LONGEST_WAIT", 0.2)
    assert ended(child_goes_in()) == 7
    assert not somebody_inside.is_set()


def test_nobody_waits_for_ever_to_go_in(somebody_inside, monkeypatch):
    monkeypatch.setattr(fork_gate, "_LONGEST_WAIT", 0.2)
    gate._close()
    try:
        thread = threading.Thread(target=gate.__enter__)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    finally:
        gate._open()
        gate._inside.clear()


def test_a_handler_forks_while_its_thread_waits_to_fork(somebody_inside):
    children = []

    def interrupt():
        wait_for_a_fork()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        time.sleep(0.2)
        somebody_inside.set()

    before = signal.signal(signal.SIGUSR1, lambda *_: children.append(child_goes_in()))
    try:
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        children.append(child_goes_in())
        interrupting.join(60)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [ended(child) for child in children] == [7, 7]
    assert not gate._forking


def test_a_child_goes_on_inside_and_its_threads_fork():
    with gate:
        child = os.fork()
    if child == 0:
        thread, children = fork_in_a_thread()
        thread.join(60)
        os._exit(9 if [ended(each) for each in children] == [7] and not gate._inside else 1)
    assert ended(child) == 9
