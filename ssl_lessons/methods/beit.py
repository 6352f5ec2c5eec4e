"""BEiT (Bao et al. 2022, https://arxiv.org/abs/2106.08254)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_lessons.losses.clustering import kmeans
from ssl_lessons.losses.masked import beit
from ssl_lessons.methods.masked import MaskedMethod, mask_token
from ssl_lessons.models import patchify
from ssl_lessons.views.masks import block_mask


class BEiT(MaskedMethod):
    """Name the code of every hidden patch: a classification among `codes` visual words.

    The paper's words come from a discrete VAE trained on 250 million images (8,192 words, 40 % hidden in blocks).  Here
    k-means on patches, fitted before the first step, makes them; a subclass with another `describe` quantises other
    things (BEiT v2: the features of a teacher).
    """

    refresh_every = 10**9  # before step 0 only

    def __init__(self, encoder: nn.Module, codes: int = 128, mask_ratio: float = 0.4):
        super().__init__(encoder)
        self.mask_ratio = mask_ratio
        self.mask_token = mask_token(encoder.dim)
        self.classify = nn.Linear(encoder.dim, codes)
        self.register_buffer("codebook", torch.zeros(codes, 3 * encoder.patch**2))

    def describe(self, x: Tensor) -> Tensor:
        """What is quantised: [N, T, D], here the pixels of every patch."""
        return patchify(x, self.encoder.patch)

    def tokenize(self, x: Tensor) -> Tensor:
        """The nearest codeword of every patch: integers [N, T]."""
        return torch.cdist(self.describe(x), self.codebook.expand(len(x), -1, -1)).argmin(dim=2)

    def refresh(self, extract: Callable[[nn.Module], Tensor]) -> None:
        """k-means on four random patches of every training image."""
        rows = extract(_Sample(self.describe, 4)).reshape(-1, self.codebook.shape[1])
        self.codebook.copy_(kmeans(rows, len(self.codebook))[1])

    def draw_mask(self, n: int) -> Tensor:
        return block_mask(n, self.encoder.n_tokens, self.mask_ratio)

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        x = views[0]
        mask = self.draw_mask(len(x)).to(x.device)
        tokens = self.encoder.patches(x, mask=mask, mask_token=self.mask_token)
        with torch.no_grad():
            codes = self.tokenize(x)
        return beit(self.classify(tokens), codes, mask)


class _Sample(nn.Module):
    """`count` random rows of describe(x) per image, side by side: what `extract` collects over the training set."""

    def __init__(self, describe: Callable[[Tensor], Tensor], count: int):
        super().__init__()
        self.describe, self.count = describe, count

    def forward(self, x: Tensor) -> Tensor:
        rows = self.describe(x)
        return rows[:, torch.randint(rows.shape[1], (self.count,))].flatten(1)


# Details that matter
# - microsoft/unilm, beit/masking_generator.py: blocks of at least 16 of 196 patches; after ten misses it
#   gives up and hides fewer than its 75. Here: the last block is cut to the quota: 6 of 16 patches, always.
# - datasets.py hands the tokenizer its own copy of the same crop (112 px beside 224), unmasked. Here: it too
#   sees the very view the network sees, unmasked; the codebook never changes after step 0.
# - modeling_pretrain.py draws the weights with deviation 0.02 and divides the output matrices of layer l by
#   sqrt(2 l); residuals start scaled by 0.1 (LayerScale). Here: PyTorch's initialisation and no LayerScale.
# - run_beit_pretraining.py: relative position biases, no absolute positions. Here: fixed sines and cosines,
#   added to the mask token as well: without them all hidden patches would ask the same question.
# - README's run: betas 0.9 and 0.98 (the default), gradients clipped at 3, 1.5e-3 at batch 2048. Here: betas
#   0.9 and 0.999, no clipping, 2e-3 at batch 256; both decay by 0.05, biases and norms not.
