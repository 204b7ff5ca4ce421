"""lucid.runtime and lucid.random: instruction sets, threads, random numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lucid
from lucid import runtime

# `python -c` looks in its working directory first: there it must find the lucid under test.
SITE = Path(lucid.__file__).parent.parent


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=SITE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_models_are_reachable_from_nn():
    from lucid import models

    for name in ("ResNeXt", "ResNeXtConfig", "ResNeSt", "ResNeStConfig"):
        assert getattr(lucid.nn, name) is getattr(models, name)
        assert name in dir(lucid.nn)


# ---- Instruction sets and threads


def test_the_isa_in_use_is_the_one_that_the_environment_pins():
    assert runtime.isa() == (os.environ.get("LUCID_ISA") or runtime.isas()[0])


def test_the_isa_in_use_is_usable_and_pinned(isa):
    assert runtime.isa() == isa
    assert isa in runtime.isas()


@pytest.mark.parametrize("name", ["doesnotexist", "", "AVX2 "])
def test_an_isa_that_cannot_run_is_refused(name):
    before = runtime.isa()
    with pytest.raises(ValueError, match=f"set_isa: name must be one of .*{before}.*got '{name}'"):
        runtime.set_isa(name)
    assert runtime.isa() == before
    with pytest.raises(TypeError, match="set_isa: name must be a str, got 3"):
        runtime.set_isa(3)  # type: ignore[arg-type]


def test_the_environment_pins_the_isa():
    for name in runtime.isas():
        done = python("import lucid; print(lucid.runtime.isa())", LUCID_ISA=name)
        assert done.stdout.strip() == name, done.stderr
    done = python("import lucid", LUCID_ISA="doesnotexist")
    assert done.returncode != 0
    assert "ValueError: LUCID_ISA: must be one of" in done.stderr
    assert python("import lucid", LUCID_ISA="").returncode == 0


def test_threads():
    before = runtime.get_num_threads()
    assert before >= 1
    try:
        for n in (1, 3, np.int64(2)):
            runtime.set_num_threads(n)
            assert runtime.get_num_threads() == n
        for n in (0, -1, 2**80):
            with pytest.raises(ValueError, match="set_num_threads: n"):
                runtime.set_num_threads(n)
        for n in (1.0, True, "2", None):
            with pytest.raises(TypeError, match="set_num_threads: n must be an int"):
                runtime.set_num_threads(n)
        assert runtime.get_num_threads() == 2
    finally:
        runtime.set_num_threads(before)


def test_show_config_names_what_a_report_needs(capsys):
    lucid.show_config()
    text = capsys.readouterr().out
    for fact in (lucid.__version__, runtime.isa(), *runtime.isas(), str(runtime.get_num_threads())):
        assert fact in text
    assert runtime.config()["isa"] == runtime.isa()


# ---- Memory


def test_a_step_finds_the_memory_of_the_one_before():
    code = """
import resource
import lucid

x = lucid.zeros(16, 1024, 1024)

def step():
    [x + x for _ in range(12)]  # 768 MiB, more than is kept in any case

def pages():
    return int(open("/proc/self/statm").read().split()[1])

step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
kept = pages()
lucid.runtime.release_memory()
print(faults, (kept - pages()) * resource.getpagesize() >> 20)
"""
    faults, given_back = map(int, python(code).stdout.split())
    assert faults < 100  # of 384 huge pages, or 196608 small ones
    assert given_back >= 700


# ---- Random numbers


def test_seed_repeats_what_follows():
    lucid.random.seed(5)
    a = lucid.random.randn(3, 4)
    b = lucid.random.rand(2)
    lucid.random.seed(np.int64(5))
    np.testing.assert_array_equal(lucid.random.randn((3, 4)).data, a.data)
    np.testing.assert_array_equal(lucid.random.rand(2).data, b.data)
    assert a.dtype == b.dtype == np.float32
    assert lucid.random.randn().shape == ()


def test_draws_have_their_distribution():
    lucid.random.seed(0)
    n = 100_000
    normal, even = lucid.random.randn(n).data, lucid.random.rand(n).data
    five = 5 / np.sqrt(n)  # deviations of the means
    assert abs(normal.mean()) < five
    assert abs(normal.std() - 1) < five
    assert abs(even.mean() - 0.5) < five / np.sqrt(12)
    assert even.min() >= 0
    assert even.max() < 1


def test_random_rejects_nonsense():
    for value in (1.0, True, None):
        with pytest.raises(TypeError, match="seed: value must be an int"):
            lucid.random.seed(value)
    with pytest.raises(ValueError, match="seed: value must not be negative, got -1"):
        lucid.random.seed(-1)
    with pytest.raises(TypeError, match="randn: size must be ints"):
        lucid.random.randn(2.0)
