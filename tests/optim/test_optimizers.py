"""Optimizers: their formulas in float64, PyTorch's where it is installed, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference_updates as reference

import lucid
from lucid import Tensor, nn
from lucid.optim import SGD, AdamW, ExponentialMovingAverage, Optimizer, decay_groups

SETTINGS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.05}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-2}),
    (SGD, {"lr": 0.05, "momentum": 0.8, "dampening": 0.3}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}),
    (AdamW, {"lr": 0.01}),
    (AdamW, {"lr": 0.02, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
]
# Among them one of several threads, and one of no dimension.
SHAPES = [(3,), (), (5, 7), (300, 257), (2, 3, 4, 5)]


def model_of(x: Tensor) -> nn.Module:
    model = nn.Module()
    model.x = x
    return model


def parameters(rng: np.random.Generator) -> list[Tensor]:
    made = [nn.Parameter(rng.standard_normal(shape, dtype=np.float32)) for shape in SHAPES]
    made.append(nn.Parameter(np.asfortranarray(rng.standard_normal((6, 4), dtype=np.float32))))
    return list(made)


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_updates_are_those_of_the_formula(
    kind: type[Optimizer], settings: dict[str, Any], rng: np.random.Generator
) -> None:
    found = parameters(rng)
    wanted = [x.numpy().astype(np.float64) for x in found]
    states: list[tuple[Any, ...]] = [(None,) if kind is SGD else (0.0, 0.0) for _ in found]
    optimizer = kind(found, **settings)
    for step in range(1, 6):
        for i, x in enumerate(found):
            gradient = rng.standard_normal(x.shape, dtype=np.float32)
            x.grad = Tensor(gradient)
            if kind is SGD:
                wanted[i], *state = reference.sgd_update(wanted[i], gradient, *states[i], **settings)
            else:
                wanted[i], *state = reference.adamw_update(
                    wanted[i], gradient, *states[i], step=step, **settings
                )
            states[i] = tuple(state)
        optimizer.step()
    for x, want in zip(found, wanted, strict=True):
        # Five steps of a few roundings each, of values of about 1.
        np.testing.assert_allclose(
            x.numpy(), want, rtol=0, atol=5 * 8 * 2.0**-23 * max(1, np.abs(want).max())
        )


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_other_dtypes_are_updated_in_theirs(
    kind: type[Optimizer], settings: dict[str, Any], dtype: str
) -> None:
    x = nn.Parameter(np.full((3, 5), 0.5).astype(dtype))
    wanted: Any = x.numpy().astype(np.float64)
    state: Any = (None,) if kind is SGD else (0.0, 0.0)
    optimizer = kind([x], **settings)
    for step in range(1, 4):
        x.grad = Tensor(np.full((3, 5), 0.25 * step).astype(dtype))
        optimizer.step()
        if kind is SGD:
            wanted, *state = reference.sgd_update(wanted, 0.25 * step, *state, **settings)
        else:
            wanted, *state = reference.adamw_update(wanted, 0.25 * step, *state, step=step, **settings)
    assert x.dtype == dtype
    digits = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(x.numpy().astype(np.float64), wanted, rtol=0, atol=3 * 8 * digits)
    average = ExponentialMovingAverage(model_of(x), decay=0.5, warm_up=False)
    before: Any = x.numpy().astype(np.float64)
    x.data[...] = 1
    average.update(model_of(x))
    np.testing.assert_allclose(
        average.module.x.numpy().astype(np.float64), before / 2 + 0.5, rtol=0, atol=4 * digits
    )


class SignDescent(Optimizer):
    """The smallest optimizer: the update, and a state that counts."""

    _NUMBERS = frozenset({"step"})

    def _update(self, group: dict[str, Any], parameter: Any, gradient: Any, state: dict[str, Any]) -> None:
        state["step"] = state.get("step", 0) + 1
        parameter -= group["lr"] * np.sign(gradient)


def test_an_optimizer_of_ones_own_says_what_an_update_is() -> None:
    x = nn.Parameter(np.float32([[1, 2], [3, 4]]).T)
    optimizer = SignDescent([x], {"lr": 0.5})
    for _ in range(2):
        x.grad = Tensor(np.float32([[3, -2], [0, 1e-9]]))
        optimizer.step()
    assert x.tolist() == [[0, 4], [2, 3]]
    assert optimizer.state_dict()["state"] == {0: {"step": 2}}
    with pytest.raises(NotImplementedError, match="Optimizer: a subclass must define _update, got none"):
        Optimizer([x], {"lr": 0.5}).step()


def test_a_read_only_parameter_is_named() -> None:
    memory = np.ones(3, np.float32)
    x = nn.Parameter(memory)
    x.grad = lucid.ones(3)
    x.data.flags.writeable = False
    for kind in (SGD, AdamW):
        with pytest.raises(
            ValueError, match=f"{kind.__name__}: a parameter must be writable, got a read-only"
        ):
            kind([x]).step()


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_state_goes_to_pytorch_and_back(
    kind: type[Optimizer], settings: dict[str, Any], rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch", reason="the other side is PyTorch's")
    ours = parameters(rng)
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(x.numpy(), order="C"))) for x in ours]
    mine, its = kind(ours, **settings), getattr(torch.optim, kind.__name__)(theirs, **settings)

    def step(own: Any, other: Any) -> None:
        for x, y in zip(ours, theirs, strict=True):
            gradient = rng.standard_normal(x.shape, dtype=np.float32)
            x.grad, y.grad = Tensor(gradient), torch.from_numpy(gradient.copy())
        own.step()
        other.step()

    def assert_same() -> None:
        for x, y in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(x.numpy(), y.detach().numpy(), rtol=1e-5, atol=1e-6)

    step(mine, its)
    step(mine, its)
    assert_same()
    fresh = kind(ours, lr=9.0)
    fresh.load_state_dict(its.state_dict())
    state = mine.state_dict()
    for kept in state["state"].values():
        kept |= {
            name: torch.tensor(float(value))
            if isinstance(value, int)
            else torch.from_numpy(value.numpy().copy())
            for name, value in kept.items()
        }
    its = getattr(torch.optim, kind.__name__)(theirs, lr=9.0)
    its.load_state_dict(state)
    step(fresh, its)
    step(fresh, its)
    assert_same()


def test_training_goes_on_from_a_saved_state(rng: np.random.Generator) -> None:
    gradients = rng.standard_normal((4, 5), dtype=np.float32)

    def run(steps: Any, x: Tensor, optimizer: Optimizer) -> None:
        for gradient in steps:
            x.grad = Tensor(gradient)
            optimizer.step()

    for kind in (SGD, AdamW):
        settings: Any = {"lr": 0.1, "momentum": 0.9} if kind is SGD else {"lr": 0.1}
        whole = nn.Parameter(np.ones(5, np.float32))
        run(gradients, whole, kind([whole], **settings))
        first = nn.Parameter(np.ones(5, np.float32))
        optimizer = kind([first], **settings)
        run(gradients[:2], first, optimizer)
        second = kind([first])
        second.load_state_dict(optimizer.state_dict())
        run(gradients[2:], first, second)
        np.testing.assert_array_equal(first.numpy(), whole.numpy())


def test_groups_have_settings_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    groups = decay_groups(model, 0.1)
    assert [len(group["params"]) for group in groups] == [1, 4]
    optimizer = SGD(groups, lr=0.5)
    assert repr(optimizer).startswith("SGD(lr=0.5, momentum=0.0")
    for parameter in model.parameters():
        parameter.grad = Tensor(np.zeros_like(parameter.data))
    before = {name: x.numpy().copy() for name, x in model.named_parameters()}
    optimizer.step()
    for name, x in model.named_parameters():
        np.testing.assert_allclose(x.numpy(), before[name] * (0.95 if name == "3.weight" else 1), rtol=1e-6)
    optimizer.zero_grad(set_to_none=False)
    assert model[3].weight.grad.numpy().sum() == 0
    optimizer.zero_grad()
    assert model[3].weight.grad is None
    optimizer.step()  # changes nothing
    optimizer.add_param_group({"params": lucid.ones(2).requires_grad_(), "lr": 7})
    assert optimizer.param_groups[2]["lr"] == 7


def test_wrong_arguments_are_refused() -> None:
    x = nn.Parameter(lucid.ones(2))
    for call, kind, said in (
        (lambda: SGD([]), ValueError, "SGD: params must hold a parameter, got none"),
        (lambda: SGD([1.0]), TypeError, "SGD: params must be tensors, got float"),
        (lambda: SGD([x * 2]), ValueError, "SGD: params must be leaves"),
        (
            lambda: SGD([x, x]),
            ValueError,
            r"SGD: a parameter must be given once, got one of shape \(2,\) again",
        ),
        (lambda: SGD([x], lr=-1), ValueError, "SGD: lr must be not negative, got -1"),
        (lambda: SGD([x], nesterov=True), ValueError, "SGD: nesterov needs momentum and no dampening"),
        (
            lambda: SGD([{"params": [x], "speed": 3}]),
            ValueError,
            r"SGD: a group must have settings of .*'speed'",
        ),
        (
            lambda: AdamW([x], betas=(0.9, 1.0)),
            ValueError,
            r"AdamW: betas\[1\] must be at least 0 and below 1",
        ),
        (lambda: SGD([x]).add_param_group([x]), TypeError, "SGD: a group must be a dict, got list"),
        (
            lambda: SGD([x]).load_state_dict(SGD([lucid.ones(1), lucid.ones(1)]).state_dict()),
            ValueError,
            r"load_state_dict: the groups must hold \[1\] parameters, got \[2\]",
        ),
        (
            lambda: SGD([x]).load_state_dict(AdamW([x]).state_dict()),
            ValueError,
            r"load_state_dict: settings must be of .*, got \['betas', 'eps'\]",
        ),
        (
            lambda: SGD([x]).load_state_dict(
                {
                    "state": {0: {"momentum_buffer": lucid.ones(3)}},
                    "param_groups": SGD([x]).state_dict()["param_groups"],
                }
            ),
            ValueError,
            r"load_state_dict: momentum_buffer must have the shape \(2,\), got \(3,\)",
        ),
    ):
        with pytest.raises(kind, match=said):
            call()


def test_a_frozen_parameter_stays() -> None:
    x = nn.Parameter(lucid.ones(2))
    x.sum().backward()
    x.requires_grad_(False)
    SGD([x], lr=1).step()
    assert x.tolist() == [1, 1]
    x.requires_grad_()
    SGD([x], lr=1).step()
    assert x.tolist() == [0, 0]


def test_an_average_follows_the_weights(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm2d(3))
    average = ExponentialMovingAverage(model, decay=0.75, warm_up=False)
    want = model[0].weight.numpy().copy()
    for _ in range(3):
        with lucid.no_grad():
            model[0].weight.copy_(rng.standard_normal((3, 2), dtype=np.float32))
        model[1].running_mean.data += 1
        average.update(model)
        want = 0.75 * want + 0.25 * model[0].weight.numpy()
    np.testing.assert_allclose(average.module[0].weight.numpy(), want, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(average.module[1].running_mean.numpy(), model[1].running_mean.numpy())
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    other = ExponentialMovingAverage(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm2d(3)))
    other.load_state_dict(average.state_dict())
    assert other.updates == 3
    np.testing.assert_array_equal(other.module[0].weight.numpy(), average.module[0].weight.numpy())
    early = ExponentialMovingAverage(model)
    early.update(model)  # 0.9 of an average that was the model itself
    np.testing.assert_allclose(early.module[0].weight.numpy(), model[0].weight.numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1, got 1"):
        ExponentialMovingAverage(model, decay=1)
