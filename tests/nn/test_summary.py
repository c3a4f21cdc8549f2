"""nn.summary: shapes, parameters, multiplications and bytes of each layer, counted by hand."""

import pytest

import numbatorch as nt
from numbatorch import nn


class Branches(nn.Module):
    """Two calls of one layer, a weight that two layers share, a buffer, and packed outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, groups=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.again = nn.Linear(8, 8, bias=False)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.again.weight
        self.drop = nn.Dropout(0.5)

    def forward(self, x: nt.Tensor) -> dict[str, nt.Tensor]:
        x = self.norm(self.conv(x)).mean((2, 3))
        x = self.tied(self.again(self.again(x)))
        return {"scores": self.drop(x), "square": x @ x.T}


def test_each_layer_is_counted_by_itself() -> None:
    model = Branches()
    model(nt.ones(4, 3, 6, 5))  # changes running statistics, which nothing has read yet
    found = nn.summary(model, (2, 3, 6, 5))
    rows = {layer.name: layer for layer in found.layers}
    conv, norm, again, tied, whole = (rows[k] for k in ("conv", "norm", "again", "tied", ""))
    assert conv.outputs == ((2, 8, 6, 5),) and conv.parameters == 3 * 8 * 9
    assert conv.multiply_adds == 2 * 8 * 30 * 27 and conv.nbytes == 4 * 3 * 8 * 9
    assert (norm.parameters, norm.multiply_adds, norm.nbytes) == (16, 0, 4 * 32 + 8)
    assert (again.calls, again.parameters, again.multiply_adds) == (2, 64, 2 * 2 * 64)
    assert (tied.parameters, tied.multiply_adds, tied.nbytes) == (0, 2 * 64, 0)
    assert whole.outputs == ((2, 8), (2, 2)) and whole.multiply_adds == 2 * 2 * 8
    assert found.parameters == sum(p.numel() for p in model.parameters()) == found.trainable
    assert found.multiply_adds == sum(layer.multiply_adds for layer in found.layers)


def test_nothing_runs_and_the_module_stays_as_it_is() -> None:
    model = Branches()
    model.drop.eval()
    x = nt.ones(2, 3, 6, 5)
    nn.summary(model, x)
    nn.summary(nn.Embedding(2, 3), nt.tensor([7]))  # which has no such row, if it were read
    assert model.training and not model.drop.training
    assert model.norm.num_batches_tracked.item() == 0
    assert not any(module._hooks for module in model.modules())
    with pytest.raises(nt.ShapeError):
        nn.summary(model, (2, 4, 6, 5))
    assert model.training and not any(module._hooks for module in model.modules())


def test_attention_and_packed_weights_count() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = nt.ones(3, 5, 8)
    found = nn.summary(attention, [x, x, x], need_weights=False)
    projections, scores = 3 * 5 * (8 * 24 + 8 * 8), 3 * 2 * 5 * 5 * (4 + 4)
    assert found.multiply_adds == projections + scores
    assert found.parameters == 3 * 8 * 8 + 24 + 64 + 8


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="summary: takes a module, not function"):
        nn.summary(lambda x: x, (2,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="input is a tensor, several, or a shape, not dict"):
        nn.summary(nn.Linear(2, 3), {})


def test_the_table_shows_every_layer_and_the_totals() -> None:
    text = str(nn.summary(Branches(), (2, 3, 6, 5)))
    assert "again: Linear x2" in text and "conv: Conv2d" in text
    assert "296 parameters (296 trainable)" in text
    assert "<table>" in nn.summary(Branches(), (2, 3, 6, 5))._repr_html_()
