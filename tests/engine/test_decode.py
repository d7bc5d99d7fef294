import io
import warnings

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fusewarp import Augmenter, FolderSource, Loader, Policy
from fusewarp.engine.decode import decode_image, decode_into
from fusewarp.engine.errors import SampleError

CAT = data.chelsea()  # 300 x 451


def encoded(image: np.ndarray, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, file_format, **options)
    return stream.getvalue()


def pillow(content: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(file_format):
    np.testing.assert_array_equal(decode_image(encoded(CAT, file_format), "x"), CAT)


def test_jpeg_equals_pillows_within_the_rounding_of_two_libjpegs():
    content = encoded(CAT, "JPEG", quality=95)
    difference = decode_image(content, "x").astype(int) - pillow(content)
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize(("mode", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_color_modes(mode, channels, file_format):
    image = decode_image(encoded(CAT, file_format), "x", color_mode=mode)
    assert image.shape == (300, 451, channels)
    grey = CAT @ [0.299, 0.587, 0.114]
    shown = image[:, :, 0] if channels == 1 else image[:, :, :3] @ [0.299, 0.587, 0.114]
    assert np.abs(shown - grey).mean() < 4
    if channels == 4:
        assert (image[:, :, 3] == 255).all()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["rgb", "grayscale"])
def test_16_bit_greys_keep_their_range(file_format, mode):
    levels = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    image = decode_image(encoded(levels, file_format), "x", color_mode=mode)
    np.testing.assert_array_equal(image[:, :, 0], levels >> 8)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pictures_without_a_fixed_range_are_refused(dtype):
    content = encoded(np.linspace(0, 1000, 48).astype(dtype).reshape(6, 8), "TIFF")
    with pytest.raises(SampleError, match="no fixed range"):
        decode_image(content, "x")


def test_a_header_that_claims_a_huge_picture_is_refused():
    content = bytearray(encoded(CAT, "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = b"\xfd\xe8\xfd\xe8"  # 65,000 x 65,000
    with pytest.raises(SampleError, match="decompression bomb"):
        decode_image(bytes(content), "x")


def test_decoding_leaves_the_warning_filters_alone():
    before = list(warnings.filters)
    decode_image(encoded(CAT, "PNG"), "x")
    assert warnings.filters == before


def test_palette_and_alpha_become_rgb():
    palette = encoded(np.asarray(Image.fromarray(CAT).quantize(16)), "PNG")
    assert decode_image(palette, "x").shape == (300, 451, 3)
    alpha = np.dstack([CAT, np.full(CAT.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(alpha, "PNG"), "x"), CAT)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("min_size", "shape"),
    [
        ((0, 0), (300, 451, 3)),
        ((300, 451), (300, 451, 3)),
        ((151, 100), (300, 451, 3)),
        ((150, 225), (150, 226, 3)),
        ((60, 60), (75, 113, 3)),
        ((10, 10), (19, 29, 3)),
    ],
)
def test_reduces_by_a_whole_factor_and_never_below_what_is_useful(file_format, min_size, shape):
    content = encoded(CAT, file_format, quality=95)
    image = decode_image(content, "x", min_size=min_size)
    assert image.shape == shape
    small = Image.fromarray(CAT).resize(shape[1::-1], Image.Resampling.BOX)
    assert np.abs(image.astype(float) - np.asarray(small)).mean() < 6


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_fast_decoding_is_close_to_the_exact_one_once_warped(name, tmp_path):
    """Closer than the JPEG itself is to its photo; on photos, whose colours change slowly."""
    photo = np.ascontiguousarray(getattr(data, name)()[:400, :450])
    content = encoded(photo, "JPEG", quality=92, subsampling="4:2:0")
    (tmp_path / "photo.jpg").write_bytes(content)
    warped = {}
    for decode in ("fast", "exact"):
        source = FolderSource(tmp_path, labelled=False, decode=decode)
        augmenter = Augmenter(Policy(rotation_range=30, zoom_range=0.2), size=224)
        (batch,) = Loader(source, augmenter)
        warped[decode] = batch.images
        read = decode_image(content, "x", is_fast=decode == "fast")
        np.testing.assert_array_equal(source.read(0), read)
    original = augmenter.apply(photo[np.newaxis], [0])
    assert 45 < psnr(warped["fast"], warped["exact"]) < 60
    assert psnr(warped["exact"], original) < psnr(warped["fast"], warped["exact"])


def psnr(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(actual.astype(float) - expected).mean()))


def test_fast_and_exact_are_the_same_where_every_pixel_has_its_colour():
    content = encoded(CAT, "JPEG", quality=92, subsampling="4:4:4")
    fast = decode_image(content, "x", is_fast=True)
    np.testing.assert_array_equal(fast, decode_image(content, "x"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["rgb", "grayscale", "rgba"])
def test_decodes_into_given_memory(file_format, mode):
    content = encoded(CAT, file_format, quality=95)
    memory = np.empty(2**20, np.uint8)
    image, extent = decode_into(content, "x", lambda size: memory[:size], color_mode=mode)
    assert np.shares_memory(image, memory)
    assert extent == (300, 451)
    np.testing.assert_array_equal(image, decode_image(content, "x", color_mode=mode))


BAD = {
    "empty.jpg": (b"", "0 bytes"),
    "text.jpg": (b"this is not a picture", "cannot be decoded"),
    "truncated.jpg": (encoded(CAT, "JPEG")[:4000], "cannot be decoded"),
    "truncated.png": (encoded(CAT, "PNG")[:9000], "cannot be decoded"),
    "header.jpg": (b"\xff\xd8\xff\xe0garbage", "cannot be decoded"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_reason(name, tmp_path):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    source = FolderSource(tmp_path, labelled=False)
    with pytest.raises(SampleError, match=reason) as caught:
        source.read(0)
    assert name in str(caught.value)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_no_truncated_jpeg_passes_silently(kept, options):
    content = encoded(CAT, "JPEG", **options)
    with pytest.raises(SampleError):
        decode_image(content[: int(len(content) * kept)], "x", min_size=(32, 32))


def test_cmyk_jpegs_are_decoded_by_pillow():
    stream = io.BytesIO()
    Image.fromarray(CAT).convert("CMYK").save(stream, "JPEG", quality=95)
    content = stream.getvalue()
    np.testing.assert_array_equal(decode_image(content, "x"), pillow(content))
