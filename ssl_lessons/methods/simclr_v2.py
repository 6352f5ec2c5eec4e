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


# Details that matter
# - google-research/simclr, tf2/model.py: BatchNorm after all three projector layers, after the last without
#   shift. Here: after the two hidden ones.
# - Decay went from 1e-6 (v1) to 1e-4 (run.py); v1's convolutions are 16.8 times as large as v2's, so
#   fine-tuning rates do not carry over (README). Here: AdamW with 1e-4 for both.
# - Rate (README): 0.075 sqrt(B) equals 0.3 B / 256 at 4,096 and trains better below. Here: 4e-3 at 256;
#   optimizers.scaled_lr has both rules.
# - data_util.py: v2's brightness multiplies, v1's adds. Here: it multiplies, for both.
# - Selective kernels raise a ResNet-50 from 71.7 to 74.6 % in linear evaluation (README). Here: none.
