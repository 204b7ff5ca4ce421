"""Operators of the user's own: their gradients, several results, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from leaves import gradient_of, leaf

import lucid
from lucid import Tensor
from lucid.autograd import Context, Function


class Cube(Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, factor: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.factor = factor  # type: ignore[attr-defined]
        return x**3 * factor

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:  # type: ignore[override]
        assert ctx.needs_input_grad == (True, False)
        assert not lucid.is_grad_enabled()
        (x,) = ctx.saved_tensors
        assert x is not None
        return dy * 3 * ctx.factor * x**2, None  # type: ignore[attr-defined]


def test_a_function_has_the_gradient_that_it_says() -> None:
    x = leaf(2, 3)
    y = Cube.apply(x * 1, 2.0)
    assert y.tolist() == [16, 54]
    assert repr(y.grad_fn) == "<gradient of Cube>"
    y.sum().backward()
    assert gradient_of(x) == [24, 54]
    assert not Cube.apply(lucid.ones(2), 1.0).requires_grad


class Both(Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor) -> Any:  # type: ignore[override]
        sign = x / x.abs()
        ctx.mark_non_differentiable(sign)
        return x * 2, sign, x

    @staticmethod
    def backward(ctx: Context, *dys: Tensor) -> Any:
        return dys[0] * 2 + dys[2]


def test_a_function_may_have_several_results() -> None:
    x = leaf(2, -3)
    double, sign, same = Both.apply(x)
    assert not sign.requires_grad
    assert same is not x
    (double.sum() + same.sum()).backward()
    assert gradient_of(x) == [3, 3]
    x.grad = None
    Both.apply(x)[0].sum().backward()
    assert gradient_of(x) == [2, 2]


def test_wrong_functions_are_refused() -> None:
    class Wrong(Cube):
        result: Any = None

        @staticmethod
        def backward(ctx: Context, dy: Tensor) -> Any:  # type: ignore[override]
            return Wrong.result

    for result, kind, said in (
        (lucid.ones(1), ValueError, "Wrong: backward must return a gradient for each of 2 arguments, got 1"),
        ((1.0, None), TypeError, "Wrong: backward must return tensors or None, got float"),
        (
            (lucid.ones(3), None),
            ValueError,
            r"Wrong: backward must return a gradient of shape \(1,\), got \(3,\)",
        ),
    ):
        Wrong.result = result
        with pytest.raises(kind, match=said):
            Wrong.apply(leaf(1), 2.0).backward()
    with pytest.raises(NotImplementedError, match=r"Function: a subclass must define forward"):
        Function.apply(leaf(1))
