"""The soak: epochs of random settings under random faults, each checked picture by picture."""

import collections
import contextlib
import gc
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from soak.world import KINDS, NUM_PICTURES, PACKED_SIZE, Broken, World

from fusewarp import Augmenter, BlockShuffle, FolderSource, Loader, Policy, SampleError
from fusewarp.engine import packing
from oracles.full_disk import hashes
from oracles.killed_loader import STATE, noted, rows_of, run_in_child, saved_state

POLICIES = [
    Policy(),
    Policy(rotation_range=40, zoom_range=0.15, horizontal_flip=True, rescale=1 / 255),
    Policy(width_shift_range=0.2, shear_range=10, fill_mode="reflect", brightness_range=(0.5, 1.5)),
    Policy(rotation_range=180, fill_mode="constant", cval=9, saturation_range=(0, 2), mean=100),
]
OUTPUTS = [
    {"size": (36, 44), "dtype": "float32", "layout": "HWC"},
    {"size": 40, "dtype": "float32", "layout": "CHW"},
    {"size": (44, 36), "dtype": "uint8", "layout": "HWC"},
]
MOST_THREADS = 3
_EVENTS = ["given up", "new loader", "pickled", "killed"]


class Soak:
    """Episodes, one after the other; the seed and the number of each draw what happens in it.

    Parameters
    ----------
    folder : Path
        Empty.
    seed : int
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed, self.folder = seed, folder
        self.world = World(folder)
        self.figures: collections.Counter[str] = collections.Counter()
        self.memory: list[tuple[float, float]] = []  # seconds, MB
        self.most_descriptors = self.most_threads = 0
        # shards of a store are opened by 16, and other tests may have made more
        self._most_workers = max(MOST_THREADS + 16, _workers())
        self._began = time.monotonic()

    def run(self, seconds: float) -> None:
        """Run episodes until the time is over, at least one of each source.

        Raises AssertionError at what is wrong.
        """
        number = 0
        while time.monotonic() - self._began < seconds or number < len(KINDS):
            with _told(f"seed {self.seed}, episode {number}") as told:
                Episode(self, random.Random(f"{self.seed}:{number}"), number, told).run()
            self._look_at_the_process()
            number += 1
            self.figures["episodes"] = number
            self.figures["seconds"] = round(time.monotonic() - self._began)

    def _look_at_the_process(self) -> None:
        gc.collect()
        names = [thread.name for thread in threading.enumerate()]
        ours = [name for name in names if "process_request_thread" not in name]  # of the servers
        self.most_threads = max(self.most_threads, len(ours))
        assert _workers() <= self._most_workers, names
        self.most_descriptors = max(self.most_descriptors, _descriptors())
        self.memory.append((time.monotonic() - self._began, _resident_mb()))

    def slope(self) -> float:
        """Return how memory grew in the second half, in MB a minute."""
        half = np.array(self.memory[len(self.memory) // 2 :])
        if len(half) < 3:
            return 0.0
        return float(np.polyfit(half[:, 0] / 60, half[:, 1], 1)[0])

    def report(self) -> str:
        """Return the figures, one a line."""
        lines = {
            "seed": self.seed,
            **self.figures,
            **{f"fault: {name}": count for name, count in sorted(self.world.count.items())},
            "resident MB, after the first tenth": f"{self._early_mb():.0f}",
            "resident MB, most": f"{max(mb for _, mb in self.memory):.0f}",
            "resident MB a minute, second half": f"{self.slope():+.2f}",
            "descriptors, most": self.most_descriptors,
            "threads without the servers', most": self.most_threads,
        }
        return "\n".join(f"{name:>38}  {value}" for name, value in lines.items())

    def _early_mb(self) -> float:
        return max(mb for _, mb in self.memory[: 1 + len(self.memory) // 10])


class Episode:
    """A source, a loader for each rank, some epochs; and what happens to them."""

    def __init__(self, soak: Soak, rng: random.Random, number: int, told: dict[str, Any]) -> None:
        self.soak, self.world, self.rng, self.number = soak, soak.world, rng, number
        self.figures, self.told = soak.figures, told

    def run(self) -> None:
        names = list(KINDS)
        name = names[self.number % len(names)]  # none is forgotten
        self.told["source"], self.kind = name, KINDS[name]
        self.world._rng.seed(self.rng.random())
        self.world.store_faults = self.rng.choice([0.05, 0.15, 0.3])
        if self.number % 7 == 3:
            self._pack_with_kills()
        self._damage_an_index()
        self.chosen = self.rng.sample(range(NUM_PICTURES), self.rng.randint(12, 60))
        self.source = self.kind.make(self.world).select(self.chosen)
        assert self.source.labels.tolist() == self.world.labels[self.chosen].tolist()
        self._choose()
        self.broken: Broken | None = None
        self._expected(self.first_epoch)  # compiles here what each child would compile
        try:
            for epoch in range(self.first_epoch, self.first_epoch + self.rng.randint(1, 3)):
                self._epoch(epoch)
        finally:
            self._heal()
            self.world.store_faults = 0.0
        self.figures[f"epochs of {name}"] += self.num_epochs

    # --- what is chosen

    def _choose(self) -> None:
        rng = self.rng
        self.policy, self.output = rng.choice(POLICIES), rng.choice(OUTPUTS)
        self.seed, self.first_epoch = rng.randrange(2**64), rng.randrange(2**20)
        self.num_epochs, self._loaders = 0, {}
        self.ranks = rng.choice([1, 1, 1, 2, 3])
        self.even = rng.choice([None, None, "drop", "repeat"]) if self.ranks > 1 else None
        self.on_error = rng.choice(["raise", "skip"])
        self.shuffle = rng.choice([True, True, False, "blocks"])
        self.cache = rng.choice([None, None, "memory"])
        self.batch_size = rng.randint(1, 12)
        self.told.update(
            (name, getattr(self, name))
            for name in (
                *("chosen", "policy", "output", "seed", "first_epoch", "ranks", "even", "on_error"),
                *("shuffle", "cache", "batch_size"),
            )
        )

    def _loader(self, rank: int) -> Loader:
        """Return a loader of the episode; threads and prefetch change nothing, so they vary."""
        rng = self.rng
        augmenter = Augmenter(
            self.policy, seed=self.seed, threads=rng.randint(1, MOST_THREADS), **self.output
        )
        shuffle: Any = self.shuffle
        if shuffle == "blocks":
            count = len(self.chosen)
            shuffle = BlockShuffle([5] * (count // 5) + [count % 5] * (count % 5 > 0), window=3)
        cached = {"cache": self.cache, "cache_bytes": rng.choice([20_000, 10**6])}
        return Loader(
            self.source,
            augmenter,
            self.batch_size,
            shuffle=shuffle,
            shard=(rank, self.ranks),
            even_shards=self.even,
            prefetch=rng.randint(0, 4),
            on_error=self.on_error,
            **(cached if self.cache else {}),
        )

    # --- what happens

    def _epoch(self, epoch: int) -> None:
        self._break()
        rows: list[Any] = []
        self.skips_known = True
        skipped: set[int] = set()
        must = self._ids_of(self.broken.must) if self.broken else set()
        may = self._ids_of(self.broken.may) if self.broken else set()
        for rank in range(self.ranks):
            rows += self._rank(rank, epoch, skipped)
        self._check(epoch, rows, skipped, must, may)
        self._heal()
        self.num_epochs += 1
        self.figures["epochs"] += 1
        self.figures["samples"] += len(rows)

    def _rank(self, rank: int, epoch: int, skipped: set[int]) -> list[Any]:
        loader = self._loaders.get(rank) or self._loader(rank)  # its cache may hold pictures
        loader.load_state_dict({"seed": self.seed, "epoch": epoch, "step": 0})
        loader.skipped.clear()
        rows: list[Any] = []
        while loader.state_dict()["epoch"] == epoch:
            event = self.rng.choice([None, *_EVENTS])
            if event == "killed" and (self.broken is None or self.on_error == "skip"):
                rows += self._killed(loader, epoch)
                continue
            stop = None if event is None else self.rng.randint(1, len(loader))
            try:
                for count, batch in enumerate(loader, 1):
                    rows += rows_of(batch)
                    if count == stop:
                        break
            except SampleError as error:
                self._told_by(error)
                continue
            skipped |= {skip.sample_id for skip in loader.skipped}
            loader = self._after(event, loader, rank)
        self._loaders[rank] = loader
        return rows

    def _told_by(self, error: SampleError) -> None:
        """Be content with an error that names a broken picture, and mend what is broken."""
        assert self.broken is not None, error
        assert self.on_error == "raise", error
        names = {self.source.names[i].rsplit("/", 1)[-1] for i in self._ids_of(self.broken.may)}
        assert any(name in str(error) for name in names), error
        self.figures["errors told, then mended"] += 1
        self._heal()

    def _after(self, event: str | None, loader: Loader, rank: int) -> Loader:
        if event is None or event == "killed":
            return loader
        self.figures[event] += 1
        if event == "given up":
            return loader  # the next `for` goes on
        fresh = pickle.loads(pickle.dumps(loader)) if event == "pickled" else self._loader(rank)
        fresh.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        return fresh

    def _killed(self, loader: Loader, epoch: int) -> list[Any]:
        """Let a child go on, kill it at some moment, and go to where it was."""
        folder = self.soak.folder / "child"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / STATE).write_text(json.dumps({"loader": loader.state_dict(), "noted": 0}))
        until = self.rng.randint(1, len(self.chosen))
        pause = self.rng.choice([0, 0.002])

        def is_time() -> bool:
            if noted(folder).total() < until:
                return False
            time.sleep(self.rng.uniform(0, 0.003))
            return True

        killed = run_in_child((loader, folder, epoch + 1, pause), kill_when=is_time)
        self.figures["killed" if killed else "child that was faster than its kill"] += 1
        self.skips_known = False  # they are the child's
        state = saved_state(folder)
        assert state is not None
        loader.load_state_dict(state)
        return [row[1:] for row in noted(folder).elements()]

    def _break(self) -> None:
        if not self.kind.breaks or self.rng.random() < 0.4:
            return
        breaks = self.rng.choice(self.kind.breaks)
        numbers = self.rng.sample(self.chosen, self.rng.randint(1, 4))
        broken = breaks(self.world, numbers, self.rng)
        if len(self._ids_of(broken.may)) >= len(self.chosen) // self.ranks:
            broken.undo()  # a rank without one picture is refused, rightly
            return
        self.broken, self.told["broken"] = broken, breaks.__name__

    def _heal(self) -> None:
        if self.broken is not None:
            self.broken.undo()
            self.broken = None

    def _damage_an_index(self) -> None:
        if not self.kind.index or self.rng.random() < 0.6:
            return
        for path in self.world.indices.glob(self.kind.index):
            fate = self.rng.choice(["stays", "removed", "cut"])
            if fate == "stays":
                continue
            if fate == "removed" or path.suffix != ".npz":  # a listing that is cut is refused
                path.unlink()
            else:
                os.truncate(path, path.stat().st_size // 2)
            self.world.count[f"index {fate}"] += 1

    def _pack_with_kills(self) -> None:
        """Pack the folder anew, killed at random moments; the bytes are the same."""
        out, patience = self.soak.folder / "again", 0.2
        while not out.exists():
            child = os.fork()
            if child == 0:
                packing.BLOCK_BYTES = 7 * PACKED_SIZE * PACKED_SIZE * 3
                with contextlib.suppress(BaseException):
                    packing.pack(FolderSource(self.world.photos), out, size=PACKED_SIZE, threads=2)
                os._exit(0)
            time.sleep(self.rng.uniform(0, patience))
            patience *= 1.1
            os.kill(child, signal.SIGKILL)
            self.figures["packing killed"] += os.waitpid(child, 0)[1] == signal.SIGKILL
        found, expected = hashes(out), hashes(self.world.packed)
        for name in ("journal.jsonl", "checksums.npy", "meta.json"):  # blocks are of another size
            found.pop(name, None)
            expected.pop(name, None)
        assert found == expected
        shutil.rmtree(out)

    # --- what must have come

    def _ids_of(self, numbers: set[int]) -> set[int]:
        return {i for i, number in enumerate(self.chosen) if number in numbers}

    def _check(
        self, epoch: int, rows: list[Any], skipped: set[int], must: set[int], may: set[int]
    ) -> None:
        expected = self._expected(epoch)
        for sample_id, label, digest in rows:
            assert (label, digest) == expected[sample_id], f"epoch {epoch}: sample {sample_id}"
        times = collections.Counter(sample_id for sample_id, _, _ in rows)
        everyone = set(range(len(self.chosen)))
        missing = everyone - set(times)
        if self.even == "drop":
            assert max(times.values()) == 1
            assert len(missing - may) <= len(everyone) % self.ranks
            return
        most = 2 if self.even == "repeat" else 1
        assert max(times.values()) <= most, times.most_common(5)
        assert missing <= may, f"epoch {epoch}: lost {sorted(missing - may)}"
        if missing:
            assert self.on_error == "skip"
            self.figures["samples skipped"] += len(missing)
        if self.skips_known and self.on_error == "skip":
            assert missing == skipped & may, (missing, skipped)
            assert skipped <= may
        if self.on_error == "skip" and self.cache is None:
            assert must <= missing

    def _expected(self, epoch: int) -> dict[int, tuple[int, str]]:
        """Return label and hash of each sample, from the pictures themselves."""
        augmenter = Augmenter(self.policy, seed=self.seed, threads=1, **self.output)
        pictures = [self.world.decoded[self.kind.pictures][number] for number in self.chosen]
        ids = np.arange(len(pictures))
        images = augmenter.apply(pictures, ids, epoch)
        return {
            i: (int(self.world.labels[self.chosen[i]]), hashlib.sha1(images[i]).hexdigest())
            for i in ids.tolist()
        }


@contextlib.contextmanager
def _told(where: str) -> Iterator[dict[str, Any]]:
    """Say of whatever goes wrong where it was, and with which settings."""
    told: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"\d+ sample\(s\) of epoch", UserWarning)
            warnings.filterwarnings("ignore", "This process", DeprecationWarning)
            yield told
    except BaseException:
        print(f"\nThe soak ended in {where}: {told}")
        raise


def _workers() -> int:
    return sum(thread.name.startswith("fusewarp") for thread in threading.enumerate())


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
