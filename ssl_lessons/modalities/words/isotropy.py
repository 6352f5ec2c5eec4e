"""Cures for vectors that all point the same way: whitening, and a flow.  Both see vectors without labels.

A cure is fitted on vectors of some sentences and applied to those of others.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_lessons.errors import InputError

Cure = Callable[[Tensor], Tensor]


def whitening(z: Tensor, keep: int | None = None) -> Cure:
    """x -> (x - mean) W with covariance one on z [N, D] (Su et al. 2021, algorithm 1).

    W = U L^(-1/2) [D, k], with U the first k eigenvectors of the covariance, of the largest eigenvalues L; keep: k, by
    default all D.  Raises InputError unless N > D >= k >= 1 and the k eigenvalues are positive.
    """
    if z.ndim != 2 or len(z) <= z.shape[1] or not 1 <= (keep or z.shape[1]) <= z.shape[1]:
        raise InputError(
            f"whitening needs more vectors than dimensions, and keeps 1 to all, not {list(z.shape)}."
        )
    mean = z.double().mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(z.double().T))
    values, vectors = values.flip(0)[:keep], vectors.flip(1)[:, :keep]
    if not values.min() > 1e-12 * values.max():
        raise InputError("The covariance is singular: keep fewer dimensions, or take other sentences.")
    return lambda x: ((x.double() - mean) @ (vectors / values.sqrt())).to(x.dtype)


class Coupling(nn.Module):
    """Half of the numbers decide how the other half is scaled and shifted: u_b = x_b exp(s(x_a)) + t(x_a).

    Its inverse needs no inverse of s and t, and log |det| is the sum of s (Dinh et al. 2017, eq. 4-8).
    """

    def __init__(self, dim: int, hidden: int = 64):
        super().__init__()
        self.half = dim // 2
        self.net = nn.Sequential(
            nn.Linear(self.half, hidden), nn.ReLU(), nn.Linear(hidden, 2 * (dim - self.half))
        )
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, D] -> (u [N, D], log |det du/dx| [N])."""
        a, b = x[:, : self.half], x[:, self.half :]
        scale, shift = self.net(a).chunk(2, dim=1)
        scale = scale.tanh()  # bounded, so that no vector explodes
        return torch.cat([a, b * scale.exp() + shift], dim=1), scale.sum(dim=1)


class Flow(nn.Module):
    """Vectors made Gaussian by an invertible map (BERT-flow, Li et al. 2020; here couplings between fixed rotations).

        loss = mean of  |f(x)|^2 / 2 - log |det df/dx|,  minus the log-likelihood under a standard Gaussian

    mean, deviation [D]: of the vectors it will be fitted to; they are taken out first.
    """

    def __init__(self, mean: Tensor, deviation: Tensor, layers: int = 4):
        super().__init__()
        dim = len(mean)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        turns = torch.stack([torch.linalg.qr(torch.randn(dim, dim))[0] for _ in range(layers)])
        self.register_buffer("turns", turns)
        self.couplings = nn.ModuleList(Coupling(dim) for _ in range(layers))
        self.gain = nn.Parameter(torch.zeros(layers, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, D] -> (f(x) [N, D], log |det df/dx| [N], but for a constant: the first scaling)."""
        u, log_det = (x - self.mean) / self.deviation, x.new_zeros(len(x))
        for turn, coupling, gain in zip(self.turns, self.couplings, self.gain, strict=True):
            u, inner = coupling((u @ turn) * gain.exp())
            log_det = log_det + inner + gain.sum()
        return u, log_det

    def loss(self, x: Tensor) -> Tensor:
        """Minus the log-likelihood per dimension, in nats, but for constants."""
        u, log_det = self(x)
        return (u.square().sum(dim=1) / 2 - log_det).mean() / x.shape[1]


def flow(z: Tensor, steps: int = 300, lr: float = 5e-3, seed: int = 0) -> Cure:
    """A Flow fitted to vectors z [N, D] by likelihood.  Raises InputError for fewer vectors than dimensions."""
    if z.ndim != 2 or len(z) <= z.shape[1]:
        raise InputError(f"a flow needs more vectors than dimensions, not {list(z.shape)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Flow(z.mean(dim=0), z.std(dim=0).clamp(min=1e-6))

    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(z[torch.randint(len(z), (256,), generator=generator)]).backward()
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def cure(x: Tensor) -> Tensor:
        return model(x)[0]

    return cure
