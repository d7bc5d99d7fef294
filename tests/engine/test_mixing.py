import numpy as np
import pytest

from fusewarp.engine import (
    ArraySource,
    Augmenter,
    ConcatSource,
    FolderSource,
    Loader,
    Policy,
    WeightedShuffle,
)

IMAGES = np.random.default_rng(1).integers(0, 256, (23, 12, 10, 3), np.uint8)


def epoch_ids(shuffle, seed=1, epoch=0, shard=(0, 1), even_shards=None) -> np.ndarray:
    order = shuffle.order(seed, epoch, shard, even_shards)
    return order.ids(0, len(order))


def counts_by_part(ids, parts) -> list[int]:
    return [int(np.isin(ids, np.asarray(part)).sum()) for part in parts]


PARTS = [range(0, 100), range(100, 107), np.array([500, 300, 900])]


@pytest.mark.parametrize(
    ("weights", "num_samples", "expected"),
    [
        ([1, 1, 1], 300, [100, 100, 100]),
        ([3, 1, 1], 1000, [600, 200, 200]),
        ([1, 1, 1], 100, [34, 33, 33]),
        ([0.5, 0.25, 0.25], 7, [3, 2, 2]),
    ],
)
def test_every_epoch_has_exactly_the_shares(weights, num_samples, expected):
    shuffle = WeightedShuffle(PARTS, weights, num_samples)
    for epoch in range(3):
        ids = epoch_ids(shuffle, epoch=epoch)
        assert counts_by_part(ids, PARTS) == expected
        assert len(ids) == num_samples


def test_a_part_comes_whole_before_a_sample_of_it_comes_again():
    """Across epochs: 23 draws an epoch of 7 samples, 29 of 100, 31 of 3."""
    shuffle = WeightedShuffle(PARTS, [29, 23, 31], 83)
    epochs = [epoch_ids(shuffle, epoch=epoch) for epoch in range(14)]
    for part in PARTS:
        drawn = np.zeros(1000, np.int64)
        for ids in epochs:
            np.add.at(drawn, ids[np.isin(ids, np.asarray(part))], 1)
            times = drawn[np.asarray(part)]
            assert times.max() - times.min() <= 1


def test_passes_of_a_part_and_places_of_parts_are_in_random_order():
    shuffle = WeightedShuffle([range(100), range(100, 200)], [1, 1], 400)
    ids = epoch_ids(shuffle)
    assert abs((ids[:200] < 100).sum() - 100) < 35  # 5 sigma
    passes = [sorted(ids[ids < 100].tolist()), ids[ids < 100].tolist()]
    assert passes[0] != passes[1]
    first, second = epoch_ids(shuffle, epoch=0), epoch_ids(shuffle, epoch=1)
    assert (first == second).sum() < 20


def test_classes_come_equally_often():
    labels = np.array(["cat"] * 90 + ["dog"] * 9 + ["owl"])[
        np.random.default_rng(0).permutation(100)
    ]
    shuffle = WeightedShuffle.balanced(labels, 300)
    for epoch in range(2):
        drawn = labels[epoch_ids(shuffle, epoch=epoch)]
        assert {name: int((drawn == name).sum()) for name in set(labels)} == {
            "cat": 100, "dog": 100, "owl": 100,
        }  # fmt: skip
    assert shuffle.num_ids == 100


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_are_the_epoch_and_any_place_is_the_same(count):
    shuffle = WeightedShuffle(PARTS, [1, 2, 3], 101)
    whole = epoch_ids(shuffle, epoch=2)
    for index in range(count):
        order = shuffle.order(1, 2, (index, count), None)
        np.testing.assert_array_equal(order.ids(0, len(order)), whole[index::count])
        np.testing.assert_array_equal(order.ids(5, 9), whole[index::count][5:9])
    even = [epoch_ids(shuffle, 1, 2, (index, count), "repeat") for index in range(count)]
    assert {len(ids) for ids in even} == {-(-101 // count)}


def test_many_classes_and_large_parts_are_quick_and_small():
    parts = [range(start, start + 10**9) for start in range(0, 10**12, 10**9)]
    shuffle = WeightedShuffle(parts, np.arange(1, 1001), 10**9)
    ids = shuffle.order(1, 3).ids(10**8, 10**8 + 20_000)
    assert len(set(ids.tolist())) == 20_000
    share = (ids >= 5 * 10**11).mean()  # the upper half of the weights is 0.75 of their sum
    assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 20_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "`parts` is empty"),
        (([range(0)], [1]), "Part 0 of `parts` is empty"),
        (([[-1]], [1]), "Part 0 of `parts` must be a range or a list of ids"),
        (([range(3)], [1, 2]), "`weights` must have one number for each of 1 parts"),
        (([range(3), range(3)], [1, 0]), "`weights` must be above 0"),
        (([range(3), range(3)], [1, 0.01], 10), "Part 1 gets not one of 10 samples"),
        (([range(3)], [1], 0), "`num_samples` must be a whole number above 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        WeightedShuffle(*arguments)


def test_labels_of_several_columns_have_no_classes():
    with pytest.raises(ValueError, match=r"one class per sample, \(n,\); got shape \(4, 2\)"):
        WeightedShuffle.balanced(np.zeros((4, 2)))


def test_a_concatenated_source_is_its_sources_one_after_the_other(photo_folder):
    photos = FolderSource(photo_folder)
    array = ArraySource(IMAGES, np.arange(23))
    both = ConcatSource([array, photos])
    assert both.parts == [range(23), range(23, 23 + len(photos))]
    assert list(both.names) == array.names + list(photos.names)
    assert both.names[-1] == photos.names[-1]
    assert both.names[22:24] == [array.names[22], photos.names[0]]
    np.testing.assert_array_equal(both.labels, np.concatenate([array.labels, photos.labels]))
    np.testing.assert_array_equal(both.read(3), IMAGES[3])
    np.testing.assert_array_equal(both.read(25), photos.read(2))
    assert both.image_size is None


def test_pictures_in_memory_are_found_where_they_lie():
    both = ConcatSource([ArraySource(IMAGES[:9]), ArraySource(IMAGES[9:])])
    located = both.locate(np.array([9, 22, 15]))
    assert located.pixels.base is not None
    starts = located.starts.tolist()
    np.testing.assert_array_equal(located.pixels[starts[1] : starts[1] + 360], IMAGES[22].ravel())
    for ids in ([8, 9], [9, 8], []):
        assert both.locate(np.array(ids, np.int64)) is None


def test_a_loader_of_a_mixture_gives_each_picture_as_its_source_has_it(photo_folder):
    photos, array = FolderSource(photo_folder), ArraySource(IMAGES, np.full(23, 7))
    both = ConcatSource([array, photos])
    augmenter = Augmenter(Policy(rotation_range=30), size=(9, 8), seed=3, threads=2)
    shuffle = WeightedShuffle(both.parts, [1, 3], 40)
    loader = Loader(both, augmenter, 8, shuffle=shuffle)
    batches = list(loader)
    assert len(batches) == len(loader) == 5
    assert sum(int((batch.labels == 7).sum()) for batch in batches) == 10
    usual = {
        int(sample_id): image
        for batch in Loader(both, augmenter, 8, shuffle=False)
        for sample_id, image in zip(batch.sample_ids, batch.images, strict=True)
    }
    for batch in batches:
        for sample_id, image in zip(batch.sample_ids, batch.images, strict=True):
            np.testing.assert_array_equal(image, usual[int(sample_id)])


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "`sources` is empty"),
        ([ArraySource(IMAGES), ArraySource(IMAGES[..., :1])], "must have the same channels"),
        (
            [ArraySource(IMAGES), ArraySource(IMAGES.astype(np.float32))],
            "must have the same dtype",
        ),
        ([ArraySource(IMAGES, np.arange(23)), ArraySource(IMAGES)], r"sources \[1\] have none"),
        (
            [ArraySource(IMAGES, np.zeros(23)), ArraySource(IMAGES, np.zeros((23, 2)))],
            "must have labels of one shape",
        ),
    ],
)
def test_sources_that_do_not_fit_are_refused(sources, message):
    with pytest.raises(ValueError, match=message):
        ConcatSource(sources)


def test_a_range_that_begins_below_0_is_refused():
    with pytest.raises(ValueError, match=r"Part 1 .* range\(-3, 3\)"):
        WeightedShuffle([range(4), range(-3, 3)], [1, 1])
    with pytest.raises(ValueError, match="from 0 on"):
        WeightedShuffle([range(4, -2, -1)], [1])


def test_text_and_numbers_are_not_labels_of_one_kind():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    sources = [ArraySource(images, np.arange(2)), ArraySource(images, np.array(["a", "b"]))]
    with pytest.raises(ValueError, match="labels of one kind"):
        ConcatSource(sources)


def test_no_samples_of_balanced_classes_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        WeightedShuffle.balanced([0, 1], num_samples=0)
