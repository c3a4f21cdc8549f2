"""Hooks of modules beside PyTorch's: each behaviour is one text that both libraries run."""

from typing import Any

from tests.peers.both import filled, on_both, refused


def linear(t: Any, nn: Any, rows: int = 2, columns: int = 2) -> Any:
    return filled(t, nn.Linear(rows, columns))


def ones(t: Any, *shape: int) -> Any:
    return t.ones(*shape).requires_grad_()


def several(nn: Any, forward: Any) -> Any:
    """A module that is a function."""

    class Several(nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any, **options: Any) -> Any:
            return forward(*args, **options)

    return Several()


# Around forward


@on_both
def test_forward_hooks_run_in_order_of_registration_and_prepended_ones_first(t, nn):
    log: list[Any] = []
    layer = linear(t, nn)
    for name in "abc":
        layer.register_forward_hook(lambda *_, name=name: log.append(name), prepend=name == "c")
        layer.register_forward_pre_hook(
            lambda *_, name=name: log.append(name.upper()), prepend=name == "b"
        )
    layer(t.ones(1, 2))
    return log


@on_both
def test_pre_hooks_replace_arguments_one_after_the_other(t, nn):
    layer = linear(t, nn)
    log = []
    layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    layer.register_forward_pre_hook(lambda m, args: log.append(args))
    return [layer(t.ones(1, 2)), log]


@on_both
def test_pre_hooks_with_kwargs_replace_both(t, nn):
    module = several(nn, lambda x, scale=1, shift=0: x * scale + shift)
    log = []

    def hook(m, args, kwargs):
        log.append((args, dict(kwargs)))
        return (args[0] + 1,), {**kwargs, "scale": 3}

    module.register_forward_pre_hook(hook, with_kwargs=True)
    module.register_forward_pre_hook(lambda m, args: log.append(args))
    return [module(t.ones(2), shift=5), log]


@on_both
def test_pre_hooks_that_return_something_else_with_kwargs_are_refused(t, nn):
    log = []
    for wrong in (3, (1, 2, 3)):
        module = several(nn, lambda x, **_: x)
        module.register_forward_pre_hook(lambda m, a, k, wrong=wrong: wrong, with_kwargs=True)
        log.append(refused(module, t.ones(2)))
    return log


@on_both
def test_forward_hooks_replace_outputs_and_see_what_the_ones_before_made(t, nn):
    layer = linear(t, nn)
    log = []
    layer.register_forward_hook(lambda m, args, out: out * 2)
    layer.register_forward_hook(lambda m, args, kwargs, out: log.append((args, kwargs, out)),
                                with_kwargs=True)  # fmt: skip
    layer.register_forward_hook(lambda m, args, out: (out, out + 1))
    return [layer(t.ones(1, 2)), layer(input=t.ones(1, 2)), log]


@on_both
def test_removed_hooks_are_called_no_more(t, nn):
    layer = linear(t, nn)
    log = []
    handles = [
        layer.register_forward_hook(lambda *_: log.append("after")),
        layer.register_forward_pre_hook(lambda *_: log.append("before")),
        layer.register_full_backward_hook(lambda *_: log.append("gradients")),
        layer.register_full_backward_pre_hook(lambda *_: log.append("gradients before")),
    ]
    for handle in handles:
        layer(ones(t, 1, 2)).sum().backward()
        log.append("-")
        handle.remove()
        handle.remove()
    layer(ones(t, 1, 2)).sum().backward()
    return [log, type(handles[0]).__name__]


@on_both
def test_a_handle_removes_its_hook_at_the_end_of_a_with_block(t, nn):
    layer = linear(t, nn)
    log = []
    with layer.register_forward_hook(lambda *_: log.append("within")) as handle:
        layer(t.ones(1, 2))
        log.append(type(handle).__name__)
    layer(t.ones(1, 2))
    return log


@on_both
def test_one_function_as_two_hooks_is_called_twice_and_removed_once(t, nn):
    layer = linear(t, nn)

    def double(m, args, out):
        return out * 2

    first = layer.register_forward_hook(double)
    layer.register_forward_hook(double)
    twice = layer(t.ones(1, 2))
    first.remove()
    return [twice, layer(t.ones(1, 2))]


@on_both
def test_hooks_that_remove_and_add_hooks_while_they_run(t, nn):
    layer = linear(t, nn)
    log = []

    def once(m, args, out):
        log.append("once")
        handle.remove()
        m.register_forward_hook(lambda *_: log.append("added"))

    handle = layer.register_forward_pre_hook(lambda m, args: log.append("pre"))
    handle = layer.register_forward_hook(once)
    layer(t.ones(1, 2))
    log.append("-")
    layer(t.ones(1, 2))
    return log


@on_both
def test_always_called_hooks_are_called_where_forward_or_a_hook_fails(t, nn):
    def fail(*_, **__):
        raise ValueError("on purpose")

    log = []
    for place in ("pre", "forward", "first hook", "last hook"):
        module = several(nn, fail if place == "forward" else lambda x, **_: x + 1)
        if place == "pre":
            module.register_forward_pre_hook(fail)
        if place == "first hook":
            module.register_forward_hook(fail)
        module.register_forward_hook(
            lambda m, args, out: log.append(("always", args, out)), always_call=True
        )
        module.register_forward_hook(lambda *_: log.append("if all is well"))
        module.register_forward_hook(
            lambda m, args, kwargs, out: log.append(("with kwargs", args, kwargs, out)),
            always_call=True, with_kwargs=True,
        )  # fmt: skip
        if place == "last hook":
            module.register_forward_hook(fail)
        log.append((place, refused(module, t.ones(1), scale=2)))
    return log


@on_both
def test_hooks_of_nested_modules_run_from_within(t, nn):
    net = nn.Sequential(linear(t, nn), nn.Sequential(nn.ReLU(), linear(t, nn)))
    log = []
    for name, module in net.named_modules():
        module.register_forward_pre_hook(lambda m, a, name=name: log.append(("pre", name)))
        module.register_forward_hook(lambda m, a, o, name=name: log.append(("post", name)))
        module.register_full_backward_pre_hook(
            lambda m, g, name=name: log.append(("grad pre", name, g))
        )
        module.register_full_backward_hook(
            lambda m, gi, go, name=name: log.append(("grad", name, gi, go))
        )
    net(ones(t, 3, 2)).sum().backward()
    return log


# Around gradients


@on_both
def test_backward_hooks_see_and_replace_gradients(t, nn):
    log = []
    x = ones(t, 1, 2)
    layer = linear(t, nn)

    def pre(m, grads):
        log.append(grads)
        return (grads[0] * 10,)

    layer.register_full_backward_pre_hook(pre)
    layer.register_full_backward_pre_hook(lambda m, grads: log.append(grads))
    layer.register_full_backward_pre_hook(lambda m, grads: log.append("first"), prepend=True)
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,))
    layer.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    layer.register_full_backward_hook(lambda m, gi, go: log.append("first"), prepend=True)
    layer(x).sum().backward()
    return [log, x.grad, layer.weight.grad, layer.bias.grad]


@on_both
def test_each_positional_argument_has_a_gradient_or_none(t, nn):
    log = []
    module = several(nn, lambda x, scale, other, name=None: x * scale + other)
    module.register_full_backward_hook(lambda m, gi, go: log.append((len(gi), gi[0], gi[1], go)))
    x = ones(t, 2)
    module(x, 3, t.ones(2)).sum().backward()
    module(x, x, t.ones(2), name=t.ones(1)).sum().backward()
    return [log, x.grad]


@on_both
def test_backward_hooks_of_an_input_that_needs_no_gradient(t, nn):
    log = []
    layer = linear(t, nn)
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    layer.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    layer(t.ones(1, 2)).sum().backward()
    layer(input=ones(t, 1, 2)).sum().backward()
    return [log, layer.weight.grad, layer.bias.grad]


@on_both
def test_a_gradient_where_no_input_needs_one_is_refused(t, nn):
    layer = linear(t, nn)
    layer.register_full_backward_hook(lambda m, gi, go: (go[0],))
    log = [refused(lambda: layer(t.ones(1, 2)).sum().backward())]
    other = linear(t, nn)
    other.register_full_backward_hook(lambda m, gi, go: (None,))
    other(t.ones(1, 2)).sum().backward()
    return [*log, other.bias.grad]


@on_both
def test_backward_hooks_of_several_outputs(t, nn):
    log = []
    module = several(nn, lambda x: (x * 2, x * 3, "text", x.detach()))
    module.register_full_backward_pre_hook(lambda m, go: log.append(go))
    module.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    x = ones(t, 2)
    first, second, *_ = module(x)
    (first * second).sum().backward()
    module(x)[1].sum().backward()  # the others have no gradient
    return [log, x.grad]


@on_both
def test_backward_hooks_leave_the_structure_of_an_output_alone(t, nn):
    log = []
    module = several(nn, lambda x: (x * 2, (x * 3, [x])))
    module.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    x = ones(t, 2)
    out = module(x)
    shape = [type(out).__name__, type(out[1]).__name__, type(out[1][1]).__name__]
    out[0].sum().backward()
    return [shape, log, x.grad]


@on_both
def test_wrong_numbers_of_gradients_are_refused(t, nn):
    log = []
    for kind in ("pre", "full"):
        layer = linear(t, nn)
        if kind == "pre":
            layer.register_full_backward_pre_hook(lambda m, go: (go[0], go[0]))
        else:
            layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
        log.append(refused(lambda layer=layer: layer(ones(t, 1, 2)).sum().backward()))
    return log


@on_both
def test_backward_hooks_without_gradients_are_not_called(t, nn):
    log = []
    layer = linear(t, nn)
    layer.register_full_backward_hook(lambda *_: log.append("called"))
    with t.no_grad():
        log.append(layer(ones(t, 1, 2)))
    layer.requires_grad_(False)
    out = layer(t.ones(1, 2))
    return [*log, out, out.requires_grad]


@on_both
def test_backward_hooks_of_a_module_that_is_called_twice(t, nn):
    log = []
    layer = linear(t, nn)
    layer.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    x = ones(t, 1, 2)
    layer(layer(x)).sum().backward()
    return [log, x.grad, layer.weight.grad]


@on_both
def test_backward_hooks_whose_replacement_is_none_or_a_tensor(t, nn):
    log = []
    for found in (lambda g: (g[0] * 2,), lambda g: [g[0] * 2], lambda g: None):
        layer = linear(t, nn)
        layer.register_full_backward_hook(lambda m, gi, go, found=found: found(gi))
        layer.register_full_backward_pre_hook(lambda m, go, found=found: found(go))
        x = ones(t, 1, 2)
        layer(x).sum().backward()
        log.append((x.grad, layer.weight.grad))
    return log


@on_both
def test_backward_hooks_under_grad_of_inputs(t, nn):
    log = []
    layer = linear(t, nn)
    layer.register_full_backward_hook(lambda m, gi, go: log.append((gi, go)))
    x = ones(t, 1, 2)
    (found,) = t.autograd.grad(layer(x).sum(), [x])
    return [log, found]


@on_both
def test_backward_hooks_of_gradients_of_gradients(t, nn):
    layer = linear(t, nn)
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
    x = ones(t, 1, 2)
    (first,) = t.autograd.grad((layer(x) ** 3).sum(), [x], create_graph=True)
    first.sum().backward()
    return [first, x.grad]


# Around saving and loading


@on_both
def test_state_dict_hooks(t, nn):
    log = []
    net = nn.Sequential(linear(t, nn), linear(t, nn))

    def post(m, state, prefix, metadata):
        log.append(("post", sorted(state), prefix))
        state[prefix + "extra"] = 3

    for module in (net, net[1]):
        module.register_state_dict_pre_hook(
            lambda m, prefix, keep_vars: log.append(("pre", prefix, keep_vars))
        )
        module.register_state_dict_post_hook(post)
    return [net.state_dict(prefix="net.", keep_vars=True), log]


@on_both
def test_load_state_dict_hooks(t, nn):
    log = []
    net = nn.Sequential(linear(t, nn), linear(t, nn))

    def pre(m, state, prefix, metadata, strict, missing, unexpected, errors):
        log.append((prefix, strict, list(missing), list(unexpected), list(errors)))
        for name in list(state):
            if name.startswith(prefix + "old_"):
                state[prefix + name.removeprefix(prefix + "old_")] = state.pop(name)

    net[1].register_load_state_dict_pre_hook(pre)
    net[1].register_load_state_dict_post_hook(lambda m, keys: log.append(keys))
    net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    state = {"1.old_weight": t.zeros(2, 2), "1.bias": t.ones(2)}
    keys = net.load_state_dict(state)
    return [keys, net.state_dict(), sorted(state), log]


@on_both
def test_load_state_dict_hooks_that_return_something_are_refused(t, nn):
    layer = linear(t, nn)
    layer.register_load_state_dict_post_hook(lambda m, keys: keys)
    return [refused(layer.load_state_dict, layer.state_dict())]


@on_both
def test_hooks_outlive_copies_and_belong_to_the_copy(t, nn):
    import copy

    log = []
    layer = linear(t, nn)
    layer.register_forward_hook(lambda m, a, o: log.append(m is layer))
    again = copy.deepcopy(layer)
    again(t.ones(1, 2))
    layer(t.ones(1, 2))
    return log
