"""csrc/bench: the driver in C, built outside of the tree, on the cases of ``lucid bench kernel --list``."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import pytest
from consumer import build, run, tool
from source_files import CSRC

import lucid
from lucid import runtime
from lucid.benchmark import OPERATORS, Case, conv2d_cases, operator_cases
from lucid.cli.main import main

MODELS = ("resnext_digits", "resnest_digits", "resnext50_32x4d", "resnest50_fast_4s2x40d")
COLUMNS = "case,way,median_us,spread,gflops,percent_of_peak,gb_per_s,percent_of_memory"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    return build(str(CSRC / "bench"), folder, "-DCMAKE_C_FLAGS=-Werror") / "lucid-bench-kernel"


def bench(
    program: Path, *arguments: str, cases: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments], input=cases, capture_output=True, text=True, timeout=60, env=environment
    )


def cases_of(operator: str, size: tuple[int, int] = (64, 64)) -> list[Case]:
    return (
        conv2d_cases(MODELS, 2, size) if operator == "conv2d" else operator_cases(operator, MODELS, 2, size)
    )


@pytest.mark.parametrize("isa", runtime.isas())
@pytest.mark.parametrize("operator", ["conv2d", *OPERATORS])
def test_every_case_that_is_listed_is_computed_right(program: Path, operator: str, isa: str) -> None:
    """Those of a rectangular image are, whose sides a mistake would confuse."""
    cases = cases_of(operator, (48, 80))
    text = "".join(f"{case.description}\n" for case in cases)
    done = bench(program, "--check", "--isa", isa, cases=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{case.name}: right" for case in cases]


@pytest.mark.parametrize("operator", ["conv2d", *OPERATORS])
def test_a_line_says_all_of_a_case_but_its_bias(operator: str) -> None:
    """The driver gives one to whatever may have one, and no ReLU to anything."""
    for case in cases_of(operator):
        [node] = case.graph.nodes
        weighted = operator in ("conv2d", "batch_norm", "linear")
        assert node.weights.keys() == ({"weight", "bias"} if weighted else set())
        assert not node.attributes.get("relu")


def test_the_list_of_the_command_line_is_measured(
    program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chosen = ["bench", "kernel", "3x3s2", "--model", "resnext_digits", "--size", "16", "--list"]
    assert main(chosen) == 0
    listed = tmp_path / "cases.txt"
    listed.write_text(capsys.readouterr().out)
    names = [line.split("name=")[1] for line in listed.read_text().splitlines()]
    assert names
    done = bench(program, "--rounds", "2", "--threads", "1", str(listed))
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows, facts = done.stdout.splitlines()
    assert head.split()[:4] == ["case", "way", "us", "spread"]
    assert [row.split()[:2] for row in rows] == [[name, way] for name in names for way in ("eager", "plan")]
    assert facts.startswith(
        f"lucid {lucid.__version__}, {runtime.isas()[0]}, 1 thread; median of 2 rounds; peak "
    )


def test_figures_are_those_of_the_cases(program: Path) -> None:
    cases = [cases_of("conv2d")[0], *cases_of("softmax")]
    done = bench(program, "--rounds", "1", "--csv", cases="".join(f"{c.description}\n" for c in cases))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["case"] for row in rows] == [case.name for case in cases for _ in range(2)]
    for row, case in zip(rows, [case for case in cases for _ in range(2)], strict=True):
        seconds = 1e-6 * float(row["median_us"])
        assert seconds > 0.0
        assert float(row["spread"]) == 0.0  # of a single round
        assert float(row["gb_per_s"]) == pytest.approx(1e-9 * case.bytes / seconds, rel=0.01, abs=0.001)
        if case.macs:
            assert float(row["gflops"]) == pytest.approx(2e-9 * case.macs / seconds, rel=0.01, abs=0.001)
        else:
            assert row["gflops"] == row["percent_of_peak"] == ""


CONV = "conv2d 1x8x5x5 weight=8x8x3x3"
RUBBISH = {
    "an operator": ("sigmoid 1x3", "the operator must be one of add, avg_pool2d, "),
    "no shape": ("relu", "relu needs the shape of its input"),
    "letters": ("relu 1x3xax5", "an input must be a shape such as 1x64x56x56, got '1x3xax5'"),
    "an end": ("relu 1x3x", "an input must be a shape such as 1x64x56x56, got '1x3x'"),
    "five": ("relu 1x3x4x5x6", "an input must be a shape such as 1x64x56x56, got '1x3x4x5x6'"),
    "three": ("relu 1x3x4", "relu: an input must have shape (n, c, h, w) or (n, c), got 3 dimensions"),
    "negative": ("relu 1x-3", "an input must have positive sizes and at most 2^40 elements, got '1x-3'"),
    "no image": ("relu 0x3", "an input must have positive sizes"),
    "large": ("relu 2000000000x2000000000", "an input must have positive sizes and at most 2^40 elements"),
    "larger": ("relu 1x99999999999999999999", "an input must be a shape"),
    "one": ("add 1x3", "add must have 2 shapes, with + between them, got '1x3'"),
    "two": ("relu 1x3+1x3", "relu must have 1 shape, with + between them, got '1x3+1x3'"),
    "others": ("add 1x3+1x4", "add: "),
    "no weight": ("conv2d 1x8x5x5", "conv2d needs weight"),
    "a weight": ("relu 1x8x5x5 weight=8", "relu has no 'weight'"),
    "channels": ("conv2d 1x8x5x5 weight=8x4x3x3", "conv2d: "),
    "groups": (f"{CONV} groups=3", "conv2d: "),
    "a word": (f"{CONV} hello", "conv2d has no 'hello'"),
    "a fused relu": (f"{CONV} relu", "conv2d has no 'relu'"),
    "no value": (f"{CONV} stride", "stride must have a value"),
    "value": (f"{CONV} stride=fast", "stride must be numbers such as 1 or 1x2, got 'fast'"),
    "values": (f"{CONV} stride=1x2x1x2", "stride must be numbers such as 1 or 1x2, got '1x2x1x2'"),
    "number": (f"{CONV} groups=1x1", "groups must be a number, got '1x1'"),
    "sides": (f"{CONV} padding=1x2x1", "padding must be numbers such as 1 or 1x2, got '1x2x1'"),
    "twice": (f"{CONV} stride=1 stride=2", "stride is given twice"),
    "flag": ("max_pool2d 1x8x5x5 kernel_size=2 ceil_mode=1", "ceil_mode takes no value, got '1'"),
    "window": ("max_pool2d 1x8x5x5", "max_pool2d needs kernel_size"),
    "stride": (f"{CONV} stride=0", "conv2d: stride must be positive"),
    "name": (f"{CONV} name=a,b", "name must have 1 to 127 characters, without commas and quotes, got 'a,b'"),
    "no name": (f"{CONV} name=", "name must have 1 to 127 characters"),
    "long name": (f"{CONV} name={'x' * 128}", "name must have 1 to 127 characters"),
    "long": ("relu " + 2000 * "1", "a line must be a text of at most 1022 characters"),
    "bytes": ("relu 1\0x3", "a line must be a text of at most 1022 characters"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_named_before_anything_is_measured(program: Path, name: str) -> None:
    line, message = RUBBISH[name]
    done = bench(program, cases=f"relu 1x8x4x4 name=good\n\n{line}\nrelu 1x8\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lucid-bench-kernel: standard input:3: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.txt"], "absent.txt: must be a file that can be read"),
        (["/"], "/: must be a file that can be read"),
        ([], "standard input: must hold cases, as lucid bench kernel --list prints them"),
        (["one.txt", "two.txt"], "one file can be read, got one.txt and two.txt"),
        (["--isa", "mmx"], "set_isa: 'mmx' is not one of "),
        (["--isa"], "--isa must be one of "),
        (["--rounds", "0"], "--rounds must be a number from 1 to 1000, got '0'"),
        (["--rounds", "many"], "--rounds must be a number from 1 to 1000, got 'many'"),
        (["--threads"], "--threads must be a number from 1 to 1024, got ''"),
        (["--fast"], "there is no option --fast; see --help"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(program: Path, arguments: list[str], message: str) -> None:
    done = bench(program, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lucid-bench-kernel: {message}")
    assert done.stderr.count("\n") == 1


def test_help_names_the_options(program: Path) -> None:
    done = bench(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(option in done.stdout for option in ("--rounds", "--threads", "--isa", "--csv", "--check"))


def test_a_wrong_result_is_not_timed(program: Path, tmp_path: Path) -> None:
    """A library that stands before lucid's leaves y unwritten, which the plan does not."""
    source, library = tmp_path / "wrong.c", tmp_path / "wrong.so"
    source.write_text(
        "#include <lucid.h>\nlucid_status lucid_relu(const lucid_relu_args* a) { return a == 0; }\n"
    )
    run(tool("cc"), "-shared", "-fPIC", f"-I{lucid.get_include()}", source, "-o", library)
    cases = "relu 1x8x4x4 name=first\nadd 1x8+1x8 name=second\n"
    done = bench(program, "--csv", "--rounds", "1", cases=cases, LD_PRELOAD=str(library))
    assert done.returncode == 1
    assert [line.split(",")[:2] for line in done.stdout.splitlines()[1:]] == [
        ["first", "plan"],
        ["second", "eager"],
        ["second", "plan"],
    ]
    assert done.stderr.startswith("lucid-bench-kernel: first, eager: wrong: ")
    assert done.stderr.endswith("128 of 128 are NaN\n")
