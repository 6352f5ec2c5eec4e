"""What the masked methods share: one gentle view, a ViT, the mean token as embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.methods.base import Method
from ssl_lessons.models import ViT
from ssl_lessons.views import Policy


class MaskedMethod(Method):
    """Hide patches of a ViT's input and predict them.  The mask is the task, so the view itself stays gentle."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        if not isinstance(encoder, ViT):
            raise InputError(f"{type(self).__name__} hides patches and needs the encoder 'vit'")
        self.encoder = encoder

    def views(self, policy: Policy) -> tuple[Policy, ...]:
        """One view: a crop of at least half the image, a flip, and the colours as they are."""
        gentle = {"jitter_p": 0.0, "grayscale_p": 0.0, "blur_p": 0.0, "solarize_p": 0.0}
        return (policy.replace(crop_scale=(0.5, 1.0), **gentle),)

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x)


def mask_token(dim: int) -> nn.Parameter:
    """The learned vector that stands where a patch is hidden."""
    return nn.Parameter(0.02 * torch.randn(dim))
