"""Convolutions that plans are tested on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    n: int
    channels: int
    out_channels: int
    h: int
    w: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


DIRECT = [
    Case(1, 64, 96, 9, 14, (1, 1), padding=(0, 0)),  # one run of pixels
    Case(3, 32, 32, 5, 7, (1, 1), padding=(0, 0)),
    Case(2, 32, 64, 7, 7),  # two rows a tile
    Case(1, 32, 48, 15, 9, stride=(2, 2)),
    Case(2, 48, 40, 6, 11, groups=2),  # 24 channels a group, 20 out
    Case(1, 80, 80, 7, 8, groups=4),  # 20 a group: blocks of 4
    Case(1, 160, 160, 5, 6, groups=16),  # 10 a group: packed
    Case(1, 17, 19, 6, 6, (1, 1), padding=(0, 0)),
    Case(2, 32, 32, 13, 15, groups=8),  # lanes of a vector
    Case(1, 64, 64, 14, 14, stride=(2, 2), groups=8),
    Case(2, 48, 48, 9, 31, groups=3),  # 16 channels a group: sliding
    Case(1, 32, 32, 14, 29, stride=(2, 2), groups=2),
    Case(1, 24, 24, 9, 7, groups=24),  # depthwise, a partial block
    Case(1, 32, 32, 8, 9, (5, 3), (1, 1), (2, 1), groups=16),
    Case(1, 32, 16, 10, 12, stride=(3, 1), dilation=(2, 1)),
    Case(2, 16, 16, 5, 5, (1, 1), padding=(1, 2)),
    Case(2, 16, 16, 3, 3, (1, 1), stride=(2, 2), padding=(1, 1)),  # as large as x, yet no run of pixels
]
WINOGRAD = [
    Case(1, 32, 64, 28, 28),  # 4x4
    Case(2, 96, 96, 25, 30, groups=2),  # clipped tiles, one and a half panels
    Case(1, 48, 80, 14, 14),  # 2x2
    Case(3, 16, 48, 9, 13, padding=(2, 0)),
    Case(1, 40, 160, 29, 27, groups=4),  # 10 channels a group, filled up to 12; 40 outputs, across blocks
    Case(1, 40, 80, 25, 28, groups=2),  # 20 channels, 40 outputs
    Case(2, 72, 72, 14, 13, groups=3),  # 24 and 24
]

# On AMX these go to the matrix unit.
POINTWISE = [
    Case(1, 128, 128, 9, 14, (1, 1), padding=(0, 0)),
    Case(3, 160, 128, 5, 7, (1, 1), padding=(0, 0)),  # tiles across images
    Case(2, 128, 160, 9, 13, (1, 1), (2, 2), (0, 0)),
    Case(1, 256, 256, 6, 7, (1, 1), padding=(0, 0), groups=2),
    Case(1, 512, 32, 1, 1, (1, 1), padding=(0, 0)),  # one pixel
    Case(2, 1024, 32, 13, 15, (1, 1), padding=(0, 0)),  # several chunks
    Case(5, 128, 128, 1, 17, (1, 1), padding=(0, 0)),
]
