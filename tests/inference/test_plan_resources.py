"""The share of a machine that a plan takes: memory, threads, and time after Ctrl-C."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lucid
from lucid.inference import InferencePlan

NETWORKS = {"resnext50_32x4d": 224, "resnest50d": 224, "resnest14d": 97}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def plan(request: pytest.FixtureRequest) -> InferencePlan:
    size = NETWORKS[request.param]
    return lucid.compile(lucid.models.create_model(request.param).eval(), (1, 3, size, size))


def test_memory_is_bounded_by_weights_and_two_activations(plan: InferencePlan) -> None:
    allowed_weights, largest_pair = 0.0, 0
    for node, step in zip(plan.graph.nodes, plan.steps, strict=True):
        weights = sum(array.nbytes for array in node.weights.values())
        allowed_weights += (3.0 if step.algorithm.startswith("winograd") else 1.3) * weights
        elements = sum(math.prod(plan.graph.shapes[name]) for name in (*node.inputs, node.output))
        largest_pair = max(largest_pair, 4 * elements)
    memory = plan.memory()
    assert memory["weights"] <= allowed_weights
    assert memory["arena"] <= 2.5 * largest_pair


# At least this part of the threads' time is spent multiplying, were all equally fast and nothing else to do.
# A 7x7 image has few rows, and a 14x14 layer 8 to 32 panels of outputs.
@pytest.mark.parametrize(("threads", "efficiency"), [(2, 0.98), (4, 0.95), (8, 0.93), (16, 0.85), (64, 0.6)])
def test_threads_share_the_multiplications(plan: InferencePlan, threads: int, efficiency: float) -> None:
    shares = plan._plan.largest_shares(threads)
    work = [step.macs for step in plan.steps]
    assert all(share >= 1 / threads for share, macs in zip(shares, work, strict=True) if macs)
    busiest = sum(share * macs for share, macs in zip(shares, work, strict=True))
    assert sum(work) / (threads * busiest) >= efficiency


def test_one_thread_does_everything(plan: InferencePlan) -> None:
    shares = plan._plan.largest_shares(1)
    assert {share for share, step in zip(shares, plan.steps, strict=True) if step.macs} == {1.0}
    assert {share for share, step in zip(shares, plan.steps, strict=True) if not step.macs} <= {0.0}


# A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
INTERRUPTED = """
import signal, numpy, lucid
signal.signal(signal.SIGINT, signal.default_int_handler)
plan = lucid.compile(lucid.models.create_model("resnest14d").eval(), (1, 3, 97, 97))
x = numpy.zeros(plan.input_shapes[0], numpy.float32)
runs = 0
try:
    print("ready", flush=True)
    while True:
        plan(x)
        runs += 1
except KeyboardInterrupt:
    print("interrupted", flush=True)
plan(x)
print("runs again", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_ends_a_loop_of_inferences(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=120)
    assert (child.returncode, output) == (0, "interrupted\nruns again\n"), errors
