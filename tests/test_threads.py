"""Threads: how many, where, and what must not stop them: bindings, limits, forks, other runtimes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import c_abi
import pytest

from lucid import _core

# A network of small layers, its results, and what a test wants to know of the threads.
PRELUDE = """
import json, os, resource, sys, threading, time
import numpy as np
import lucid
from lucid import _core
from lucid.models import create_model

OWN_TASKS = set(os.listdir("/proc/self/task"))  # before the first worker

model = create_model("resnext_digits", weights="pretrained").eval()
x = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
plan = lucid.compile(model, x.shape)

def results():
    return model(x).numpy().tobytes() + np.asarray(plan(x)).tobytes()

def workers():
    return sorted(set(os.listdir("/proc/self/task")) - OWN_TASKS)

def report(**facts):
    print(json.dumps({"threads": lucid.get_num_threads(), **facts}))
"""
CPUS = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="masks, limits and /proc are those of Linux")
needs_two = pytest.mark.skipif(CPUS < 2, reason="needs two processors")


def run(code: str, **variables: str) -> dict[str, Any]:
    """The last report of a program, which must end well."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        env={**environment, **variables},
        cwd=c_abi.PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


# ---- how many ------------------------------------------------------------------------------------

WANT = "lucid.set_num_threads(1); want = results(); "


@needs_two
@pytest.mark.parametrize(
    "variables",
    [
        {"OMP_PROC_BIND": "true"},
        {"OMP_PROC_BIND": "close"},
        {"OMP_PROC_BIND": "spread", "OMP_PLACES": "threads"},
        {"OMP_PLACES": "cores"},
        {"OMP_PLACES": f"{{0}}:{CPUS}"},
        {"GOMP_CPU_AFFINITY": f"0-{CPUS - 1}"},
        {"GOMP_CPU_AFFINITY": " ".join(map(str, range(CPUS)))},
        {"KMP_AFFINITY": "compact"},
    ],
    ids=str,
)
def test_a_binding_by_openmp_takes_no_threads_away(variables: dict[str, str]) -> None:
    facts = run(
        "n = lucid.get_num_threads(); results(); report(workers=len(workers()), first=n)", **variables
    )
    assert facts == {"threads": CPUS, "first": CPUS, "workers": CPUS - 1}


@needs_two
def test_workers_are_not_bound_to_the_place_of_the_caller() -> None:
    code = """
results(); results()
masks = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
report(masks=sorted(len(mask) for mask in masks), all=sorted(set().union(*masks)))
"""
    assert len(run(code, OMP_PROC_BIND="true")["all"]) == CPUS


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,2"}, 1),
        ({"OMP_NUM_THREADS": "nonsense"}, CPUS),
        ({"OMP_DYNAMIC": "true"}, CPUS),
    ],
    ids=str,
)
def test_openmp_variables_limit_the_default(variables: dict[str, str], threads: int) -> None:
    assert run("results(); report()", **variables)["threads"] == threads


@pytest.mark.parametrize(("limit", "threads"), [("1", 1), ("2", 2)])
def test_openmp_limit_holds_for_a_chosen_number(limit: str, threads: int) -> None:
    if "not used" in _core.build_info()["openmp"]:
        pytest.skip("a build without OpenMP")
    code = WANT + "lucid.set_num_threads(3); report(same=results() == want, workers=len(workers()))"
    facts = run(code, OMP_THREAD_LIMIT=limit)
    assert facts == {"threads": threads, "same": True, "workers": threads - 1}


@needs_two
def test_a_mask_counts_when_it_is_set() -> None:
    """`taskset -p` on a running program: two threads on one processor take turns to wait."""
    code = """
cpus = os.sched_getaffinity(0)
counts = [lucid.get_num_threads()]
os.sched_setaffinity(0, {min(cpus)})
counts.append(lucid.get_num_threads())
before = workers(); results(); new = len(workers()) - len(before)
os.sched_setaffinity(0, cpus)
counts.append(lucid.get_num_threads())
report(counts=counts, new=new)
"""
    assert run(code) == {"threads": CPUS, "counts": [CPUS, 1, CPUS], "new": 0}


@needs_two
def test_workers_follow_the_mask_of_their_caller() -> None:
    code = """
results(); cpus = os.sched_getaffinity(0); first = set(sorted(cpus)[:2])
lucid.set_num_threads(4); results()
os.sched_setaffinity(0, first)
time.sleep(0.01)
for _ in range(3): results()
report(inside=all(os.sched_getaffinity(int(task)) <= first for task in workers()), workers=len(workers()))
"""
    facts = run(code)
    assert facts["inside"]
    assert facts["workers"] >= 2


def test_a_chosen_number_is_obeyed_on_one_processor() -> None:
    code = WANT + "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); lucid.set_num_threads(3)\n"
    assert run(code + "report(same=results() == want)") == {"threads": 3, "same": True}


# ---- limits of the system ------------------------------------------------------------------------

LIMIT = """
resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))
if os.getuid() == 0:
    os.setgid(23456); os.setuid(23456)
"""


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_fewer_threads_where_the_system_gives_no_more(limit: int) -> None:
    if os.getuid() != 0:
        pytest.skip("needs a user without other processes")
    code = WANT + f"lucid.set_num_threads(8)\n{LIMIT.format(limit=limit)}"
    code += "before = len(workers()); same = results() == want and results() == want\n"
    code += "report(same=same, before=before, workers=len(workers()))"
    facts = run(code)
    assert facts["same"]
    assert facts["workers"] < 7
    assert facts["workers"] <= max(limit, facts["before"])
    assert facts["threads"] == 1 + facts["workers"]


# ---- processes and other threads -----------------------------------------------------------------


def test_a_forked_child_starts_threads_of_its_own() -> None:
    code = (
        WANT
        + """
lucid.set_num_threads(3)
same = results() == want
child = os.fork()
if child == 0:
    OWN_TASKS = set(os.listdir("/proc/self/task"))
    good = results() == want and len(workers()) == 2
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if results() == want else 1)
    os._exit(0 if good and os.waitpid(grandchild, 0)[1] == 0 else 1)
report(same=same and results() == want, child=os.waitpid(child, 0)[1])
"""
    )
    assert run(code) == {"threads": 3, "same": True, "child": 0}


def test_a_fork_while_another_thread_computes() -> None:
    code = (
        WANT
        + """
lucid.set_num_threads(2)
stop = threading.Event()
def work():
    while not stop.is_set(): results()
thread = threading.Thread(target=work); thread.start()
codes = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if np.asarray(plan(x)).tobytes() == want[-len(np.asarray(plan(x)).tobytes()):] else 1)
    codes.append(os.waitpid(child, 0)[1])
stop.set(); thread.join()
report(codes=codes)
"""
    )
    assert run(code)["codes"] == [0] * 5


def test_callers_share_the_workers() -> None:
    """A pool for each calling thread would be 12 threads here."""
    code = (
        WANT
        + """
lucid.set_num_threads(3)
results()
before, wrong = workers(), []
def work():
    for _ in range(20):
        if results() != want: wrong.append(1)
        lucid.set_num_threads(2); lucid.set_num_threads(3)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
during = len(workers())
for thread in threads: thread.join()
for _ in range(200):  # the system needs a moment to end them
    if workers() == before: break
    time.sleep(0.01)
report(wrong=len(wrong), more=during - len(before) - 4, after=workers() == before)
"""
    )
    assert run(code) == {"threads": 3, "wrong": 0, "more": 0, "after": True}


def test_a_call_of_one_thread_takes_no_worker() -> None:
    """None is started for it, and those that others have started stay asleep."""
    code = """
from concurrent.futures import ThreadPoolExecutor
lucid.set_num_threads(1)  # while weights are packed
alone, pair = (lucid.compile(model, x.shape, threads_per_call=n) for n in (1, 2))
want, wrong, started = alone(x).tobytes(), [], [workers()]
lucid.set_num_threads(len(workers()) + 3)
def work_at_once():
    with ThreadPoolExecutor(3) as pool:
        wrong.extend(y for y in pool.map(lambda _: alone(x).tobytes(), range(60)) if y != want)
def switches():
    lines = [line for task in all_workers for line in open(f"/proc/self/task/{task}/status")]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
work_at_once()
time.sleep(0.05)
started.append(workers())
if pair(x).tobytes() != want: wrong.append(1)
if plan(x).tobytes() != want: wrong.append(1)
all_workers = workers()
time.sleep(0.1)  # they fall asleep
before = switches()
work_at_once()
first, later = started
woken, more = switches() - before, [len(each) - len(first) for each in (later, all_workers)]
report(wrong=len(wrong), more=more, woken=woken)
"""
    facts = run(code)
    assert facts == {"threads": facts["threads"], "wrong": 0, "more": [0, 2], "woken": 0}


@pytest.mark.parametrize("way", ["sys.exit(0)", "os._exit(0)", "raise SystemExit"])
def test_a_program_ends_while_a_thread_computes(way: str) -> None:
    code = f"""
report()
def work():
    while True: plan(x)
lucid.set_num_threads(2)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
sys.stdout.flush()
{way}
"""
    assert run(code)["threads"] == CPUS


def test_signals_go_to_the_threads_of_the_program() -> None:
    code = (
        WANT
        + """
import signal
lucid.set_num_threads(3)
results()
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(threading.current_thread() is threading.main_thread()))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
same = all(results() == want for _ in range(20))
signal.setitimer(signal.ITIMER_REAL, 0)
def blocks(task):
    line = next(line for line in open(f"/proc/self/task/{task}/status") if line.startswith("SigBlk"))
    blocked = int(line.split()[1], 16)
    return bool(blocked >> signal.SIGINT - 1 & 1) and not blocked >> signal.SIGSEGV - 1 & 1
blocked = [blocks(task) for task in workers()]
report(same=same, seen=len(seen) > 0 and all(seen), workers=blocked)
"""
    )
    assert run(code) == {"threads": 3, "same": True, "seen": True, "workers": [True, True]}


def test_workers_sleep_when_nothing_is_to_do() -> None:
    """Awake, they would take processors from the program, and power."""
    code = """
lucid.set_num_threads(2)
results(); time.sleep(0.05)
before = time.process_time()
time.sleep(0.3)
report(used=time.process_time() - before)
"""
    assert run(code)["used"] < 0.15


@needs_two
def test_a_long_plan_waits_for_a_late_worker() -> None:
    """A team stays as it began: a worker that a busy machine lets come 1 ms late must still have its half."""
    facts = run("""
import subprocess
from lucid import nn
convolution = lucid.compile(nn.Conv2d(256, 256, 3, padding=1).eval(), (8, 256, 56, 56))
images = np.zeros((8, 256, 56, 56), np.float32)
lucid.set_num_threads(2)
convolution(images)
(worker,) = workers()
def seconds():
    return int(open(f"/proc/self/task/{worker}/schedstat").read().split()[0]) / 1e9
endless = [sys.executable, "-c", "import time\\nwhile time.process_time() < 20: pass"]
busy = [subprocess.Popen(endless) for _ in os.sched_getaffinity(0)]
shares = []
for _ in range(16):
    time.sleep(0.05)  # the worker falls asleep
    all_before, worker_before = time.process_time(), seconds()
    convolution(images)
    shares.append((seconds() - worker_before) / (time.process_time() - all_before))
for process in busy:
    process.kill()
report(shares=shares)
""")
    assert sorted(facts["shares"])[8] > 0.25, facts["shares"]


def test_a_second_interpreter_gets_an_import_error() -> None:
    """pybind11 deadlocks there."""
    if sys.version_info >= (3, 13):
        create = "import _interpreters as interpreters"
    else:
        create = "import _xxsubinterpreters as interpreters"
    inside = f"""
import sys
sys.path[:0] = {[str(c_abi.PACKAGE.parent)]!r}
try:
    import lucid
except ImportError as error:
    print(error)
"""
    program = f"{create}\ninterpreters.run_string(interpreters.create(), {inside!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "interpreter" in done.stdout


# ---- float mode ----------------------------------------------------------------------------------


def test_all_threads_compute_in_the_float_mode_of_the_caller() -> None:
    """Where one flushes denormals and another does not, a result depends on who computed it."""
    torch = pytest.importorskip("torch", reason="needs a way to set the mode")
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    code = """
import torch
lucid.set_num_threads(2)
tiny = np.full((1, 64, 64, 64), 1e-39, np.float32)
before = _core.add(tiny, tiny)
torch.set_flush_denormal(True)
flushed = [int(np.count_nonzero(_core.add(tiny, tiny).view(np.int32))) for _ in range(5)]
torch.set_flush_denormal(False)
kept = [int(np.count_nonzero(_core.add(tiny, tiny).view(np.int32))) for _ in range(5)]
report(flushed=flushed, kept=kept, size=tiny.size)
"""
    facts = run(code)
    assert facts["flushed"] == [0] * 5
    assert facts["kept"] == [facts["size"]] * 5
