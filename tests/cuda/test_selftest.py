"""python -m lucid.cuda.selftest: what it finds, what it prints, and how it ends."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucid
from lucid import _core, nn
from lucid.benchmark.cases import Case
from lucid.cuda.selftest import __main__ as command
from lucid.cuda.selftest import networks, operators, outcome, timing
from lucid.inference import optimize, trace

pytestmark = pytest.mark.cuda


def test_a_sound_device_passes(device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "selftest.json"
    assert command.main(["--no-timing", "--json", str(path)]) == 0
    facts, text = json.loads(path.read_text()), capsys.readouterr().out
    assert facts["available"]
    assert facts["device"] == device
    assert {check["status"] for check in facts["checks"]} <= {"passed", "skipped"}
    assert {check["dtype"] for check in facts["checks"]} == {"float32", "float16", "bfloat16"}
    assert f"{len(facts['checks'])} checks, 0 failed" in text
    assert ("nothing is timed: this is the simulator" in text) is bool(facts["simulation"])


def test_a_wrong_result_fails(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = operators.Check("wrong", ((4,),), lambda x: x + 0.1 if x.is_cuda else x + 0.0)
    broken = operators.Check("broken", ((4,),), lambda x: x.exp())
    monkeypatch.setattr(operators, "checks", lambda: [wrong, broken])
    monkeypatch.setattr(networks, "run", lambda device: iter(()))
    assert command.main(["--no-timing"]) == 1
    text = capsys.readouterr().out
    dtypes = 2 + (importlib.util.find_spec("ml_dtypes") is not None)  # bfloat16 is skipped without it
    assert text.count("failed  ") == 2 * dtypes
    assert "times the tolerance" in text
    assert "NotImplementedError: exp: not on cuda yet" in text


def test_no_device_ends_with_its_own_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lucid.cuda, "why_not", lambda: "a reason")
    monkeypatch.setattr(lucid.cuda, "is_available", lambda: False)
    path = tmp_path / "selftest.json"
    assert command.main(["--json", str(path)]) == 77
    assert "no device can be used: a reason" in capsys.readouterr().out
    assert json.loads(path.read_text()) == {"available": False, "why_not": "a reason"}


@pytest.mark.parametrize(
    ("got", "passes"),
    [
        (np.array([1.0, 2.0]), True),
        (np.array([1.0, 2.1]), True),
        (np.array([1.0, 2.2]), False),
        (np.array([1.0, np.nan]), False),
        (np.array([1.0]), False),
        (np.array([1.0, np.inf]), False),
    ],
    ids=str,
)
def test_an_error_beyond_the_tolerance_is_one(got: Any, passes: bool) -> None:
    assert (outcome.largest_error([got], [np.array([1.0, 2.0])], 0.125) <= 1.0) is passes


def test_what_raises_has_failed() -> None:
    def compare() -> float:
        raise ValueError("nothing works")

    found = outcome.outcome_of("a check", "float32", compare)
    assert found.status == "failed"
    assert "ValueError: nothing works (" in found.detail


def test_calls_are_timed(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of a simulator mean nothing, so nothing is said about them."""
    monkeypatch.setattr(timing, "_SECONDS", 1e-5)
    graph = optimize(trace(nn.Conv2d(8, 8, 1).eval(), (1, 8, 3, 3)))
    case = Case("1x1", graph, nn.Identity(), np.asarray, {})
    for dtype in ("float32", "float16"):
        found = timing.timed(case, dtype, device)
        assert found.milliseconds > 0.0
        assert found.as_dict()["name"] == "1x1"


def test_facts_name_the_plugin(device: str) -> None:
    facts = _core.cuda_backend()
    assert facts["cuda"].startswith(lucid.__version__)
    assert facts["simulation"] is ("simulation" in facts["cuda"])
