"""One data set in every format, and what each engine makes of it: for children that are killed."""

import hashlib
import io
import json
import os
import secrets
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fusewarp import (
    ArrayRecordSource,
    ArraySource,
    Augmenter,
    FolderSource,
    Loader,
    PackedSource,
    ParquetSource,
    Policy,
    TarSource,
    TFRecordSource,
)
from fusewarp.engine.packing import pack
from fusewarp.integrations.demo_data import interior_photos
from oracles.shards import write_shard

HEIGHT, WIDTH = 72, 96  # of a tile
POLICY = Policy(
    rotation_range=30, zoom_range=0.2, horizontal_flip=True, brightness_range=(0.8, 1.2)
)
SEED, BATCH, EPOCHS = 11, 64, 3
PARTS = 8  # files of a sharded format


def write_tiles(folder: Path, count: int) -> list[tuple[bytes, int]]:
    """Cut JPEG tiles out of real photos into `folder`/files, a class for each photo.

    Returns the encoded tiles and their labels, in the order of a `FolderSource`.
    """
    photos = interior_photos()
    each = -(-count // len(photos))
    written = 0
    for label, path in enumerate(photos):
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
            places = [
                (top, left)
                for top in range(0, photo.height - HEIGHT + 1, HEIGHT)
                for left in range(0, photo.width - WIDTH + 1, WIDTH)
            ]
            class_folder = folder / "files" / f"{label:02d}"
            class_folder.mkdir(parents=True)
            for number, (top, left) in enumerate(places[: min(each, count - written)]):
                tile = photo.crop((left, top, left + WIDTH, top + HEIGHT))
                tile.save(class_folder / f"{number:04d}.jpg", quality=90)
                written += 1
    assert written == count
    source = FolderSource(folder / "files")
    return [(source.encoded(i)[0], int(source.labels[i])) for i in range(count)]


def parts(tiles):
    """Cut the tiles into the contents of `PARTS` files."""
    size = -(-len(tiles) // PARTS)
    return [
        [(first + i, *tile) for i, tile in enumerate(tiles[first : first + size])]
        for first in range(0, len(tiles), size)
    ]


def write_tar(folder: Path, tiles) -> None:
    for number, part in enumerate(parts(tiles)):
        members = []
        for i, data, label in part:
            members += [(f"{i:06d}.jpg", data), (f"{i:06d}.cls", str(label).encode())]
        write_shard(folder / f"tiles-{number:03d}.tar", members)


def write_parquet(folder: Path, tiles) -> None:
    import pyarrow
    import pyarrow.parquet

    for number, part in enumerate(parts(tiles)):
        _, images, labels = zip(*part, strict=True)
        table = pyarrow.table({"image": list(images), "label": list(labels)})
        pyarrow.parquet.write_table(
            table, folder / f"tiles-{number:03d}.parquet", row_group_size=64
        )


def example(data: bytes, label: int) -> bytes:
    import tensorflow as tf

    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_tfrecord(folder: Path, tiles) -> None:
    import tensorflow as tf

    for number, part in enumerate(parts(tiles)):
        with tf.io.TFRecordWriter(str(folder / f"tiles-{number:03d}.tfrecord")) as writer:
            for _, data, label in part:
                writer.write(example(data, label))


def write_array_record(folder: Path, tiles) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    for number, part in enumerate(parts(tiles)):
        writer = ArrayRecordWriter(str(folder / f"tiles-{number:03d}.array_record"), "group_size:1")
        for _, data, label in part:
            writer.write(example(data, label))
        writer.close()


def write_packed(folder: Path, tiles) -> None:
    pack(FolderSource(folder / "files"), folder / "packed", size=(HEIGHT, WIDTH))


def write_array(folder: Path, tiles) -> None:
    source = open_source("folder", folder)
    np.save(folder / "images.npy", np.stack([source.read(i) for i in range(len(tiles))]))
    np.save(folder / "labels.npy", np.array([label for _, label in tiles]))


WRITERS = {
    "folder": lambda folder, tiles: None,
    "array": write_array,
    "packed": write_packed,
    "tar": write_tar,
    "parquet": write_parquet,
    "tfrecord": write_tfrecord,
    "array_record": write_array_record,
}


def open_source(name: str, folder: Path):
    """Return the source of one format."""
    if name == "folder":
        return FolderSource(folder / "files", decode="exact")  # as a pack is
    if name == "array":
        return ArraySource(np.load(folder / "images.npy"), np.load(folder / "labels.npy"))
    if name == "packed":
        return PackedSource(folder / "packed")
    if name == "tar":
        return TarSource(folder / "tiles-*.tar", "cls", decode="exact")
    if name == "parquet":
        return ParquetSource(folder / "tiles-*.parquet", label="label", decode="exact")
    options = {"image": "image/encoded", "label": "image/class/label", "decode": "exact"}
    if name == "tfrecord":
        return TFRecordSource(folder / "tiles-*.tfrecord", **options)
    return ArrayRecordSource(folder / "tiles-*.array_record", **options)


def make_loader(source, **options) -> Loader:
    augmenter = Augmenter(POLICY, size=(60, 60), seed=SEED, threads=2)
    return Loader(source, augmenter, BATCH, **options)


def hashes(images) -> list[str]:
    return [hashlib.sha1(np.ascontiguousarray(image)).hexdigest() for image in np.asarray(images)]


def reference(source, epoch: int) -> set[tuple[int, int, int, str]]:
    """Return (id, epoch, label, pixel hash) of each sample, by Pillow's bytes and `apply` alone."""
    augmenter = make_loader(source).augmenter
    found = set()
    for first in range(0, len(source), 256):
        ids = np.arange(first, min(first + 256, len(source)))
        images = augmenter.apply([source.read(int(i)) for i in ids], ids, epoch)
        labels = source.labels[ids].tolist()
        found |= set(zip(ids.tolist(), [epoch] * len(ids), labels, hashes(images), strict=True))
    return found


# --- engines: each yields (images, labels, ids) from (epoch, step) on, to the end of the last epoch


def by_loader(source, epoch, step):
    loader = make_loader(source, epochs=EPOCHS - epoch)
    loader.load_state_dict({"seed": SEED, "epoch": epoch, "step": step})
    for batch in loader:
        yield batch.images, batch.labels, batch.sample_ids


def by_tensorflow(source, epoch, step):
    from fusewarp.tensorflow import as_dataset

    loader = make_loader(source, epochs=None)
    loader.load_state_dict({"seed": SEED, "epoch": epoch, "step": step})
    left = (EPOCHS - epoch) * len(loader) - step
    for element in as_dataset(loader, sample_ids=True).take(left):
        yield tuple(part.numpy() for part in element)


def by_grain(source, epoch, step, workers=0):
    import grain

    from fusewarp.grain import as_map_dataset, share_threads

    loader = make_loader(source, epochs=EPOCHS)
    batches = as_map_dataset(loader, sample_ids=True)[epoch * len(loader) + step :]
    batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers)
        batches = batches.mp_prefetch(options, worker_init_fn=share_threads)
    yield from batches


def by_grain_workers(source, epoch, step):
    yield from by_grain(source, epoch, step, workers=2)


def by_ray(source, epoch, step):
    import ray

    from fusewarp.ray import as_dataset

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    folder, memory = os.environ["RAY_FOLDER"], 200 * 2**20
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=memory, _temp_dir=folder)
    loader = make_loader(source, epochs=EPOCHS - epoch)
    rows = as_dataset(loader, epoch, num_actors=2, start_step=step)
    for batch in rows.iter_batches(batch_size=BATCH, batch_format="numpy"):
        yield batch["image"], batch["label"], batch["sample_id"]
    ray.shutdown()


def by_torch(source, epoch, step, workers=0):
    from torch.utils.data import DataLoader

    from fusewarp.torch import as_iterable_dataset

    dataset = as_iterable_dataset(make_loader(source, epochs=EPOCHS - epoch), sample_ids=True)
    dataset.load_state_dict({"seed": SEED, "epoch": epoch, "step": step})
    for element in DataLoader(dataset, batch_size=None, num_workers=workers):
        yield tuple(part.numpy() for part in element)


def by_torch_workers(source, epoch, step):
    yield from by_torch(source, epoch, step, workers=2)


def by_jax(source, epoch, step):
    import jax

    from fusewarp.jax import as_global_arrays

    loader = make_loader(source, epochs=EPOCHS - epoch)
    loader.load_state_dict({"seed": SEED, "epoch": epoch, "step": step})
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for element in as_global_arrays(loader, sharding, sample_ids=True):
        labels, ids = np.asarray(element["labels"]), element["sample_ids"]
        yield np.asarray(element["images"]), labels, ids


ENGINES = {
    "loader": by_loader,
    "tensorflow": by_tensorflow,
    "grain": by_grain,
    "grain, 2 workers": by_grain_workers,
    "ray": by_ray,
    "torch": by_torch,
    "torch, 2 workers": by_torch_workers,
    "jax": by_jax,
}


def consume(engine: str, format: str, folder: Path, log: Path) -> None:
    """Append a line for each batch that came; go on after the last whole line."""
    source = open_source(format, folder)
    steps = len(make_loader(source))
    text = log.read_text() if log.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    log.write_text(whole)
    done = whole.count("\n")
    if done == EPOCHS * steps:
        return
    with log.open("a") as file:
        batches = ENGINES[engine](source, done // steps, done % steps)
        for number, (images, labels, ids) in enumerate(batches, done):
            rows = zip(ids.tolist(), labels.tolist(), hashes(images), strict=True)
            entry = [(i, number // steps, label, pixels) for i, label, pixels in rows]
            file.write(json.dumps(entry) + "\n")
            file.flush()


def rows_of(log: Path) -> list[tuple[int, int, int, str]]:
    """Return all (id, epoch, label, pixel hash) that were logged."""
    lines = io.StringIO(log.read_text())
    return [tuple(row) for line in lines for row in json.loads(line)]


if __name__ == "__main__":
    consume(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
