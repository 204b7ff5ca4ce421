"""The tape: what requires gradients, where they go, what is freed, and what is refused."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from leaves import gradient_of, leaf

import lucid
from lucid import Tensor, nn
from lucid.nn import functional as F

# ---- What requires gradients


def test_results_require_gradients_as_their_inputs_do() -> None:
    x, c = leaf(1, 2), lucid.tensor([3.0, 4.0])
    assert (x * c).requires_grad
    assert not (c * c).requires_grad
    assert not (x > c).requires_grad
    assert not x.argmax().requires_grad
    assert not x.detach().requires_grad
    assert x.is_leaf
    assert c.is_leaf
    assert not (x * 2).is_leaf
    assert repr((x * 2).grad_fn) == "<gradient of multiply>"


def test_integers_have_no_gradients() -> None:
    with pytest.raises(
        ValueError, match=r"requires_grad: a tensor must be floating to have a gradient, got dtype int64"
    ):
        lucid.arange(3).requires_grad_()
    assert not leaf(1.5).long().requires_grad
    values, order = leaf(2, 1).sort()
    assert values.requires_grad
    assert not order.requires_grad


def test_what_was_computed_cannot_be_made_to_require_none() -> None:
    y = leaf(1) * 2
    with pytest.raises(ValueError, match=r"requires_grad: .*detach\(\)"):
        y.requires_grad_(False)
    assert not y.detach().requires_grad
    y.detach_()
    assert y.is_leaf
    assert not y.requires_grad


def test_nothing_is_recorded_within_no_grad() -> None:
    x = leaf(1)
    with lucid.no_grad():
        assert not lucid.is_grad_enabled()
        assert not (x * 2).requires_grad
        with lucid.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @lucid.no_grad()
    def doubled(x: Tensor) -> Tensor:
        return x * 2

    assert not doubled(x).requires_grad
    with lucid.set_grad_enabled(False), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    assert lucid.is_grad_enabled()


def test_each_thread_has_a_mode_of_its_own() -> None:
    seen = []
    with lucid.no_grad():
        thread = threading.Thread(target=lambda: seen.append(lucid.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# ---- Where gradients go


def test_gradients_add_up_over_paths_and_calls() -> None:
    x = leaf(2, 3)
    y = x * x + x
    (y * y + y).sum().backward()  # (2 y + 1) * (2 x + 1)
    assert gradient_of(x) == [13 * 5, 25 * 7]
    (x * 2).sum().backward()
    assert gradient_of(x) == [67, 177]
    x.grad = None
    (x * 2).sum().backward()
    assert gradient_of(x) == [2, 2]


def test_a_deep_graph_does_not_recurse() -> None:
    x = leaf(1)
    y = x
    for _ in range(20_000):
        y = y + 1
    y.backward()
    assert gradient_of(x) == [1]


def test_two_leaves_never_share_the_memory_of_a_gradient() -> None:
    x, y, g = leaf(1, 2), leaf(3, 4), lucid.tensor([1.0, 1.0])
    (x + y).backward(g)
    assert x.grad is not None
    x.grad.zero_()
    assert gradient_of(y) == [1, 1]
    assert g.tolist() == [1, 1]
    z = leaf(5)
    z.sum().backward()  # a gradient that is spread, not copied
    assert z.grad is not None
    z.grad.add_(1)


def test_backward_of_a_leaf_is_its_gradient() -> None:
    x = leaf(1, 2)
    x.backward(np.array([3.0, 4.0]))
    assert gradient_of(x) == [3, 4]


def test_grad_can_be_kept_of_what_was_computed() -> None:
    x = leaf(2)
    y = x * 3
    y.retain_grad()
    (y * y).backward()
    assert gradient_of(y) == [12]
    assert gradient_of(x) == [36]


def test_gradients_have_the_dtype_of_their_tensor() -> None:
    x = leaf(2)
    (x.double() * 3).backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    (x * np.array([2.0])).sum().backward()
    assert x.grad.dtype == np.float32


def test_grad_is_checked_when_set() -> None:
    x = leaf(1, 2)
    with pytest.raises(TypeError, match=r"grad: it must be a Tensor or None, got list"):
        x.grad = [1.0, 2.0]  # type: ignore[assignment]
    with pytest.raises(
        ValueError, match=r"grad: it must be float32 of shape \(2,\), got float32 of shape \(3,\)"
    ):
        x.grad = lucid.ones(3)
    x.grad = lucid.ones(2)
    x.sum().backward()
    assert gradient_of(x) == [2, 2]


def test_wrong_gradients_are_refused() -> None:
    x = leaf(1, 2)
    with pytest.raises(ValueError, match=r"backward: a tensor must require a gradient"):
        lucid.ones(1).backward()
    with pytest.raises(ValueError, match=r"backward: gradient must be given .* got shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"backward: gradient must have shape \(2,\), got \(3,\)"):
        (x * 2).backward(lucid.ones(3))


# ---- What is freed


def test_a_graph_is_walked_once_unless_retained() -> None:
    x = leaf(2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert gradient_of(x) == [8]
    with pytest.raises(ValueError, match=r"backward: .* multiply was walked before: give retain_graph=True"):
        y.backward()


def test_graphs_are_freed_by_counting_references() -> None:
    gc.disable()
    try:
        x = leaf(1, 2)
        saved = lucid.tensor([3.0, 4.0])
        watched = weakref.ref(saved.data)
        y = (x * saved).relu().sum()
        node = weakref.ref(y)
        del saved
        assert watched() is not None  # the tape reads it
        y.retain_grad()
        y.backward()
        assert watched() is None  # freed by backward, while y is there
        del y
        assert node() is None
        z = (x * 3).sum()
        gone = weakref.ref(z)
        del z
        assert gone() is None
    finally:
        gc.enable()


def test_only_what_formulas_read_is_kept() -> None:
    x = leaf(*range(10))
    y = x * 2.0
    kept = weakref.ref(y.data)
    z = y + 1.0
    del y
    assert kept() is None
    z.sum().backward()
    assert gradient_of(x) == [2] * 10


# ---- Changes in place


def test_a_change_of_what_is_read_is_noticed() -> None:
    x, w = leaf(1, 2), lucid.tensor([3.0, 4.0])
    for change in (
        lambda: w.mul_(2),
        lambda: w[:1].zero_(),
        lambda: w.view(2, 1).fill_(5),
        lambda: F.relu(w, inplace=True),
    ):
        y = (x * w).sum()
        change()
        with pytest.raises(
            ValueError, match=r"backward: what multiply read .* shape \(2,\) that was changed in place"
        ):
            y.backward()
    y = (x * w).sum()
    y.backward()


def test_a_change_of_what_is_not_read_is_none() -> None:
    x, w = leaf(1, 2), lucid.tensor([3.0, 4.0])
    y = (x + w).sum()
    w.zero_()
    y.backward()
    assert gradient_of(x) == [1, 1]


def test_changes_in_place_are_part_of_the_graph() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    z = x * 1
    z *= y
    z += 1
    z -= y
    z.sum().backward()
    assert gradient_of(x) == [3, 4]
    assert gradient_of(y) == [0, 1]
    x.grad = None
    w = lucid.zeros(2)
    w[0] = x[1] * 3
    assert w.requires_grad
    w.sum().backward()
    assert gradient_of(x) == [0, 3]


def test_a_leaf_is_changed_within_no_grad_only() -> None:
    x = leaf(1)
    with pytest.raises(ValueError, match=r"\+=: a leaf that requires a gradient .* within lucid.no_grad\(\)"):
        x += 1
    with pytest.raises(ValueError, match=r"zero_: a leaf"):
        x.zero_()
    with lucid.no_grad():
        x += 1
    assert x.tolist() == [2]


def test_views_are_not_changed_in_silence() -> None:
    y = leaf(1, 2, 3) * 2
    with pytest.raises(
        NotImplementedError, match=r"\*=: changing a view in place is not recorded for gradients"
    ):
        y[:2] *= 3
    part = y[:2]
    y *= 2
    with pytest.raises(ValueError, match=r"backward: what index read"):
        part.sum().backward()


def test_relu_in_place_is_the_gradient_of_the_same_tensor() -> None:
    x = leaf(-1, 2)
    y = x * 3
    z = F.relu(y, inplace=True)
    (y + z).sum().backward()
    assert gradient_of(x) == [0, 6]


# ---- Hooks


def test_hooks_see_and_replace_gradients() -> None:
    x = leaf(1, 2)
    y = x * 2
    seen: list[Any] = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    y.sum().backward(retain_graph=True)
    assert seen == [[1, 1]]
    assert gradient_of(x) == [21, 21]
    handle.remove()
    y.sum().backward()
    assert seen == [[1, 1]]
    with pytest.raises(ValueError, match=r"register_hook: the tensor must require a gradient"):
        lucid.ones(1).register_hook(print)  # type: ignore[arg-type]
    wrong = leaf(1)
    listed: Any = lambda g: g.tolist()  # noqa: E731
    for hook, kind, said in (
        (listed, TypeError, r"register_hook: a hook must return a Tensor or None, got list"),
        (lambda g: lucid.ones(3), ValueError, r"register_hook: .* of shape \(1,\), got \(3,\)"),
    ):
        with wrong.register_hook(hook), pytest.raises(kind, match=said):
            wrong.sum().backward()


def test_a_leaf_is_told_as_soon_as_its_gradient_is_complete() -> None:
    first, last = leaf(1), leaf(2)
    order: list[str] = []
    x = first * 3
    x.register_hook(lambda g: order.append("between"))
    y = x * last + last
    first.register_post_accumulate_grad_hook(lambda t: order.append(f"first {gradient_of(t)}"))
    last.register_post_accumulate_grad_hook(lambda t: order.append(f"last {gradient_of(t)}"))
    y.backward()
    assert order == ["last [4.0]", "between", "first [6.0]"]


# ---- Copies


def test_copies_are_leaves() -> None:
    x = nn.Parameter(lucid.ones(2))
    x.sum().backward()
    x.register_hook(print)  # type: ignore[arg-type]
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.requires_grad
        assert gradient_of(made) == [1, 1]
        (made * 2).sum().backward()
        assert gradient_of(made) == [3, 3]
    assert gradient_of(x) == [1, 1]
    computed = copy.deepcopy(x * 2)
    assert computed.is_leaf
    assert not computed.requires_grad
    assert not nn.Parameter(lucid.ones(2), requires_grad=False).requires_grad
