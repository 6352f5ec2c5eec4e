"""DirectCLR (Jing et al. 2022, https://arxiv.org/abs/2110.09348)."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_lessons.methods.simclr import SimCLR


class FirstChannels(nn.Module):
    """[N, dim] -> the first `count` columns."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, h: Tensor) -> Tensor:
        return h[:, : self.count]


class DirectCLR(SimCLR):
    """SimCLR without a projector: the loss sees the first channels of the features alone, the rest goes free.

    channels: d0, how many the loss sees (paper: 360 of 2048).
    """

    def __init__(self, encoder: nn.Module, temperature: float = 0.1, channels: int = 64):
        super().__init__(encoder, temperature)
        self.projector = FirstChannels(channels)
