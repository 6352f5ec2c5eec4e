"""A small network of rows, and what it makes of a whole table."""

import torch
from torch import Tensor, nn


class RowNet(nn.Module):
    """float [N, columns] -> [N, dim]: embed (one layer, in which SAINT mixes rows), then body (two more)."""

    def __init__(self, columns: int, dim: int = 64, width: int = 128):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(columns, width), nn.ReLU())
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        self.columns, self.width, self.dim = columns, width, dim

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.embed(x))


@torch.no_grad()
def features(encoder: nn.Module, x: Tensor) -> Tensor:
    """encoder(x) in evaluation mode, on the encoder's device; the answer on the CPU."""
    encoder.eval()
    device = next(encoder.parameters()).device
    return encoder(x.to(device)).cpu()
