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


# Details that matter
# - The paper counts on the last block's residual path to reach the channels the loss does not see (figure
#   10). Here: ResNet-18 has one; in ConvNet 192 of the last 256 channels get no gradient and stay random.
# - facebookresearch/directclr, main.py, infoNCE divides the subvector by its own length, not by the whole
#   vector's. Here: the same.
# - infoNCE in main.py compares across views only, N candidates each way, both ways averaged. Here: SimCLR's
#   loss: 2N - 1 candidates, the other images of the same view among them. Temperature 0.1 in both.
# - There: LARS, rate 4.8 at batch 4096, decay 1e-6, residual blocks that start as the identity. Here: AdamW
#   4e-3 at batch 256, decay 1e-4.
