import gc
import math
import pickle
import threading
import time

import numpy as np
import pytest

from fusewarp import ArraySource, Augmenter, BlockShuffle, FolderSource, Loader, Policy
from fusewarp.engine import SampleError
from fusewarp.engine.order import epoch_order

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)
LABELS = np.arange(23) * 10
POLICY = Policy(rotation_range=40, zoom_range=0.3, horizontal_flip=True)


def make_loader(threads=2, seed=5, **options) -> Loader:
    augmenter = Augmenter(POLICY, size=(9, 8), seed=seed, threads=threads)
    return Loader(ArraySource(IMAGES, LABELS, LABELS / 2), augmenter, **options)


def by_id(batches) -> dict[int, np.ndarray]:
    return {
        int(sample_id): image
        for batch in batches
        for sample_id, image in zip(batch.sample_ids, batch.images, strict=True)
    }


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


EXPECTED = [by_id(loader) for loader in [make_loader(threads=1, batch_size=23)] for _ in range(2)]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 40])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_pixels_are_the_same_for_any_threads_and_batch_size(threads, batch_size, prefetch):
    loader = make_loader(threads, batch_size=batch_size, prefetch=prefetch)
    for epoch in range(2):
        assert same(by_id(loader), EXPECTED[epoch])


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_shards_are_disjoint_and_give_the_same_pixels(shards):
    loaders = [make_loader(batch_size=4, shard=(index, shards)) for index in range(shards)]
    parts = [by_id(loader) for loader in loaders]
    assert sum(map(len, parts)) == 23
    assert same({k: v for part in parts for k, v in part.items()}, EXPECTED[0])


def test_fields_belong_together():
    for batch in make_loader(batch_size=5):
        np.testing.assert_array_equal(batch.labels, batch.sample_ids * 10)
        np.testing.assert_array_equal(batch.weights, batch.sample_ids * 5.0)
        assert batch.images.shape == (len(batch.sample_ids), 9, 8, 3)
        assert batch.images.ctypes.data % 64 == 0


def test_an_epoch_has_every_sample_once_in_a_new_order():
    loader = make_loader(batch_size=4)
    first, second = ([i for b in loader for i in b.sample_ids] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(23))
    assert first != second
    assert [len(b.sample_ids) for b in loader] == [4] * 5 + [3]
    assert len(loader) == 6


def test_without_shuffle_samples_come_in_order():
    ids = [i for b in make_loader(batch_size=4, shuffle=False) for i in b.sample_ids]
    assert ids == list(range(23))


def test_drop_remainder_gives_every_shard_the_same_number_of_batches():
    counts = [
        len(list(make_loader(batch_size=4, shard=(i, 3), drop_remainder=True))) for i in range(3)
    ]
    assert counts == [1, 1, 1]


def test_epochs_none_is_endless_and_epochs_2_is_two():
    endless = iter(make_loader(batch_size=10, epochs=None))
    assert [len(next(endless).sample_ids) for _ in range(7)] == [10, 10, 3, 10, 10, 3, 10]
    assert len(list(make_loader(batch_size=10, epochs=2))) == 6


@pytest.mark.parametrize("stop", range(12))
def test_resumes_exactly_at_any_step(stop):
    whole = make_loader(batch_size=4, epochs=2)
    expected = [batch.sample_ids.tolist() for batch in whole]
    interrupted = make_loader(batch_size=4, epochs=2)
    iterator = iter(interrupted)
    for _ in range(stop):
        next(iterator)
    state = interrupted.state_dict()
    within = {"batch_size": 4, "num_shards": 1} if stop % 6 else {}
    assert state == {"seed": 5, "epoch": stop // 6, "step": stop % 6, **within}
    resumed = make_loader(threads=1, batch_size=4, epochs=None)
    resumed.load_state_dict(state)
    iterator = iter(resumed)
    batches = [next(iterator) for _ in range(12 - stop)]
    assert [b.sample_ids.tolist() for b in batches] == expected[stop:]
    for number, batch in enumerate(batches, start=stop):
        for sample_id, image in by_id([batch]).items():
            np.testing.assert_array_equal(image, EXPECTED[number // 6][sample_id])


def ids_of(loaders) -> list[int]:
    return sorted(i for loader in loaders for batch in loader for i in batch.sample_ids.tolist())


def ranks(count, batch_size, **options) -> list[Loader]:
    return [
        make_loader(1, batch_size=batch_size, shard=(i, count), **options) for i in range(count)
    ]


def states_after(steps, loaders) -> tuple[list[int], list[dict]]:
    """Return the ids that came, and the states of all ranks."""
    came: list[int] = []
    for loader in loaders:
        iterator = iter(loader)
        came += [i for _ in range(steps) for i in next(iterator).sample_ids.tolist()]
    return came, [loader.state_dict() for loader in loaders]


@pytest.mark.parametrize(
    ("before", "steps", "after"),
    [
        ((2, 3), 1, (3, 2)),
        ((2, 3), 2, (1, 4)),
        ((4, 1), 3, (2, 6)),
        ((1, 2), 3, (3, 2)),
        ((3, 2), 1, (1, 6)),
        ((2, 2), 4, (4, 4)),
    ],
)
def test_another_number_of_ranks_goes_on_after_the_samples_that_are_done(before, steps, after):
    came, states = states_after(steps, ranks(*before))
    assert all(state == states[0] for state in states)
    resumed = ranks(*after)
    for loader in resumed:
        loader.load_state_dict(states[0])
    assert sorted(came + ids_of(resumed)) == list(range(23))


def test_a_state_between_two_steps_of_the_new_ranks_is_refused():
    _, states = states_after(1, ranks(2, 3))
    with pytest.raises(
        ValueError, match=r"6 samples into its epoch.*Keep batch_size \* shards at 6"
    ):
        make_loader(batch_size=2, shard=(0, 2)).load_state_dict(states[0])


def test_the_end_of_an_epoch_fits_any_ranks():
    _, states = states_after(1, ranks(2, 12))
    assert states[0] == {"seed": 5, "epoch": 1, "step": 0}
    make_loader(batch_size=5, shard=(2, 3)).load_state_dict(states[0])


@pytest.mark.parametrize("before", [(1, 7), (3, 7), (7, 3)])
def test_ranks_without_a_step_left_go_on_with_the_next_epoch(before):
    came, states = states_after(21 // math.prod(before), ranks(*before)[:2])
    if before[0] > 1:
        came = epoch_order(23, 5, 0, shuffle=True)[:21].tolist()
    resumed = ranks(3, 7)
    for loader in resumed:
        loader.load_state_dict(states[0])
    assert [loader.state_dict()["epoch"] for loader in resumed] == [0, 0, 1]
    assert sorted(came + ids_of(resumed[:2])) == list(range(23))


@pytest.mark.parametrize("state", [{"step": 3}, {"step": -1}, {"step": "1"}, {"epoch": -1}])
def test_positions_that_are_none_are_refused(state):
    loader = make_loader(batch_size=8)
    with pytest.raises(ValueError, match="An epoch has 3 steps from 0 on"):
        loader.load_state_dict({"seed": 5, "epoch": 0, "step": 0, **state})


def test_a_state_without_batch_size_counts_own_steps():
    loader = make_loader(batch_size=4, shard=(1, 2))
    loader.load_state_dict({"seed": 5, "epoch": 0, "step": 2})
    assert loader.state_dict()["step"] == 2
    assert len(list(loader)) == 1


@pytest.mark.parametrize(("even_shards", "samples"), [("drop", 5), ("repeat", 6)])
def test_even_shards_give_all_ranks_the_same_batches(even_shards, samples):
    loaders = ranks(4, 4, even_shards=even_shards)
    sizes = [[len(batch.sample_ids) for batch in loader] for loader in loaders]
    assert sizes == [[4, samples - 4]] * 4
    assert [len(loader) for loader in loaders] == [2] * 4
    assert {loader.shard_samples for loader in loaders} == {samples}


def test_even_shards_drop_or_repeat_as_few_as_need_be():
    assert len(set(ids_of(ranks(4, 4, even_shards="drop")))) == 20
    repeated = ids_of(ranks(4, 4, even_shards="repeat"))
    assert len(repeated) == 24
    assert set(repeated) == set(range(23))


def test_repeated_samples_make_a_last_full_batch():
    loaders = ranks(4, 6, even_shards="repeat", drop_remainder=True)
    assert [len(loader) for loader in loaders] == [1] * 4
    assert set(ids_of(loaders)) == set(range(23))


def test_even_shards_takes_two_words():
    with pytest.raises(ValueError, match=r'`even_shards` must be "drop", "repeat" or None'):
        make_loader(even_shards="pad")


def test_blocks_come_as_their_order_says_and_resume():
    shuffle = BlockShuffle([5, 3, 8, 7], window=2)
    loader = make_loader(batch_size=4, shuffle=shuffle)
    order = shuffle.order(5, 0)
    ids = [i for batch in loader for i in batch.sample_ids.tolist()]
    assert ids == order.ids(0, 23).tolist()
    resumed = make_loader(batch_size=4, shuffle=shuffle)
    resumed.load_state_dict({"seed": 5, "epoch": 0, "step": 3})
    assert [i for batch in resumed for i in batch.sample_ids.tolist()] == ids[12:]


def test_blocks_take_no_other_number_of_ranks_within_an_epoch():
    shuffle = BlockShuffle([5, 3, 8, 7], window=2)
    came, states = states_after(2, ranks(2, 3, shuffle=shuffle))
    with pytest.raises(ValueError, match="The state is of 2 shards, this loader's are 3"):
        make_loader(batch_size=2, shard=(0, 3), shuffle=shuffle).load_state_dict(states[0])
    resumed = ranks(2, 6, shuffle=shuffle)
    for loader in resumed:
        loader.load_state_dict(states[0])
    assert sorted(came + ids_of(resumed)) == list(range(23))


def test_blocks_of_another_source_are_refused():
    with pytest.raises(ValueError, match="`shuffle` is made for 20 samples, the source has 23"):
        make_loader(shuffle=BlockShuffle([10, 10]))


def test_a_break_loses_nothing():
    loader = make_loader(batch_size=4)
    seen = []
    for batch in loader:
        seen += batch.sample_ids.tolist()
        if len(seen) == 8:
            break
    seen += [i for batch in loader for i in batch.sample_ids]
    assert sorted(seen) == list(range(23))


def test_an_iteration_that_was_given_up_says_so():
    loader = make_loader(batch_size=4)
    old = iter(loader)
    next(old)
    next(iter(loader))
    with pytest.raises(RuntimeError, match="given up"):
        next(old)


def test_batches_that_are_held_are_never_written_again():
    loader = make_loader(batch_size=4, epochs=6)
    held = [(batch.images, batch.images.copy()) for batch in loader]
    for images, copy in held:
        np.testing.assert_array_equal(images, copy)


def test_memory_of_released_batches_is_used_again_at_once():
    gc.collect()
    gc.disable()  # a batch in a reference cycle would wait for the collector
    try:
        assert addresses_of_an_epoch() <= 4
    finally:
        gc.enable()


def addresses_of_an_epoch() -> int:
    loader = make_loader(batch_size=4, drop_remainder=True, epochs=8, prefetch=1)
    addresses = set()
    for batch in loader:
        addresses.add(batch.images.ctypes.data)
        del batch
    return len(addresses)


@pytest.fixture
def folder_loader(photo_folder):
    def make(size=(16, 18), **options):
        augmenter = Augmenter(POLICY, size=size, seed=2, threads=2)
        return Loader(FolderSource(photo_folder), augmenter, batch_size=4, **options)

    return make


def test_folder_batches_equal_apply_on_the_decoded_files(folder_loader):
    loader = folder_loader(size=(30, 34))  # nothing is reduced: test_minify.py has that
    for batch in loader:
        pictures = [loader.source.read(int(i)) for i in batch.sample_ids]
        expected = loader.augmenter.apply(pictures, batch.sample_ids)
        np.testing.assert_array_equal(batch.images, expected)
        np.testing.assert_array_equal(batch.labels, loader.source.labels[batch.sample_ids])


def spoil(loader: Loader) -> set[int]:
    loader.source.paths[1].write_bytes(b"")
    loader.source.paths[6].write_text("this is text")
    loader.source.paths[8].unlink()
    return {1, 6, 8}


def test_a_bad_file_is_raised_by_name_and_nothing_hangs(folder_loader):
    loader = folder_loader()
    spoil(loader)
    with pytest.raises(SampleError, match=r"(cat/01|dog/01|dog/03)\.jpg"):
        list(loader)
    with pytest.raises(SampleError):  # the loader stands before the bad batch, not after it
        list(loader)


@pytest.mark.filterwarnings("ignore:3 sample:UserWarning")
def test_skip_leaves_out_the_bad_ones_and_nothing_else(folder_loader):
    good = by_id(folder_loader())
    loader = folder_loader(on_error="skip")
    bad = spoil(loader)
    rest = by_id(loader)
    assert same(rest, {i: image for i, image in good.items() if i not in bad})
    assert {skipped.sample_id for skipped in loader.skipped} == bad
    assert "0 bytes" in next(s.message for s in loader.skipped if s.sample_id == 1)


def test_skip_warns_with_the_names(folder_loader):
    loader = folder_loader(on_error="skip")
    spoil(loader)
    with pytest.warns(UserWarning, match=r"3 sample\(s\) of epoch 0 .* cat/01.jpg"):
        list(loader)


@pytest.mark.filterwarnings("ignore:.*could not be read:UserWarning")
def test_skip_with_a_whole_batch_bad_goes_on(folder_loader):
    loader = folder_loader(on_error="skip", shuffle=False)
    for path in loader.source.paths[:4]:
        path.write_bytes(b"")
    assert sorted(by_id(loader)) == list(range(4, 11))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size`"),
        ({"epochs": 0}, "`epochs`"),
        ({"prefetch": -1}, "`prefetch`"),
        ({"shard": (2, 2)}, "`shard`"),
        ({"shard": (0.5, 2)}, "`shard`"),
        ({"shard": 3}, "`shard`"),
        ({"on_error": "ignore"}, "`on_error`"),
        ({"batch_size": 24, "drop_remainder": True}, "makes no batch of 24 with drop_remainder"),
        ({"shard": (23, 24)}, "makes no batch"),
    ],
)
def test_refuses_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make_loader(**options)


def test_a_folder_needs_a_size(photo_folder):
    with pytest.raises(ValueError, match="give the Augmenter a `size`"):
        Loader(FolderSource(photo_folder), Augmenter(POLICY))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"seed": 6, "epoch": 0, "step": 0}, "seed 6"),
        ({"seed": 5, "epoch": 0, "step": 99}, "steps"),
        ({"seed": 5, "epoch": 0}, "lacks"),
        ({"seed": 5, "epoch": 0, "step": None}, "steps"),
    ],
)
def test_refuses_states_of_another_run(state, message):
    with pytest.raises(ValueError, match=message):
        make_loader(batch_size=4).load_state_dict(state)


def test_two_loaders_in_two_threads():
    results = {}

    def run(name):
        results[name] = by_id(make_loader(batch_size=3))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(results["a"], EXPECTED[0])
    assert same(results["b"], EXPECTED[0])


@pytest.mark.filterwarnings("ignore:3 sample:UserWarning")
def test_a_skipped_sample_is_listed_once(folder_loader):
    loader = folder_loader(on_error="skip", epochs=3)
    bad = spoil(loader)
    list(loader)
    assert sorted(skipped.sample_id for skipped in loader.skipped) == sorted(bad)


def test_a_warning_turned_into_an_error_costs_no_batch(folder_loader):
    loader = folder_loader(on_error="skip")
    bad = spoil(loader)
    seen = []

    def iterate():
        for batch in loader:
            seen.extend(batch.sample_ids.tolist())

    with pytest.raises(UserWarning, match="left out"):
        iterate()
    assert sorted([*seen, *bad]) == list(range(11))
    assert loader.state_dict()["epoch"] == 1


@pytest.mark.parametrize("epochs", [1, None])
def test_an_epoch_without_one_readable_sample_is_an_error(folder_loader, epochs):
    loader = folder_loader(on_error="skip", epochs=epochs)
    for path in loader.source.paths:
        path.unlink()
    with pytest.raises(SampleError, match="Not one sample"):
        list(loader)


class WatchedSource(ArraySource):
    """Notes each read: the sample and the size asked for."""

    def __init__(self):
        super().__init__(IMAGES)
        self.reads = []

    def read(self, sample_id, min_size=(0, 0)):
        self.reads.append((sample_id, min_size))
        return super().read(sample_id, min_size)


def test_asks_for_no_more_detail_than_the_zoom_can_show():
    source = WatchedSource()
    list(Loader(source, Augmenter(Policy(zoom_range=(0.5, 2)), size=(8, 7), threads=1)))
    assert {size for _, size in source.reads} == {(16, 14)}


def test_works_prefetch_batches_ahead_and_stops_when_closed():
    source = WatchedSource()
    augmenter = Augmenter(POLICY, threads=1)
    iterator = iter(Loader(source, augmenter, 2, prefetch=3, epochs=None))
    next(iterator)
    deadline = time.monotonic() + 10
    while len(source.reads) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(source.reads) == 8  # the batch and three more, then it waits to be asked
    next(iterator)
    iterator.close()
    time.sleep(0.05)
    after_closing = len(source.reads)
    time.sleep(0.1)
    assert len(source.reads) == after_closing <= 10


def test_a_slow_picture_leaves_the_other_thread_working():
    """Sample 0 is read until all others are, but for the rest of its slice of four."""

    class Slow(ArraySource):
        def __init__(self):
            super().__init__(np.concatenate([IMAGES] * 3)[:48])
            self.others, self.came, self.lock = 0, threading.Event(), threading.Lock()

        def read(self, sample_id, min_size=(0, 0)):
            if sample_id == 0:
                assert self.came.wait(20)
            with self.lock:
                self.others += 1
                if self.others == 44:
                    self.came.set()
            return super().read(sample_id, min_size)

    loader = Loader(Slow(), Augmenter(POLICY, threads=2), 16, shuffle=False, prefetch=2)
    assert sum(len(batch.images) for batch in loader) == 48


def test_a_loader_inside_a_source_of_another_does_not_wait_for_the_pool():
    class Nested(ArraySource):
        def read(self, sample_id, min_size=(0, 0)):
            inner = Loader(ArraySource(IMAGES[:6]), Augmenter(POLICY, threads=2), 2)
            assert sum(len(batch.images) for batch in inner) == 6
            return super().read(sample_id, min_size)

    loader = Loader(Nested(IMAGES), Augmenter(POLICY, threads=2), 4)
    assert sum(len(batch.images) for batch in loader) == 23


def test_a_picture_unlike_what_its_source_promises_is_named():
    class Lying(ArraySource):
        def read(self, sample_id, min_size=(0, 0)):
            return super().read(sample_id, min_size)[:, :, :1].copy()

    with pytest.raises(SampleError, match=r"is uint8 of shape \(12, 10, 1\); the source promises"):
        list(Loader(Lying(IMAGES), Augmenter(POLICY)))


def test_a_mean_of_the_wrong_length_is_refused_at_once():
    with pytest.raises(ValueError, match="`mean` has 2 values"):
        Loader(ArraySource(IMAGES), Augmenter(Policy(mean=(1, 2))))


@pytest.mark.parametrize("step", [5, 0, 2])
def test_a_step_of_an_epoch_can_be_made_alone(step):
    loader = make_loader(batch_size=4, shuffle=BlockShuffle([8, 8, 7]), epochs=2)
    steps = {(n // 6, n % 6): batch for n, batch in enumerate(loader)}
    position = loader.state_dict()

    for epoch in (1, 0):
        ids = loader.sample_ids(epoch, step)
        batch, expected = loader.make(ids, epoch), steps[epoch, step]
        np.testing.assert_array_equal(batch.sample_ids, expected.sample_ids)
        np.testing.assert_array_equal(batch.images, expected.images)
        np.testing.assert_array_equal(batch.labels, expected.labels)
        np.testing.assert_array_equal(batch.weights, expected.weights)
    assert loader.state_dict() == position


def test_chosen_samples_have_the_pixels_of_their_epoch_beside_any_others():
    loader = make_loader()
    for epoch in range(2):
        made = by_id([loader.make([7], epoch), loader.make([3, 22, 0], epoch)])
        assert same(made, {i: EXPECTED[epoch][i] for i in (7, 3, 22, 0)})


def test_batches_made_by_many_threads_at_once_are_apart():
    loader, made = make_loader(), {}

    def make(epoch, sample_id):
        made[epoch, sample_id] = loader.make([sample_id], epoch).images[0]

    threads = [threading.Thread(target=make, args=(e, i)) for e in range(2) for i in range(23)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(image, EXPECTED[e][i]) for (e, i), image in made.items())
    assert len(made) == 46


def test_make_lists_what_it_skips_or_raises(folder_loader):
    loader, raising = folder_loader(on_error="skip"), folder_loader()
    spoil(loader)
    assert loader.make([0, 1, 8], 0).sample_ids.tolist() == [0]
    assert {skipped.sample_id for skipped in loader.skipped} == {1, 8}
    with pytest.raises(SampleError, match=r"dog/03\.jpg"):
        raising.make([0, 8], 0)


@pytest.mark.parametrize("ids", [[], [23], [-1], [0.5], [[1]]])
def test_make_refuses_ids_that_are_none(ids):
    with pytest.raises(ValueError, match="sample_ids"):
        make_loader().make(ids, 0)


@pytest.mark.parametrize("epoch", [-1, 2**32, "1"])
def test_make_refuses_epochs_that_are_none(epoch):
    with pytest.raises((ValueError, TypeError), match="epoch"):
        make_loader().make([0], epoch)


@pytest.mark.parametrize("step", [-1, 6, 0.5])
def test_an_epoch_has_no_other_steps(step):
    with pytest.raises(IndexError, match="steps 0 to 5"):
        make_loader(batch_size=4).sample_ids(0, step)


def test_a_pickled_loader_goes_on_at_the_same_place():
    loader = make_loader(batch_size=4)
    for _, _batch in zip(range(3), loader, strict=False):
        pass
    other = pickle.loads(pickle.dumps(loader))

    assert other.state_dict() == loader.state_dict()
    assert same(by_id(other), by_id(loader))
