"""What fusewarp uses of `nvidia.nvimgcodec` 0.9, without a GPU.

`FakeCodec` takes the place of the module, with its names and signatures, and decodes by simplejpeg
what nvJPEG would decode. `HostCodec` is the real module, made to decode on the CPU. Either one
leaves its images in memory that stands for a device's:

- written when the stream given to `decode` comes to it, if a `LateCuda` is given, else at once;
- one by one, the later ones lower, with bytes of others between them;
- filled with garbage as soon as the image is let go.
"""

import inspect
import io
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import simplejpeg
from PIL import Image as PilImage

GARBAGE, GAP = 0x5A, 7
_GPU_KINDS = {"HW_GPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU"}
_CPU_ONLY = -99999


class Device:
    """Where images lie."""

    def __init__(self, late=None):
        self._late = late
        self._blocks = []  # for ever: who reads an image that was let go finds garbage, no crash
        self.live = self.most_live = 0

    def place(self, arrays, cuda_stream):
        """Return an `Image` for each array, and None for None."""
        sizes = [0 if array is None else array.size + GAP for array in arrays]
        block = np.full(sum(sizes) + GAP, GARBAGE, np.uint8)
        self._blocks.append(block)
        images, end = [], block.size
        for array, size in zip(arrays, sizes, strict=True):
            end -= size
            place = block[end : end + size - GAP] if array is not None else None
            images.append(None if array is None else self._image(array, place, cuda_stream))
        return images

    def _image(self, array, place, cuda_stream):
        image = Image(array.shape, place.ctypes.data, cuda_stream)
        self.live += 1
        self.most_live = max(self.most_live, self.live)
        weakref.finalize(image, self._let_go, place).atexit = False
        if self._late is None:
            place[:] = array.reshape(-1)
        else:
            stream = self._late.foreign_stream(cuda_stream)
            self._late.queue(stream, lambda: np.copyto(place, array.reshape(-1)))
        return image

    def _let_go(self, place):
        place.fill(GARBAGE)
        self.live -= 1


class Image:
    """As `nvimgcodec.Image`, as far as fusewarp looks."""

    def __init__(self, shape, address, cuda_stream):
        self.shape, self.strides_seen = shape, None
        self._address, self._stream = address, cuda_stream

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape, "strides": self.strides_seen, "typestr": "|u1",
            "data": (self._address, False), "version": 3, "stream": self._stream or 1,
        }  # fmt: skip


def _enum(*names):
    return SimpleNamespace(**{name: name for name in names})


class FakeCodec:
    """The module; `decoders` are those that were made."""

    __version__ = "0.9.0"
    ColorSpec = _enum("UNKNOWN", "UNCHANGED", "SRGB", "GRAY", "SYCC", "CMYK", "YCCK", "PALETTE")
    BackendKind = _enum("CPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU", "HW_GPU_ONLY")

    def __init__(self, late=None):
        self.device, self.decoders = Device(late), []
        self.alter = lambda images: images  # what a test does to the images of a call
        self.can_decode_jpeg = True

    def Backend(self, backend_kind):
        return SimpleNamespace(backend_kind=backend_kind)

    def DecodeParams(self, apply_exif_orientation=True, color_spec="SRGB", allow_any_depth=False):
        return SimpleNamespace(
            apply_exif_orientation=apply_exif_orientation, color_spec=color_spec,
            allow_any_depth=allow_any_depth,
        )  # fmt: skip

    def CodeStream(self, data):
        return CodeStream(data)

    def Decoder(self, device_id=-1, max_num_cpu_threads=0, backends=None, options=""):
        decoder = Decoder(self, device_id, max_num_cpu_threads, backends, options)
        self.decoders.append(decoder)
        return decoder


class CodeStream:
    """Looks at the first bytes when made, at the header when asked: so does the real one."""

    def __init__(self, data):
        assert isinstance(data, bytes)
        if not data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM")):
            raise RuntimeError("Failed to get image info")
        self.data, self.dtype, self.precision = data, np.dtype(np.uint8), 8

    def _header(self):
        try:
            with PilImage.open(io.BytesIO(self.data)) as picture:
                return picture.height, picture.width, picture.mode, picture.format.lower()
        except OSError as error:
            raise RuntimeError("Failed to get image info") from error

    height = property(lambda self: self._header()[0])
    width = property(lambda self: self._header()[1])
    codec_name = property(lambda self: self._header()[3])

    @property
    def color_spec(self):
        return {"RGB": "SYCC", "L": "GRAY", "CMYK": "CMYK"}.get(self._header()[2], "UNKNOWN")


class Decoder:
    def __init__(self, codec, device_id, max_num_cpu_threads, backends, options):
        self.codec, self.device_id, self.options = codec, device_id, options
        self.kinds = {backend.backend_kind for backend in backends}
        self.calls = []  # how many pictures each
        self._is_busy = threading.Lock()

    def decode(self, srcs, *, images=None, params=None, cuda_stream=0):
        assert isinstance(srcs, list)
        if not self._is_busy.acquire(blocking=False):  # the real one fails so with two threads
            return [None] * len(srcs)
        try:
            self.calls.append(len(srcs))
            arrays = [self._decode_one(stream, params) for stream in srcs]
            return self.codec.alter(self.codec.device.place(arrays, cuda_stream))
        finally:
            self._is_busy.release()

    def _decode_one(self, stream, params):
        if stream.codec_name != "jpeg" or not self.kinds & _GPU_KINDS:
            return None
        if not self.codec.can_decode_jpeg:
            return None
        space = {"SRGB": "RGB", "GRAY": "GRAY"}[params.color_spec]
        fast = ":fancy_upsampling=0" in self.options
        try:
            image = simplejpeg.decode_jpeg(stream.data, space, fastupsample=fast)
        except ValueError:
            return None
        return np.rot90(image) if params.apply_exif_orientation and _is_turned(stream) else image


def _is_turned(stream):
    with PilImage.open(io.BytesIO(stream.data)) as picture:
        return picture.getexif().get(0x0112, 1) != 1


class HostCodec:
    """The real module, whose decoder decodes on the CPU and leaves its images as above."""

    def __init__(self, real, late=None):
        self._real, self.device, self.decoders = real, Device(late), []
        self.can_decode_jpeg = True
        for name in ("__version__", "ColorSpec", "BackendKind", "Backend", "DecodeParams"):
            setattr(self, name, getattr(real, name))
        self.CodeStream = real.CodeStream

    def Decoder(self, device_id, max_num_cpu_threads, backends, options):
        assert {backend.backend_kind.name for backend in backends} == _GPU_KINDS
        decoder = self._real.Decoder(
            device_id=_CPU_ONLY,
            max_num_cpu_threads=max_num_cpu_threads,
            backends=[self._real.Backend(self._real.BackendKind.CPU_ONLY)],
            options=options,
        )
        self.decoders.append(HostDecoder(self, decoder, options))
        return self.decoders[-1]


class HostDecoder:
    def __init__(self, codec, real, options):
        self.codec, self.real, self.options, self.calls = codec, real, options, []

    def decode(self, srcs, *, params, cuda_stream):
        self.calls.append(len(srcs))
        images = self.real.decode(srcs, params=params, cuda_stream=0)
        arrays = [None if image is None else np.array(image) for image in images]
        return self.codec.device.place(arrays, cuda_stream)


def check_signatures(real):
    """Assert that the fake takes what the real module says that it takes."""
    for fake, documented in (
        (FakeCodec.Decoder, real.Decoder.__init__.__doc__),
        (FakeCodec.DecodeParams, real.DecodeParams.__init__.__doc__),
        (Decoder.decode, real.Decoder.decode.__doc__),
        (FakeCodec.Backend, real.Backend.__init__.__doc__),
    ):
        names = [name for name in inspect.signature(fake).parameters if name != "self"]
        assert names
        assert all(f"{name}:" in documented for name in names), (fake, documented)
