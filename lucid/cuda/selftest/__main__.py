"""The command ``python -m lucid.cuda.selftest``.

Exit status: 0 if all is well, 1 if a check failed, 77 if no device can be used.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lucid import _core, cuda
from lucid.benchmark.gpu import driver
from lucid.cuda.selftest import networks, operators, timing
from lucid.cuda.selftest.outcome import Outcome
from lucid.cuda.selftest.timing import Time

_FAILED, _NO_DEVICE = 1, 77


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the checks, and the timings unless they would mean nothing; returns the exit status."""
    options = _parser().parse_args(arguments)
    if not cuda.is_available():
        print(f"no device can be used: {cuda.why_not()}")
        _write(options.json, {"available": False, "why_not": cuda.why_not()})
        return _NO_DEVICE
    index = cuda.device_index("selftest", options.device)
    device = cuda.name_of(index)
    facts = {**_facts(device), "device": device}
    for name, value in facts.items():
        print(f"{name}: {value}")
    if facts["simulation"]:
        print("This is the simulator, the kernels on a CPU: what is right here may be wrong on a GPU.")
    outcomes = []
    for suite in (operators, networks):
        for outcome in suite.run(device):
            outcomes.append(outcome)
            _show(outcome)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    print(f"{len(outcomes)} checks, {len(failed)} failed")
    times = _times(device, bool(facts["simulation"]), options.no_timing)
    _write(
        options.json,
        {
            "available": True,
            **facts,
            "checks": [outcome.as_dict() for outcome in outcomes],
            "times": [time.as_dict() for time in times],
        },
    )
    return _FAILED if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lucid.cuda.selftest",
        description="Compare a device's kernels with the CPU's, then time them.",
    )
    parser.add_argument("--device", default="cuda", help="such as cuda:1 (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to a file as well")
    parser.add_argument("--no-timing", action="store_true", help="only compare")
    return parser


def _facts(device: str) -> dict[str, Any]:
    return {
        "lucid": _core.version(),
        **_core.cuda_backend(),
        "driver": driver(),
        **asdict(cuda.get_device_properties(device)),
    }


def _show(outcome: Outcome) -> None:
    figure = "" if outcome.error is None else f"  {outcome.error:.3f} of the tolerance"
    print(f"{outcome.status:<7} {outcome.dtype:<8} {outcome.name}{figure}", flush=True)
    if outcome.detail:
        print(f"        {outcome.detail}")


def _times(device: str, simulation: bool, unwanted: bool) -> list[Time]:
    if simulation:
        print("nothing is timed: this is the simulator, whose CPU says nothing about a GPU")
        return []
    times: list[Time] = []
    for time in timing.run(device) if not unwanted else ():
        roof = "" if time.roofline is None else f"  {time.roofline / time.milliseconds:6.1%} of the roofline"
        peer = "" if time.torch is None else f"  PyTorch {time.torch:.3f} ms"
        print(f"{time.dtype:<8} {time.name:<36} {time.milliseconds:9.3f} ms{roof}{peer}", flush=True)
        times.append(time)
    return times


def _write(path: Path | None, facts: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
