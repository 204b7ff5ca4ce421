"""The instruction sets that the tests run on."""

from __future__ import annotations

import os

from lucid import runtime

# All that this machine can run, or the one that the environment names.
TESTED = [os.environ["LUCID_ISA"]] if os.environ.get("LUCID_ISA") else runtime.isas()
