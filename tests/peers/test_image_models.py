"""Models of images beside transformers, on random weights of a small size that it has saved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, FormatError, ShapeError

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
Array = np.ndarray[Any, Any]

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 24,
    "patch_size": 8,
}
RESNET = {"embedding_size": 8, "hidden_sizes": [16, 32, 48, 64], "depths": [2, 1, 2, 1]}
EFFICIENTNET = {
    "width_coefficient": 0.25,
    "depth_coefficient": 0.3,
    "hidden_dim": 320,
    "num_block_repeats": [1, 2, 2, 3, 3, 4, 4],
}
CONVNEXT = {"hidden_sizes": [8, 16, 24], "depths": [1, 2, 1], "num_stages": 3}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ViT", VIT),
    ("ViT", {**VIT, "image_size": [16, 24], "patch_size": [8, 4], "qkv_bias": False}),
    ("ViT", {**VIT, "hidden_act": "relu", "layer_norm_eps": 0.1, "num_channels": 1}),
    ("ResNet", RESNET),
    ("ResNet", {**RESNET, "layer_type": "basic", "downsample_in_first_stage": True}),
    ("ResNet", {**RESNET, "downsample_in_bottleneck": True, "hidden_act": "silu"}),
    ("EfficientNet", EFFICIENTNET),
    (
        "EfficientNet",
        {
            **EFFICIENTNET,
            "depthwise_padding": [2, 5],
            "pooling_type": "max",
            "hidden_act": "relu",
            "squeeze_expansion_ratio": 0.5,
            "strides": [1, 2, 1, 2, 2, 1, 2],
        },
    ),
    (
        "EfficientNet",
        {**EFFICIENTNET, "width_coefficient": 0.3, "depth_divisor": 4, "hidden_dim": 384},
    ),
    ("ConvNext", CONVNEXT),
    (
        "ConvNext",
        {
            **CONVNEXT,
            "patch_size": 2,
            "hidden_act": "relu",
            "layer_norm_eps": 0.1,
            "layer_scale_init_value": 0.0,
        },
    ),
]
FAMILIES = [CASES[0], CASES[3], CASES[6], CASES[9]]
TOLERANCE = 1e-4  # of the largest value: what is asked of a whole model


def saved(folder: Path, kind: str, options: dict[str, Any], head: str, **extra: Any) -> Any:
    """A model of transformers with weights that matter, saved; `head` as its class has it."""
    config = getattr(transformers, f"{kind}Config")(**options, **extra)
    torch.manual_seed(7)
    model = getattr(transformers, kind + head)(config).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim < 2 and value.is_floating_point():
                low = 0.5 if name.endswith(("running_var", "weight")) else -0.5
                value.uniform_(low, low + 1)
            elif name.endswith(("cls_token", "position_embeddings")):
                value.normal_()
            elif value.is_floating_point():
                value.normal_(0, 1.4 / value[0].numel() ** 0.5)
    model.save_pretrained(folder)
    return model


def pixels_for(config: Any) -> Array:
    size = getattr(config, "image_size", 64)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    if not hasattr(config, "qkv_bias"):  # convolutions read any size
        height, width = 64, 96
    shape = (2, config.num_channels, height, width)
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def agree(found: Any, expected: Any, least: float = 0.0) -> None:
    """Within a ten-thousandth of the largest value, or of `least` where that is larger."""
    theirs = expected.detach().numpy()
    ours = found.detach().numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(
        ours, theirs, rtol=0, atol=TOLERANCE * max(np.abs(theirs).max(), least)
    )


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_outputs_are_theirs(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    named = {number: f"class {number}" for number in range(5)}
    theirs = saved(tmp_path / "c", kind, options, "ForImageClassification", id2label=named)
    pixels = pixels_for(theirs.config)
    ours = nt.models.from_pretrained(tmp_path / "c", task="image-classification")
    assert ours.labels == tuple(named.values())
    agree(ours(nt.tensor(pixels)), theirs(torch.tensor(pixels)).logits)

    theirs = saved(tmp_path / "e", kind, options, "Model")
    ours = nt.models.from_pretrained(tmp_path / "e", task="image-feature-extraction")
    expected = theirs(torch.tensor(pixels))
    agree(ours(nt.tensor(pixels)), expected.last_hidden_state)
    agree(ours.pooled(nt.tensor(pixels)), expected.pooler_output.flatten(1))


@pytest.mark.parametrize(("kind", "options"), FAMILIES)
def test_gradients_are_theirs(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Of the pixels and of every parameter, by the tensors' names in the file."""
    theirs = saved(tmp_path, kind, options, "ForImageClassification")
    pixels = pixels_for(theirs.config)
    given = torch.tensor(pixels, requires_grad=True)
    theirs(given).logits.square().sum().backward()
    ours = nt.models.from_pretrained(tmp_path)
    x = nt.tensor(pixels, requires_grad=True)
    ours(x).square().sum().backward()
    agree(x.grad, given.grad)
    # Those of the keys' biases are 0 but for rounding: no sum of squares depends on them.
    least = 0.01 * max(float(p.grad.abs().max()) for p in theirs.parameters())
    for parameter in theirs.parameters():  # so that a file has gradients under its names
        parameter.data = parameter.grad
    theirs.save_pretrained(tmp_path)
    gradients = nt.models.from_pretrained(tmp_path)
    own = dict(ours.named_parameters())
    for name, expected in gradients.named_parameters():
        agree(own[name].grad, torch.tensor(expected.detach().numpy()), least)


def test_weights_of_16_bits(tmp_path: Path) -> None:
    """As near to transformers' float32 on the same weights as their 8 bits of fraction allow."""
    theirs = saved(tmp_path, "ViT", VIT, "ForImageClassification").to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    pixels = pixels_for(theirs.config)
    expected = theirs.float()(torch.tensor(pixels)).logits.detach().numpy()
    found = nt.models.from_pretrained(tmp_path)(nt.tensor(pixels)).detach().float().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2**-5 * np.abs(expected).max())


def test_a_batch_in_training_moves_the_statistics(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "ResNet", RESNET, "ForImageClassification").train()
    pixels = pixels_for(theirs.config)
    ours = nt.models.from_pretrained(tmp_path).train()
    agree(ours(nt.tensor(pixels)), theirs(torch.tensor(pixels)).logits)
    theirs.save_pretrained(tmp_path)
    after = dict(nt.models.from_pretrained(tmp_path).named_buffers())
    for name, buffer in ours.named_buffers():
        agree(buffer, torch.tensor(after[name].numpy()))


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("ViT", {"num_attention_heads": 5}, "5 heads do not divide 32"),
        ("ViT", {"num_hidden_layers": 4}, "says 4 layers, the file has 3"),
        ("ViT", {"hidden_act": "mish"}, "mish"),
        ("ViT", {"image_size": 4}, "smaller than a patch"),
        ("ViT", {"image_size": 48}, "position_embeddings"),
        ("ViT", {"image_size": [24]}, "height and a width"),
        ("ViT", {"id2label": {"0": "a", "2": "b"}}, "id2label"),
        ("ViT", {"swin": 1}, "swin"),
        ("ViT", {"model_type": "resnet"}, "model_type is resnet"),
        ("ResNet", {"depths": [2, 1, 2]}, "4 hidden_sizes and 3 depths"),
        ("ResNet", {"depths": [2, 1, 9, 1]}, "says 9 layers, the file has 2"),
        ("ResNet", {"hidden_sizes": [16, 32, 48, 60]}, "disagree"),
        ("ResNet", {"layer_type": "wide"}, "wide"),
        ("ConvNext", {"num_stages": 4}, "num_stages is 4"),
        ("ConvNext", {"depths": [1, 2, 3]}, "says 3 layers, the file has 1"),
        ("ConvNext", {"layer_scale_init_value": 0}, "layer_scale_parameter"),
        ("EfficientNet", {"hidden_dim": 328}, "has 320 channels"),
        ("EfficientNet", {"strides": [1, 2]}, "2 strides and 7 in_channels"),
        ("EfficientNet", {"depth_coefficient": 3.0}, "the file has"),
        ("EfficientNet", {"depthwise_padding": [-1]}, "depthwise_padding"),
        ("EfficientNet", {"kernel_sizes": [3, 3, 5, 3, 5, 5, 5]}, "depthwise_conv"),
    ],
)
def test_a_configuration_that_does_not_fit(
    kind: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    options = next(options for name, options in CASES if name == kind)
    saved(tmp_path, kind, options, "ForImageClassification")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match=words):
        nt.models.from_pretrained(tmp_path)


def test_pixels_that_do_not_fit(tmp_path: Path) -> None:
    saved(tmp_path, "ViT", VIT, "ForImageClassification")
    model = nt.models.from_pretrained(tmp_path)
    for pixels, error, words in (
        (nt.zeros(1, 3, 24, 32), ShapeError, "reads 24 x 24"),
        (nt.zeros(3, 24, 24), ShapeError, "unsqueeze"),
        (nt.zeros(1, 4, 24, 24), ShapeError, r"\(1, 4, 24, 24\)"),
        (nt.zeros(1, 3, 24, 24).int(), DTypeError, "not floats"),
        ([[1.0]], TypeError, "list"),
    ):
        with pytest.raises(error, match=words):
            model(pixels)
    with pytest.raises(FormatError, match="not for text-generation"):
        nt.models.from_pretrained(tmp_path, task="text-generation")
