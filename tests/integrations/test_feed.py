import numpy as np
import pytest

from fusewarp.engine import ArraySource, Augmenter, Loader, Policy, SampleError
from fusewarp.integrations.keras import feed as feed_module
from fusewarp.integrations.keras.feed import Feed, Meter, run
from fusewarp.integrations.keras.tasks import Task


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(feed_module, "time", clock)
    return clock


def batches_taking(clock, *seconds):
    for wait in seconds:
        clock.now += wait
        yield "batch"


def one_epoch(meter, clock, waits, work):
    """A model that asks for a batch only after it has finished the one before."""
    batches = batches_taking(clock, *waits)
    meter.on_epoch_begin(0)
    for number in range(len(waits)):
        meter.time_next(batches)
        clock.now += work
        meter.on_train_batch_end(number)
    logs = {}
    meter.on_epoch_end(0, logs)
    return logs


def test_waits_of_an_idle_model_are_counted(clock):
    logs = one_epoch(Meter(64, 2), clock, waits=(3.0, 1.0), work=2.0)
    assert logs == {"seconds": 8.0, "images_per_second": 8.0, "wait_share": 0.5}


def test_waits_behind_a_busy_model_are_not(clock):
    meter = Meter(64, 2)
    batches = batches_taking(clock, 1.0, 1.5, 2.5)
    meter.on_epoch_begin(0)
    meter.time_next(batches)  # 1.0: the model has nothing yet
    meter.time_next(batches)  # 1.5: it works on the first batch meanwhile
    clock.now += 0.5
    meter.on_train_batch_end(0)
    clock.now += 0.5
    meter.on_train_batch_end(1)
    meter.time_next(batches)  # 2.5 after the last batch: it belongs to the next epoch
    logs = {}
    meter.on_epoch_end(0, logs)
    assert logs["seconds"] == 3.5
    assert logs["wait_share"] == pytest.approx(1.0 / 3.5)


def test_each_epoch_starts_from_zero(clock):
    meter = Meter(64, 2)
    one_epoch(meter, clock, waits=(3.0, 1.0), work=2.0)
    clock.now += 50.0  # validation
    logs = one_epoch(meter, clock, waits=(0.0, 0.0), work=4.0)
    assert logs == {"seconds": 8.0, "images_per_second": 8.0, "wait_share": 0.0}


def test_an_epoch_that_was_cut_short_counts_its_own_images(clock):
    meter = Meter(100, 10)
    logs = one_epoch(meter, clock, waits=(0.0,) * 4, work=1.0)
    assert logs["images_per_second"] == 10.0


@pytest.fixture
def source():
    images = np.arange(5 * 2 * 3 * 3, dtype=np.uint8).reshape(5, 2, 3, 3)
    return ArraySource(images, [0, 1, 0, 1, 0], np.arange(5, dtype=np.float32))


TASK = Task("single-label", ("a", "b"))


def loader_of(source):
    return Loader(source, Augmenter(Policy(), threads=1), 2, shuffle=False, epochs=None)


def test_batches_are_tuples_and_never_end(source):
    feed = Feed(loader_of(source), TASK)
    first, second, third, fourth = (next(feed.batches) for _ in range(4))
    feed.close()
    assert feed.steps == 3
    assert [len(images) for images, _, _ in (first, second, third, fourth)] == [2, 2, 1, 2]
    np.testing.assert_array_equal(first[0], source.images[:2])
    np.testing.assert_array_equal(second[1], [0, 1])
    np.testing.assert_array_equal(third[2], [4.0])
    np.testing.assert_array_equal(fourth[0], source.images[:2])


def test_without_labels_only_the_images(source):
    feed = Feed(loader_of(source))
    (images,) = next(feed.batches)
    feed.close()
    np.testing.assert_array_equal(images, source.images[:2])


def test_weights_of_classes_multiply_those_of_samples(source):
    weights = np.array([2.0, 10.0], np.float32)
    feed = Feed(loader_of(source), TASK, class_weights=weights)
    given = [next(feed.batches)[2] for _ in range(3)]
    feed.close()
    np.testing.assert_array_equal(np.concatenate(given), [0.0, 10.0, 4.0, 30.0, 8.0])


def test_a_closed_feed_ends(source):
    feed = Feed(loader_of(source))
    next(feed.batches)
    feed.close()
    assert list(feed.batches) == []


def failing(source, monkeypatch):
    def read(sample_id, min_size=(0, 0)):
        raise SampleError(f"picture {sample_id} is broken")

    monkeypatch.setattr(source, "read", read)
    return Feed(loader_of(source))


def test_run_raises_the_feeds_own_error(source, monkeypatch):
    feed = failing(source, monkeypatch)

    def keras_like():
        try:
            next(feed.batches)
        except SampleError as error:
            raise RuntimeError("UNKNOWN: {{function_node}}") from error

    with pytest.raises(SampleError, match="picture 0 is broken"):
        run(keras_like, feed)


def test_run_passes_other_errors_and_results_on_and_closes(source):
    feed = Feed(loader_of(source))

    def fail():
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller"):
        run(fail, feed)
    assert list(feed.batches) == []
    again = Feed(loader_of(source))
    assert run(lambda: len(next(again.batches)), again) == 1
    assert list(again.batches) == []
