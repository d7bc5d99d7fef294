"""A policy, an output format and a seed: everything that turns pictures into a batch, and pure."""

import copy
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..kernels import warp_ragged
from .affine import Size
from .buffers import BufferPool, borrowed_scratch, empty_aligned
from .cuda_pipeline import CudaPipeline, Output
from .device_batch import DeviceBatch
from .device_decode import DeviceDecoder
from .devices import Choice, choose_device
from .encoded import EncodedSource
from .minify import reduce_in_place, reduced_parts
from .plan import Plan, make_plan
from .policy import Policy
from .sampling import sample_parameters
from .sources import Located, locate_rows
from .staging import Staging
from .threads import resolve_threads, run_slices

Layout = Literal["HWC", "CHW"]
_DTYPES = ("uint8", "float16", "float32")
_CUDA_DTYPES = (*_DTYPES, "bfloat16")
_SOURCE_DTYPES = ("uint8", "uint16", "float32")


class Augmenter:
    """Applies a policy to pictures.

    Parameters
    ----------
    policy : Policy
    size : int or (height, width), optional
        Of the output; the whole picture is resized to it within the same resampling, as
        everything else. Default: the size of the pictures.
    dtype : {"float32", "float16", "uint8"}, on a CUDA device also "bfloat16"
        Of the output. uint8 is rounded half up (uint8 sources without colours: 1/64 off at most
        before that) and clipped to 0..255; floats are not clipped.
    layout : {"HWC", "CHW"}
        Batches of (n, height, width, channels) or (n, channels, height, width).
    seed : int
        0 <= seed < 2**64. A picture's parameters depend on (seed, epoch, sample id) alone.
    threads : int, optional
        Default: all that the process may use.
    device : {"cpu", "cuda", "cuda:1", ..., "auto"}
        What warps. On a CUDA device batches are `DeviceBatch`, and lie there; the pictures are the
        same but for rounding (docs/cuda.md). "auto" takes a CUDA device if there is one:
        `device` says which, and why.

    Attributes
    ----------
    device : Choice
        Of kind "cpu" or "cuda", with its index and the reason.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these.
    DeviceError
        If a CUDA device is asked for that cannot be used; it names the remedy.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        size: int | tuple[int, int] | None = None,
        dtype: DTypeLike = "float32",
        layout: Layout = "HWC",
        seed: int = 0,
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        if not isinstance(policy, Policy):
            raise TypeError(f"`policy` must be a fusewarp.Policy, got {type(policy).__name__}.")
        self.policy = policy
        self.size = checked_size(size)
        self.device = choose_device(device)
        self.dtype = _checked_dtype(dtype, self.device)
        if layout not in ("HWC", "CHW"):
            raise ValueError(f'`layout` must be "HWC" or "CHW", got {layout!r}.')
        self.layout: Layout = layout
        self.seed = _whole("seed", seed, 2**64)
        self.threads = resolve_threads(threads)
        self._cuda = (
            CudaPipeline(self.device.index, self.threads) if self.device.kind == "cuda" else None
        )

    def with_threads(self, threads: int) -> "Augmenter":
        """Return the same augmenter on so many threads, at least 1; its pictures are the same."""
        other = copy.copy(self)
        other.threads = resolve_threads(threads)
        if self._cuda is not None:
            other._cuda = CudaPipeline(self.device.index, other.threads)
        return other

    def apply(
        self,
        images: Any,
        sample_ids: ArrayLike,
        epoch: int = 0,
        out: NDArray[Any] | None = None,
    ) -> Any:
        """Augment pictures.

        Parameters
        ----------
        images : (n, H, W, C) array, or a sequence of (H, W, C) arrays of any sizes
            uint8, uint16 or float32; all of one type and number of channels. On a CUDA device also
            an (n, H, W, C) array that lies there (of PyTorch, JAX, CuPy, TensorFlow, Numba, or a
            `DeviceBatch`): it is not copied.
        sample_ids : (n,) integers
            0 <= id < 2**63: they choose the random parameters.
        epoch : int
            0 <= epoch < 2**32.
        out : array, optional
            C-contiguous, of the output's shape and dtype; written to and returned. On the CPU only.

        Returns
        -------
        (n, h, w, C) or (n, C, h, w) array, or `DeviceBatch` of that shape
            The same for any number of threads, and for any way of cutting the pictures into
            batches.

        Raises
        ------
        ValueError, TypeError
            If shapes, types or ids do not fit.
        DeviceMemoryError
            If the device has not the memory that the batch needs.
        """
        if self._cuda is not None and out is not None:
            raise ValueError("`out` is for the CPU; on a CUDA device `apply` returns a batch.")
        if self._cuda is not None and not isinstance(images, np.ndarray | list | tuple):
            return self._apply_on_device(images, sample_ids, epoch)
        first = _first_image(images)
        ids = _checked_ids(sample_ids, len(images))
        size = self._output_size(images, first)
        channels = first.shape[2]
        shape = self.batch_shape(len(ids), size, channels)
        batch = self._new_batch(shape) if out is None else self._checked_out(out, shape, images)
        plan = self.plan(ids, epoch, size=size, channels=channels, source_dtype=first.dtype)

        def warp_slice(start: int, stop: int) -> None:
            if isinstance(images, np.ndarray) and images.flags.c_contiguous:
                located = locate_rows(images, np.arange(start, stop, dtype=np.int64))
                self.warp_located(located, plan, slice(start, stop), batch)
                return
            with self.staging(plan, batch, images[0].dtype) as staging:
                for row in range(start, stop):
                    staging.copy(row, images[row])

        run_slices(warp_slice, len(ids), self.threads)
        return self.finished(batch)

    def _apply_on_device(self, images: Any, sample_ids: ArrayLike, epoch: int) -> Any:
        """Augment pictures that lie on the device."""
        assert self._cuda is not None
        located, (count, *side, channels) = self._cuda.locate(images)
        ids = _checked_ids(sample_ids, count)
        size = self.size or (side[0], side[1])
        dtype = located.pixels.dtype
        plan = self.plan(ids, epoch, size=size, channels=channels, source_dtype=dtype)
        batch = self._new_batch(self.batch_shape(count, size, channels))
        self._cuda.warp_device(located, plan, slice(0, count), self._output, batch)
        return self.finished(batch)

    def batch_pool(self, max_free: int) -> Any:
        """Return what makes batches and keeps the memory of so many that were let go."""
        return BufferPool(max_free) if self._cuda is None else self._cuda.batches(max_free)

    def _new_batch(self, shape: tuple[int, ...]) -> Any:
        if self._cuda is None:
            return empty_aligned(shape, self.dtype)
        return self._cuda.own_batches.empty(shape, self.dtype)

    def finished(self, batch: Any, kept: NDArray[np.bool_] | None = None) -> Any:
        """Return a batch that is filled, or but those rows that are to be kept."""
        if self._cuda is not None:
            return self._cuda.finished(batch, kept)
        if kept is None:
            return batch
        images = empty_aligned((int(kept.sum()), *batch.shape[1:]), batch.dtype)
        return np.compress(kept, batch, axis=0, out=images)

    @property
    def is_simulated(self) -> bool:
        """Whether Numba's simulator stands in for a CUDA device."""
        return self._cuda is not None and bool(self._cuda.cuda.is_simulated())

    @property
    def _output(self) -> Output:
        policy = self.policy
        return Output(
            policy.fill_mode, policy.cval, policy.interpolation, self.layout, self.dtype.name
        )

    def plan(
        self,
        sample_ids: NDArray[Any],
        epoch: int,
        *,
        size: Size,
        channels: int,
        source_dtype: DTypeLike,
    ) -> Plan:
        """Return what `apply` will do to these samples in this epoch."""
        _whole("epoch", epoch, 2**32)
        return make_plan(
            self.policy,
            self.seed,
            epoch,
            sample_ids,
            size=size,
            channels=channels,
            source_dtype=source_dtype,
        )

    def warp_located(
        self,
        located: Located,
        plan: Plan,
        rows: slice,
        out: NDArray[Any],
        *,
        may_overwrite: bool = False,
    ) -> None:
        """Write pictures into their rows of a batch, in the calling thread.

        A picture that its map makes smaller by 2 or more is reduced first: see `minify.py`.

        Parameters
        ----------
        located : Located
            The k pictures.
        plan : Plan
            Of the whole batch.
        rows : slice
            The k rows of the plan and of `out` that the pictures are.
        out : array
            The whole batch.
        may_overwrite : bool
            Whether the memory of the pictures may be used for reduced ones.
        """
        if self._cuda is not None:
            with self.staging(plan, out, located.pixels.dtype) as staging:
                staging.gather(rows.start, located, out.shape[3 if self.layout == "HWC" else 1])
            return
        factors, sizes, maps = plan.fit(rows, located)
        colour = plan.colour_of(rows)
        batch = out[rows]
        channels = batch.shape[3 if self.layout == "HWC" else 1]
        if factors is not None and not may_overwrite:
            with borrowed_scratch() as scratch:
                for part, pixels, starts in reduced_parts(located, factors, channels, scratch):
                    here = None if colour is None else colour[part]
                    self._warp(pixels, starts, sizes[part], maps[part], here, batch[part])
            return
        if factors is not None:
            reduce_in_place(located, factors, channels)
        self._warp(located.pixels, located.starts, sizes, maps, colour, batch)

    def _warp(
        self,
        pixels: NDArray[Any],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        inverse_maps: NDArray[np.float32],
        colour: NDArray[np.float32] | None,
        out: NDArray[Any],
    ) -> None:
        warp_ragged(
            pixels,
            starts,
            sizes,
            inverse_maps,
            out,
            colour=colour,
            fill_mode=self.policy.fill_mode,
            cval=self.policy.cval,
            interpolation=self.policy.interpolation,
            layout=self.layout,
        )

    @contextmanager
    def staging(self, plan: Plan, out: NDArray[Any], dtype: DTypeLike) -> Iterator[Staging]:
        """Lend a `Staging` that warps what is added to it into the rows of a batch.

        Parameters
        ----------
        plan : Plan
            Of the whole batch.
        out : array
            The whole batch.
        dtype : dtype
            Of the pictures.
        """

        def warp_group(located: Located, rows: slice) -> None:
            if self._cuda is not None:
                self._cuda.warp_pinned(located, plan, rows, self._output, cast(DeviceBatch, out))
            else:
                self.warp_located(located, plan, rows, out, may_overwrite=True)

        lend = borrowed_scratch if self._cuda is None else self._cuda.scratch
        with lend() as scratch:
            staging = Staging(warp_group, scratch, dtype)
            yield staging
            staging.flush()

    def device_decoder(self, source: EncodedSource) -> DeviceDecoder:
        """Return what decodes the pictures of a source on this augmenter's device.

        Raises
        ------
        ValueError, ModuleNotFoundError, DeviceError
            As `DeviceDecoder`; also if the augmenter works on the CPU.
        """
        if self._cuda is None:
            raise ValueError(
                'decode_on="device" needs an Augmenter that works on a CUDA device, this one works '
                'on the CPU. Make it with device="cuda", or leave decode_on="host".'
            )
        return DeviceDecoder(self._cuda, source)

    def warp_decoded(self, located: Located, plan: Plan, rows: slice, out: Any) -> None:
        """Queue the warp of pictures on the device; parameters as of `warp_located`."""
        assert self._cuda is not None
        self._cuda.warp_device(located, plan, rows, self._output, out)

    def explain(self, sample_id: int, epoch: int = 0) -> dict[str, float]:
        """Return the parameters drawn for one sample: those of `Parameters`, flips as 0 or 1."""
        _whole("sample_id", sample_id, 2**63)
        _whole("epoch", epoch, 2**32)
        drawn = sample_parameters(self.policy, self.seed, epoch, [sample_id])
        return {name: float(values[0]) for name, values in asdict(drawn).items()}

    def batch_shape(self, count: int, size: Size, channels: int) -> tuple[int, int, int, int]:
        """Return the shape of a batch of `count` pictures in this augmenter's layout."""
        if self.layout == "HWC":
            return (count, *size, channels)
        return (count, channels, *size)

    @property
    def useful_size(self) -> Size:
        """The smallest source size that loses no detail in any picture.

        (0, 0): every pixel is wanted.
        """
        if self.size is None or self.policy.interpolation == "nearest":
            return (0, 0)
        enlarged = min(1.0, self.policy.zoom_bounds[0])
        return (int(np.ceil(self.size[0] / enlarged)), int(np.ceil(self.size[1] / enlarged)))

    def _output_size(self, images: Any, first: NDArray[Any]) -> Size:
        if self.size is not None:
            return self.size
        size = (first.shape[0], first.shape[1])
        for image in images if not isinstance(images, np.ndarray) else ():
            if image.shape[:2] != size:
                raise ValueError(
                    f"The pictures have different sizes ({size} and {image.shape[:2]}); "
                    "give the Augmenter a `size`."
                )
        return size

    def _checked_out(self, out: Any, shape: tuple[int, ...], images: Any) -> NDArray[Any]:
        if not isinstance(out, np.ndarray):
            raise TypeError(f"`out` must be a NumPy array, got {type(out).__name__}.")
        if out.shape != shape or out.dtype != self.dtype:
            raise ValueError(
                f"`out` must be {self.dtype} of shape {shape}, got {out.dtype} of {out.shape}."
            )
        if not out.flags.c_contiguous or not out.flags.writeable:
            raise ValueError("`out` must be C-contiguous and writeable.")
        if any(np.may_share_memory(image, out) for image in images):
            raise ValueError("`out` shares memory with `images`; give it memory of its own.")
        return out


def _first_image(images: Any) -> NDArray[Any]:
    """Check what all pictures of a call must share, and return the first of them."""
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ValueError(
            f"`images` needs 4 axes (n, height, width, channels), got shape {images.shape}."
            + (" For one picture: `image[np.newaxis]`." if images.ndim == 3 else "")
        )
    if len(images) == 0:
        raise ValueError("`images` is empty; at least one picture is needed.")
    first: NDArray[Any] = images[0]
    for at, image in enumerate(images[:1] if isinstance(images, np.ndarray) else images):
        _check_image(image, at, first)
    return first


def _check_image(image: Any, at: int, first: NDArray[Any]) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or 0 in image.shape:
        came = image.shape if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"`images[{at}]` must be a (height, width, channels) array, got {came}.")
    if image.dtype.name not in _SOURCE_DTYPES:
        raise TypeError(
            f"`images` needs dtype {', '.join(_SOURCE_DTYPES)}, got {image.dtype} at {at}. "
            "Convert it once, before training: `images.astype(np.float32)`."
        )
    if image.dtype != first.dtype or image.shape[2] != first.shape[2]:
        raise ValueError(
            f"All pictures must share dtype and channels; `images[0]` is {first.dtype} with "
            f"{first.shape[2]}, `images[{at}]` is {image.dtype} with {image.shape[2]}."
        )


def _checked_ids(sample_ids: ArrayLike, count: int) -> NDArray[np.int64]:
    ids = np.asarray(sample_ids)
    if ids.ndim != 1 or len(ids) != count or ids.dtype.kind not in "iu":
        raise ValueError(
            f"`sample_ids` must be {count} integers, one per picture, got {ids.dtype} of shape "
            f"{ids.shape}."
        )
    if ids.min() < 0:
        raise ValueError(f"`sample_ids` must not be negative, got {ids.min()}.")
    return ids.astype(np.int64)


def checked_size(size: Any) -> Size | None:
    """Return `size` as (height, width); raises ValueError for what is no size."""
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int | np.integer) else size
    if not isinstance(sides, tuple | list) or len(sides) != 2:
        raise ValueError(f"`size` must be a number of pixels or (height, width), got {size!r}.")
    height, width = sides
    return (_side("size", height), _side("size", width))


def _side(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` must be (height, width) of at least 1 pixel, got {value!r}.")
    return int(value)


def _checked_dtype(dtype: DTypeLike, device: Choice) -> np.dtype[Any]:
    known = _DTYPES if device.kind == "cpu" else _CUDA_DTYPES
    if dtype == "bfloat16":
        dtype = _bfloat16()
    checked = np.dtype(dtype)
    if checked.name not in known:
        raise TypeError(
            f"`dtype` must be one of {', '.join(known)} on {device.kind}, got {checked}."
        )
    return checked


def _bfloat16() -> np.dtype[Any]:
    """Return the type that NumPy does not have."""
    try:
        bfloat16: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError as error:
        raise TypeError(
            'dtype="bfloat16" needs the package ml_dtypes, which TensorFlow and JAX bring along: '
            "pip install ml_dtypes"
        ) from error
    return bfloat16


def _whole(name: str, value: Any, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if not 0 <= value < limit:
        raise ValueError(f"`{name}` must be from 0 to {limit - 1}, got {value}.")
    return int(value)
