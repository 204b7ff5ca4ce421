"""Training on images: recipes, the loop, checkpoints that it goes on from, and what is measured."""

from lucid.train.checkpoint import read_checkpoint, write_checkpoint
from lucid.train.evaluation import Evaluation, evaluate
from lucid.train.loop import DivergedError, Step, Training
from lucid.train.recipe import RECIPES, Recipe

__all__ = [
    "RECIPES",
    "DivergedError",
    "Evaluation",
    "Recipe",
    "Step",
    "Training",
    "evaluate",
    "read_checkpoint",
    "write_checkpoint",
]
