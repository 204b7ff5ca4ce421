"""Batch inference and training over a cluster of Ray.

found = ray.data.read_binary_files("photos/", include_paths=True).map_batches(
    lucid.ray.Classifier,
    fn_constructor_kwargs={"model": "resnest50d.in1k", "column": "bytes"},
    compute=ray.data.ActorPoolStrategy(size=2),
    num_cpus=4,
    batch_size=64,
)

def training(config, communicator):
    parts = {"num_replicas": communicator.size, "rank": communicator.rank}
    loader = lucid.data.Loader(lucid.data.ImageFolder("photos"), 64, ..., shuffle=True, **parts)
    return lucid.train.Training(model, loader, lucid.train.RECIPES["resnext"], 10, communicator)

trainer = lucid.ray.trainer(
    training,
    scaling_config=ray.train.ScalingConfig(num_workers=4, resources_per_worker={"CPU": 8}),
    run_config=ray.train.RunConfig(failure_config=ray.train.FailureConfig(max_failures=3)),
)
trainer.fit()
"""

from lucid.ray.classifier import Classifier
from lucid.ray.communicator import RayCommunicator
from lucid.ray.training import train_loop, trainer

__all__ = ["Classifier", "RayCommunicator", "train_loop", "trainer"]
