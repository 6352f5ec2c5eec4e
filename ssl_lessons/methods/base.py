"""What every method has in common."""

from __future__ import annotations

from torch import Tensor, nn


class Method(nn.Module):
    """An encoder, its heads, and a loss.

    Subclasses set `encoder`, define `forward(views, labels=None) -> scalar loss` for a list of views
    [N, 3, S, S], and may define `after_step()` for what follows the optimiser (a momentum encoder, a queue).
    """

    needs_labels = False
    encoder: nn.Module

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def after_step(self) -> None:
        pass
