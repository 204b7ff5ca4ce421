"""lucid's kernels inside of PyTorch.

``compile`` turns a network of PyTorch's into an inference plan. The operators can be differentiated, and
are kept whole by ``torch.compile``; they are ``torch.ops.lucid.*`` as well, once this package was imported.
It needs PyTorch 2.4 or newer.
"""

from lucid.torch.operators import batch_norm, batch_norm_statistics, conv2d, split_attention
from lucid.torch.plan import CompiledModel, compile

__all__ = ["CompiledModel", "batch_norm", "batch_norm_statistics", "compile", "conv2d", "split_attention"]
