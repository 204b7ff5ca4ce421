"""Methods of gradients: what Tensor adds to the tape of ``lucid.autograd``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from lucid.autograd import walk
from lucid.autograd.tape import Hook, Node, array_of, is_floating
from lucid.device_array import DeviceArray, full

if TYPE_CHECKING:
    from lucid.tensor import Tensor


class RemovableHandle:
    """A hook's way out: ``remove()`` unhooks it, as leaving a ``with`` block does."""

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Unhooks, once."""
        self._hooks[:] = [each for each in self._hooks if each is not self._hook]

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *raised: object) -> None:
        self.remove()


class Differentiable:
    """``requires_grad``, ``grad``, ``backward`` and hooks, with PyTorch's names.

    A leaf is a tensor that no recorded operator has computed; ``backward`` gives leaves their ``grad``.
    """

    data: Any
    shape: tuple[int, ...]
    dtype: Any
    wrap: Callable[[Any], Any]

    _requires_grad = False
    _grad: Tensor | None = None
    _is_view = False
    _place = 0
    _hooks: Any = ()
    _hooks_after: Any = ()
    grad_fn: Node | None = None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for it, and for what is computed from it.

        Setting raises ValueError where the dtype is no floating one, or where the tensor was computed from
        others that require gradients and shall not; ``detach`` gives one that does not.
        """
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and not is_floating(self.dtype):
            raise ValueError(
                f"requires_grad: a tensor must be floating to have a gradient, got dtype {self.dtype}"
            )
        if not wanted and self.grad_fn is not None:
            raise ValueError(
                "requires_grad: what was computed from tensors that require gradients must require one; "
                "detach() gives a tensor that does not"
            )
        self._requires_grad = bool(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = requires_grad is True
        return self

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def grad(self) -> Tensor | None:
        """The sum of the gradients of all calls of ``backward`` since it was None; a leaf's, in its shape."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Differentiable):
                raise TypeError(f"grad: it must be a Tensor or None, got {type(value).__name__}")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(
                    f"grad: it must be {self.dtype} of shape {self.shape}, "
                    f"got {value.dtype} of shape {value.shape}"
                )
        self._grad = value

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Adds to the ``grad`` of every leaf from which the tensor was computed.

        Args:
            gradient: That of the tensor, in its shape; 1 for a tensor of one element, which may leave it out.
            retain_graph: Whether the graph is kept for another call. It is freed otherwise.

        Raises:
            ValueError: Nothing of the tensor's graph requires a gradient, or it was freed, or ``gradient`` is
                missing or of another shape, or what a formula reads was changed in place since.
        """
        if not self._requires_grad:
            raise ValueError(
                "backward: a tensor must require a gradient, or be computed from one that does, outside of "
                "no_grad(); got one that was not"
            )
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(
                    "backward: gradient must be given for a tensor of more than one element, "
                    f"got shape {self.shape}"
                )
            dy: Any = (
                full(self.shape, 1.0, self.dtype, self.data.device_index)
                if type(self.data) is DeviceArray
                else np.ones(self.shape, self.dtype)
            )
        else:
            dy = array_of(gradient)
            if not hasattr(dy, "dtype"):
                dy = np.asarray(dy, self.dtype)
            if dy.shape != self.shape:
                raise ValueError(f"backward: gradient must have shape {self.shape}, got {dy.shape}")
            dy = dy if dy.dtype == self.dtype else dy.astype(self.dtype)
        walk.backward(self, dy, bool(retain_graph))

    def retain_grad(self) -> None:
        """Makes ``backward`` set ``grad`` of this tensor too, which was computed; a leaf has it anyway."""
        if self.grad_fn is None:
            return
        owner = ref(self)  # the graph must not keep what it computed alive

        def keep(gradient: Tensor) -> None:
            tensor = owner()
            if tensor is not None:
                tensor._grad = gradient if tensor._grad is None else tensor._grad + gradient

        self.register_hook(keep)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Calls ``hook`` with the gradient of the tensor whenever ``backward`` has computed it.

        What the hook returns, if not None, takes the gradient's place. Hooks run in the order of their
        registration, those of a leaf before ``grad`` changes.

        Raises:
            ValueError: The tensor does not require a gradient.
        """
        if not self._requires_grad:
            raise ValueError("register_hook: the tensor must require a gradient, got one that does not")

        wrap = self.wrap  # not of the tensor, which the graph must not keep alive

        def on_array(gradient: Any) -> Any:
            given = hook(wrap(gradient))
            if given is not None and not isinstance(given, Differentiable):
                raise TypeError(
                    f"register_hook: a hook must return a Tensor or None, got {type(given).__name__}"
                )
            return None if given is None else given.data

        hooks: list[Hook]
        if self.grad_fn is not None:
            hooks = self.grad_fn.hooks.setdefault(self._place, [])
        else:
            hooks = self._hooks = self._hooks or []
        hooks.append(on_array)
        return RemovableHandle(hooks, on_array)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Calls ``hook`` with the tensor, a leaf, as soon as its ``grad`` is complete, while others' are not.

        That is the place to send gradients to other processes, or to update the parameter at once.

        Raises:
            ValueError: The tensor is no leaf, or does not require a gradient.
        """
        if not self._requires_grad or self.grad_fn is not None:
            raise ValueError(
                "register_post_accumulate_grad_hook: the tensor must be a leaf that requires a gradient"
            )
        self._hooks_after = self._hooks_after or []
        self._hooks_after.append(hook)
        return RemovableHandle(self._hooks_after, hook)

    def detach_(self) -> Any:
        """Cuts the tensor itself off from the graph that computed it: a leaf that requires no gradient."""
        self.grad_fn, self._requires_grad, self._place, self._is_view = None, False, 0, False
        return self
