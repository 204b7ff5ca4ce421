"""Module: what it finds among its attributes, its state dict, its mode, its repr."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import lucid
from lucid import Tensor, nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.scale = nn.Parameter(lucid.ones(2))
        self.register_buffer("steps", lucid.zeros(1))
        self.register_buffer("scratch", lucid.zeros(1), persistent=False)
        self.nothing: nn.Module | None = None

    def forward(self, input: Tensor) -> Tensor:
        return self.conv(input) * self.scale.reshape(2, 1, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.rest = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2))

    def forward(self, input: Tensor) -> Tensor:
        return self.rest(self.first(input))


STATE = [
    "first.scale",
    "first.steps",
    "first.conv.weight",
    "first.conv.bias",
    "rest.1.weight",
    "rest.1.bias",
    "rest.1.running_mean",
    "rest.1.running_var",
    "rest.1.num_batches_tracked",
]


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.data.copy() for name, tensor in module.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ---- What it consists of


def test_finds_parameters_buffers_and_modules():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "first.scale",
        "first.conv.weight",
        "first.conv.bias",
        "rest.1.weight",
        "rest.1.bias",
    ]
    assert [name for name, _ in net.named_buffers()] == [
        "first.steps",
        "first.scratch",
        "rest.1.running_mean",
        "rest.1.running_var",
        "rest.1.num_batches_tracked",
    ]
    assert [name for name, _ in net.named_children()] == ["first", "rest"]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "first",
        "first.conv",
        "rest",
        "rest.0",
        "rest.1",
    ]
    assert len(list(net.modules())) == 6
    assert list(net.children()) == [net.first, net.rest]
    assert [name for name, _ in net.first.named_parameters(recurse=False)] == ["scale"]
    assert all(isinstance(parameter, nn.Parameter) for parameter in net.parameters())
    assert len(list(net.buffers())) == 5


def test_shared_parameter_is_listed_once_but_saved_twice():
    layer = nn.Linear(2, 2)
    pair = nn.Sequential(layer, layer)
    assert [name for name, _ in pair.named_parameters()] == ["0.weight", "0.bias"]
    assert list(pair.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(pair) == 2


def test_call_wraps_arrays_and_passes_options():
    class Probe(nn.Module):
        def forward(self, input: Tensor, factor: float = 1.0) -> Tensor:
            assert type(input) is Tensor
            return input * factor

    assert Probe()(np.ones(2, np.float32), factor=2.0).tolist() == [2.0, 2.0]


def test_call_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module: a subclass must define forward"):
        nn.Module()(lucid.zeros(1))
    with pytest.raises(NotImplementedError, match="ModuleList: a subclass must define forward"):
        nn.ModuleList()(lucid.zeros(1))


def test_a_parameter_cannot_be_replaced_by_a_plain_tensor():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="Linear: weight must be a Parameter, got a Tensor"):
        layer.weight = lucid.zeros(2, 2)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Linear: weight must be a Parameter, got a ndarray"):
        layer.weight = np.zeros((2, 2))  # type: ignore[assignment]
    layer.weight = nn.Parameter(lucid.zeros(2, 2))
    assert list(layer.state_dict()) == ["weight", "bias"]
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]


def test_a_buffer_stays_one_when_a_tensor_is_assigned():
    block = Block()
    block.steps = lucid.ones(1)
    block.scratch = np.ones(1, np.float32)
    assert block.state_dict()["steps"].item() == 1.0
    assert "scratch" not in block.state_dict()
    assert len(list(block.buffers())) == 2
    with pytest.raises(TypeError, match=r"Block: steps must be a lucid\.Tensor or numpy\.ndarray, got float"):
        block.steps = 1.0


@pytest.mark.parametrize("name", ["", "a.b", 3])
def test_names_must_fit_into_dotted_names(name):
    for register in ("register_buffer", "register_parameter", "add_module"):
        with pytest.raises(ValueError, match=f"{register}: name must be a str without dots"):
            getattr(nn.Module(), register)(name, None)


def test_add_module_rejects_other_things():
    with pytest.raises(TypeError, match="add_module: module must be a Module, got int"):
        nn.Module().add_module("x", 3)  # type: ignore[arg-type]


def test_apply_reaches_all_inner_first():
    names = []
    net = Net()
    assert net.apply(lambda module: names.append(type(module).__name__)) is net
    assert names == ["Conv2d", "Block", "ReLU", "BatchNorm2d", "Sequential", "Net"]


def test_train_and_eval_reach_all():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())


# ---- State


def test_state_dict_has_names_in_order_and_shares_memory():
    net = Net()
    state = net.state_dict()
    assert list(state) == STATE
    assert all(type(tensor) is Tensor for tensor in state.values())
    state["first.scale"].data[0] = 9
    assert net.first.scale[0].item() == 9
    assert list(net.state_dict(prefix="net.")) == [f"net.{name}" for name in STATE]


@pytest.mark.parametrize(
    "convert", [lambda tensor: tensor, lambda tensor: tensor.data, lambda tensor: tensor.to("f8")]
)
def test_load_copies_into_the_arrays_in_place(convert):
    source, net = Net(), Net()
    source.rest[1].num_batches_tracked.data[...] = 0
    held = net.first.conv.weight.data
    keys = net.load_state_dict(
        {name: convert(tensor) for name, tensor in source.state_dict().items()}
        | {"rest.1.num_batches_tracked": np.asarray(5)}
    )
    assert keys == ([], [])
    assert net.first.conv.weight.data is held
    assert net.rest[1].num_batches_tracked.item() == 5
    want = arrays(source) | {"rest.1.num_batches_tracked": np.asarray(5)}
    assert same(arrays(net), want)
    assert not np.shares_memory(held, source.first.conv.weight.data)


REFUSED = {
    "missing": (lambda state: state.pop("first.scale"), r"missing: first\.scale"),
    "unexpected": (lambda state: state.update(extra=np.zeros(1)), "unexpected: extra"),
    "shape": (
        lambda state: state.update({"rest.1.bias": np.zeros(3, np.float32)}),
        r"rest\.1\.bias of shape \(3,\) for \(2,\)",
    ),
    "broadcastable shape": (
        lambda state: state.update({"rest.1.bias": np.zeros(1, np.float32)}),
        r"rest\.1\.bias of shape \(1,\) for \(2,\)",
    ),
    "float for int": (
        lambda state: state.update({"rest.1.num_batches_tracked": np.asarray(0.5)}),
        "num_batches_tracked of dtype float64 for int64",
    ),
    "complex": (
        lambda state: state.update({"rest.1.bias": np.zeros(2, complex)}),
        r"rest\.1\.bias of dtype complex128",
    ),
    "object": (
        lambda state: state.update({"rest.1.bias": np.zeros(2, object)}),
        r"rest\.1\.bias of dtype object",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_load_changes_nothing(case):
    spoil, message = REFUSED[case]
    net = Net()
    before = arrays(net)
    state = {name: array + 1 for name, array in before.items()}
    spoil(state)
    with pytest.raises(
        ValueError, match=f"load_state_dict: names, shapes and dtypes must fit Net, got .*{message}"
    ):
        net.load_state_dict(state)
    assert same(arrays(net), before)


def test_a_load_into_read_only_memory_changes_nothing():
    net = Net()
    before = arrays(net)
    net.rest[1].running_var.data.flags.writeable = False
    with pytest.raises(ValueError, match=r"rest\.1\.running_var for a read-only array"):
        net.load_state_dict({name: array + 1 for name, array in before.items()})
    assert same(arrays(net), before)


def test_load_names_every_misfit():
    net = Net()
    with pytest.raises(
        ValueError, match=r"missing: first\.scale, first\.steps, .*; unexpected: a, b; .*shape"
    ):
        net.load_state_dict({"a": 1, "b": 2, "rest.1.bias": np.zeros(7)})


def test_load_shortens_long_lists():
    net = nn.Sequential(*[nn.Linear(1, 1) for _ in range(10)])
    with pytest.raises(ValueError, match="and 12 more"):
        net.load_state_dict({})


def test_load_without_strict_takes_what_fits_by_name():
    net = Net()
    keys = net.load_state_dict({"first.scale": np.full(2, 3.0), "extra": np.zeros(1)}, strict=False)
    assert keys.unexpected_keys == ["extra"]
    assert "first.conv.weight" in keys.missing_keys
    assert net.first.scale.tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match="shape"):
        net.load_state_dict({"first.scale": np.zeros(3)}, strict=False)


def test_num_batches_tracked_may_be_absent():
    net = Net()
    state = net.state_dict()
    del state["rest.1.num_batches_tracked"]
    assert net.load_state_dict(state).missing_keys == []


def test_load_rejects_other_things():
    with pytest.raises(TypeError, match="load_state_dict: state_dict must be a mapping, got list"):
        Net().load_state_dict([])  # type: ignore[arg-type]
    state = {**Net().state_dict(), "first.scale": "1 2"}
    with pytest.raises(
        TypeError, match=r"load_state_dict: first\.scale must be a lucid\.Tensor or numpy\.ndarray, got str"
    ):
        Net().load_state_dict(state)


def test_load_reads_big_endian_values_right():
    net = Net()
    state = arrays(net)
    net.load_state_dict({**state, "first.scale": np.array([1.5, -2.0], ">f4")})
    assert net.first.scale.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_complete_and_apart(duplicate):
    net = Net().eval()
    other = duplicate(net)
    assert same(arrays(net), arrays(other))
    assert not other.training
    assert not other.first.training
    assert isinstance(other.first.scale, nn.Parameter)
    assert not other.first.scratch.persistent
    other.first.scale.data[:] = 4
    assert net.first.scale.tolist() == [1.0, 1.0]


def test_repr_shows_the_tree():
    assert repr(Net()) == (
        "Net(\n"
        "  (first): Block(\n"
        "    (conv): Conv2d(2, 2, kernel_size=(1, 1), stride=(1, 1))\n"
        "  )\n"
        "  (rest): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)\n"
        "  )\n"
        ")"
    )


# ---- Containers


def test_sequential_of_a_dict_keeps_names():
    net = nn.Sequential({"conv": nn.Conv2d(1, 1, 1), "act": nn.ReLU()})
    assert list(net.state_dict()) == ["conv.weight", "conv.bias"]
    assert isinstance(net[-1], nn.ReLU)


def test_containers_are_sequences():
    layers = [nn.ReLU(), nn.Identity(), nn.Sigmoid()]
    for container in (nn.Sequential(*layers), nn.ModuleList(layers)):
        assert len(container) == 3
        assert list(container) == layers
        assert container[0] is layers[0]
        assert container[-1] is layers[2]
        assert type(container[1:]) is type(container)
        assert list(container[1:]) == layers[1:]
        extra = nn.ReLU()
        assert container.append(extra) is container
        assert container[3] is extra
        container[0] = extra
        assert container[0] is extra
        container.extend([nn.Identity()])
        assert [name for name, _ in container.named_modules()] == ["", "0", "1", "2", "4"]
        with pytest.raises(IndexError):
            _ = container[9]


def test_sequential_rejects_what_is_no_module():
    with pytest.raises(TypeError, match="add_module: module must be a Module, got function"):
        nn.Sequential(lambda x: x)  # type: ignore[call-overload]


def test_sequential_calls_in_order():
    net = nn.Sequential(nn.Flatten(), nn.ReLU())
    assert net(lucid.full((1, 2, 2), -1.0)).tolist() == [[0.0] * 4]
