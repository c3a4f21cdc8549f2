"""A training step of a small GPT, written once for what numbatorch and PyTorch have in common.

N sequences of T tokens, C wide, H heads, V words. The step makes the loss, the gradients and the
step of AdamW; every engine begins with the same weights and repeats one batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.small import Api
from benchmarks.timing import Work


@dataclass(frozen=True)
class Shape:
    """Of a GPT and of what it is given.

    Attributes:
        width: C, a multiple of `head`.
        head: size of a head.
        words: V; the head of the model is the embedding.
        batch, tokens: N and T; T is also the number of positions.
    """

    layers: int = 6
    width: int = 256
    head: int = 64
    words: int = 1024
    batch: int = 8
    tokens: int = 256

    @property
    def products(self) -> int:
        """Multiplications of a step for each token: forward once and backward twice; behind the
        causal mask none."""
        layer = 12 * self.width**2 + (self.tokens + 1) * self.width
        return 3 * (self.layers * layer + self.words * self.width)


SHAPE = Shape()


def gpt(library: Any, shape: Shape) -> Any:
    """The model, as GPT-2: norms go first, GELU between the two layers of an MLP.

    Source: https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
    """
    nn, F, C = library.nn, library.nn.functional, shape.width

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.before_attention = nn.LayerNorm(C)
            self.qkv = nn.Linear(C, 3 * C)
            self.out = nn.Linear(C, C)
            self.before_mlp = nn.LayerNorm(C)
            self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))

        def forward(self, x: Any) -> Any:
            N, T, _ = x.shape
            qkv = self.qkv(self.before_attention(x)).reshape(N, T, 3, -1, shape.head)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # each (N, H, T, head)
            heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(heads.transpose(1, 2).reshape(N, T, C))
            return x + self.mlp(self.before_mlp(x))

    class GPT(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(shape.words, C)
            self.positions = nn.Embedding(shape.tokens, C)
            self.blocks = nn.Sequential(*[Block() for _ in range(shape.layers)])
            self.norm = nn.LayerNorm(C)

        def forward(self, ids: Any, targets: Any) -> Any:
            x = self.words(ids) + self.positions.weight
            logits = F.linear(self.norm(self.blocks(x)), self.words.weight)  # (N, T, V)
            return F.cross_entropy(logits.reshape(-1, shape.words), targets.reshape(-1))

    return GPT()


def weights(model: Any) -> dict[str, np.ndarray]:
    """What a model begins with: matrices of small random numbers, norms that change nothing."""
    rng = np.random.default_rng(0)
    found = {}
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2:
            found[name] = rng.normal(0, 0.02, tuple(tensor.shape)).astype(np.float32)
        else:
            found[name] = np.full(tuple(tensor.shape), name.endswith("weight"), np.float32)
    return found


def job(
    api: Api,
    device: Any = None,
    wait: Callable[[], object] | None = None,
    forward: Callable[[Any], Any] = lambda model: model,
    **options: Any,
) -> Callable[[], Work]:
    """The job of an engine that trains.

    Args:
        device: where parameters lie.
        forward: from the model to what computes its loss.
        options: of AdamW, beyond those that every engine has.
    """

    def train() -> Work:
        """A step of a GPT; its call gives the loss."""
        model = gpt(api.library, SHAPE).to(device)
        model.load_state_dict({name: api.tensor(x) for name, x in weights(model).items()})
        loss_of = forward(model)
        settings = {"lr": 3e-4, "weight_decay": 0.1, **options}
        optimizer = api.library.optim.AdamW(model.parameters(), **settings)
        size = (2, SHAPE.batch, SHAPE.tokens)
        ids, targets = np.random.default_rng(1).integers(0, SHAPE.words, size)

        def step(ids: Any, targets: Any) -> Any:
            loss = loss_of(ids, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        function, given = api.compiled(step), [api.tensor(ids), api.tensor(targets)]

        def run() -> Any:
            with api.gradients():
                return function(*given)

        return Work(run, units=SHAPE.batch * SHAPE.tokens, wait=wait)

    return train
