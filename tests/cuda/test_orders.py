"""Whole networks give the same bits whatever order the threads run in, and whenever they run again.

The simulation runs the threads of a block, and the blocks, forwards, backwards or shuffled, as it is told.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins import in_simulator

pytestmark = pytest.mark.cuda

# Prints a line for each result: whose it is, and its checksum.
PROGRAM = """
import hashlib
from small_networks import randomize, small_models

def show(name, *arrays):
    print(name, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())

models = small_models()
for name in ("resnext", "resnest_cardinality"):
    for dtype in ("float32", "float16", "bfloat16"):
        rng = np.random.default_rng(0)
        model, shape = models[name]
        randomize(model, rng)
        x = rng.standard_normal(shape, dtype=np.float32)
        plan = lucid.compile(model, shape, dtype, device="cuda")
        runs = [plan(x) for _ in range(3)]  # launched, captured, replayed
        assert all(np.array_equal(run, runs[0]) for run in runs)
        show(f"{name} {dtype} plan", runs[0])
        model.to("cuda", dtype)
        given = lucid.from_numpy(x).to("cuda", dtype)
        runs = [model(given).to("cpu", "float32").numpy() for _ in range(2)]
        assert np.array_equal(runs[0], runs[1])
        show(f"{name} {dtype} eager", runs[0])
        model.train()  # with the statistics of the batch, which the norms follow
        results = [model(given), *(value for key, value in model.named_buffers() if "running" in key)]
        show(f"{name} {dtype} train", *(result.to("cpu", "float32").numpy() for result in results))
        model.eval().to("cpu", "float32")
"""


def test_the_order_of_threads_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes")
    forwards, *others = (in_simulator(PROGRAM, tmp_path, LUCID_SIM_SEED=seed) for seed in ("0", "1", "12345"))
    assert len(forwards) == 2 * 3 * 3
    assert len(set(forwards)) == len(forwards)
    for other in others:
        assert other == forwards
