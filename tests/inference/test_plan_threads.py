"""Plans on some of the threads: results stay, calls run at once, and how long threads wait is measured."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import randomize

import lucid
from lucid import nn
from lucid.inference import InferencePlan, Profile, StepTime


def small_plan() -> tuple[nn.Module, InferencePlan]:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    randomize(model, np.random.default_rng(0))
    return model, lucid.compile(model, (2, 3, 6, 5))


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.standard_normal((2, 3, 6, 5), dtype=np.float32)


@pytest.mark.usefixtures("three_threads")
def test_profile_says_how_long_threads_wait(images: Any) -> None:
    _, plan = small_plan()
    profile = plan.profile(images, runs=3)
    alone = lucid.compile(plan.graph, threads_per_call=1).profile(images, runs=3)
    for entry in profile.steps:
        assert 0 <= entry.barriers <= entry.waiting <= entry.milliseconds
    assert profile.waiting == pytest.approx(sum(entry.waiting for entry in profile.steps))
    assert profile.barriers == pytest.approx(sum(entry.barriers for entry in profile.steps))
    assert (alone.waiting, alone.barriers) == (0.0, 0.0)
    assert "waiting" not in str(alone)


def test_a_printed_profile_says_how_long_threads_wait() -> None:
    _, plan = small_plan()
    first, *others = plan.steps
    times = [StepTime(first, 4.0, 1.0, 1.0, 0.5), *(StepTime(step, 1.0, 0.0) for step in others)]
    lines = str(Profile(tuple(times), 5, 100.0)).splitlines()
    assert lines[0].split()[-1] == "waiting"
    assert [line.split()[-2:] for line in lines[1:3]] == [["25.0", "%"], ["0.0", "%"]]
    total = 4.0 + len(others)
    assert lines[-1] == (
        f"threads waited for each other {100 / total:.1f} % of the time: "
        f"barriers {50 / total:.1f} %, uneven shares {50 / total:.1f} %"
    )


@pytest.mark.usefixtures("three_threads")
def test_threads_of_a_call_change_no_result(images: Any, tmp_path: Path) -> None:
    model, plan = small_plan()
    expected, path = np.asarray(plan(images)), tmp_path / "plan.lucid"
    limited = lucid.compile(model, images.shape, threads_per_call=np.int64(1))
    limited.save(path)
    for threads in (None, 1, 2, 1024):
        for made in (
            lucid.compile(model, images.shape, threads_per_call=threads),
            lucid.load_plan(path, threads_per_call=threads),
        ):
            for each in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
                assert each.threads_per_call == threads
                np.testing.assert_array_equal(each(images), expected)
    assert lucid.compile(model, images.shape, threads_per_call=1) is limited
    assert lucid.compile(model, images.shape) is plan


def test_plans_of_one_thread_run_at_once(images: Any) -> None:
    model, plan = small_plan()
    expected = np.asarray(plan(images))
    alone = lucid.compile(model, images.shape, threads_per_call=1)
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(alone, [images] * 64):
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    ("threads", "error", "message"),
    [
        (0, ValueError, "threads_per_call must be from 1 to 1024, got 0"),
        (-1, ValueError, "threads_per_call must be from 1 to 1024, got -1"),
        (1025, ValueError, "threads_per_call must be from 1 to 1024, got 1025"),
        ("1", TypeError, "threads_per_call must be an int or None, got '1'"),
        (1.5, TypeError, "threads_per_call must be an int or None, got 1.5"),
        (True, TypeError, "threads_per_call must be an int or None, got True"),
    ],
)
def test_what_is_no_number_of_threads_is_refused(
    threads: Any, error: type[Exception], message: str, images: Any, tmp_path: Path
) -> None:
    model, plan = small_plan()
    plan.save(tmp_path / "plan.lucid")
    with pytest.raises(error, match=f"^compile: {message}$"):
        lucid.compile(model, images.shape, threads_per_call=threads)
    with pytest.raises(error, match=f"^load_plan: {message}$"):
        lucid.load_plan(tmp_path / "plan.lucid", threads_per_call=threads)
