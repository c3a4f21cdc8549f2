"""Prepared pictures beside transformers' image processors over Pillow."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch.errors import FormatError
from numbatorch.pipelines.image_processor import ImageProcessor

pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")
Array = np.ndarray[Any, Any]

KINDS = {"ViT": "vit", "DeiT": "deit", "ConvNext": "convnext", "EfficientNet": "efficientnet"}
KINDS |= {"Bit": "bit", "CLIP": "clip"}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in KINDS),
    ("ViT", {"size": {"height": 30, "width": 50}, "image_mean": MEAN, "image_std": STD}),
    ("ViT", {"do_resize": False, "rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0]}),
    ("ViT", {"do_rescale": False, "image_mean": 127.0, "image_std": 128.0}),
    ("ViT", {"do_normalize": False, "do_center_crop": True, "crop_size": 300}),
    ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    ("ConvNext", {"size": {"shortest_edge": 65}, "crop_pct": 0.95, "resample": 2}),
    ("EfficientNet", {"include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ("EfficientNet", {"do_center_crop": True, "size": {"height": 70, "width": 64}}),
    ("EfficientNet", {"do_normalize": False}),
    ("Bit", {"size": {"shortest_edge": 40}, "crop_size": {"height": 51, "width": 33}}),
    *(("ViT", {"size": {"height": 33, "width": 47}, "resample": number}) for number in range(6)),
]


def theirs(kind: str, options: dict[str, Any]) -> Any:
    module = f"transformers.models.{KINDS[kind]}.image_processing_pil_{KINDS[kind]}"
    return getattr(import_module(module), f"{kind}ImageProcessorPil")(**options)


def picture(height: int, width: int) -> Array:
    """Waves of colours that overlap edges, and noise."""
    rows, columns = np.mgrid[:height, :width][..., None]
    waves = 90 * np.sin(rows / [3, 7, 31]) * np.cos(columns / [5, 11, 2]) + 128
    noise = np.random.default_rng(height).normal(0, 30, waves.shape)
    return (waves + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_values_are_theirs(kind: str, options: dict[str, Any]) -> None:
    """To the last bit of float32 but one: their divisions run over other strides."""
    processor = theirs(kind, options)
    ours = ImageProcessor.from_hf(json.loads(processor.to_json_string()))
    for height, width in ((97, 140), (301, 225)):
        values = picture(height, width)
        expected = processor(Image.fromarray(values), return_tensors="np")["pixel_values"]
        found = ours([values])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-7)


def test_what_a_file_leaves_out_is_their_default(tmp_path: Path) -> None:
    """Files of older versions name no processor, and have a number for a size."""
    values = picture(50, 70)
    for model, kind in (("vit", "ViT"), ("convnext", "ConvNext"), ("efficientnet", "EfficientNet")):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model}))
        for options in ({}, {"size": 48}):
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(options))
            found = ImageProcessor.from_folder(tmp_path)([values])
            processor = theirs(kind, options)
            expected = processor(Image.fromarray(values), return_tensors="np")["pixel_values"]
            np.testing.assert_allclose(found, expected, rtol=3e-7, atol=3e-7)


def test_floats_are_resized_as_floats() -> None:
    """Where bytes are rounded twice: so they are within a step and a half of those."""
    values = picture(97, 140)
    ours = ImageProcessor(size=(33, 47), mean=None)
    np.testing.assert_allclose(ours([values / 255]), ours([values]), atol=1.5 / 255)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"image_processor_type": "OwlViTImageProcessor"}, "OwlViTImageProcessor"),
        ({"size": {"longest_edge": 9}}, "height"),
        ({"size": {"height": 9, "width": 9, "depth": 9}}, "depth"),
        ({"size": -4}, "-4"),
        ({"resample": 6}, "resample"),
        ({"image_std": [1, 0, 1]}, "divides by 0"),
        ({"image_mean": [1, 2]}, "3 channels"),
        ({"do_pad": True}, "do_pad"),
        ({"do_center_crop": True}, "crop_size"),
        ({"do_flip": True}, "do_flip"),
    ],
)
def test_what_is_not_known_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        ImageProcessor.from_hf(wrong)


def test_a_folder_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"preprocessor_config\.json"):
        ImageProcessor.from_folder(tmp_path)
