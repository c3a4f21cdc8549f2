"""Attributes, names, modes and conversions of modules beside PyTorch's: one text runs on both."""

import copy
import pickle

from tests.peers.both import filled, on_both, refused


def small(t, nn):
    """Modules in modules, of which one stands under two names, and buffers."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))
    net.register_buffer("table", t.ones(2), persistent=False)
    net.register_buffer("steps", t.tensor([3]))
    net.again = net[0]
    net[1].tied = net[0].weight
    return filled(t, net)


def names(found):
    return [name for name, _ in found]


# What is within


@on_both
def test_names_of_parameters(t, nn):
    net = small(t, nn)
    return [
        names(named(prefix, recurse, once))
        for named in (net.named_parameters, net.named_buffers)
        for prefix in ("", "net")
        for recurse in (True, False)
        for once in (True, False)
    ]  # fmt: skip


@on_both
def test_names_of_modules(t, nn):
    net = small(t, nn)
    memo = set()
    log = [
        names(net.named_modules()),
        names(net.named_modules(prefix="net", remove_duplicate=False)),
        names(net.named_modules(memo=memo)),
        len(memo),
        names(net.named_modules(memo)),
        names(net.named_children()),
        [len(list(x)) for x in (net.modules(), net.children(), net.parameters(), net.buffers())],
        [len(list(x)) for x in (net.parameters(False), net.buffers(recurse=False))],
    ]
    net.add_module("nothing", None)
    return [*log, names(net.named_children()), names(net.named_modules())]


@on_both
def test_modules_under_dotted_names(t, nn):
    net = small(t, nn)
    found = [net.get_submodule(x) for x in ("", "0", "1.0", "again")]
    found += [net.get_parameter(x) for x in ("0.weight", "1.0.bias", "1.tied")]
    found += [net.get_buffer(x) for x in ("steps", "table", "1.0.running_mean")]
    wrong = ["2", "0.weight", "1.x.y", "forward", "0.in_features", "1."]
    found += [refused(net.get_submodule, x) for x in wrong]
    found += [refused(net.get_parameter, x) for x in ("0", "0.x", "x.weight", "steps", "")]
    found += [refused(net.get_buffer, x) for x in ("0", "0.weight", "x.steps", "")]
    return found


@on_both
def test_set_submodule(t, nn):
    net = small(t, nn)
    net.set_submodule("1.0", nn.ReLU())
    net.set_submodule("1.new", nn.GELU())
    net.set_submodule("0", nn.Identity(), strict=True)
    wrong = [("", nn.ReLU(), False), ("x.y", nn.ReLU(), False), ("1.x", nn.ReLU(), True)]
    wrong += [("0", 3, False), ("0", nn.ReLU, False)]
    return [names(net.named_modules()), [refused(net.set_submodule, *x) for x in wrong]]


# Attributes


@on_both
def test_register_parameter(t, nn):
    net = nn.Linear(2, 2)
    net.register_buffer("table", t.ones(1))
    net.register_parameter("scale", None)
    log = [net.scale, names(net.named_parameters())]
    net.scale = nn.Parameter(t.ones(1))
    net.register_parameter("weight", nn.Parameter(t.zeros(1)))
    log += [names(net.named_parameters()), net.weight]
    for name, value in (
        ("a.b", nn.Parameter(t.ones(1))),
        ("", nn.Parameter(t.ones(1))),
        ("in_features", nn.Parameter(t.ones(1))),
        ("forward", nn.Parameter(t.ones(1))),
        ("table", nn.Parameter(t.ones(1))),
        (3, nn.Parameter(t.ones(1))),
        ("other", t.ones(1)),
        ("other", 3),
    ):
        log.append(refused(net.register_parameter, name, value))
    return log


@on_both
def test_register_buffer(t, nn):
    net = nn.Linear(2, 2)
    net.child = nn.ReLU()
    net.register_buffer("none", None)
    net.register_buffer("table", t.ones(1), False)
    net.register_buffer("table", t.zeros(1))  # which is saved from now on
    log = [names(net.named_buffers()), list(net.state_dict()), net.none]
    net.none = t.ones(2)
    log += [names(net.named_buffers()), list(net.state_dict())]
    for name, value in (
        ("a.b", t.ones(1)), ("", t.ones(1)), ("in_features", t.ones(1)), ("weight", t.ones(1)),
        ("child", t.ones(1)), ("eval", t.ones(1)), (3, t.ones(1)), ("other", 3), ("other", [1.0]),
    ):  # fmt: skip
        log.append(refused(net.register_buffer, name, value))
    return [*log, names(net.named_buffers())]


@on_both
def test_add_module(t, nn):
    net = nn.Sequential(nn.ReLU())
    net.plain = 3
    net.add_module("none", None)
    net.add_module("none", nn.ReLU())
    net.add_module("with space", nn.ReLU())
    net.register_module("0", nn.GELU())
    log = [names(net.named_children()), net[0]]
    for name, value in (
        ("a.b", nn.ReLU()), ("", nn.ReLU()), ("plain", nn.ReLU()), ("forward", nn.ReLU()),
        (3, nn.ReLU()), ("other", 3), ("other", nn.ReLU), ("other", lambda x: x),
    ):  # fmt: skip
        log.append(refused(net.add_module, name, value))
    return log


@on_both
def test_what_takes_the_place_of_a_parameter(t, nn):
    net = filled(t, nn.Linear(2, 2))
    log = [refused(setattr, net, "weight", x) for x in (t.ones(2, 2), 3, nn.ReLU)]
    net.bias = None
    log += [net.bias, names(net.named_parameters()), net(t.ones(1, 2)), list(net.state_dict())]
    log.append(refused(setattr, net, "bias", t.ones(2)))
    net.bias = nn.Parameter(t.ones(2))
    log += [names(net.named_parameters()), net(t.ones(1, 2))]
    return [*log, refused(setattr, net, "weight", nn.ReLU())]


@on_both
def test_what_takes_the_place_of_a_module(t, nn):
    net = nn.Sequential(nn.ReLU())
    net.child = nn.GELU()
    log = [refused(setattr, net, "child", x) for x in (3, t.ones(1), nn.ReLU)]
    net.child = None
    log += [names(net.named_children()), net.child, refused(setattr, net, "child", 3)]
    net.child = nn.ReLU()
    log += [names(net.named_children())]
    net.child = nn.Parameter(t.ones(1))
    return [*log, names(net.named_children()), names(net.named_parameters())]


@on_both
def test_what_takes_the_place_of_a_buffer(t, nn):
    net = nn.Sequential()
    for name in ("kept", "passing"):
        net.register_buffer(name, t.ones(1), persistent=name == "kept")
    net.kept, net.passing = t.zeros(2), t.zeros(3)
    log = [list(net.named_buffers()), list(net.state_dict())]
    log += [refused(setattr, net, "kept", x) for x in (3, "x", [1.0])]
    net.kept = None
    log += [names(net.named_buffers()), refused(setattr, net, "kept", 3)]
    net.kept = t.ones(1)
    log += [names(net.named_buffers()), list(net.state_dict())]
    net.kept = nn.Parameter(t.ones(1))
    net.passing = nn.ReLU()
    return [*log, names(net.named_buffers()), names(net.named_parameters()), list(net.state_dict())]


@on_both
def test_plain_attributes_become_what_they_are_set_to(t, nn):
    net = nn.Sequential()
    net.x = 3
    net.x = nn.Parameter(t.ones(1))
    log = [names(net.named_parameters())]
    net.y = t.ones(1)
    net.y = nn.ReLU()
    log += [names(net.named_children())]
    net.z = t.ones(1)
    return [*log, names(net.named_buffers()), list(net.state_dict())]


@on_both
def test_attributes_are_deleted(t, nn):
    net = nn.Linear(2, 2)
    net.register_buffer("table", t.ones(1), persistent=False)
    net.child, net.plain = nn.ReLU(), 3
    for name in ("bias", "table", "child", "plain"):
        delattr(net, name)
    log = [refused(getattr, net, x) for x in ("bias", "table", "child", "plain", "never")]
    log += [refused(delattr, net, x) for x in ("bias", "table", "never")]
    net.table, net.bias = 3, t.ones(2)  # nothing is remembered of what they were
    net.register_buffer("again", t.ones(1))
    return [*log, list(net.state_dict()), [hasattr(net, x) for x in ("child", "table")]]


# Modes and conversions


@on_both
def test_train_and_eval(t, nn):
    net = small(t, nn)
    log = [[x.training for x in net.modules()]]
    log.append(net.eval() is net)
    net[1].train()
    log.append([x.training for x in net.modules()])
    log.append(net.train(False) is net)
    log.append([x.training for x in net.modules()])
    return [*log, [refused(net.train, wrong) for wrong in (1, None, "x")]]


@on_both
def test_requires_grad_and_zero_grad(t, nn):
    net = small(t, nn)
    net.requires_grad_(False)
    log = [[p.requires_grad for p in net.parameters()]]
    log.append(net[1].requires_grad_() is net[1])
    log.append([p.requires_grad for p in net.parameters()])
    net(t.arange(6.0).reshape(3, 2)).sum().backward()
    log.append([p.grad is None for p in net.parameters()])
    net.zero_grad(set_to_none=False)
    log.append([p.grad for p in net.parameters()])
    net.zero_grad()
    return [*log, [p.grad for p in net.parameters()]]


@on_both
def test_apply_calls_on_what_is_within_first(t, nn):
    log = []
    net = small(t, nn)
    return [net.apply(lambda m: log.append(type(m).__name__)) is net, log]


@on_both
def test_conversions(t, nn):
    log = []
    for change in (
        lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.double(),
        lambda m: m.double().float(),
        lambda m: m.to(t.float64), lambda m: m.to("cpu", t.float16),
        lambda m: m.to(t.zeros(1).half()),
        lambda m: m.to(device="cpu"), lambda m: m.type(t.float64), lambda m: m.cpu(),
    ):  # fmt: skip
        net = small(t, nn)
        net(t.arange(6.0).reshape(3, 2)).sum().backward()
        before = list(net.parameters())
        log.append(change(net) is net)
        log.append(list(net.state_dict().values()))
        log.append([p.grad for p in net.parameters()])
        log.append([p is q for p, q in zip(before, net.parameters(), strict=True)])
        log.append([isinstance(p, nn.Parameter) and p.is_leaf for p in net.parameters()])
    return [*log, [refused(small(t, nn).to, x) for x in (t.int64, t.bool)]]


@on_both
def test_to_empty(t, nn):
    net = small(t, nn).double()
    log = [net.to_empty(device="cpu") is net]
    return [*log, [(p.shape, str(p.dtype)[-7:], p.requires_grad) for p in net.parameters()]]


@on_both
def test_copies_share_nothing(t, nn):
    net = small(t, nn)
    net(t.arange(6.0).reshape(3, 2)).sum().backward()
    log = []
    for make in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
        again = make(net)
        log.append(names(again.named_parameters(remove_duplicate=False)))
        log.append([again.again is again[0], again[1].tied is again[0].weight])
        log.append(list(again.state_dict().values()))
        log.append([p.requires_grad and p.is_leaf for p in again.parameters()])
        log.append([type(p).__name__ for p in again.parameters()])
        with t.no_grad():
            again[0].weight.zero_()
        log.append(
            [net[0].weight, net(t.arange(6.0).reshape(3, 2)), again(t.arange(6.0).reshape(3, 2))]
        )
    return log


@on_both
def test_a_shallow_copy_shares_its_tensors(t, nn):
    net = nn.Linear(2, 2)
    again = copy.copy(net)
    return [p is q for p, q in zip(again.parameters(), net.parameters(), strict=True)]


@on_both
def test_a_copy_in_eval_stays_in_eval(t, nn):
    net = small(t, nn).eval()
    return [[m.training for m in make(net).modules()]
            for make in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)))]  # fmt: skip


# Saving and loading


class Noted:
    """Extra state beside the tensors."""

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


def noted(nn):
    kind = type("Kind", (Noted, nn.Linear), {})
    layer = kind(2, 1)
    layer.count = 5
    return nn.Sequential(layer)


@on_both
def test_extra_state(t, nn):
    net, again = filled(t, noted(nn)), noted(nn)
    state = net.state_dict()
    log = [list(state), state["0._extra_state"]]
    net[0].count = 6
    again.load_state_dict(net.state_dict())
    log.append(again[0].count)
    del state["0._extra_state"]
    log += [refused(again.load_state_dict, state), again.load_state_dict(state, strict=False)]
    plain = nn.Sequential(nn.Linear(2, 1))
    log += [refused(plain.load_state_dict, net.state_dict())]
    log += [plain.load_state_dict(net.state_dict(), strict=False)]
    return [*log, [refused(x) for x in (plain.get_extra_state, lambda: plain.set_extra_state(3))]]


@on_both
def test_missing_and_unexpected_names(t, nn):
    net = small(t, nn)
    state = net.state_dict()
    state["new.weight"] = t.ones(1)
    del state["1.0.running_mean"], state["steps"]
    log = [net.load_state_dict(state, strict=False), refused(net.load_state_dict, state)]
    wrong = {**net.state_dict(), "0.bias": t.ones(3)}
    log += [refused(net.load_state_dict, wrong, strict=strict) for strict in (True, False)]
    log += [refused(net.load_state_dict, {**net.state_dict(), "0.bias": 3})]
    log += [refused(net.load_state_dict, x) for x in (3, [("0.bias", t.ones(2))])]
    return [*log, net.load_state_dict(net.state_dict()), str(net.load_state_dict(net.state_dict()))]


@on_both
def test_loading_copies_values_or_takes_tensors_over(t, nn):
    log = []
    for assign in (False, True):
        net = filled(t, nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        given = {name: x.clone() + 1 for name, x in net.state_dict().items()}
        before = list(net.parameters())
        net.load_state_dict(given, assign=assign)
        log += [list(net.state_dict().values()), [p.requires_grad for p in net.parameters()]]
        log.append([type(p).__name__ for p in net.parameters()])
        log.append(names(net.named_parameters()))
        if not assign:
            given["0.bias"] += 1
            log.append([net[0].bias])
            log.append([p is q for p, q in zip(before, net.parameters(), strict=True)])
    return log


@on_both
def test_an_assigned_tensor_keeps_its_dtype(t, nn):
    net = nn.Linear(2, 2).requires_grad_(False)
    net.load_state_dict({k: x.double() for k, x in net.state_dict().items()}, assign=True)
    return [[str(p.dtype)[-7:], p.requires_grad] for p in net.parameters()]


@on_both
def test_an_old_batch_norm_without_its_count(t, nn):
    net = nn.BatchNorm1d(2)
    net(t.arange(6.0).reshape(3, 2))
    state = {name: x for name, x in net.state_dict().items() if name != "num_batches_tracked"}
    other = nn.Sequential(nn.BatchNorm1d(2))
    keys = other.load_state_dict({f"0.{name}": x for name, x in state.items()})
    return [keys, other.state_dict()]


@on_both
def test_a_state_dict_shares_memory_and_keeps_variables_if_asked(t, nn):
    net = small(t, nn)
    state, own = net.state_dict(), net.state_dict(keep_vars=True)
    with t.no_grad():
        net[0].weight.zero_()
    log = [state["0.weight"], state["0.weight"].requires_grad, own["0.weight"] is net[0].weight]
    into = {"first": 1}
    log.append(list(net.state_dict(destination=into, prefix="net.")))
    return [*log, list(into)]
