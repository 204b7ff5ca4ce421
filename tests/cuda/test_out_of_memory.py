"""A device without memory left: MemoryError names the bytes, nothing is kept, and what fits goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plugins import in_simulator

pytestmark = pytest.mark.cuda

MEGA = 2**20
MEMORY = 16 * MEGA + 65536
SMALL = {"LUCID_SIM_MEMORY": str(MEMORY)}

BEGIN = """
def refused(call):
    before = cuda.memory_allocated()
    try:
        call()
    except MemoryError as error:
        print(error)
    else:
        raise AssertionError("there was memory")
    assert cuda.memory_allocated() == before, (cuda.memory_allocated(), before)
"""


def bytes_of(line: str) -> int:
    found = re.fullmatch(rf"\w+: no memory for (\d+) bytes on cuda:0: \d+ of {MEMORY} are free", line)
    assert found is not None, line
    return int(found[1])


def test_of_tensors_and_operators(tmp_path: Path) -> None:
    lines = in_simulator(
        f"""{BEGIN}
refused(lambda: lucid.zeros(20 * 2**18, device="cuda"))
x = lucid.zeros(1, 64, 256, 160, device="cuda")  # 10 MiB
refused(lambda: x + 1.0)
refused(lambda: nn.functional.softmax(x[:, :, :, 1:], 1))
assert (x[:, :1] + 1.0).tolist()[0][0][0][:2] == [1.0, 1.0]
""",
        tmp_path,
        **SMALL,
    )
    assert [bytes_of(line) >= 9 * MEGA for line in lines] == [True] * 3


def test_of_a_module_which_stays_where_it_was(tmp_path: Path) -> None:
    lines = in_simulator(
        f"""{BEGIN}
model = nn.Sequential(nn.Linear(1024, 1024), nn.Linear(1024, 1024), nn.Linear(1024, 2560)).eval()
refused(lambda: model.to("cuda"))
assert {{str(value.device) for value in model.parameters()}} == {{"cpu"}}
assert model(lucid.ones(1, 1024)).shape == (1, 2560)
assert model[0].to("cuda")(lucid.ones(1, 1024, device="cuda")).shape == (1, 1024)
""",
        tmp_path,
        **SMALL,
    )
    assert [bytes_of(line) for line in lines] == [10 * MEGA]


def test_of_a_plan(tmp_path: Path) -> None:
    """When it is made, when it runs, and when it becomes a graph, which it does once there is memory."""
    lines = in_simulator(
        f"""{BEGIN}
wide = nn.Linear(1024, 5 * 1024).eval()
refused(lambda: lucid.compile(wide, (1, 1024), device="cuda"))
model = nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(1)).eval()
plan = lucid.compile(model, (1, 64, 64, 128), device="cuda")
x = lucid.ones(1, 64, 64, 128, device="cuda")  # 2 MiB; the arena has 4
assert plan(x).shape == (1, 64, 32, 64)
for run in range(2):
    held = lucid.zeros(10 * 2**18, device="cuda")
    refused(lambda: plan(x))
    del held
    assert plan(x).tolist()[0][0][0][:2] == [1.0, 1.0]
""",
        tmp_path,
        **SMALL,
    )
    made, *runs = map(bytes_of, lines)
    assert made >= 20 * MEGA
    assert runs == [4 * MEGA, MEGA // 2]  # the arena, which the graph holds in the end; the result
