"""Batches begun ahead: the same draws, whatever happens between two of them."""

import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest

from fusewarp.integrations.keras.ahead import Ahead, same_state
from fusewarp.keras import ImageDataGenerator
from oracles.keras_generator import KerasGenerator, as_keras

OPTIONS = {"rotation_range": 30, "width_shift_range": 0.2, "horizontal_flip": True}


def photos(count=10):
    return np.random.default_rng(3).integers(0, 256, (count, 20, 27, 3), np.uint8)


def flow(prefetch=2, seed=None, batch_size=4, **options):
    generator = ImageDataGenerator(**OPTIONS, **options, quirks="keras", prefetch=prefetch)
    return generator.flow(photos(), np.arange(10), batch_size=batch_size, seed=seed)


def keras_flow(seed=None):
    return KerasGenerator(**OPTIONS).flow(photos(), np.arange(10), batch_size=4, seed=seed)


def state():
    return np.random.get_state(legacy=False)


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], atol=0.005)


class Script:
    """What a script may do between two batches."""

    steps = ("draw", "seed", "reset", "epoch", "range", "index", "list", "order", "mean")

    def run(self, iterator, generator):
        np.random.seed(3)
        for number in range(120):
            step = self.steps[number // 4 % len(self.steps)] if number % 4 == 3 else "nothing"
            if step == "draw":
                np.random.normal()
            elif step == "seed":
                np.random.seed(number)
            elif step == "reset":
                iterator.reset()
            elif step == "epoch":
                iterator.on_epoch_end()
            elif step == "range":
                generator.rotation_range = number
            elif step == "list":
                generator.zoom_range[:] = [0.5, 1 + number / 100]
            elif step == "order":
                iterator.index_array[:] = iterator.index_array[::-1].copy()
            elif step == "mean":
                generator.mean += 5
            yield iterator[number % 3] if step == "index" else next(iterator)


@pytest.mark.parametrize("seed", [None, 2])
def test_a_script_finds_keras_batches_and_keras_random_state(seed, monkeypatch):
    found = []

    def count(ahead, *arguments, matching=Ahead._matching):
        had_any = bool(ahead._queue)
        begun = matching(ahead, *arguments)
        found.append((had_any, begun is not None))
        return begun

    monkeypatch.setattr(Ahead, "_matching", count)
    options = OPTIONS | {"featurewise_center": True}
    runs = []
    for generator in (ImageDataGenerator(**options, quirks="keras"), KerasGenerator(**options)):
        generator.mean = np.full((1, 1, 3), 99, np.float32)
        iterator = generator.flow(photos(), np.arange(10), batch_size=4, seed=seed)
        with as_keras():
            runs.append([(batch, state()) for batch in Script().run(iterator, generator)])
    for (batch, after), (expected, expected_after) in zip(*runs, strict=True):
        assert_same(batch, expected)
        assert same_state(after, expected_after)
    assert found.count((True, True)) > 50  # handed out as begun ahead
    assert found.count((True, False)) > 15  # thrown away


def count_begun(iterator):
    begun, begin = [], iterator._begin_batch

    def count(index_array, rng):
        begun.append(index_array)
        return begin(index_array, rng)

    iterator._begin_batch = count
    return begun


@pytest.mark.parametrize("seed", [None, 5])
def test_two_batches_are_begun_ahead_once_a_second_one_was_asked_for(seed):
    iterator = flow(seed=seed)
    begun = count_begun(iterator)
    counts = []
    for _ in range(5):
        next(iterator)
        counts.append(len(begun))
    assert counts == [1, 4, 5, 6, 7]


def test_batches_by_index_are_begun_ahead_in_a_row_only():
    iterator = flow(seed=1, batch_size=1)
    begun = count_begun(iterator)
    for index in (0, 1):
        iterator[index]
    assert len(begun) == 2  # Keras looks at these before it fits
    for index in (7, 3, 9, 4):
        iterator[index]
    assert len(begun) == 6
    for index in (0, 1, 2, 3):
        iterator[index]
    assert len(begun) == 6 + 4 + 2
    assert [int(chosen[0]) for chosen in begun[-2:]] == iterator.index_array[[4, 5]].tolist()


def test_no_batch_is_begun_beyond_the_last_index():
    iterator = flow(seed=1)
    begun = count_begun(iterator)
    for index in (0, 1, 2):
        iterator[index]
    assert len(begun) == 3


def test_a_place_set_before_the_first_batch_is_forgotten_as_in_keras():
    ours, theirs = flow(seed=1), keras_flow(seed=1)
    ours.batch_index = theirs.batch_index = 2
    for _ in range(4):
        with as_keras():
            assert_same(next(ours), next(theirs))


def test_a_batch_size_of_0_gives_empty_batches_as_in_keras():
    iterator = ImageDataGenerator().flow(photos(), batch_size=0)
    for _ in range(4):
        assert next(iterator).shape == (0, 20, 27, 3)


def test_prefetch_0_begins_nothing_and_changes_nothing():
    without, ahead = flow(prefetch=0, seed=4), flow(seed=4)
    begun = count_begun(without)
    for number in range(7):
        for one, other in zip(next(without), next(ahead), strict=True):
            np.testing.assert_array_equal(one, other)
        assert len(begun) == number + 1


def test_a_script_that_draws_between_batches_stops_it_for_a_while():
    iterator = flow()
    begun = count_begun(iterator)
    for _ in range(12):
        np.random.random()
        next(iterator)
    assert len(begun) < 12 + 2 * 4
    settled = len(begun)
    next(iterator)
    assert len(begun) == settled + 1
    for _ in range(40):
        next(iterator)
    assert len(begun) == settled + 1 + 40 + 2


@pytest.mark.parametrize("prefetch", [-1, 1.5, True])
def test_a_prefetch_without_meaning_is_refused(prefetch):
    with pytest.raises(ValueError, match="`prefetch` must be a whole number of at least 0"):
        ImageDataGenerator(prefetch=prefetch)


def test_changed_settings_take_effect_at_the_next_batch():
    iterator = ImageDataGenerator().flow(photos(), batch_size=5, shuffle=False)
    for _ in range(4):
        next(iterator)
    iterator.image_data_generator.rescale = 0.5
    np.testing.assert_allclose(next(iterator), photos()[:5] * 0.5)
    iterator.batch_size = 2
    assert next(iterator).shape[0] == 2
    iterator.x = iterator.x[::-1]
    np.testing.assert_allclose(next(iterator), photos()[::-1][4:6] * 0.5)


def test_a_list_changed_in_place_takes_effect_too():
    generator = ImageDataGenerator(zoom_range=[1.0, 1.0])
    iterator = generator.flow(photos(), shuffle=False)
    for _ in range(3):
        still = next(iterator)
    generator.zoom_range[:] = [0.5, 0.5]
    assert abs(next(iterator) - still).max() > 1


def test_a_setting_changed_and_restored_in_between_is_not_seen():
    generator = ImageDataGenerator(preprocessing_function=lambda image: image + 1)
    iterator = generator.flow(photos(), batch_size=4, shuffle=False)
    for number in range(12):
        batch = next(iterator)
        kept, generator.preprocessing_function = generator.preprocessing_function, None
        generator.rescale = 5.0
        time.sleep(0.002)
        generator.preprocessing_function, generator.rescale = kept, None
        expected = photos()[4 * (number % 3) :][:4] + np.float32(1)
        np.testing.assert_array_equal(batch, expected)


def test_an_array_of_a_list_may_be_exchanged():
    iterator = ImageDataGenerator().flow((photos(), [np.arange(10)]), batch_size=4, shuffle=False)
    for _ in range(4):
        next(iterator)
    iterator.x_misc[0] = np.arange(10) * 2
    for _ in range(3):
        extra = next(iterator)[1]
    np.testing.assert_array_equal(extra, [0, 2, 4, 6])


def mix_with(inner):
    return lambda image: 0.5 * image + 0.5 * next(inner)[0]


def test_a_users_function_may_take_batches_that_the_script_takes_too():
    inner = ImageDataGenerator().flow(photos(), batch_size=1)
    generator = ImageDataGenerator(preprocessing_function=mix_with(inner))
    outer = generator.flow(photos(), batch_size=5)
    done = []

    def script():
        for _ in range(30):
            next(outer)
            for _ in range(3):
                next(inner)
        done.append(True)

    thread = threading.Thread(target=script, daemon=True)
    thread.start()
    thread.join(30)
    assert done


def test_an_error_comes_from_the_batch_that_has_it():
    calls = []

    def fail_at_last(image):
        calls.append(image)
        if image[0, 0, 0] == 99:
            raise RuntimeError("no such colour")
        return image

    images = photos()
    images[:, 0, 0, 0], images[8, 0, 0, 0] = 1, 99
    generator = ImageDataGenerator(preprocessing_function=fail_at_last)
    iterator = generator.flow(images, batch_size=4, shuffle=False)
    next(iterator), next(iterator)
    with pytest.raises(RuntimeError, match="no such colour"):
        next(iterator)
    assert next(iterator).shape[0] == 4


def test_nothing_writes_to_a_batch_whose_caller_was_interrupted(monkeypatch):
    running = []

    def slow(image):
        running.append(1)
        time.sleep(0.02)
        running.pop()
        return image

    def interrupt(job):
        raise KeyboardInterrupt

    iterator = ImageDataGenerator(preprocessing_function=slow).flow(photos())
    monkeypatch.setattr("fusewarp.engine.threads.Job.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert running == []


def test_data_that_change_their_length_are_refused():
    iterator = ImageDataGenerator().flow(photos(), np.arange(10), batch_size=4)
    for _ in range(3):
        next(iterator)
    iterator.y = iterator.y[:7]
    with pytest.raises(ValueError, match="`y` now has 7 entries, but had 10"):
        next(iterator)
    iterator.y, iterator.x = np.arange(10), iterator.x[:5]
    with pytest.raises(ValueError, match="`x` now has 5 entries, but had 10"):
        iterator[0]


def test_data_that_change_their_dtype_are_read_as_they_are():
    iterator = ImageDataGenerator().flow(photos(), batch_size=4, shuffle=False)
    for _ in range(3):
        next(iterator)
    iterator.x = iterator.x.astype(np.float64) + 0.25
    np.testing.assert_array_equal(next(iterator), photos()[:4] + 0.25)


class Balanced(type(flow())):
    def _set_index_array(self):
        self.index_array = np.repeat(3, self.n)


class Doubled(type(flow())):
    def _get_batches_of_transformed_samples(self, index_array):
        images, labels = super()._get_batches_of_transformed_samples(index_array)
        return images, labels * 2


class ByHand(type(flow())):
    def next(self):
        with self.lock:
            index_array = next(self.index_generator)
        return self._get_batches_of_transformed_samples(index_array)


@pytest.mark.parametrize(
    ("kind", "expected"), [(Balanced, [3] * 4), (Doubled, [0, 2, 4, 6]), (ByHand, [0, 1, 2, 3])]
)
def test_subclasses_keep_their_say(kind, expected):
    iterator = kind(photos(), np.arange(10), ImageDataGenerator(), batch_size=4)
    for _ in range(3):
        for _ in range(3):
            labels = iterator.next()[1]
            iterator.next(), iterator.next()
        np.testing.assert_array_equal(labels, expected)
    if kind is not ByHand:
        np.testing.assert_array_equal(iterator[0][1], expected)


def test_an_order_of_ones_own_is_followed():
    iterator = flow()
    next(iterator)
    iterator.index_generator = iter([np.array([7]), np.array([2, 2])])
    assert [next(iterator)[1].tolist() for _ in range(2)] == [[7], [2, 2]]


def test_the_index_generator_moves_the_iterator_on():
    iterator, theirs = flow(seed=3), keras_flow(seed=3)
    for _ in range(2):
        np.testing.assert_array_equal(next(iterator.index_generator), next(theirs.index_generator))
        with as_keras():
            assert_same(next(iterator), next(theirs))


def test_saved_names_are_drawn_in_turn(tmp_path):
    for name, generator in (("keras", KerasGenerator(**OPTIONS)), ("ours", flow())):
        folder = tmp_path / name
        folder.mkdir()
        generator = getattr(generator, "image_data_generator", generator)
        np.random.seed(8)
        iterator = generator.flow(photos(), batch_size=4, save_to_dir=folder)
        with as_keras():
            for _ in range(4):
                next(iterator)
    names = [sorted(path.name for path in (tmp_path / n).iterdir()) for n in ("keras", "ours")]
    assert names[0] == names[1]
    assert len(names[0]) == 4 + 4 + 2 + 4  # none of a batch that nobody has asked for


def test_batches_asked_for_by_several_threads_are_each_made_once():
    iterator = flow(seed=1, batch_size=1)
    found = []

    def take():
        for _ in range(10):
            found.append(next(iterator)[1][0])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(list(range(10)) * 4)


def test_a_dropped_iterator_gives_its_batches_memory_back_at_once():
    gc.collect()
    gc.disable()
    try:
        iterator = flow()
        for _ in range(4):
            next(iterator)
        pool = weakref.ref(iterator._buffers)
        for begun in iterator._ahead._queue:
            begun.batch.images._job.finish()
        del iterator, begun
        assert pool() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_with_batches_of_its_own():
    iterator, twin = flow(seed=1), flow(seed=1)
    for _ in range(4):
        next(iterator), next(twin)
    expected = next(twin)
    child = os.fork()
    if child == 0:
        is_same = np.array_equal(next(iterator)[0], expected[0])
        os._exit(0 if is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(next(iterator)[0], expected[0])
