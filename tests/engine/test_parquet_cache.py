"""Row groups in memory: within a budget, and read once."""

import multiprocessing
import pickle
import threading

import pytest

from fusewarp.engine.parquet_cache import GroupCache


class Column:
    """Takes as many bytes as it says."""

    def __init__(self, group, size=10):
        self.group, self.size = group, size

    def get_total_buffer_size(self):
        return self.size


class Reader:
    """Counts what is read."""

    def __init__(self):
        self.groups = []

    def __call__(self, group):
        self.groups.append(group)
        return Column(group)


def groups_read(cache, *groups):
    read = Reader()
    for group in groups:
        assert cache.get(group, read).group == group
    return read.groups


def test_the_longest_unused_is_dropped():
    cache = GroupCache(30)
    assert groups_read(cache, 1, 2, 3, 1, 4) == [1, 2, 3, 4]  # 2 was dropped
    assert groups_read(cache, 1, 3, 4) == []
    assert groups_read(cache, 2) == [2]
    assert cache.info() == (5, 3, 30, 30)


@pytest.mark.parametrize("budget", [0, 9])
def test_the_last_one_is_kept_even_if_it_is_too_large(budget):
    cache = GroupCache(budget)
    assert groups_read(cache, 1, 1, 2, 2, 1) == [1, 2, 1]
    assert cache.info().num_groups == 1
    assert cache.info().used_bytes == 10


def test_a_large_group_drops_several():
    cache = GroupCache(30)
    groups_read(cache, 1, 2, 3)
    cache.get(4, lambda group: Column(group, 25))
    assert cache.info()[1:3] == (1, 25)


@pytest.mark.timeout(60)
def test_threads_that_want_the_same_group_read_it_once():
    cache, begun, go_on = GroupCache(0), threading.Event(), threading.Event()
    read, found = Reader(), []

    def slowly(group):
        begun.set()
        go_on.wait(10)
        return read(group)

    threads = [threading.Thread(target=lambda: found.append(cache.get(7, slowly)))]
    threads[0].start()
    begun.wait(10)
    for _ in range(3):
        threads.append(threading.Thread(target=lambda: found.append(cache.get(7, read))))
        threads[-1].start()
    assert groups_read(cache, 8) == [8]  # another group does not wait
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert [column.group for column in found] == [7] * 4
    assert read.groups == [7]


@pytest.mark.timeout(60)
def test_what_fails_is_the_next_ones_turn():
    cache, begun, go_on = GroupCache(100), threading.Event(), threading.Event()
    errors, found = [], []

    def fail(group):
        begun.set()
        go_on.wait(10)
        raise OSError("gone")

    def first():
        try:
            cache.get(7, fail)
        except OSError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=first)]
    threads[0].start()
    begun.wait(10)
    threads.append(threading.Thread(target=lambda: found.append(cache.get(7, Column))))
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert errors == ["gone"]
    assert found[0].group == 7
    assert cache.info()[:3] == (1, 1, 10)


def test_a_copy_starts_empty():
    cache = GroupCache(30)
    groups_read(cache, 1)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.info() == (0, 0, 0, 30)
    assert groups_read(copy, 1) == [1]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.timeout(60)
def test_a_forked_child_does_not_wait_for_threads_it_does_not_have():
    cache, begun, go_on = GroupCache(30), threading.Event(), threading.Event()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    groups_read(cache, 1)

    def slowly(group):
        begun.set()
        go_on.wait(30)
        return Column(group)

    thread = threading.Thread(target=cache.get, args=(7, slowly))
    thread.start()
    begun.wait(10)
    child = context.Process(target=lambda: queue.put(groups_read(cache, 7, 1)))
    child.start()
    child.join(20)
    exitcode = child.exitcode
    child.kill()  # it may wait for ever
    go_on.set()
    thread.join(10)
    assert exitcode == 0
    assert queue.get() == [7, 1]
