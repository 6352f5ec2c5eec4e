"""SimCLR v2 (Chen et al. 2020, https://arxiv.org/abs/2006.10029)."""

from __future__ import annotations

from torch import nn

from ssl_lessons.methods.simclr import SimCLR


class SimCLRv2(SimCLR):
    """SimCLR with a projector of three layers.

    Its features are the encoder's, as for every method here; the paper goes on from the projector's first layer when
    it fine-tunes (section 3), then distils the result into a student on the unlabelled images.  Its MoCo-style
    memory, worth about one point there, is left out; its encoders are far larger.
    """

    def __init__(self, encoder: nn.Module, temperature: float = 0.1, layers: int = 3, **head):
        super().__init__(encoder, temperature, layers=layers, **head)
