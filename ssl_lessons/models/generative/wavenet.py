"""WaveNet: the next sample from those before it, by causal convolutions with holes (van den Oord et al. 2016)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError

LEVELS = 256


def mu_law(x: Tensor, mu: int = LEVELS - 1) -> Tensor:
    """Samples in [-1, 1], any shape, as int64 0..mu: fine steps near zero, coarse ones far from it.

    f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu), then rounded (van den Oord et al. 2016, section 2.2).
    """
    if not x.is_floating_point() or bool((x.abs() > 1).any()):
        raise InputError("mu_law needs samples as floats between -1 and 1.")
    f = x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)
    return ((f + 1) / 2 * mu).round().long()


def from_mu_law(levels: Tensor, mu: int = LEVELS - 1) -> Tensor:
    """The samples that int64 levels 0..mu stand for: sign(f) ((1 + mu)^|f| - 1) / mu with f = 2 level / mu - 1."""
    f = 2 * levels.float() / mu - 1
    return f.sign() * torch.expm1(f.abs() * math.log1p(mu)) / mu


class Layer(nn.Module):
    """tanh(W_f * x) sigmoid(W_g * x), two taps `dilation` apart; then 1x1 convolutions to the sum and to the way out.

    (van den Oord et al. 2016, eq. 2 and figure 4.)  gated=False: a ReLU in place of the gate, as wide.
    """

    def __init__(self, width: int, dilation: int, gated: bool = True) -> None:
        super().__init__()
        self.dilation, self.gated = dilation, gated
        self.taps = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.mix, self.skip = (nn.Conv1d(width if gated else 2 * width, width, 1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, width, T + dilation] -> the sum and the way out, [N, width, T] each."""
        a = self.taps(x)
        if self.gated:
            f, g = a.chunk(2, dim=1)
            a = torch.tanh(f) * torch.sigmoid(g)
        else:
            a = F.relu(a)
        return x[..., self.dilation :] + self.mix(a), self.skip(a)


class WaveNet(nn.Module):
    """int64 [N, T] with values 0..levels-1 -> logits [N, levels, T]; those of time t have seen times before t only.

    dilations: one layer each.  Raises InputError without layers.
    """

    def __init__(
        self, dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128), width: int = 32, levels: int = LEVELS,
        gated: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if not dilations or min(dilations) < 1:
            raise InputError("a WaveNet needs at least one dilation, and none below 1.")
        self.embed = nn.Embedding(levels + 1, width)  # the last one stands for "before the beginning"
        self.layers = nn.ModuleList(Layer(width, d, gated) for d in dilations)
        self.out = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, 2 * width, 1), nn.ReLU(), nn.Conv1d(2 * width, levels, 1)
        )
        self.levels = levels

    @property
    def receptive_field(self) -> int:
        """How many samples before t the prediction of sample t can depend on: 1 + the sum of the dilations."""
        return 1 + sum(layer.dilation for layer in self.layers)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The sum after every layer, [N, width, T] each."""
        return self._run(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self._run(x)[1])

    def _run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        h = self.embed(F.pad(x[:, :-1], (1, 0), value=self.levels)).mT  # shifted: time t holds sample t - 1
        found, out = [], 0
        for layer in self.layers:
            h, skip = layer(F.pad(h, (layer.dilation, 0)))
            found.append(h)
            out = out + skip
        return found, out

    @torch.no_grad()
    def continued(
        self, x: Tensor, steps: int, generator: torch.Generator, temperature: float = 1.0
    ) -> Tensor:
        """x [N, T] and `steps` samples drawn one after the other, [N, T + steps]; T >= 1.

        Each layer keeps its last `dilation` inputs, so that a step costs one column and not the receptive field.
        """
        if x.ndim != 2 or x.shape[1] < 1 or temperature <= 0:
            raise InputError("continued needs samples [N, T] with T >= 1 and a temperature above 0.")
        h = self.embed(F.pad(x, (1, 0), value=self.levels)).mT
        queues, out = [], 0
        for layer in self.layers:
            padded = F.pad(h, (layer.dilation, 0))
            queues.append(list(padded[..., -layer.dilation :].unbind(-1)))
            h, skip = layer(padded)
            out = out + skip[..., -1:]
        drawn = []
        for _ in range(steps):
            p = (self.out(out)[..., 0] / temperature).softmax(dim=1)
            new = torch.multinomial(p.cpu(), 1, generator=generator).to(x.device)
            drawn.append(new)
            h, out = self.embed(new).mT, 0
            for layer, queue in zip(self.layers, queues, strict=True):
                both = torch.cat([queue.pop(0)[..., None], h], dim=2)
                queue.append(h[..., 0])
                h, skip = _column(layer, both)
                out = out + skip
        return torch.cat([x, *drawn], dim=1)

    def samples(self, x: Tensor, steps: int, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """As `continued`, in samples between -1 and 1."""
        return from_mu_law(self.continued(x, steps, generator, temperature))


def _column(layer: Layer, both: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a layer: both [N, width, 2], the inputs `dilation` ago and now."""
    a = F.conv1d(both, layer.taps.weight, layer.taps.bias)
    if layer.gated:
        f, g = a.chunk(2, dim=1)
        a = torch.tanh(f) * torch.sigmoid(g)
    else:
        a = F.relu(a)
    return both[..., 1:] + layer.mix(a), layer.skip(a)
