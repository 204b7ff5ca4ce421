"""Settings of PyTorch: each computes convolutions right, and the fastest is the one that counts."""

from __future__ import annotations

import pytest

from lucid.benchmark import (
    ENGINES,
    SETTINGS,
    Case,
    Comparison,
    Machine,
    Timing,
    as_json,
    best_setting,
    cases_table,
    compare,
    conv2d_cases,
    model_case,
    operator_cases,
    with_settings,
)

DIGITS = ("resnext_digits", "resnest_digits")
MACHINE = Machine("Some", "avx2", 1, 100.0, 10.0, "Some Compiler", {}, "2026-01-02 03:04")


@pytest.fixture(scope="module")
def case() -> Case:
    return conv2d_cases(["resnext_digits"], size=(16, 16))[0]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_right(setting: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    for case in conv2d_cases(DIGITS, batch=2, size=(20, 17)):
        result = compare(case, {setting: SETTINGS[setting]}, threads=1, rounds=1, seconds=0.0)
        assert result.refused == {}


def test_a_convolution_alone_has_settings(case: Case) -> None:
    engines = {name: ENGINES[name] for name in ("plan", "torch", "openvino")}
    names = ["plan", *(f"torch {setting}" for setting in SETTINGS), "openvino"]
    assert list(with_settings(case, engines)) == names
    for other in (
        model_case("resnext_digits", size=(16, 16)),
        *operator_cases("relu", DIGITS, size=(16, 16)),
    ):
        assert with_settings(other, engines) == engines


def test_the_fastest_setting_counts_beside_the_faster_of_lucid_s_ways(case: Case) -> None:
    timings = {"plan": Timing((2.0,)), "eager": Timing((1.0,)), "openvino": Timing((4.0,))}
    timings |= {f"torch {name}": Timing((ms,)) for name, ms in zip(SETTINGS, (5.0, 3.0, 6.0), strict=True)}
    result = best_setting(Comparison(case, timings, {}))
    assert result.timings["torch"] == Timing((3.0,))
    assert result.setting("torch") == "channels_last"
    assert result.setting("openvino") is None
    assert (result.ratio("torch"), result.ratio("openvino")) == (3.0, 2.0)
    row, *_, legend, _ = cases_table(MACHINE, [result], ["torch"]).splitlines()[1:]
    assert row.split()[-2:] == ["3.00x", "channels_last"]
    assert legend.startswith("of PyTorch, the fastest of its settings")
    torch = as_json(MACHINE, [result], {})["cases"][0]["engines"]["torch"]
    assert torch["setting"] == "channels_last"
    assert {name: way["median"] for name, way in torch["settings"].items()} == {
        "nchw": 5.0, "channels_last": 3.0, "prepacked": 6.0,
    }  # fmt: skip


def test_a_setting_that_is_refused_leaves_the_others(case: Case) -> None:
    timings = {"eager": Timing((1.0,)), "torch nchw": Timing((5.0,))}
    result = best_setting(Comparison(case, timings, {"torch prepacked": "not built with oneDNN"}))
    assert (result.setting("torch"), result.ratio("torch")) == ("nchw", 5.0)
    assert result.refused == {"torch prepacked": "not built with oneDNN"}
    absent = {f"torch {name}": "torch is not installed" for name in SETTINGS}
    assert best_setting(Comparison(case, {}, absent)).refused == {"torch": "torch is not installed"}
    plain = Comparison(case, {"eager": Timing((1.0,))}, {})
    assert best_setting(plain) is plain
