"""lucid info."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import lucid
from lucid.cli.info import hub_cache
from lucid.models import list_models

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_info_names_what_a_report_needs(command: Command, tmp_path: Path) -> None:
    done = command("info", HF_HUB_CACHE=str(tmp_path))
    facts = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    facts = {name: value.strip() for name, value in facts.items()}
    assert done.returncode == 0
    assert facts["version"] == lucid.__version__
    assert facts["isa"] in facts["usable isas"].split()
    assert int(facts["threads"]) >= 1
    assert facts["models"].startswith(f"{len(list_models())} ")
    assert facts["weights in the package"] == "resnest_digits, resnext_digits"
    assert facts["cache of the hub"] == str(tmp_path)
    assert "extra huggingface_hub" in facts


def test_hub_cache_follows_the_variables_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert hub_cache() == "/cache/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert hub_cache() == "/data/hf/hub"


def test_models_are_listed_one_a_line(command: Command) -> None:
    assert command("info", "--models").stdout.split("\n") == [*list_models(), ""]
