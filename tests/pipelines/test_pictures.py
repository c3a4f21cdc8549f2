"""Pictures of every kind become RGB, or an error that says what is wrong."""

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import BackendUnavailable, DTypeError, FormatError, OutOfRange, ShapeError
from numbatorch.pipelines.image_processor import ImageProcessor
from numbatorch.pipelines.pictures import rgb

Image = pytest.importorskip("PIL.Image")
Array = np.ndarray[Any, Any]


def drawn(height: int = 5, width: int = 7, channels: int = 3) -> Array:
    shape = (height, width, channels)
    return np.random.default_rng(height + width).integers(0, 256, shape, np.uint8)


def encoded(image: Any, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int) -> None:
    """The eight ways, as the EXIF specification has them: which corner is first, and along what."""
    stored = drawn()
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: stored[::-1].swapaxes(0, 1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: stored[:, ::-1].swapaxes(0, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(stored), exif=exif)
    np.testing.assert_array_equal(rgb(file), turned)
    np.testing.assert_array_equal(rgb(Image.open(io.BytesIO(file))), turned)


def test_modes_of_files(tmp_path: Path) -> None:
    colours = Image.fromarray(drawn())
    for mode, form in (("CMYK", "TIFF"), ("P", "PNG"), ("L", "PNG"), ("1", "PNG"), ("RGB", "BMP")):
        image = colours.convert(mode)
        path = tmp_path / f"{mode}.{form.lower()}"
        image.save(path, form)
        np.testing.assert_array_equal(rgb(path), np.array(image.convert("RGB")))
        np.testing.assert_array_equal(rgb(str(path)), rgb(image))


def test_16_bits_are_rounded_to_8() -> None:
    deep = np.array([[0, 128, 129, 257], [32767, 32768, 65406, 65535]], np.uint16)
    expected = np.floor(deep * 255.0 / 65535 + 0.5).astype(np.uint8)
    file = encoded(Image.fromarray(deep))
    for found in (rgb(file), rgb(deep), rgb(deep[..., None])):
        np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, -1))


def test_files_of_16_bits_are_read_in_every_mode_that_pillow_has_for_them(tmp_path: Path) -> None:
    deep = np.array([[0, 60, 255, 257], [300, 32768, 65406, 65535]], np.uint16)
    for form, mode in (("PNG", None), ("TIFF", "I;16"), ("PPM", "I")):
        file = encoded(Image.fromarray(deep), form)
        image = Image.open(io.BytesIO(file))
        assert mode in (None, image.mode)
        np.testing.assert_array_equal(rgb(file), rgb(deep))
        np.testing.assert_array_equal(rgb(image), rgb(deep))
    older = Image.fromarray(deep.astype(np.int32))  # Pillow opened grey PNG of 16 bits as this
    older.format = "PNG"
    np.testing.assert_array_equal(rgb(older), rgb(deep))


@pytest.mark.parametrize("most", [255, 300, 65535, 70000])
def test_32_bits_that_do_not_say_what_is_white_are_refused(most: int) -> None:
    values = np.array([[0, 60, most]], np.int32)
    image = Image.fromarray(values)
    for picture in (image, encoded(image, "TIFF")):
        with pytest.raises(DTypeError, match=f"which number is white\n.*\n.*from 0 to {most}\n"):
            rgb(picture)


def test_transparency_lies_over_white() -> None:
    values = drawn(channels=4)
    alpha = values[..., 3:] / 255
    expected = values[..., :3] * alpha + 255 * (1 - alpha)
    for found in (rgb(values), rgb(encoded(Image.fromarray(values)))):
        np.testing.assert_allclose(found, expected, atol=1)  # of 8 bits
    floats = rgb((values / 255).astype(np.float32))
    np.testing.assert_allclose(floats, expected, rtol=1e-5, atol=1e-3)
    palette = Image.fromarray(np.zeros((2, 2), np.uint8), "P")
    palette.putpalette([9, 8, 7])
    assert rgb(encoded(palette, transparency=0)).min() == 255


def test_arrays_and_tensors() -> None:
    values = drawn()
    np.testing.assert_array_equal(rgb(values), values)
    np.testing.assert_array_equal(rgb(nt.tensor(values).permute(2, 0, 1)), values)
    np.testing.assert_array_equal(rgb(values[..., 0] > 99)[..., 1], 255 * (values[..., 0] > 99))
    floats = rgb(values / 255)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, values, rtol=1e-6)


def test_a_picture_of_one_pixel() -> None:
    one = np.array([[[255, 0, 51]]], np.uint8)
    found = ImageProcessor(size=8, crop=(8, 8), mean=None)([one, encoded(Image.fromarray(one))])
    expected = np.broadcast_to(one[0, 0, :, None, None] / np.float32(255), (2, 3, 8, 8))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_no_picture() -> None:
    for wrong, error, words in (
        (np.zeros((3, 4, 5), np.uint8), ShapeError, "channels last"),
        (np.zeros((0, 4, 3), np.uint8), ShapeError, r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int64), DTypeError, "int64"),
        (np.full((4, 4, 3), 200.0), OutOfRange, "200.0"),
        (np.full((4, 4), np.nan), OutOfRange, "nan"),
        (nt.zeros(4, 4), ShapeError, r"\(4, 4\)"),
        (nt.zeros(6, 5, 3), ShapeError, r"(?s)tensor \(6, 5, 3\) float32.*channels first"),
        (nt.zeros(2, 5, 7), ShapeError, r"tensor \(2, 5, 7\) float32\n.*a pixel at least$"),
        (nt.zeros(3, 0, 4), ShapeError, r"tensor \(3, 0, 4\) float32\n.*a pixel at least$"),
        (nt.full((3, 4, 5), 200.0), OutOfRange, r"tensor \(3, 4, 5\) float32"),
        (nt.zeros(3, 4, 5, dtype="int64"), DTypeError, r"tensor \(3, 4, 5\) int64"),
        (17, TypeError, "given 17"),
        (b"plain text", FormatError, "no format of pictures"),
        (encoded(Image.fromarray(drawn(40, 40)))[:-900], FormatError, "cannot be decoded"),
    ):
        with pytest.raises(error, match=words):
            rgb(wrong)
    with pytest.raises(ShapeError, match="no picture is given"):
        ImageProcessor()([])
    for one in ("cat.png", Path("cat.png"), b"file", drawn(), nt.zeros(3, 4, 5)):
        with pytest.raises(TypeError, match="takes a list or a tuple of pictures"):
            ImageProcessor()(one)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="differ in size"):
        ImageProcessor(size=8)([drawn(), drawn(7, 5)])
    with pytest.raises(OutOfRange, match="too large"):
        ImageProcessor(size=224)([np.zeros((1, 10_000), np.uint8)])


def test_files_that_are_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rgb(tmp_path / "absent.png")
    with pytest.raises(FormatError, match="folder"):
        rgb(tmp_path)
    text = tmp_path / "notes.jpg"
    text.write_text("a text")
    with pytest.raises(FormatError, match=r"notes\.jpg"):
        rgb(text)


def test_400_million_pixels() -> None:
    """In a file more than Pillow decodes; in memory a picture like any other."""
    start = encoded(Image.new("L", (1, 1)))
    sizes = struct.pack(">4s2I", b"IHDR", 20_000, 20_000) + start[24:29]
    header = start[:12] + sizes + struct.pack(">I", zlib.crc32(sizes))
    with pytest.raises(FormatError, match="400000000 pixels"):
        rgb(header + start[33:])
    thin = np.broadcast_to(np.array([51, 102, 255], np.uint8), (20_000, 20, 3))
    found = ImageProcessor(size=(4, 4), mean=None)([thin])
    expected = np.array([0.2, 0.4, 1.0], np.float32)[None, :, None, None]
    np.testing.assert_allclose(found, np.broadcast_to(expected, (1, 3, 4, 4)), rtol=1e-6)


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(BackendUnavailable, match=r"numbatorch\[vision\]"):
        rgb(b"a picture")


def test_a_truncated_picture_is_told_of_wherever_it_ends() -> None:
    image = Image.fromarray(drawn(16, 16))
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        file = encoded(image, form)
        for end in range(0, len(file) - 40, max(len(file) // 12, 1)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of broken metadata
                try:
                    assert rgb(file[:end]).shape == (16, 16, 3)
                except FormatError:
                    pass
