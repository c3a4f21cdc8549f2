"""Pictures to RGB, from files, Pillow's images, arrays and tensors; Pillow loads on first use.

Letters: H height, W width.
"""

import io
import os
from typing import Any

import numpy as np

from numbatorch.errors import (
    BackendUnavailable,
    DTypeError,
    FormatError,
    OutOfRange,
    ShapeError,
    message,
)
from numbatorch.io.reading import open_file, short
from numbatorch.tensor import Tensor

Array = np.ndarray[Any, Any]
Picture = Any  # a path, bytes of a file, an image of Pillow, an array or a tensor

INSTALL = 'pip install "numbatorch[vision]"'
WHITE = (255, 255, 255, 255)  # what lies behind a picture that lets light through
DEEP = ("PNG", "PPM")  # formats whose files of mode I have 16 bits, whole numbers up to 65535
CHANNELS = (1, 3, 4)
TAKEN = "a path, the bytes of a file, an image of Pillow, an array or a tensor"


def pillow() -> Any:
    """The package PIL.Image.

    Raises:
        BackendUnavailable: Pillow is not installed.
    """
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise BackendUnavailable(message("picture", "no Pillow here", hint=INSTALL)) from error
    return PIL.Image


def rgb(picture: Picture) -> Array:
    """Red, green and blue of a picture, turned as its EXIF orientation says: (H, W, 3).

    Transparency lies over white, as in transformers. Of a file with several pictures the first is
    taken. What has 16 bits is rounded to 8, and grey gets three equal parts.

    Args:
        picture: a path; the bytes of a file; an image of Pillow; an array (H, W) or (H, W, C) with
            C of 1, 3 or 4; a tensor (C, H, W). Their numbers are bool, uint8, uint16, or floats
            from 0 to 1. Pillow's mode I is taken of files of 16 bits alone: else nothing says
            which number is white.
    Returns:
        uint8; of floats float32 from 0 to 255.
    Raises:
        BackendUnavailable: Pillow is not installed.
        FileNotFoundError, FormatError: no such file; one that Pillow cannot decode, or with more
            pixels than it permits.
        TypeError, ShapeError, DTypeError, OutOfRange: something that is no picture.
    """
    if isinstance(picture, Tensor):
        return _of_tensor(picture)
    if isinstance(picture, np.ndarray):
        return _of_array(picture)
    if isinstance(picture, bytes):
        return _decoded(io.BytesIO(picture), f"{len(picture)} bytes")
    if isinstance(picture, str | os.PathLike):
        with open_file(picture, "picture") as file:
            return _decoded(file, f"file {os.fspath(picture)}")
    if isinstance(picture, pillow().Image):
        return _of_image(picture, f"an image of Pillow {picture.size}, mode {picture.mode}")
    raise TypeError(_said(f"takes {TAKEN}", f"given {short(repr(picture))}"))


def listed(pictures: Any, operator: str) -> list[Picture]:
    """The pictures of a list or a tuple, which one picture, such as a path, is not.

    Raises:
        TypeError: neither a list nor a tuple.
    """
    if isinstance(pictures, list | tuple):
        return list(pictures)
    row = f"given {short(repr(pictures))}"
    if isinstance(pictures, np.ndarray | Tensor):
        kind = "tensor" if isinstance(pictures, Tensor) else "array"
        row = f"given {kind} {tuple(pictures.shape)} {pictures.dtype.name}"
    hint = "one picture is a list of one, [picture]"
    raise TypeError(message(operator, "takes a list or a tuple of pictures", row, hint=hint))


def _decoded(file: Any, place: str) -> Array:
    Image = pillow()
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        hint = "PIL.Image.MAX_IMAGE_PIXELS is the limit; half of what is refused"
        raise FormatError(message("picture", short(error), place, hint=hint)) from error
    except Image.UnidentifiedImageError as error:
        raise FormatError(_said("no format of pictures that Pillow knows", place)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(_said(f"cannot be decoded: {short(error)}", place)) from error
    return _of_image(image, place)


def _of_image(image: Any, place: str) -> Array:
    """(H, W, 3) uint8 of an image of Pillow."""
    Image = pillow()
    import PIL.ImageOps

    try:
        image.load()
        form = image.format  # what is turned has none
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode == "F" or image.mode.startswith("I"):
            return _of_array(_deep(image, form, place))
        if "A" in image.getbands() or image.info.get("transparency") is not None:
            over = Image.new("RGBA", image.size, WHITE)
            image = Image.alpha_composite(over, image.convert("RGBA"))
        return np.array(image.convert("RGB"))
    except (FormatError, DTypeError, OutOfRange, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise FormatError(_said(f"cannot be decoded: {short(error)}", place)) from error


def _deep(image: Any, form: str | None, place: str) -> Array:
    """Grey of more than 8 bits: uint16, or floats; `form` is the format of the file.

    Mode I holds 32 bits. Pillow has it for PPM of more than 8, scaled to 65535, and had it for grey
    PNG of 16, which later versions open as I;16; TIFF of 16 bits without sign is I;16 in all.
    Source: https://pillow.readthedocs.io/en/stable/handbook/image-file-formats.html
    """
    values = np.array(image)
    if image.mode == "F":
        return values
    if image.mode == "I" and form not in DEEP:
        problem = "mode I, integers of 32 bits, does not say which number is white"
        row = f"its values go from {values.min()} to {values.max()}" if values.size else "no pixel"
        hint = "give np.array(image) as uint8, white is 255, or as uint16, white is 65535"
        raise DTypeError(message("picture", problem, place, row, hint=hint))
    if values.size and not 0 <= values.min() <= values.max() < 2**16:
        rule = f"its values go from {values.min()} to {values.max()}"
        raise OutOfRange(_said("integers of a picture go from 0 to 65535", place, rule))
    return values.astype(np.uint16)


def _of_tensor(picture: Tensor) -> Array:
    """(H, W, 3) of (C, H, W)."""
    shape = tuple(picture.shape)
    given = f"tensor {shape} {picture.dtype.name}"
    if picture.ndim != 3:
        raise ShapeError(_said("a tensor is (C, H, W)", given))
    if shape[0] not in CHANNELS or 0 in shape:
        last = shape[-1] in CHANNELS and 0 not in shape
        hint = "a tensor has its channels first; an array has them last" if last else None
        rows = (given, "(C, H, W) with C of 1, 3 or 4, and a pixel at least")
        raise ShapeError(message("picture", "a tensor that is no picture", *rows, hint=hint))
    return _of_array(np.moveaxis(picture.detach().to(device="cpu").numpy(), 0, -1), given)


def _of_array(values: Array, given: str = "") -> Array:
    """(H, W, 3) of (H, W) or (H, W, C); `given` is what an error shows, the array unless said."""
    given = given or f"array {values.shape} {values.dtype}"
    grey = values[..., None] if values.ndim == 2 else values
    if grey.ndim != 3 or grey.shape[-1] not in CHANNELS or not grey.size:
        rule = "(H, W) or (H, W, C) with C of 1, 3 or 4, and a pixel at least"
        hint = None
        if values.ndim == 3 and values.shape[0] in CHANNELS:
            hint = "an array has its channels last; a tensor has them first"
        rows = (given, rule)
        raise ShapeError(message("picture", "an array that is no picture", *rows, hint=hint))
    parts = _bytes_of(grey, given)
    if parts.shape[-1] == 1:
        return np.repeat(parts, 3, -1)
    if parts.shape[-1] == 3:
        return parts
    if parts.dtype == np.uint8:
        return _of_image(pillow().fromarray(np.ascontiguousarray(parts)), "an array")
    alpha = parts[..., 3:] / np.float32(255)
    shown: Array = parts[..., :3] * alpha + np.float32(255) * (1 - alpha)
    return shown


def _bytes_of(values: Array, given: str) -> Array:
    """The same numbers from 0 to 255: uint8, or float32 of floats."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise DTypeError(_said("numbers are bool, uint8, uint16 or floats from 0 to 1", given))
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        rows = (given, f"its values go from {low} to {high}")
        hint = "numbers from 0 to 255 are uint8" if 1 < high <= 255 and low >= 0 else None
        raise OutOfRange(message("picture", "floats go from 0 to 1", *rows, hint=hint))
    return values.astype(np.float32) * np.float32(255)


def _said(problem: str, *rows: str) -> str:
    return message("picture", problem, *rows)
