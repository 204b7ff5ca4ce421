"""Evaluation against counting by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import process_threads
import pytest
from process_threads import ThreadCommunicator

from lucid import Tensor
from lucid.nn import Module
from lucid.train import Evaluation, evaluate


class Given(Module):
    """Gives its inputs as logits."""

    def forward(self, x: Any) -> Tensor:
        assert not self.training
        return Tensor(np.asarray(x))


def test_counts_and_loss_are_those_by_hand(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((23, 7)).astype(np.float32)
    labels = rng.integers(0, 6, 23)  # none of the last class
    seen: list[int] = []
    model = Given().train()
    found = evaluate(model, [(logits[:20], labels[:20]), (logits[20:], labels[20:])], seen.append)
    assert model.training
    assert seen == [20, 3]
    confusion = np.zeros((7, 7), int)
    five = 0
    for row, label in zip(logits, labels, strict=True):
        confusion[label, row.argmax()] += 1
        five += (row > row[label]).sum() < 5
    np.testing.assert_array_equal(found.confusion, confusion)
    wide = logits.astype(np.float64)
    loss = (np.log(np.exp(wide).sum(1)) - wide[np.arange(23), labels]).mean()
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert (found.top1, found.top5) == (np.trace(confusion) / 23, five / 23)
    assert found.of_classes()[6] is None
    assert found.to_dict() == {"images": 23, "loss": found.loss, "top1": found.top1, "top5": found.top5}


def test_processes_find_the_numbers_of_one(rng: np.random.Generator) -> None:
    """Also where one of them has no images."""
    logits = rng.standard_normal((23, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 23)
    want = evaluate(Given(), [(logits, labels)])
    parts = [[(logits[:9], labels[:9]), (logits[9:13], labels[9:13])], [], [(logits[13:], labels[13:])]]

    def work(communicator: ThreadCommunicator) -> Evaluation:
        return evaluate(Given(), parts[communicator.rank], communicator=communicator)

    for found in process_threads.run(3, work):
        np.testing.assert_array_equal(found.confusion, want.confusion)
        assert found.among_five == want.among_five
        assert found.loss == pytest.approx(want.loss, rel=1e-6)


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluate: batches must hold images, got none"):
        evaluate(Given(), [])
