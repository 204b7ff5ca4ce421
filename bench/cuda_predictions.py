"""Tables of what the layers of a model are predicted to take, and of what their kernels do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.cuda_counts import Steps
from bench.cuda_gpus import GPUS, Counted, Gpu, cycles, predicted
from bench.cuda_layers import Layer, header, row

# What plans compute in.
DTYPES = {"fp32": "float32", "fp16": "float16"}
MOST = 2.0  # times the roofline
# Microseconds that a kernel takes even if it computes nothing, assumed: what is predicted to take less takes
# as long, and how far that is from its roofline says nothing of the kernel.
START = 1.0
ASSUMPTIONS = f"""
# What the kernels are predicted to take

The simulator writes the launches of a plan as on each GPU, and the executor of PTX runs the block in the
middle of each distinct one, to which all its blocks are taken to be alike. PTX is no machine code: moves,
conversions of addresses and loads of arguments count nothing, 64-bit integers twice, a product of wmma as the
products of 16 x 8 x 16 that it becomes. A block keeps each unit of a multiprocessor busy for so many cycles:

* issue: instructions / 4. FMA: those of float32 x 32 / lanes (128 on H100 and RTX 4090, 64 on A100).
  Integers, comparisons and conversions: 64 lanes; special functions: 16.
* tensor cores: products at the peak; on H100 at 62 % of it (assumed: the peak is that of `wgmma`, and these
  kernels use `mma.sync`; Luo et al. compare the two in arXiv:2402.13499).
* L1 and shared memory, which are one: passes over shared memory, and sectors / 4 of global memory.

A launch takes ceil(blocks / multiprocessors) times the longest of these, at the clock for which the data
sheet gives the peak of float32; or, if longer, the distinct sectors of each block at the bandwidth of L2
(assumed: 5500, 4500, 5000 GB/s; no data sheet has it). A step takes its launches, or, if longer, its traffic
with memory, each value once. Not in it: latencies (units overlap perfectly, there are always enough warps),
the start of a kernel, and what L2 keeps from step to step. So a prediction is optimistic: it says where a
kernel cannot be fast.

Products of matrices for few pixels stay above twice their roofline on the H100 in float16: mma.sync makes
62 % of the peak, and either L2 is asked for the operands of many small tiles, or large ones leave
multiprocessors without work. Clusters would share operands, with `wgmma`; nothing here could test those.

Bold, and named below a table, is what is predicted to take more than {MOST:g} times its roofline and at least
{START:g} us. A layer below that takes as long as a kernel that computes nothing (assumed: {START:g} us).
"""


@dataclass(frozen=True)
class Predictions:
    """A model in one dtype: its layers, and for each GPU the launches of a plan's steps."""

    layers: Sequence[Layer]
    steps: Mapping[str, Steps]
    format: str
    batch: int

    def launches(self, gpu: Gpu, layer: Layer) -> list[Counted]:
        """Launches of the first step that is such a layer; the plan's import comes before them all."""
        return self.steps[gpu.name][1 + list(self.layers).index(layer)]

    def predicted(self, gpu: Gpu, layer: Layer) -> tuple[float, str]:
        memory = layer.traffic_microseconds(gpu, self.format)
        return predicted(gpu, self.launches(gpu, layer), memory)

    def ratio(self, gpu: Gpu, layer: Layer) -> float:
        return self.predicted(gpu, layer)[0] / layer.microseconds(gpu, self.format)[0]

    def is_far(self, gpu: Gpu, layer: Layer) -> bool:
        """Whether a layer is too far from its roofline, and long enough to be asked to be near."""
        return self.ratio(gpu, layer) > MOST and self.predicted(gpu, layer)[0] >= START

    def lines(self) -> Iterator[str]:
        yield from self.times()
        yield ""
        for gpu in GPUS:
            yield from self.whole(gpu)
        yield ""
        yield from self.counts()

    def times(self) -> Iterator[str]:
        names = [f"{gpu.name}: roofline us, predicted, ratio, bound by" for gpu in GPUS]
        yield from header(["layer", "number", *names], 1)
        for layer in dict.fromkeys(self.layers):
            cells = []
            for gpu in GPUS:
                least, (time, unit) = layer.microseconds(gpu, self.format)[0], self.predicted(gpu, layer)
                mark = " **" if self.is_far(gpu, layer) else " "
                cells.append(f"{least:.2f} / {time:.2f} /{mark}{time / least:.2f}{mark.strip()} {unit}")
            yield row([f"{layer.kernel}: {layer.title}", str(self.layers.count(layer)), *cells])

    def whole(self, gpu: Gpu) -> Iterator[str]:
        """Whole inference, and the layers that are too far from their roofline."""
        least = sum(layer.microseconds(gpu, self.format)[0] for layer in self.layers)
        time = sum(self.predicted(gpu, layer)[0] for layer in self.layers)
        launches = sum(len(step) for step in self.steps[gpu.name])
        yield (
            f"* {gpu.name}: roofline {1e-3 * least:.2f} ms, predicted {1e-3 * time:.2f} ms "
            f"({time / least:.2f} times), {1e6 * self.batch / time:.0f} images a second; {launches} launches."
        )
        above = [x for x in dict.fromkeys(self.layers) if self.is_far(gpu, x)]
        above.sort(key=lambda x: -self.ratio(gpu, x))
        named = "; ".join(
            f"{x.kernel} {x.title} ({self.ratio(gpu, x):.2f}, {self.predicted(gpu, x)[1]})" for x in above
        )
        yield f"  Above {MOST:g} times its roofline, and {START:g} us: {named or 'none'}."

    def counts(self) -> Iterator[str]:
        """A table of what a block does, as launched on the first GPU."""
        gpu = GPUS[0]
        yield f"Counts of a block, launched as on {gpu.name}:\n"
        yield from header(
            [
                "layer",
                "kernel",
                "blocks x threads",
                "warp instructions",
                "FMA or tensor %",
                "L1 sectors",
                "of the least",
                "distinct",
                "shared passes",
                "of the least",
                "cycles: " + ", ".join(cycles(gpu, self.steps[gpu.name][0][0].work)),
            ],
            2,
        )
        for layer in dict.fromkeys(self.layers):
            for launch in self.launches(gpu, layer):
                yield row([f"{layer.kernel}: {layer.title}", *counts_of(gpu, launch)])


def counts_of(gpu: Gpu, launch: Counted) -> list[str]:
    work = launch.work
    return [
        f"`{launch.kernel}`",
        f"{launch.blocks} x {launch.threads}",
        f"{work.issued:.0f}",
        f"{100 * work.multiplying / work.issued:.0f}",
        f"{work.sectors:.0f}",
        f"{work.sectors / max(work.least_sectors, 1):.2f}",
        f"{work.distinct:.0f}",
        f"{work.passes:.0f}",
        f"{work.passes / max(work.least_passes, 1):.2f}",
        ", ".join(f"{count:.0f}" for count in cycles(gpu, work).values()),
    ]
