"""The communicator of the workers of a training by Ray Train: an actor adds what they send to it.

Ray has collective operations of its own, which are PyTorch's and need it. Here each worker sends its values
to one actor, as to a parameter server: "Scaling Distributed Machine Learning with the Parameter Server" (Li
et al., 2014). Sums are added in the order of ranks, so that their bits depend on nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

from numpy.typing import NDArray

from lucid.communicator import Request

__all__ = ["RayCommunicator"]


class _Meeting:
    """The actor: values of all workers under a name, and what becomes of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: dict[str, dict[int, Any]] = {}
        self._results: dict[str, asyncio.Future[Any]] = {}

    async def meet(self, name: str, rank: int, value: Any, is_sum: bool) -> Any:
        """The result, when all workers have come; in a list it is a reference, which they read in place."""
        import ray

        values = self._values.setdefault(name, {})
        result = self._results.setdefault(name, asyncio.get_running_loop().create_future())
        values[rank] = value
        if len(values) == self.size:
            ordered = [values[rank] for rank in range(self.size)]
            del self._values[name], self._results[name]
            result.set_result([ray.put(_total(ordered) if is_sum else ordered)])
        return await result


def _total(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total


class _Sum:
    def __init__(self, array: NDArray[Any], reference: Any) -> None:
        self._array, self._reference = array, reference

    def test(self) -> None:
        """Nothing: other processes do the work."""

    def wait(self) -> None:
        import ray

        self._array[...] = ray.get(ray.get(self._reference)[0])


class RayCommunicator:
    """All workers of a training by Ray Train; to be made in each of them."""

    def __init__(self) -> None:
        import ray
        import ray.train
        from ray.train.collective import broadcast_from_rank_zero

        context = ray.train.get_context()
        self.rank, self.size = int(context.get_world_rank()), int(context.get_world_size())
        actor = None
        if self.rank == 0:  # whose end is that of the actor as well
            actor = ray.remote(_Meeting).options(num_cpus=0).remote(self.size)
        self._actor: Any = broadcast_from_rank_zero(actor)
        self._count = {"now": 0, "started": 0}

    def _meet(self, kind: str, value: Any, is_sum: bool) -> Any:
        """Calls of one kind are in the same order in every worker."""
        self._count[kind] += 1
        return self._actor.meet.remote(f"{kind} {self._count[kind]}", self.rank, value, is_sum)

    def all_reduce(self, array: NDArray[Any]) -> None:
        _Sum(array, self._meet("now", array, True)).wait()

    def start_all_reduce(self, array: NDArray[Any]) -> Request:
        return _Sum(array, self._meet("started", array, True))

    def all_gather(self, value: Any) -> list[Any]:
        import ray

        found: list[Any] = ray.get(ray.get(self._meet("now", value, False))[0])
        return found

    def broadcast(self, value: Any) -> Any:
        return self.all_gather(value if self.rank == 0 else None)[0]
