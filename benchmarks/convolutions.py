"""The convolutions of ResNet-50 (https://arxiv.org/abs/1512.03385), strides in its 3x3 layers."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import Work


class Layer(NamedTuple):
    """One convolution: `channels` images of `size` squared become `filters` of size / stride."""

    channels: int
    filters: int
    kernel: int
    stride: int
    size: int

    @property
    def products(self) -> int:
        """Multiplications of one image."""
        places = (self.size // self.stride) ** 2
        return self.channels * self.filters * self.kernel**2 * places


def layers() -> Iterator[Layer]:
    """All 53, in order."""
    yield Layer(3, 64, 7, 2, 224)
    channels, size = 64, 56
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 64 else 1
            yield Layer(channels, width, 1, 1, size)
            yield Layer(width, width, 3, stride, size)
            if block == 0:
                yield Layer(channels, 4 * width, 1, stride, size)
            size //= stride
            yield Layer(width, 4 * width, 1, 1, size)
            channels = 4 * width


def job(tensor: Callable[..., Any], conv2d: Callable[..., Any], wait: Any) -> Callable[..., Work]:
    """The job of an engine, whose `conv2d` has computed when it returns."""

    def convolutions(batch: int) -> Work:
        rng = np.random.default_rng(0)
        made: dict[Layer, tuple[Any, Any]] = {}
        for layer in layers():
            if layer not in made:
                image = (batch, layer.channels, layer.size, layer.size)
                filters = (layer.filters, layer.channels, layer.kernel, layer.kernel)
                x, weight = (
                    tensor(rng.standard_normal(shape, dtype=np.float32))
                    for shape in (image, filters)
                )
                made[layer] = x, weight

        def run() -> None:
            for layer in layers():
                conv2d(*made[layer], stride=layer.stride, padding=layer.kernel // 2)

        return Work(run, units=batch, wait=wait)

    return convolutions
