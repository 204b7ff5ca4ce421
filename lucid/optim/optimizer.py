"""The base of all optimizers: groups of parameters, their settings, and what is kept of each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from lucid.nn.module import Module
from lucid.tensor import Tensor, as_tensor

__all__ = ["Optimizer", "decay_groups"]

Array: TypeAlias = npt.NDArray[Any]
Group: TypeAlias = dict[str, Any]


class Optimizer:
    """Base of optimizers: subclasses define ``_update`` for a parameter, its gradient and its state.

    Args:
        params: Parameters, or groups of them: dictionaries of ``params`` and of settings that differ from the
            others'.
        defaults: The settings of groups that do not say otherwise.

    Attributes:
        param_groups: A dictionary for each group; schedules change its ``"lr"``.
        state: Of each parameter that was updated: arrays, and numbers.
    """

    # Settings of PyTorch's that say how it computes, not what; they are accepted in its state and ignored.
    _HOW: ClassVar[frozenset[str]] = frozenset(
        {"capturable", "decoupled_weight_decay", "differentiable", "foreach", "fused"}
    )

    # What is kept of a parameter that is no array.
    _NUMBERS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        self._name = type(self).__name__
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        given = [params] if isinstance(params, (Tensor, Mapping)) else list(params)
        if not given:
            raise ValueError(f"{self._name}: params must hold a parameter, got none")
        groups: list[Any] = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters with settings of their own, such as those of a new head.

        Raises:
            TypeError: The group, or what it holds, is of another type.
            ValueError: A parameter is in a group already; or a setting is unknown or out of range.
        """
        if not isinstance(group, Mapping):
            raise TypeError(f"{self._name}: a group must be a dict, got {type(group).__name__}")
        unknown = sorted(group.keys() - self.defaults.keys() - {"params"})
        if unknown:
            raise ValueError(
                f"{self._name}: a group must have settings of {sorted(self.defaults)}, got {unknown}"
            )
        parameters = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        before = {id(each) for _, each in self._parameters()}
        for parameter in parameters:
            if not isinstance(parameter, Tensor):
                raise TypeError(f"{self._name}: params must be tensors, got {type(parameter).__name__}")
            if not parameter.is_leaf:
                raise ValueError(f"{self._name}: params must be leaves, got one that was computed")
            if id(parameter) in before:
                raise ValueError(
                    f"{self._name}: a parameter must be given once, got one of shape {parameter.shape} again"
                )
            before.add(id(parameter))
        settings = self.defaults | {name: value for name, value in group.items() if name != "params"}
        self._check(settings)
        self.param_groups.append({"params": parameters, **settings})

    def _parameters(self) -> Iterator[tuple[Group, Tensor]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients; with ``set_to_none=False`` they become zeros, and momentum goes on."""
        for _, parameter in self._parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.grad.data))

    def step(self) -> None:
        """Updates every parameter that has a gradient.

        Raises:
            ValueError: Its array is read-only; or its gradient or state is on another device.
        """
        for group, parameter in self._parameters():
            if parameter.grad is None or not parameter.requires_grad:
                continue
            if not parameter.data.flags.writeable:
                raise ValueError(f"{self._name}: a parameter must be writable, got a read-only one")
            state = self.state.setdefault(parameter, {})
            self._update(group, parameter.data, parameter.grad.data, state)

    # ---- What a subclass says

    def _check(self, settings: Group) -> None:
        """ValueError where a setting is out of range."""

    def _update(self, group: Group, parameter: Array, gradient: Array, state: dict[str, Any]) -> None:
        """Changes the array of a parameter and its state, empty before its first update, in place.

        ``gradient`` must not change. A state has arrays of the parameter's shape, and ``_NUMBERS``.
        """
        raise NotImplementedError(f"{self._name}: a subclass must define _update, got none")

    def _in_range(self, settings: Group, name: str, least: float = 0.0, below: float = np.inf) -> None:
        value = settings[name]
        if not least <= value < below:
            bound = "not negative" if below == np.inf else f"at least {least:g} and below {below:g}"
            raise ValueError(f"{self._name}: {name} must be {bound}, got {value}")

    # ---- Saving

    def state_dict(self) -> dict[str, Any]:
        """``state`` by the number of a parameter, and ``param_groups`` with these numbers, as PyTorch's.

        Values are tensors, which share the optimizer's memory, and numbers.
        """
        numbers = {id(parameter): place for place, (_, parameter) in enumerate(self._parameters())}
        state = {
            numbers[id(parameter)]: {
                name: value if name in self._NUMBERS else Tensor(value) for name, value in kept.items()
            }
            for parameter, kept in self.state.items()
        }
        groups = [
            {**group, "params": [numbers[id(parameter)] for parameter in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the state and the settings of another optimizer of this kind, also of PyTorch's.

        Parameters are matched by their order. Nothing changes if the state does not fit.

        Raises:
            ValueError: The groups are of other sizes, a setting is unknown, or an array is of another shape.
        """
        groups = [dict(group) for group in state_dict["param_groups"]]
        sizes, own = ([len(group["params"]) for group in each] for each in (groups, self.param_groups))
        if sizes != own:
            raise ValueError(f"load_state_dict: the groups must hold {own} parameters, got {sizes}")
        numbered: dict[Any, Tensor] = {}
        settings = []
        for group, mine in zip(groups, self.param_groups, strict=True):
            numbered |= dict(zip(group.pop("params"), mine["params"], strict=True))
            settings.append(self._known(group))
        state = {
            numbered[number]: self._loaded(numbered[number], kept)
            for number, kept in state_dict["state"].items()
        }
        for mine, found in zip(self.param_groups, settings, strict=True):
            mine.update(found)
        self.state = state

    def _known(self, group: Group) -> Group:
        """The settings of a group that are this kind's."""
        if group.get("maximize") or group.get("amsgrad"):
            raise ValueError(f"load_state_dict: {self._name} knows no maximize and no amsgrad, got {group}")
        found = {name: value for name, value in group.items() if name in self.defaults}
        unknown = group.keys() - found.keys() - self._HOW - {"maximize", "amsgrad", "initial_lr"}
        if unknown:
            raise ValueError(
                f"load_state_dict: settings must be of {sorted(self.defaults)}, got {sorted(unknown)}"
            )
        self._check(self.defaults | found)
        return found

    def _loaded(self, parameter: Tensor, kept: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of what is kept of a parameter."""
        found: dict[str, Any] = {}
        for name, value in kept.items():
            if value is None:
                continue
            if name in self._NUMBERS:
                found[name] = int(value)
                continue
            tensor = as_tensor("load_state_dict", name, value)
            if tensor.shape != parameter.shape:
                raise ValueError(
                    f"load_state_dict: {name} must have the shape {parameter.shape}, got {tensor.shape}"
                )
            moved = tensor.to(parameter.device, parameter.dtype).data
            found[name] = moved.copy() if parameter.is_cuda else np.array(moved, order="C")
        return found

    def __repr__(self) -> str:
        groups = [
            ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            for group in self.param_groups
        ]
        return f"{self._name}({'; '.join(groups)})"


def decay_groups(model: Module, weight_decay: float) -> Sequence[Group]:
    """The parameters of a model in two groups: matrices and filters, which decay, and vectors, which do not.

    Biases and the scales and shifts of batch norm are the vectors; to pull them to zero costs accuracy ("Bag
    of Tricks for Image Classification", He et al., 2019, https://arxiv.org/abs/1812.01187, section 3.1).
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
