"""A process with two OpenMP runtimes: results are right, nothing waits for ever, thread counts stay apart.

Whoever is imported first brings the libgomp that the other then shares, since both ask for it by one name.
In a wheel the name is another, and the process has two: here that of lucid is renamed, and scikit-learn's
wheel renames its own.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import c_abi
import pytest

from lucid import _core

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="libraries and /proc are those of Linux"),
    pytest.mark.skipif(_core.build_info()["openmp"] == "not used", reason="this build makes its own threads"),
]

# Both libraries in turn, then at the same time; integers, of which both give the same sums.
PROGRAM = """
import json, sys, threading
import numpy as np
for name in sys.argv[1:]:
    __import__(name)
import lucid
from lucid import nn

torch = sys.modules.get("torch")
counts = {"lucid": lucid.get_num_threads(), "torch": torch and torch.get_num_threads()}
rng = np.random.default_rng(0)
x, w = rng.integers(-4, 4, (2, 32, 28, 28)).astype("f"), rng.integers(-4, 4, (32, 32, 3, 3)).astype("f")

layer = nn.Conv2d(32, 32, 3, padding=1, bias=False)
layer.load_state_dict({"weight": w})
plan = lucid.compile(layer.eval(), x.shape, winograd=False)
lucid.set_num_threads(1)
want = plan(x)

def ours(rounds):
    return all((plan(x) == want).all() for _ in range(rounds))

def theirs(rounds):
    if torch is None:
        return True
    images, weight = torch.from_numpy(x), torch.from_numpy(w)
    convolve = torch.nn.functional.conv2d
    return all((convolve(images, weight, padding=1).numpy() == want).all() for _ in range(rounds))

right, apart = [], []
for threads in (2, 3):
    if torch is not None:
        torch.set_num_threads(threads)
        apart.append(lucid.get_num_threads() == threads - 1)
    lucid.set_num_threads(threads)
    if torch is not None:
        apart.append(torch.get_num_threads() == threads)
    right += [function(1) for _ in range(10) for function in (ours, theirs)]
    callers = [threading.Thread(target=lambda f=f: right.append(f(10))) for f in (ours, theirs, ours, theirs)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
with open("/proc/self/maps") as maps:
    runtimes = {line.split()[-1] for line in maps if "libgom" in line}
print(json.dumps({"right": right, "apart": apart, "counts": counts, "runtimes": sorted(runtimes)}))
"""


# How many threads there are when PyTorch has computed with four, then when a plan has.
RESTING = """
import json, os, sys
import numpy as np
for name in sys.argv[1:]:
    __import__(name)
import lucid
from lucid import nn

torch = sys.modules["torch"]
x = np.ones((1, 64, 56, 56), np.float32)
plan = lucid.compile(nn.Sequential(*[nn.Conv2d(64, 64, 3, padding=1) for _ in range(20)]).eval(), x.shape)
lucid.set_num_threads(2)
want = plan(x)
torch.set_num_threads(4)
counts = []
for _ in range(5):
    sums = torch.nn.functional.conv2d(torch.ones(8, 32, 28, 28), torch.ones(32, 32, 3, 3))
    there = len(os.listdir("/proc/self/task"))
    right = bool((sums == 288).all() and (plan(x) == want).all())
    counts.append((right, there - len(os.listdir("/proc/self/task"))))
print(json.dumps({"counts": counts}))
"""


def run(*first: str, program: str = PROGRAM, **variables: str) -> dict[str, Any]:
    """The report of a program, which imports ``first`` in this order."""
    for name in set(first) - {"lucid"}:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *first],
        env=environment | variables,
        cwd=c_abi.PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a copy of the library that has a libgomp of its own; the loader must look there first."""
    ldd = shutil.which("ldd")
    found = "" if ldd is None else subprocess.run([ldd, c_abi.LIBRARY], capture_output=True, text=True).stdout
    runtimes = [line.split()[2] for line in found.splitlines() if "libgomp.so.1 =>" in line]
    if not runtimes:
        pytest.skip("the library has another OpenMP runtime than libgomp")
    folder = tmp_path_factory.mktemp("renamed")
    for source, name in ((c_abi.LIBRARY, c_abi.LIBRARY.name), (Path(runtimes[0]), "libgomp-a.so")):
        (folder / name).write_bytes(source.read_bytes().replace(b"libgomp.so.1", b"libgomp-a.so"))
    return str(folder)


@functools.cache
def threads_alone(name: str) -> int:
    """The number of threads that a library wants where the other is not."""
    count: int = run(name)["counts"][name]
    return count


FREE: dict[str, str] = {}
BOUND = {"OMP_PROC_BIND": "true"}


@pytest.mark.parametrize(
    ("order", "binding"),
    [(("torch", "lucid"), FREE), (("lucid", "torch"), FREE), (("lucid", "torch"), BOUND)],
    ids=["torch first", "lucid first", "bound"],
)
def test_a_runtime_that_both_share(order: tuple[str, ...], binding: dict[str, str]) -> None:
    report = run(*order, **binding)
    assert len(report["runtimes"]) == 1
    assert all(report["right"] + report["apart"])
    assert report["counts"] == {name: threads_alone(name) for name in order}


@pytest.mark.parametrize("order", [("torch", "lucid"), ("lucid", "torch")], ids="-".join)
@pytest.mark.parametrize("binding", [FREE, BOUND], ids=["free", "bound"])
def test_a_runtime_for_each(order: tuple[str, ...], binding: dict[str, str], renamed: str) -> None:
    report = run(*order, LD_LIBRARY_PATH=renamed, **binding)
    assert len(report["runtimes"]) == 2
    assert all(report["right"] + report["apart"])
    assert report["counts"]["lucid"] == threads_alone("lucid")
    if (
        not binding
    ):  # a libgomp that comes second counts the processors of the thread that the first has bound
        assert report["counts"]["torch"] == threads_alone("torch")


@pytest.mark.parametrize("order", [("sklearn", "torch"), ("lucid", "sklearn", "torch")], ids="-".join)
def test_a_third_library_with_a_runtime_of_its_own(order: tuple[str, ...]) -> None:
    report = run(*order)
    assert all(report["right"] + report["apart"])
    assert report["counts"]["lucid"] == threads_alone("lucid")


@pytest.mark.parametrize("order", [("torch", "lucid"), ("lucid", "torch")], ids="-".join)
def test_threads_that_wait_for_the_next_region_end_where_a_plan_begins(order: tuple[str, ...]) -> None:
    """They would wait awake, on the processors of the plan's."""
    assert run(*order, program=RESTING)["counts"] == [[True, 3]] * 5
