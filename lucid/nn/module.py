"""Module, the base of all layers and models; Parameter and Buffer, the tensors that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from lucid import arguments, cuda, exchange
from lucid.conversions import Conversions
from lucid.device_array import COMPUTED, write
from lucid.methods import Methods
from lucid.recording import recorder_in_use
from lucid.tensor import Tensor, as_tensor

Array: TypeAlias = npt.NDArray[Any]
M = TypeVar("M", bound="Module")
T = TypeVar("T", bound=Tensor)


class Parameter(Tensor):
    """A tensor that training changes. A module that has one as an attribute lists and saves it."""

    _requires_grad = True

    def __init__(self, data: Tensor | Array, requires_grad: bool = True) -> None:
        super().__init__(as_tensor("Parameter", "data", data).data)
        if not requires_grad:
            self._requires_grad = False


class Buffer(Tensor):
    """A tensor that belongs to a module's state without being trained, such as the statistics of batch norm.

    ``persistent`` buffers are saved in the ``state_dict``.
    """

    def __init__(self, data: Tensor | Array, persistent: bool = True) -> None:
        super().__init__(as_tensor("Buffer", "data", data).data)
        self.persistent = persistent


class IncompatibleKeys(NamedTuple):
    """Names that ``load_state_dict(strict=False)`` found on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of layers and models: assign Parameters, Buffers and Modules as attributes, define ``forward``.

    A module's attributes are its only record: parameters, buffers and children are found among them, in the
    order of their first assignment, under the attribute's name.
    """

    training: bool = True

    # Names of persistent buffers that a state dict may lack, because some libraries do not save them.
    optional_state: frozenset[str] = frozenset()

    # Names of buffers that stay float32 in a module of 16 bits, which are too few for them.
    float32_state: frozenset[str] = frozenset()

    # Subclasses define `def forward(self, input: Tensor) -> Tensor`, or whatever arguments they need.
    forward: Callable[..., Tensor]

    def __call__(self, *inputs: Tensor | Array, **options: Any) -> Tensor:
        """Calls ``forward``, with arrays, also those of other libraries, wrapped as tensors."""
        if not hasattr(self, "forward"):
            raise NotImplementedError(f"{type(self).__name__}: a subclass must define forward, got none")
        tensors = tuple([x if isinstance(x, Methods) else self._wrapped(x) for x in inputs])
        recorder = recorder_in_use.get()
        if recorder is not None:
            return recorder.called(self, tensors, options)  # type: ignore[no-any-return]
        return self.forward(*tensors, **options)

    def _wrapped(self, value: Any) -> Any:
        """A tensor of an array; anything else is ``forward``'s to judge."""
        return as_tensor(type(self).__name__, "input", value) if exchange.lends_memory(value) else value

    def __setattr__(self, name: str, value: object) -> None:
        # Anything else in the place of a parameter or buffer would silently drop out of the state.
        held, owner = vars(self).get(name), type(self).__name__
        if isinstance(held, Parameter) and not (value is None or isinstance(value, Parameter)):
            raise TypeError(f"{owner}: {name} must be a Parameter, got a {type(value).__name__}")
        if isinstance(held, Buffer) and not (value is None or isinstance(value, Buffer)):
            value = Buffer(as_tensor(owner, name, value), held.persistent)
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Tensor | Array | None, persistent: bool = True) -> None:
        """Sets the attribute ``name`` to ``tensor`` as a Buffer; None reserves the name without one."""
        _check_name("register_buffer", name)
        setattr(self, name, None if tensor is None else Buffer(tensor, persistent))

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Sets the attribute ``name`` to ``param``; None reserves the name without one."""
        _check_name("register_parameter", name)
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Sets the attribute ``name``, which may be a number, to ``module``."""
        _check_name("add_module", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: module must be a Module, got {type(module).__name__}")
        setattr(self, name, module)

    # ---- Parts

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, each once."""
        seen: set[int] = set()
        for name, value in list(vars(self).items()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, outer before inner, with dotted names."""
        return self._named_modules(prefix, set())

    def _named_modules(self, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child._named_modules(_join(prefix, name), seen)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names, a shared one only once."""
        return self._named(Parameter, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        """Buffers with dotted names, a shared one only once."""
        return self._named(Buffer, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _named(self, kind: type[T], prefix: str, recurse: bool) -> Iterator[tuple[str, T]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in module._own(kind):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    def _own(self, kind: type[T]) -> list[tuple[str, T]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, kind)]

    # ---- Mode

    def train(self: M, mode: bool = True) -> M:
        """Sets ``training`` here and in every module inside; dropout and batch norm heed it."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """The mode for inference."""
        return self.train(False)

    def apply(self: M, fn: Callable[[Module], object]) -> M:
        """Calls ``fn`` on every module inside, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- State

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, parameters first in each module, as in PyTorch.

        The tensors share the module's memory: what writes into them changes the module.
        """
        state: dict[str, Tensor] = {}
        for name, parameter in self._own(Parameter):
            state[prefix + name] = Tensor(parameter.data)
        for name, buffer in self._own(Buffer):
            if buffer.persistent:
                state[prefix + name] = Tensor(buffer.data)
        for name, value in vars(self).items():
            if isinstance(value, Module):
                state.update(value.state_dict(f"{prefix}{name}."))
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copies ``state_dict`` into the module's own arrays, all or nothing: a refused one changes nothing.

        Values are tensors or arrays, also those of other libraries that NumPy can read. They are cast to the
        module's dtype, but not from floats to integers.

        Args:
            strict: Whether names on one side only are refused. Shapes must fit in any case.

        Raises:
            ValueError: Names, shapes or dtypes do not fit; the message lists all that do not.
            TypeError: ``state_dict`` is no mapping, or a value no array.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: state_dict must be a mapping, got {type(state_dict).__name__}")
        own = self.state_dict()
        keys = IncompatibleKeys(
            missing_keys=[
                name for name in own if name not in state_dict and name not in self._optional_names()
            ],
            unexpected_keys=[name for name in state_dict if name not in own],
        )
        pairs = [
            (name, own[name].data, _as_array(name, state_dict[name])) for name in own if name in state_dict
        ]
        problems = []
        if strict and keys.missing_keys:
            problems.append(f"missing: {_listing(keys.missing_keys)}")
        if strict and keys.unexpected_keys:
            problems.append(f"unexpected: {_listing(keys.unexpected_keys)}")
        problems += [problem for entry in pairs for problem in _misfits(*entry)]
        if problems:
            raise ValueError(
                f"load_state_dict: names, shapes and dtypes must fit {type(self).__name__}, "
                f"got {_listing(problems, '; ')}"
            )
        for _, target, value in pairs:
            write(target, value)
        return keys

    def _optional_names(self) -> set[str]:
        return {_join(path, name) for path, module in self.named_modules() for name in module.optional_state}

    # ---- Device and dtype

    def to(self: M, *targets: Any, dtype: Any = None, device: object = None, **options: Any) -> M:
        """The module itself, with its floating parameters and buffers on another device or in another dtype.

        ``to("cuda")``, ``to("cuda", "float16")`` or ``to(tensor)``, whose device and dtype are taken.
        Parameters and buffers stay the same objects. On the CPU the dtype is float32, as its kernels want it,
        and what comes back from a GPU in 16 bits is widened. Buffers of integers, which only count, stay on
        the CPU.

        Raises:
            RuntimeError: The device cannot be used; the message gives the reason.
            NotImplementedError: Nothing computes on the device, or its kernels lack the dtype.
            MemoryError: The device has not as much; the module stays where it was.
        """
        arguments.transfer_options("to", options)
        for target in targets:
            if arguments.is_device(target):
                device = target
            elif isinstance(target, Tensor):
                dtype, device = target.dtype, target.device
            else:
                dtype = arguments.dtype_target("to", target)
        place = None if device is None else cuda.name_of(cuda.device_index("to", device))
        return self._brought("to", place, dtype)

    def _brought(self: M, op: str, place: str | None, dtype: Any) -> M:
        wanted = None if dtype is None else arguments.dtype(op, dtype, on_device=True)
        held = [
            (name in module.float32_state, value)
            for module in self.modules()
            for name, value in vars(module).items()
            if isinstance(value, (Parameter, Buffer)) and value.dtype.kind not in "biu"
        ]
        on_cpu = place == "cpu" or (place is None and not any(value.is_cuda for _, value in held))
        if wanted is not None and wanted.name not in (("float32",) if on_cpu else COMPUTED):
            raise NotImplementedError(
                f"{op}: the dtype of a module must be float32, the kernels' only one on the CPU, or on cuda "
                f"float16 or bfloat16, as in to('cuda', 'float16'), got {wanted}; "
                "convert single tensors with tensor.to(dtype)"
            )
        brought = []  # all before any is replaced: where memory ends in between, the module stays as it was
        for keeps_float32, value in held:
            used = wanted
            if (keeps_float32 and wanted is not None) or (value.is_cuda and place == "cpu"):
                used = np.dtype(np.float32)
            brought.append(Conversions.to(value, device=place, dtype=used))
        for (_, value), changed in zip(held, brought, strict=True):
            if changed is not value:
                value._replace_data(changed.data)
        return self

    def cpu(self: M) -> M:
        return self.to("cpu")

    def cuda(self: M, device: Any = None) -> M:
        """The module itself, moved to a GPU: the current one, or that of a number or name."""
        index = cuda.device_index("cuda", cuda.as_device("cuda", device))
        return self._brought("cuda", cuda.name_of(index), None)

    def float(self: M) -> M:
        return self._brought("float", None, np.float32)

    def double(self: M) -> M:
        """NotImplementedError: no kernel computes in float64."""
        return self._brought("double", None, np.float64)

    def half(self: M) -> M:
        """NotImplementedError on the CPU, whose kernels compute in float32."""
        return self._brought("half", None, np.float16)

    def bfloat16(self: M) -> M:
        """NotImplementedError on the CPU, whose kernels compute in float32."""
        return self._brought("bfloat16", None, "bfloat16")

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Sets ``requires_grad`` of every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters; with ``set_to_none=False`` they become zeros instead."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.grad.data))

    # ---- Printing

    def extra_repr(self) -> str:
        """The text between the parentheses of the repr; subclasses show their settings."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {value!r}" for name, value in vars(self).items() if isinstance(value, Module)]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n".join([extra] * bool(extra) + lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _check_name(op: str, name: str) -> None:
    if not isinstance(name, str) or not name or "." in name:
        raise ValueError(f"{op}: name must be a str without dots and not empty, got {name!r}")


def _as_array(name: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, np.generic):
        return np.asarray(value)
    return exchange.array_of("load_state_dict", name, value)


def _misfits(name: str, target: Array, value: Array) -> list[str]:
    problems = []
    if target.shape != value.shape:
        problems.append(f"{name} of shape {value.shape} for {target.shape}")
    if not np.can_cast(value.dtype, target.dtype, "same_kind"):
        problems.append(f"{name} of dtype {value.dtype} for {target.dtype}")
    if not target.flags.writeable:
        problems.append(f"{name} for a read-only array")
    return problems


def _listing(items: list[str], separator: str = ", ", limit: int = 8) -> str:
    """The first items; a checkpoint of the wrong model differs in hundreds of names."""
    more = [f"and {len(items) - limit} more"] if len(items) > limit else []
    return separator.join(items[:limit] + more)
