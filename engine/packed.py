"""Pictures that `fusewarp pack` decoded and resized: mapped into memory, read without a copy."""

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import pack_format as fmt
from .sources import Located, checked_ids, locate_rows
from .threads import run_slices


class PackedSource:
    """The pictures that `fusewarp pack` wrote.

    Nothing is loaded: the operating system reads a picture when it is first used, keeps what there
    is memory for, and shares it between processes. May be pickled (the folder must then be there
    where it is unpickled) and used after a fork.

    Parameters
    ----------
    folder : path
        What `fusewarp pack` made.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file of it, is not there.
    ValueError
        If it is unfinished, of another version, or its files do not fit each other. Whether every
        byte is right is not looked at: see `verify`.

    Attributes
    ----------
    images : (n, height, width, channels) uint8
        Mapped and read-only.
    labels : (n,) int64, or None
    class_names : list of str
        Label i is ``class_names[i]``; empty without labels.
    skipped : list of (name, message)
        Files that could not be packed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        meta = self._map()
        self._rows = np.arange(meta.count, dtype=np.int64)
        self.image_size: tuple[int, int] | None = meta.image_size
        self.channels = meta.channels
        self.dtype = np.dtype(np.uint8)
        self.class_names = list(meta.class_names or [])
        self.skipped = [(name, message) for name, message in meta.skipped]
        self.weights: NDArray[Any] | None = None
        self.labels: NDArray[Any] | None = None
        if meta.class_names is not None:
            self.labels = _mapped(self.folder / fmt.LABELS, np.dtype(np.int64), (meta.count,))

    def _map(self) -> fmt.Meta:
        meta = _checked_meta(self.folder)
        self.images = _mapped(self.folder / fmt.IMAGES, np.dtype(np.uint8), meta.shape)
        offsets = _mapped(self.folder / fmt.NAME_OFFSETS, np.dtype(np.int64), (meta.count + 1,))
        length = (int(offsets[-1]),)
        self._names = _mapped(self.folder / fmt.NAMES, np.dtype(np.uint8), length), offsets
        return meta

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("images", "_names")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        meta = self._map()
        if self._rows.max() >= meta.count:
            raise ValueError(
                f"{self.folder} holds {meta.count} pictures now, and {self._rows.max() + 1} or "
                "more when this source was pickled."
            )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> "PackedNames":
        """The packed files, as paths within the folder they came from; made when asked for."""
        return PackedNames(*self._names, self._rows)

    def read(self, sample_id: int, min_size: tuple[int, int] = (0, 0)) -> NDArray[Any]:
        """Return one picture, (H, W, C), not copied; `min_size` is ignored: nothing is decoded."""
        image: NDArray[Any] = self.images[self._rows[sample_id]]
        return image

    def locate(self, sample_ids: NDArray[np.int64]) -> Located | None:
        """Tell where these pictures lie in the mapped file."""
        return locate_rows(self.images, self._rows[sample_ids])

    def select(self, sample_ids: ArrayLike) -> "PackedSource":
        """Return a source of the given samples only, renumbered from 0 in the given order.

        Parameters
        ----------
        sample_ids : (k,) integers from 0 to len - 1, or (len,) booleans
        """
        ids = checked_ids(sample_ids, len(self))
        selected = object.__new__(type(self))
        selected.__dict__.update(self.__dict__)  # copy.copy would pickle, and map the files anew
        selected._rows = self._rows[ids]
        selected.labels = None if self.labels is None else self.labels[ids]
        selected.weights = None if self.weights is None else self.weights[ids]
        return selected

    def verify(
        self,
        *,
        threads: int | None = None,
        progress: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Read every byte and compare it with the checksums taken while packing.

        Parameters
        ----------
        threads : int, optional
            Default: all that the process may use.
        progress : callable
            ``progress(n)``, from any thread: so many more pictures are done.

        Raises
        ------
        ValueError
            If a file differs from what was packed; names it, and the pictures.
        """
        meta = fmt.read_meta(self.folder / fmt.META, verify=True)
        for name, checksum in meta.crc32.items():
            if fmt.crc32_of_file(self.folder / name) != checksum:
                raise _damaged(self.folder / name)
        with open(self.folder / fmt.IMAGES, "rb") as file:
            if file.read(fmt.HEADER_BYTES) != fmt.images_header(meta.shape):
                raise _damaged(self.folder / fmt.IMAGES, "its header is another")
        self._verify_blocks(meta, threads, progress)

    def _verify_blocks(
        self, meta: fmt.Meta, threads: int | None, progress: Callable[[int], None]
    ) -> None:
        checksums = np.load(self.folder / fmt.CHECKSUMS, allow_pickle=False)
        stops = np.cumsum(checksums[:, 0])
        wrong: list[int] = []

        def check(first: int, last: int) -> None:
            for block in range(first, last):
                images = self.images[stops[block] - checksums[block, 0] : stops[block]]
                if images.size and zlib.crc32(images.data.cast("B")) != checksums[block, 1]:
                    wrong.append(block)
                progress(len(images))

        run_slices(check, len(stops), threads)
        if wrong:
            stop, count = int(stops[min(wrong)]), int(checksums[min(wrong), 0])
            more = f", and {len(wrong) - 1} more of {len(stops)} runs" if wrong[1:] else ""
            raise _damaged(self.folder / fmt.IMAGES, f"pictures {stop - count} to {stop - 1}{more}")


class PackedNames(Sequence[str]):
    """The names of packed pictures, decoded one at a time: ten million take no memory.

    Parameters
    ----------
    text : (total,) uint8
        All names, UTF-8, one after the other.
    offsets : (n + 1,) int64
        Where each begins and ends.
    rows : (k,) int64
        Which of them are in this sequence.
    """

    def __init__(
        self, text: NDArray[np.uint8], offsets: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        self._text, self._offsets, self._rows = text, offsets, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedNames": ...
    def __getitem__(self, index: int | slice) -> "str | PackedNames":
        if isinstance(index, slice):
            return PackedNames(self._text, self._offsets, self._rows[index])
        row = self._rows[index]
        name = self._text[self._offsets[row] : self._offsets[row + 1]]
        return name.tobytes().decode("utf-8", "surrogateescape")

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"PackedNames([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} names)"


def _checked_meta(folder: Path) -> fmt.Meta:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; `fusewarp pack` makes one.")
    if folder.name.endswith(fmt.PARTIAL) or not (folder / fmt.META).exists():
        raise ValueError(
            f"{folder} is not a folder of packed pictures, or an unfinished one: it has no "
            f"{fmt.META}, or is called {fmt.PARTIAL}. Run `fusewarp pack` (again: it goes on)."
        )
    return fmt.read_meta(folder / fmt.META)


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a .npy file that must hold exactly this."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; pack the folder again.")
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is cut off or damaged ({error}); pack again.") from error
    whole = getattr(array, "offset", -1) + array.nbytes == path.stat().st_size
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous or not whole:
        raise ValueError(
            f"{path} should be {dtype} of shape {shape} and nothing else; it is {array.dtype} of "
            f"shape {array.shape} in {path.stat().st_size} bytes. Pack the folder again."
        )
    return np.asarray(array)


def _damaged(path: Path, where: str = "") -> ValueError:
    place = f" ({where})" if where else ""
    return ValueError(f"{path}{place} is not what was packed: pack the folder again.")
