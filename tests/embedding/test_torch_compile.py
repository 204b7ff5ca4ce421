"""lucid.torch.compile: networks of torchvision, timm and ResNeSt's authors as plans on PyTorch's tensors."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucid
from lucid.models import create_model

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import lucid.torch  # noqa: E402

SHAPE = (2, 3, 64, 64)
# (package, function or name) by the variant of lucid's that is the same network.
NETWORKS = {
    "torchvision": ("torchvision.models", "resnext50_32x4d", "resnext50_32x4d"),
    "timm": ("timm.models", "resnest50d", "resnest50d"),
    "authors": ("resnest.torch", "resnest50", "resnest50"),
    "authors, radix 4": ("resnest.torch", "resnest50_fast_4s2x40d", "resnest50_fast_4s2x40d"),
    "authors, radix 1": ("resnest.torch", "resnest50_fast_1s4x24d", "resnest50_fast_1s4x24d"),
}


def randomized(model: Any) -> Any:
    """A model in eval mode whose norms do something."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    """Its logits are PyTorch's, and its plan is as good as that of lucid's own model."""
    package, function, variant = NETWORKS[name]
    pytest.importorskip(package)
    torch.manual_seed(0)
    model = randomized(getattr(importlib.import_module(package), function)())
    x = torch.randn(SHAPE)
    compiled = lucid.torch.compile(model, x)
    with torch.no_grad():
        wanted = model(x)
    assert (compiled(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    own = lucid.compile(create_model(variant).eval(), SHAPE)
    kinds = [[node.kind for node in plan.graph.nodes] for plan in (compiled.plan, own)]
    assert sorted(kinds[0]) == sorted(kinds[1])


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Any) -> Any:
        return self.conv(x).relu(), x


def test_images_of_uint8() -> None:
    """As torchvision's ToTensor and Normalize prepare them, and in the layout of its image files as well."""
    torch.manual_seed(0)
    model, images = Small().eval(), torch.randint(256, SHAPE, dtype=torch.uint8)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    given = (torch.tensor(part)[:, None, None] for part in (mean, std))
    x = images.to(torch.float32).div(255).sub(next(given)).div(next(given))
    compiled = lucid.torch.compile(model, x, pixels=(mean, std))
    with torch.no_grad():
        wanted = model(x)
    for uint8 in (images, images.contiguous(memory_format=torch.channels_last)):
        got = compiled(uint8)
        assert torch.equal(got[1], x)
        assert (got[0] - wanted[0]).abs().max() <= 1e-5 * wanted[0].abs().max()
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        compiled(x)


class Spy:
    """A plan that remembers the memory that it was given and gave."""

    def __init__(self, plan: Any) -> None:
        self.plan, self.graph, self.seen = plan, plan.graph, []

    def __call__(self, *arrays: np.ndarray[Any, Any]) -> Any:
        results = self.plan(*arrays)
        self.seen = [array.__array_interface__["data"][0] for array in (*arrays, *results)]
        return results


def test_nothing_is_copied() -> None:
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    compiled = lucid.torch.compile(Small().eval(), x)
    compiled.plan = spy = Spy(compiled.plan)
    y, same = compiled(x)
    assert spy.seen == [x.data_ptr(), y.data_ptr(), same.data_ptr()]
    assert torch.equal(same, x)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_weights_that_change_later_do_not_reach_the_plan() -> None:
    model, x = Small().eval(), torch.randn(1, 3, 8, 8)
    compiled = lucid.torch.compile(model, x)
    before = compiled(x)[0]
    with torch.no_grad():
        model.conv.weight.zero_()
    assert torch.equal(compiled(x)[0], before)


class Unweighted(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        first, second = x.split(2, dim=1)
        return first * second


class OnePart(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.chunk(2, dim=1)[0].relu()


class Sorted(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.sort(dim=1).values


@pytest.mark.parametrize("module", [Unweighted, OnePart, Sorted])
def test_what_no_plan_can_do_is_named(module: Callable[[], Any]) -> None:
    with pytest.raises(NotImplementedError, match=r"onnx.load: \w+ '/\w+' of 1x\dx4x4"):
        lucid.torch.compile(module().eval(), torch.randn(1, 4, 4, 4))


def test_wrong_calls_are_explained() -> None:
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"model must be in eval mode, got one in training mode"):
        lucid.torch.compile(Small(), x)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got int"):
        lucid.torch.compile(3, x)
    with pytest.raises(TypeError, match="example must be a tensor"):
        lucid.torch.compile(Small().eval(), (1, 3, 8, 8))
    compiled = lucid.torch.compile(Small().eval(), x)
    with pytest.raises(RuntimeError, match="a plan has no gradients"):
        compiled(x.clone().requires_grad_())
    with pytest.raises(ValueError, match="must be float32 of shape"):
        compiled(torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match="must be float32 of shape"):
        compiled(x.double())
    with pytest.raises(TypeError, match=r"must be a torch.Tensor, got numpy.ndarray"):
        compiled(x.numpy())
    with pytest.raises(TypeError, match="takes 1 inputs, got 2"):
        compiled(x, x)
