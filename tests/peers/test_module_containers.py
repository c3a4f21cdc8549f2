"""Containers of modules and parameters beside PyTorch's: one text runs on both."""

import copy
from collections import OrderedDict

from tests.peers.both import filled, on_both, refused


def kinds(container):
    return [(name, type(x).__name__) for name, x in container.named_children()]


def layers(nn):
    return [nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.GELU(), nn.Tanh()]


def lists(nn):
    return [nn.Sequential(*layers(nn)), nn.ModuleList(layers(nn))]


# Sequences of modules


@on_both
def test_places_and_slices(t, nn):
    log = []
    for net in lists(nn):
        log += [net[0], net[-1], net[3], net[1:3], len(net), list(net), [m in net for m in net]]
        log += [kinds(net[s]) for s in (slice(1, 3), slice(-2, None), slice(None, None, 2))]
        log += [kinds(net[::-1]), len(net[2:2]), type(net[:1]).__name__]
        log += [refused(lambda net=net, i=i: net[i]) for i in (5, -6, "0", 1.0, None)]
    return log


@on_both
def test_entries_are_set(t, nn):
    log = []
    for net in lists(nn):
        net[0], net[-1] = nn.Sigmoid(), nn.Identity()
        log.append(kinds(net))
        log += [refused(net.__setitem__, i, nn.ReLU()) for i in (5, -6, "0")]
        log += [refused(net.__setitem__, 0, x) for x in (3, "x", nn.ReLU, t.relu)]
        log.append(kinds(net))
    return log


@on_both
def test_entries_are_deleted(t, nn):
    log = []
    for which in (0, -1, 2, slice(1, 3), slice(None), slice(None, None, 2), slice(3, 1)):
        for net in lists(nn):
            del net[which]
            log.append(kinds(net))
    for net in lists(nn):
        log += [refused(net.__delitem__, i) for i in (5, -6, "0")]
    return log


@on_both
def test_entries_are_taken_out(t, nn):
    log = []
    for which in (0, -1, 3):
        for net in lists(nn):
            log += [net.pop(which), kinds(net)]
    for net in lists(nn):
        log += [net.pop(slice(1, 3)), kinds(net), refused(net.pop, 9)]
    return log


@on_both
def test_entries_are_inserted(t, nn):
    log = []
    for where in (0, 2, 5, -1, -5):
        net = nn.Sequential(*layers(nn))
        log += [net.insert(where, nn.Sigmoid()) is net, kinds(net), list(net.state_dict())]
        log += [refused(net.insert, i, nn.ReLU()) for i in (7, -8)]
    for where in (0, 2, 5):
        net = nn.ModuleList(layers(nn))
        net.insert(where, nn.Sigmoid())
        log += [kinds(net), list(net.state_dict())]
    return [*log, refused(nn.Sequential(nn.ReLU()).insert, 0, 3)]


@on_both
def test_entries_are_added_at_the_end(t, nn):
    log = []
    for net in lists(nn):
        log += [net.append(nn.Sigmoid()) is net, net.extend(layers(nn)) is net, kinds(net)]
        net += type(net)(nn.ReLU()) if isinstance(net, nn.Sequential) else [nn.ReLU()]
        log += [kinds(net), [refused(net.append, x) for x in (3, nn.ReLU)]]
        log += [refused(net.extend, x) for x in (3, [3], nn.ReLU())]
        log += [kinds(net)]
        net.extend(net[:2])
        log += [kinds(net), net[0] is net[len(net) - 2]]
    return log


@on_both
def test_sums_of_sequences(t, nn):
    one, other = nn.Sequential(*layers(nn)[:2]), nn.Sequential(OrderedDict(last=nn.Tanh()))
    log = [kinds(one + other), kinds(other + one), (one + other)[0] is one[0], kinds(other)]
    log += [refused(lambda x=x: one + x) for x in (3, [nn.ReLU()], nn.ModuleList([nn.ReLU()]))]
    some = nn.ModuleList(layers(nn)[:2])
    tanh = [nn.Tanh()]
    log += [kinds(some + tanh), kinds(some + some), kinds(some)]
    return [*log, refused(lambda: some + 3), refused(lambda: some + tanh * 0 + 3)]


@on_both
def test_products_of_sequences(t, nn):
    net = nn.Sequential(*layers(nn)[:2])
    log = [kinds(net * 2), kinds(3 * net), (net * 2)[2] is net[0], kinds(net * 1)]
    log += [refused(lambda x=x: net * x) for x in (0, -1, 1.5, "2", None)]
    net *= 2
    return [*log, kinds(net), net[0] is net[2]]


@on_both
def test_sequences_with_names(t, nn):
    net = filled(t, nn.Sequential(OrderedDict(first=nn.Linear(2, 3), second=nn.Linear(3, 1))))
    log = [kinds(net), list(net.state_dict()), net(t.ones(1, 2)), net.first is net[0]]
    log += [kinds(net[1:]), kinds(net[:1]), kinds(net + net)]
    net[1] = nn.Linear(3, 2)
    net.append(nn.ReLU())
    log += [kinds(net), net.second is net[1]]
    del net[0]
    log.append(kinds(net))
    return [*log, refused(nn.Sequential, OrderedDict([("a.b", nn.ReLU())]))]


@on_both
def test_sequences_and_what_they_refuse(t, nn):
    log = [refused(nn.Sequential, *x) for x in ([3], [nn.ReLU], [[nn.ReLU()]], [nn.ReLU(), "x"])]
    log += [refused(nn.ModuleList, x) for x in (3, [3], [nn.ReLU], nn.ReLU())]
    log += [refused(nn.ModuleList([nn.ReLU()]), t.ones(1)), nn.Sequential()(t.ones(1))]
    return [*log, refused(nn.Sequential(nn.ReLU()), t.ones(1), t.ones(1))]


@on_both
def test_modules_in_more_than_one_place(t, nn):
    layer = filled(t, nn.Linear(2, 2))
    log = []
    for net in (nn.Sequential(layer, layer), nn.ModuleList([layer, nn.ReLU(), layer])):
        log += [len(net), len(list(net.parameters())), list(net.state_dict()), kinds(net)]
        again = copy.deepcopy(net)
        log += [again[0] is again[-1], again[0] is layer]
    return [*log, nn.Sequential(layer, layer)(t.ones(1, 2))]


@on_both
def test_text_of_containers(t, nn):
    same = [nn.ReLU() for _ in range(3)]
    return [
        repr(nn.ModuleList([*same, nn.Linear(2, 3), nn.Linear(2, 3), nn.Tanh()])),
        repr(nn.ModuleList([nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3))])),
        repr(nn.ModuleList()),
        repr(nn.Sequential()),
        repr(nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.ModuleList([nn.ReLU()])))),
        repr(nn.Sequential(*same, nn.Linear(2, 3))),
        repr(nn.ModuleDict({"a": nn.ReLU(), "b": nn.Sequential(nn.ReLU())})),
        repr(nn.ModuleDict()),
        repr(nn.ParameterList()),
        repr(nn.ParameterDict()),
    ]


@on_both
def test_hidden_modules_of_a_sequence(t, nn):
    net = nn.Sequential(nn.ReLU())
    net.extra = nn.Linear(2, 2)  # is one of the sequence
    net.plain = 3
    net.weight = nn.Parameter(t.ones(1))
    return [len(net), kinds(net), net[-1], list(net.state_dict())]


# Modules by name


@on_both
def test_dict_of_modules(t, nn):
    net = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Linear(2, 3)})
    log = [list(net), len(net), list(net.keys()), list(net.values()), list(net.items()), "a" in net]
    log += ["c" in net, net["a"], net.a is net["a"], list(net.state_dict())]
    net["c"] = nn.GELU()
    net["b"] = nn.Tanh()
    log += [kinds(net), net.pop("a"), kinds(net)]
    del net["c"]
    log += [kinds(net)]
    net.update({"x": nn.ReLU(), "b": nn.Identity()})
    net.update([("y", nn.ReLU()), ["z", nn.Tanh()]])
    net.update(OrderedDict(w=nn.ReLU()))
    net.update(nn.ModuleDict({"v": nn.ReLU()}))
    log.append(kinds(net))
    net.clear()
    return [*log, len(net), kinds(net), list(reversed(list(net)))]


@on_both
def test_dict_of_modules_and_what_it_refuses(t, nn):
    net = nn.ModuleDict({"a": nn.ReLU()})
    log = [refused(lambda k=k: net[k]) for k in ("b", 0, "forward")]
    log += [refused(net.pop, "b"), refused(net.__delitem__, "b")]
    log += [refused(net.__setitem__, *x) for x in
            (("b", 3), ("b", nn.ReLU), ("a.b", nn.ReLU()), ("", nn.ReLU()), (3, nn.ReLU()),
             ("keys", nn.ReLU()), ("training", nn.ReLU()))]  # fmt: skip
    log += [refused(net.update, x) for x in (3, [3], [("a",)], [("a", nn.ReLU(), 1)], {"b": 3})]
    log += [refused(net, t.ones(1)), refused(nn.ModuleDict, [nn.ReLU()])]
    return [*log, kinds(net)]


# Parameters


def sizes(found):
    return [(name, tuple(x.shape), x.requires_grad) for name, x in found.named_parameters()]


@on_both
def test_list_of_parameters(t, nn):
    net = nn.ParameterList([nn.Parameter(t.ones(i)) for i in range(1, 4)])
    log = [len(net), sizes(net), net[0], net[-1], list(net), list(net.state_dict())]
    log += [sizes(net[1:]), sizes(net[::-1]), type(net[:1]).__name__]
    log += [net.append(t.zeros(5)) is net, type(net[-1]).__name__, sizes(net)]
    log += [net.extend([t.zeros(6), t.zeros(7)]) is net, sizes(net)]
    net += [t.ones(1, 1)]
    net[0] = t.zeros(2, 2)
    net[-1] = nn.Parameter(t.zeros(9), requires_grad=False)
    return [*log, sizes(net), len(net)]


@on_both
def test_list_of_parameters_and_what_it_refuses(t, nn):
    net = nn.ParameterList([t.ones(1)])
    log = [refused(lambda i=i: net[i]) for i in (1, -2, "0", None)]
    log += [refused(net.__setitem__, 1, t.ones(1)), refused(net.extend, 3)]
    log += [refused(net.extend, t.ones(2)), refused(net, t.ones(1)), refused(nn.ParameterList, 3)]
    log += [refused(net.__setitem__, 0, 3)]
    return [*log, sizes(net)]


@on_both
def test_lists_of_parameters_hold_other_values(t, nn):
    net = nn.ParameterList([t.ones(1), "text", 3, nn.ReLU(), None, nn.ParameterList([t.ones(2)])])
    log = [len(net), [type(x).__name__ for x in net], sizes(net), net[1], net[2], net[4]]
    return [*log, list(net.state_dict()), kinds(net)]


@on_both
def test_dict_of_parameters(t, nn):
    net = nn.ParameterDict({"b": t.ones(2), "a": nn.Parameter(t.ones(1), requires_grad=False)})
    log = [list(net), len(net), list(net.keys()), list(net.values()), list(net.items()), sizes(net)]
    log += [
        "a" in net,
        "c" in net,
        3 in net,
        net.a is net["a"],
        net.get("a"),
        net.get("c"),
        net.get("c", 1),
    ]
    net["c"] = t.zeros(3)
    log += [net.setdefault("c", 5), net.setdefault("d", t.ones(4)), net.setdefault("e"), sizes(net)]
    log += [net.pop("c"), list(net), net.popitem(), list(net), list(reversed(net))]
    again = net.copy()
    log += [type(again).__name__, again["a"] is net["a"], list(again)]
    del again["a"]
    log += [list(again), list(net), sizes(net.fromkeys(["x", "y"], t.ones(1)))]
    net.clear()
    return [*log, len(net), sizes(net)]  # fmt: skip


@on_both
def test_dicts_of_parameters_are_joined(t, nn):
    one = nn.ParameterDict(OrderedDict(b=t.ones(2), a=t.ones(1)))
    other = nn.ParameterDict([("a", t.zeros(3)), ["z", t.ones(4)]])
    log = [sizes(one | other), sizes(other | one), sizes(one), (one | other)["b"] is one["b"]]
    log += [{"c": 3} | one, refused(lambda: 3 | one)]
    one |= other
    log.append(sizes(one))
    one.update({"q": t.ones(5), "p": t.ones(6)})
    one.update(OrderedDict(y=t.ones(1), x=t.ones(1)))
    return [*log, sizes(one)]


@on_both
def test_dict_of_parameters_and_what_it_refuses(t, nn):
    net = nn.ParameterDict({"a": t.ones(1)})
    log = [refused(net.update, x) for x in (3, [3], [("a",)], [("a", t.ones(1), 1)])]
    log += [refused(net.__setitem__, *x) for x in
            ((3, t.ones(1)), ("a.b", t.ones(1)), ("", t.ones(1)), ("keys", t.ones(1)),
             ("a", 3))]  # fmt: skip
    log += [refused(nn.ParameterDict().popitem), refused(net, t.ones(1))]
    return [*log, refused(lambda: net[3]), sizes(net)]


@on_both
def test_dicts_of_parameters_hold_other_values(t, nn):
    net = nn.ParameterDict({"a": t.ones(1), "b": "text", "c": nn.ReLU(), "d": None})
    return [list(net), [type(x).__name__ for x in net.values()], sizes(net), kinds(net)]


@on_both
def test_containers_within_containers(t, nn):
    net = nn.ModuleDict(
        {
            "list": nn.ModuleList([nn.Linear(1, 1), nn.ModuleList([nn.Linear(1, 1)])]),
            "weights": nn.ParameterDict({"a": t.ones(1), "b": nn.ParameterList([t.ones(2)])}),
        }
    )
    log = [list(net.state_dict()), [name for name, _ in net.named_modules()], sizes(net)]
    again = copy.deepcopy(net)
    log += [list(again.state_dict()), again["weights"]["a"], len(again["list"])]
    again.load_state_dict(net.state_dict())
    again.double()
    return [*log, again["weights"]["a"], again["weights"]["b"][0], net["weights"]["a"]]
