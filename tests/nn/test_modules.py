"""Modules: names, saving and loading, modes, conversion; layers and losses."""

import copy
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import ShapeError, nn
from numbatorch.nn import functional as F
from numbatorch.ops.blocks import quantize
from numbatorch.testing import assert_close


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


class Block(nn.Module):
    """A layer with every kind of attribute."""

    def __init__(self) -> None:
        self.up = nn.Linear(4, 6)
        self.layers = nn.ModuleList([nn.RMSNorm(6), nn.Linear(6, 4, bias=False)])
        self.scale = nn.Parameter(nt.ones(1))
        self.plain = nt.ones(3)
        self.register_buffer("steps", nt.tensor([1, 2]))
        self.register_buffer("table", nt.ones(2), persistent=False)

    def forward(self, x: nt.Tensor) -> nt.Tensor:
        x = self.up(x).silu()
        for layer in self.layers:
            x = layer(x)
        return x * self.scale


NAMES = ["scale", "steps", "up.weight", "up.bias", "layers.0.weight", "layers.1.weight"]


def test_names_of_state_and_parameters() -> None:
    block = Block()
    assert sorted(block.state_dict()) == sorted(NAMES)
    assert sorted(dict(block.named_parameters())) == sorted(set(NAMES) - {"steps"})
    assert [name for name, _ in block.named_buffers()] == ["steps", "table"]
    assert all(p.requires_grad and p.is_leaf for p in block.parameters())
    assert len(list(block.modules())) == 5
    assert block(nt.ones(2, 4)).shape == (2, 4)


def test_shared_parameters_are_listed_once_and_saved_under_both_names() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: nt.Tensor) -> nt.Tensor:
            return self.head(self.embed(ids))

    tied = Tied()
    assert [name for name, _ in tied.named_parameters()] == ["embed.weight"]
    assert list(tied.state_dict()) == ["embed.weight", "head.weight"]
    tied(nt.tensor([0, 1])).sum().backward()
    assert tied.embed.weight.grad.shape == (5, 3)


def test_state_round_trip_and_memory_that_a_state_dict_shares() -> None:
    first, second = Block(), Block()
    state = first.state_dict()
    second.load_state_dict(state)
    x = nt.randn(3, 4)
    assert_close(second(x), first(x), "exact")
    with nt.no_grad():
        first.scale.mul_(2)
    assert state["scale"].item() == 2.0 and second.scale.item() == 1.0
    first.scale.grad = nt.ones(1)
    again = copy.deepcopy(first)
    assert again.scale.grad is None and first.scale.grad is not None
    assert_close(again(x), first(x), "exact")
    assert isinstance(again.scale, nn.Parameter) and again.scale is not first.scale


def test_loading_names_all_that_is_missing_unexpected_or_unlike() -> None:
    block = Block()
    state = block.state_dict()
    del state["up.bias"]
    state["down.bias"] = nt.ones(1)
    state["scale"] = nt.ones(2)
    state["steps"] = 3
    before = block.up.weight.clone()
    state["up.weight"] = nt.zeros(6, 4)
    with pytest.raises(nn.StateError) as caught:
        block.load_state_dict(state)
    for row in (
        "scale has another shape: module (1,) float32, given (2,) float32",
        "steps is of type int, not a tensor",
        "missing up.bias",
        "unexpected down.bias",
    ):
        assert f"\n  {row}" in str(caught.value)
    assert caught.value.missing_keys == ["up.bias"]
    assert caught.value.unexpected_keys == ["down.bias"]
    assert_close(block.up.weight, before, "exact")  # nothing is taken over unless all can be
    del state["scale"], state["steps"]
    keys = block.load_state_dict(state, strict=False)
    assert sorted(keys.missing_keys) == ["scale", "steps", "up.bias"]
    assert repr(block.load_state_dict(block.state_dict())) == "<All keys matched successfully>"
    with pytest.raises(RuntimeError, match="another shape"):
        block.load_state_dict({"scale": nt.ones(2)}, strict=False)
    with pytest.raises(TypeError, match="a state dict is a mapping"):
        block.load_state_dict([("scale", nt.ones(1))])


def test_loading_converts_without_loss_or_takes_the_dtype_over() -> None:
    layer = nn.Linear(32, 2, bias=False)
    layer.load_state_dict({"weight": nt.ones(2, 32, dtype=nt.bfloat16)})
    assert layer.weight.dtype is nt.float32
    with pytest.raises(nn.StateError, match=r"lose digits"):
        layer.load_state_dict({"weight": nt.ones(2, 32, dtype=nt.float64)})
    layer.load_state_dict({"weight": nt.ones(2, 32, dtype=nt.float64)}, assign=True)
    assert layer.weight.dtype is nt.float64 and layer.weight.requires_grad


def test_layers_hold_packed_weights() -> None:
    values = np.random.default_rng(0).standard_normal((6, 32)).astype(np.float32)
    kind = nt.dtype.Q8_0
    packed = nt.from_blocks(quantize(values, kind).reshape(-1), kind, (6, 32))
    dense = packed.float()
    layer, table = nn.Linear(32, 6, bias=False), nn.Embedding(6, 32)
    for module in (layer, table):
        with pytest.raises(nn.StateError, match="stored in blocks"):
            module.load_state_dict({"weight": packed})
        module.load_state_dict({"weight": packed}, assign=True)
        assert not module.weight.requires_grad and module.weight.dtype is kind
    x, ids = nt.randn(3, 32), nt.tensor([[5, 0]])
    assert_close(layer(x), F.linear(x, dense), "matmul", absolute=1e-5)  # other order of the sum
    assert_close(table(ids), F.embedding(ids, dense), "exact")
    short = F.embedding(ids, packed, max_norm=1.0)
    assert_close(short, F.embedding(ids, dense, max_norm=1.0), "elementwise")


def test_train_eval_and_dropout() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Identity())
    x = nt.ones(100)
    assert 0 < (model(x) == 0).sum().item() < 100
    assert model.eval()[0].training is False and model(x).tolist() == x.tolist()
    assert model.train()[0].training is True


def test_conversion_keeps_integers_and_gradients() -> None:
    block = Block()
    block(nt.ones(1, 4)).sum().backward()
    block.to(nt.float64)
    assert block.up.weight.dtype is nt.float64 and block.up.weight.grad.dtype is nt.float64
    assert block.steps.dtype is nt.int64 and block.up.weight.requires_grad
    assert block.half().scale.dtype is nt.float16
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    assert not any(p.requires_grad for p in block.requires_grad_(False).parameters())


def test_results_of_operators_on_parameters_are_plain_tensors() -> None:
    weight = nn.Parameter(nt.ones(2))
    for result in (weight * 2, nt.exp(weight), weight[0], weight.detach(), weight.reshape(1, 2)):
        assert type(result) is nt.Tensor
    assert repr(weight) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"


def test_repr_shows_the_tree() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.LayerNorm(3))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (1): GELU(approximate='none')\n"
        "  (2): LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)\n"
        ")"
    )
    assert len(model[:2]) == 2 and isinstance(model[-1], nn.LayerNorm)


def test_cross_entropy_by_hand() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    target = np.array([[1, 4, 0], [2, -100, 3]])
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    picked = [-logs[n, target[n, i], i] for n in range(2) for i in range(3) if target[n, i] >= 0]
    ours: Any = nt.from_numpy(logits)
    result = F.cross_entropy(ours, nt.tensor(target))
    assert_close(result, np.float32(np.mean(picked)), "composite")
    each = F.cross_entropy(ours, nt.tensor(target), reduction="none")
    assert each.shape == (2, 3) and each[1, 1].item() == 0
    soft = F.cross_entropy(ours[:, :, 0], ours[:, :, 1].softmax(1))
    weights = np.exp(logs[:, :, 1])
    assert_close(soft, np.float32(-(weights * logs[:, :, 0]).sum(1).mean()), "composite")
    assert F.cross_entropy(ours[0, :, 0], nt.tensor(2)).shape == ()
    with pytest.raises(ShapeError, match="targets must be integers"):
        F.cross_entropy(ours, nt.tensor([0, 1]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_equals_its_definition(causal: bool, mask: str | None) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s).astype(np.float32) for s in
               ((2, 4, 3, 5), (2, 2, 6, 5), (2, 2, 6, 7)))  # fmt: skip
    scores = q @ np.repeat(k, 2, 1).swapaxes(-1, -2) / np.sqrt(5)
    given = None
    if mask == "bool":
        given = rng.random((3, 6)) < 0.7
        given[:, 0] = True
        scores = np.where(given, scores, -np.inf)
    elif mask == "float":
        given = rng.standard_normal((4, 3, 6)).astype(np.float32)
        scores = scores + given
    if causal:
        scores = np.where(np.tri(3, 6, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ np.repeat(v, 2, 1)
    tensors = [nt.from_numpy(a) for a in (q, k, v)]
    mask_tensor = None if given is None else nt.from_numpy(given)
    result = F.scaled_dot_product_attention(
        *tensors, mask_tensor, is_causal=causal, enable_gqa=True
    )
    assert_close(result, expected, "composite")


def test_containers_take_modules_under_names_and_nothing_else() -> None:
    named = nn.Sequential({"first": nn.Linear(2, 3), "last": nn.GELU()})
    assert [name for name, _ in named.named_children()] == ["first", "last"]
    assert sorted(named.state_dict()) == ["first.bias", "first.weight"]
    wrongs = {
        nt.relu: "a function",
        nn.GELU: "the class GELU",
        None: "of type NoneType",
        "x": "of type str",
    }
    for wrong, told in wrongs.items():
        with pytest.raises(TypeError, match=f"entry '1' is {told}, not a module"):
            nn.Sequential(nn.Linear(2, 3), wrong)
    with pytest.raises(TypeError, match="ModuleList: entry '0'"):
        nn.ModuleList([nt.relu])


def test_attention_of_two_and_three_dimensions() -> None:
    x = nt.randn(3, 4)
    deep = F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None])
    assert_close(F.scaled_dot_product_attention(x, x, x), deep[0, 0], "exact")
    assert_close(F.scaled_dot_product_attention(x[None], x[None], x[None]), deep[0], "exact")
    with pytest.raises(ShapeError, match="enable_gqa"):
        wide = nt.ones(1, 4, 3, 4)
        F.scaled_dot_product_attention(wide, wide[:, :2], wide[:, :2])


# Where modules differ from PyTorch's on purpose.


def test_hooks_on_gradients_see_containers_and_none_where_no_gradient_is_needed() -> None:
    class Both(nn.Module):
        def forward(self, x: nt.Tensor, y: nt.Tensor) -> dict[str, Any]:
            return {"product": x * y, "sum": [x + y]}

    seen: list[Any] = []
    module = Both()
    module.register_full_backward_pre_hook(lambda m, grads: [g * 2 for g in grads])
    module.register_full_backward_hook(lambda m, inputs, outputs: seen.append((inputs, outputs)))
    x = nt.tensor([3.0], requires_grad=True)
    found = module(x, nt.tensor([5.0]))
    (found["product"] + found["sum"][0]).sum().backward()
    ((inputs, outputs),) = seen
    assert inputs[0].item() == 12.0 and inputs[1] is None
    assert [g.item() for g in outputs] == [2.0, 2.0] and x.grad.item() == 12.0


def test_an_error_of_an_always_called_hook_is_told_beside_that_of_forward() -> None:
    def fail(*_: Any) -> None:
        raise ValueError("of the hook")

    layer = nn.Linear(2, 2)
    layer.register_forward_hook(fail, always_call=True)
    with pytest.raises(ShapeError) as caught:
        layer(nt.ones(1, 3))
    assert "of the hook" in caught.value.__notes__[0]


def test_assigned_values_are_taken_as_they_are_and_what_is_shared_stays_shared() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    given = {name: nt.ones(2, 2) for name in net.state_dict()}
    net.load_state_dict(given, assign=True)
    assert net[0].weight is net[1].weight and len(list(net.parameters())) == 1
    given["0.weight"].add_(1)
    assert net[0].weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_modules_need_no_init_of_their_base_and_copies_have_attributes_of_their_own() -> None:
    block = Block()
    again = copy.copy(block)
    again.scale = nn.Parameter(nt.zeros(1))
    assert block.scale.item() == 1.0 and again.up is block.up


def test_dicts_of_parameters_miss_keys_as_dicts_do() -> None:
    with pytest.raises(KeyError, match="ParameterDict: has no entry 'b'"):
        nn.ParameterDict({"a": nt.ones(1)})["b"]
    with pytest.raises(KeyError, match="ParameterDict: has no entry 'b'"):
        nn.ParameterDict().pop("b")


def test_hooks_after_loading_see_what_was_loaded_and_may_forgive_names() -> None:
    layer = nn.Linear(2, 3)

    def clear(module: Any, keys: Any) -> None:
        module.weight.detach().zero_()
        keys.missing_keys.remove("bias")

    handle = layer.register_load_state_dict_post_hook(clear)
    layer.load_state_dict({"weight": nt.ones(3, 2)})
    assert not layer.weight.any().item()
    with pytest.raises(nn.StateError, match="unexpected extra"):
        layer.load_state_dict({"weight": nt.ones(3, 2), "extra": nt.ones(1)})
    handle.remove()
    with pytest.raises(nn.StateError, match="missing bias"):
        layer.load_state_dict({"weight": nt.ones(3, 2)})


def test_a_parameter_may_be_a_buffer_and_numbers_may_have_one_dimension() -> None:
    module = nn.Module()
    module.register_buffer("mean", nn.Parameter(nt.ones(2), requires_grad=False))
    assert list(module.named_parameters()) == [] and list(module.state_dict()) == ["mean"]
    module.mean = nt.zeros(2)
    assert [name for name, _ in module.named_buffers()] == ["mean"]
    module.register_buffer("count", nt.tensor(3.0))
    module.load_state_dict({"mean": nt.ones(2), "count": nt.tensor([5.0])})
    assert module.count.shape == () and module.count.item() == 5


def test_modules_in_a_circle_are_listed_once() -> None:
    first, second = nn.Sequential(nn.ReLU()), nn.Linear(2, 3)
    first.append(second)
    second.back = first
    assert [name for name, _ in first.named_modules()] == ["", "0", "1"]
    assert [name for name, _ in first.named_parameters()] == ["1.weight", "1.bias"]


def test_a_mean_over_all_batches_can_be_compiled() -> None:
    eager, traced = nn.BatchNorm1d(2, momentum=None), nn.BatchNorm1d(2, momentum=None)
    step = nt.compile(lambda x: traced(x))
    for seed in range(3):
        x = nt.randn(5, 2, generator=nt.Generator().manual_seed(seed)) + seed
        assert_close(step(x), eager(x), "composite")
    assert_close(traced.running_mean, eager.running_mean, "composite")
    assert traced.num_batches_tracked.item() == 3


def test_what_pytorch_lets_classes_override_is_called() -> None:
    class Renamed(nn.Module):
        """Loads what an old version saved under another name, and keeps a tensor in a list."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(nt.zeros(2))
            self.kept = [nt.ones(1)]

        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "version"] = nt.tensor(2)

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
            state_dict[prefix + "w"] = state_dict.pop(prefix + "old")
            state_dict.pop(prefix + "version", None)
            super()._load_from_state_dict(state_dict, prefix, *rest)

        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            self.kept = [fn(x) for x in self.kept]
            return super()._apply(fn, recurse)

        def _get_name(self) -> str:
            return "Old"

    model = nn.Sequential(Renamed())
    given = {"0.old": nt.ones(2)}
    model.load_state_dict(given)
    assert model[0].w.tolist() == [1, 1] and list(given) == ["0.old"]
    assert list(model.state_dict()) == ["0.w", "0.version"]
    assert model.half()[0].kept[0].dtype is nt.float16 is model[0].w.dtype
    assert repr(model) == "Sequential(\n  (0): Old()\n)"


def test_a_compiled_module_is_no_attribute() -> None:
    module = nn.Module()
    with pytest.raises(TypeError, match=r"attribute inner is a compiled module.*\n  hint: hold"):
        module.inner = nt.compile(nn.Linear(2, 3))
    module.function = nt.compile(nt.exp)  # which holds no parameters
    assert list(module.parameters()) == []


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_a_loss_warns_where_input_and_target_broadcast(name: str) -> None:
    loss = getattr(F, name)
    with pytest.warns(UserWarning, match=rf"{name}: input and target differ in shape") as caught:
        assert loss(nt.ones(8, 1), nt.ones(8)).item() == 0
    assert caught[0].filename == __file__
