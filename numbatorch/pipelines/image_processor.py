"""What a model of images reads, from pictures: resize, crop, rescale and normalise.

`preprocessor_config.json` says how, in the words of transformers' image processors, whose results
these are, those of the processors over Pillow (`backend="pil"`).
Letters: B pictures, C channels (3), H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, OutOfRange, ShapeError, message
from numbatorch.io.reading import read_object
from numbatorch.models.config import Fields
from numbatorch.pipelines.pictures import Array, Picture, listed, pillow, rgb

FILE = "preprocessor_config.json"
PIXELS = 1 << 27  # of a resized picture, at most: a strip of 1 x 10,000 becomes a large one
WARPED = 384  # ConvNeXt's processor crops nothing from this size on
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in Pillow's numbers

HALF = (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# What stands for a key that a file lacks, by the kind of processor.
_CLIP: Mapping[str, Any] = {
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": 224,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ViT": {"size": 224, "resample": 2},
    "DeiT": {"size": 256, "resample": 3, "do_center_crop": True, "crop_size": 224},
    "ConvNext": {"size": {"shortest_edge": 384}, "resample": 3, "crop_pct": 224 / 256},
    "EfficientNet": {"size": 346, "resample": 3, "crop_size": 289, "include_top": True},
    "Bit": _CLIP,
    "CLIP": _CLIP,
}
BY_SHORTEST = ("ConvNext", "Bit", "CLIP")  # where a size of one number is the shorter edge's
# The kind of a file that says none, by the model_type of the folder's config.json.
BY_MODEL = {
    "vit": "ViT",
    "deit": "DeiT",
    "resnet": "ConvNext",
    "convnext": "ConvNext",
    "efficientnet": "EfficientNet",
    "dinov2": "Bit",
    "clip": "CLIP",
}
HARMLESS = """
    _processor_class processor_class do_convert_rgb return_tensors data_format input_data_format
    _valid_processor_keys default_to_square device disable_grouping
""".split()


@dataclass(frozen=True)
class ImageProcessor:
    """What is done to a picture, in this order."""

    size: tuple[int, int] | int | None = (224, 224)  # H and W, or the shorter edge; None: kept
    resample: int = 2  # Pillow's number of the filter
    crop_pct: float | None = None  # ConvNeXt: part of the shorter edge that is left by a crop
    crop: tuple[int, int] | None = None  # H and W of the middle that is kept; zeros around
    rescale: float | None = 1 / 255  # factor on the numbers from 0 to 255
    offset: float = 0.0  # taken off after that
    mean: tuple[float, ...] | None = HALF  # of each channel, taken off
    std: tuple[float, ...] | None = HALF  # of each channel, divided by
    std_again: bool = False  # EfficientNet: divided by once more

    @classmethod
    def from_folder(cls, folder: Path) -> "ImageProcessor":
        """As the file of a folder says.

        Raises:
            FormatError: no such file, or one that says what is not known here.
        """
        values = read_object(folder / FILE, "ImageProcessor")
        if values is None:
            problem = f"no {FILE}, which says how pictures are prepared"
            raise FormatError(message("ImageProcessor", problem, f"folder {folder}"))
        model = (read_object(folder / "config.json", "ImageProcessor") or {}).get("model_type")
        return cls.from_hf(values, BY_MODEL.get(str(model), "ViT"))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any], kind: str = "ViT") -> "ImageProcessor":
        """From the words of transformers.

        Args:
            values: a preprocessor_config.json.
            kind: of the processor, where the values do not say it.
        Raises:
            FormatError: a kind, a key or a value that is not known here.
        """
        kind = _kind(values, kind)
        given = {**DEFAULTS[kind], **{key: x for key, x in values.items() if x is not None}}
        fields = Fields("ImageProcessor", given, place=FILE)
        size = _size(fields, "size", kind in BY_SHORTEST)
        crop = _size(fields, "crop_size", False) if "crop_size" in given else None
        crops = fields.flag("do_center_crop", False)
        if crops and crop is None:
            fields.fail("do_center_crop is true, and no crop_size is there")
        factor = fields.number("rescale_factor", 1 / 255)
        mean = _channels(fields, "image_mean", HALF)
        std = _channels(fields, "image_std", HALF)
        if 0 in std:
            fields.fail(f"image_std {std} divides by 0")
        normalizes = fields.flag("do_normalize", True)
        percent = fields.number("crop_pct") if kind == "ConvNext" else None
        if percent is not None and not isinstance(size, int):
            fields.fail("ConvNext resizes by the shorter edge, and size has no shortest_edge")
        found = cls(
            size=size if fields.flag("do_resize", True) else None,
            resample=_resample(fields),
            crop_pct=percent,
            crop=crop if crops and isinstance(crop, tuple) else None,
            rescale=factor if fields.flag("do_rescale", True) else None,
            offset=float(kind == "EfficientNet" and fields.flag("rescale_offset", False)),
            mean=mean if normalizes else None,
            std=std if normalizes else None,
            std_again=kind == "EfficientNet" and fields.flag("include_top", True),
        )
        fields.require("do_pad", False, (False,))
        named = ("image_processor_type", "feature_extractor_type")
        fields.refuse_unread([*HARMLESS, *named])
        if found.std_again and not normalizes:
            found = cls(**{**vars(found), "std": std})
        return found

    def __call__(self, pictures: Sequence[Picture]) -> Array:
        """(B, C, H, W) float32 of pictures, each as `pictures.rgb` takes it.

        Raises:
            TypeError: neither a list nor a tuple of pictures.
            ShapeError: no picture, or prepared ones that differ in size.
            BackendUnavailable, FormatError, OutOfRange and others: as `pictures.rgb`.
        """
        found = [self.one(picture) for picture in listed(pictures, "ImageProcessor")]
        shapes = {values.shape for values in found}
        if len(shapes) != 1:
            rows = [f"(C, H, W) {shape}" for shape in sorted(shapes)]
            problem = "prepared pictures differ in size" if rows else "no picture is given"
            raise ShapeError(message("ImageProcessor", problem, *rows))
        return np.stack(found)

    def one(self, picture: Picture) -> Array:
        """(C, H, W) float32 of a picture."""
        values = rgb(picture)
        if self.size is not None:
            values = self._resized(values)
        if self.crop is not None:
            values = cropped(values, self.crop)
        if values.dtype == np.uint8:  # each number becomes what a table of 256 has for it
            table = self._scaled(np.repeat(np.arange(256)[:, None], 3, 1))
            return np.stack([table[:, c][values[..., c]] for c in range(3)])
        return np.ascontiguousarray(np.moveaxis(self._scaled(values), -1, 0))

    def _resized(self, values: Array) -> Array:
        height, width = values.shape[:2]
        if isinstance(self.size, tuple):
            return resized(values, self.size, self.resample)
        assert self.size is not None
        edge, percent = self.size, self.crop_pct
        if percent is None:
            return resized(values, by_shorter((height, width), edge), self.resample)
        if edge >= WARPED:
            return resized(values, (edge, edge), self.resample)
        larger = by_shorter((height, width), int(edge / percent))
        return cropped(resized(values, larger, self.resample), (edge, edge))

    def _scaled(self, values: Array) -> Array:
        """(..., C): rescaled in float64, then normalised in float32, as transformers does."""
        if self.rescale is not None:
            values = (values.astype(np.float64) * self.rescale).astype(np.float32)
        values = values.astype(np.float32) - np.float32(self.offset)
        if self.mean is not None:
            values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if self.std_again:
            values = values / np.array(self.std, np.float32)
        return values


def by_shorter(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """H and W whose shorter one is `edge`, in the proportion of `size`.

    >>> by_shorter((300, 200), 100), by_shorter((200, 333), 100)
    ((150, 100), (100, 166))
    """
    height, width = size
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)


def resized(values: Array, size: tuple[int, int], resample: int) -> Array:
    """A picture (H, W, 3) of H and W, by a filter of Pillow; floats stay floats.

    Raises:
        OutOfRange: more than 134 million pixels.
    """
    Image = pillow()
    height, width = size
    if height * width > PIXELS:
        rows = (f"picture {values.shape[:2]}", f"resized {size}, at most {PIXELS} pixels")
        raise OutOfRange(message("ImageProcessor", "a resized picture is too large", *rows))
    if values.dtype == np.uint8:
        whole = Image.fromarray(np.ascontiguousarray(values))
        return np.array(whole.resize((width, height), resample))
    channels = (Image.fromarray(np.ascontiguousarray(values[..., c])) for c in range(3))
    return np.stack([np.array(part.resize((width, height), resample)) for part in channels], -1)


def cropped(values: Array, size: tuple[int, int]) -> Array:
    """The middle (H, W) of a picture (H, W, 3), with zeros around one that is smaller."""
    for axis, wanted in enumerate(size):
        found = values.shape[axis]
        if found < wanted:
            before = (wanted - found + 1) // 2
            around = [(0, 0)] * values.ndim
            around[axis] = before, wanted - found - before
            values = np.pad(values, around)
        else:
            start = (found - wanted) // 2
            values = values.take(range(start, start + wanted), axis)
    return values


def _kind(values: Mapping[str, Any], absent: str) -> str:
    """The kind of processor that a file names."""
    named = values.get("image_processor_type") or values.get("feature_extractor_type")
    if named is None:
        return absent
    kind = str(named)
    for end in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(end)
    if kind not in DEFAULTS:
        rows = (f"file {FILE}", f"known: {', '.join(DEFAULTS)}")
        raise FormatError(message("ImageProcessor", f"the processor is {named}", *rows))
    return kind


def _size(fields: Fields, key: str, by_shortest: bool) -> tuple[int, int] | int:
    """H and W, or the shorter edge."""
    value = fields.get(key, None)
    if not isinstance(value, Mapping):
        edge = fields.integer(key)
        return edge if by_shortest else (edge, edge)
    inner = Fields("ImageProcessor", value, place=f"{FILE}, {key}")
    if "shortest_edge" in value and key == "size":
        found: tuple[int, int] | int = inner.integer("shortest_edge")
    else:
        found = inner.integer("height"), inner.integer("width")
    inner.refuse_unread(())
    return found


def _channels(fields: Fields, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Three finite numbers, or one for all."""
    value = fields.get(key, default)
    values = list(value) if isinstance(value, list | tuple) else [value] * 3
    plain = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    if len(values) != 3 or not plain or not np.isfinite(values).all():
        fields.fail(f"{key} is {values!r:.60}, not a finite number for each of 3 channels")
    return tuple(map(float, values))


def _resample(fields: Fields) -> int:
    number = fields.get("resample", 2)
    fields.require("resample", 2, tuple(range(len(FILTERS))))
    return int(number)
