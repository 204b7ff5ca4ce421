"""Sums of gradients over processes, begun while ``backward`` computes the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise

import numpy as np

from lucid.communicator import Communicator, Request
from lucid.tensor import Tensor

__all__ = ["GradientBuckets"]

_FLOAT32 = np.dtype(np.float32)


class GradientBuckets:
    """Makes the gradient of each parameter its sum over all processes.

    Parameters go into buckets from the last to the first, as ``backward`` reaches them, and a bucket is sent
    when all its gradients are complete: some messages of a few MB, behind which the rest of ``backward``
    computes. "PyTorch Distributed: Experiences on Accelerating Data Parallel Training" (Li et al., 2020),
    https://arxiv.org/abs/2006.15704, section 3.2. Buckets are sent in the same order by every process.

    Args:
        parameters: Those of the model, in the same order in every process. The ones that require a gradient
            now are summed.
        communicator: That of the processes.
        bucket_bytes: The size from which a bucket takes no more parameters.

    Raises:
        NotImplementedError: A parameter is not float32 on the CPU.
    """

    def __init__(
        self, parameters: Iterable[Tensor], communicator: Communicator, bucket_bytes: int = 4 << 20
    ) -> None:
        self.communicator = communicator
        self._buckets: list[_Bucket] = []
        self._reducing, self._started = False, 0
        if communicator.size == 1:
            return
        wanted = [each for each in parameters if each.requires_grad]
        for parameter in wanted:
            if parameter.is_cuda or parameter.dtype != _FLOAT32:
                raise NotImplementedError(
                    "GradientBuckets: parameters must be float32 on the CPU, "
                    f"got {parameter.dtype} on {parameter.device}"
                )
        waiting: list[Tensor] = []
        for place, parameter in enumerate(reversed(wanted), 1):
            waiting.append(parameter)
            if place == len(wanted) or sum(4 * each.numel() for each in waiting) >= bucket_bytes:
                self._add(_Bucket(waiting))
                waiting = []

    def _add(self, bucket: _Bucket) -> None:
        def note(parameter: Tensor) -> None:
            if self._reducing:
                bucket.put(parameter)
                self._start_complete()

        self._buckets.append(bucket)
        for parameter in bucket.parameters:
            parameter.register_post_accumulate_grad_hook(note)

    @contextmanager
    def reducing(self) -> Iterator[None]:
        """Sums the gradients that the call of ``backward`` within it completes; at its end ``grad`` are sums.

        Gradients that earlier calls have left in ``grad`` are part of them, as of batches that are
        accumulated. A parameter without a gradient in any process keeps none.
        """
        for bucket in self._buckets:
            bucket.clear()
        self._reducing, self._started = True, 0
        try:
            yield
        finally:
            self._reducing = False
        for bucket in self._buckets[self._started :]:
            bucket.start(self.communicator)
        for bucket in self._buckets:
            bucket.finish()

    def _start_complete(self) -> None:
        """Starts what is complete, in order, and lets what was started make progress.

        Few implementations of MPI have a thread of their own for that.
        """
        for bucket in self._buckets[: self._started]:
            bucket.progress()
        for bucket in self._buckets[self._started :]:
            if bucket.missing:
                return
            bucket.start(self.communicator)
            self._started += 1


class _Bucket:
    """Gradients one behind the other, and for each whether there is one."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        ends = [0, *accumulate(each.numel() for each in parameters)]
        self._places = [slice(*pair) for pair in pairwise(ends)]
        self._data = np.empty(ends[-1] + len(parameters), _FLOAT32)
        self._numbers = {id(each): number for number, each in enumerate(parameters)}
        self._request: Request | None = None
        self.missing: set[int] = set()
        self.clear()

    def clear(self) -> None:
        self.missing, self._request = set(range(len(self.parameters))), None

    def put(self, parameter: Tensor) -> None:
        """Takes the gradient of a parameter over, which is complete."""
        number = self._numbers[id(parameter)]
        if number not in self.missing:
            raise ValueError("GradientBuckets: backward must be called once within reducing(), got two calls")
        self.missing.remove(number)
        self._data[number - len(self.parameters)] = parameter.grad is not None
        self._data[self._places[number]] = 0 if parameter.grad is None else parameter.grad.data.ravel()

    def start(self, communicator: Communicator) -> None:
        for number in sorted(self.missing):  # this backward had nothing for them
            self.put(self.parameters[number])
        self._request = communicator.start_all_reduce(self._data)

    def progress(self) -> None:
        if self._request is not None:
            self._request.test()

    def finish(self) -> None:
        assert self._request is not None
        self._request.wait()
        self._request = None
        present = self._data[-len(self.parameters) :]
        for parameter, place, count in zip(self.parameters, self._places, present, strict=True):
            parameter.grad = Tensor(self._data[place].reshape(parameter.shape).copy()) if count else None
