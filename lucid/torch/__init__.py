"""lucid's kernels inside of PyTorch: operators that PyTorch differentiates and ``torch.compile`` keeps whole.

They are ``torch.ops.lucid.*`` as well, once this package was imported. It needs PyTorch 2.4 or newer.
"""

from lucid.torch.operators import batch_norm, batch_norm_statistics, conv2d, split_attention

__all__ = ["batch_norm", "batch_norm_statistics", "conv2d", "split_attention"]
