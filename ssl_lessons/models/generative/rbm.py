"""Restricted Boltzmann machines: energy, contrastive divergence, and stacks of them trained one at a time."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError

ENUMERABLE = 18  # units that `log_partition` still sums over: 2^18 states


class RBM(nn.Module):
    """Binary visible units v [N, V], binary hidden units h [N, H], connections only between the two layers.

        E(v, h) = -a.v - b.h - v W h,    p(v, h) = exp(-E(v, h)) / Z

    (Smolensky 1986, who called it harmonium; Hinton 2002, section 4.)  W [V, H] starts as small noise, a [V] and
    b [H] as zeros; a = log(p / (1 - p)) with p the mean of the data is a better start (Hinton 2010, section 8).
    """

    def __init__(self, visible: int, hidden: int, generator: torch.Generator | None = None):
        super().__init__()
        if visible < 1 or hidden < 1:
            raise InputError(f"an RBM needs at least one unit per layer, got {visible} and {hidden}")
        self.W = nn.Parameter(0.01 * torch.randn(visible, hidden, generator=generator))
        self.a = nn.Parameter(torch.zeros(visible))
        self.b = nn.Parameter(torch.zeros(hidden))

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h) [N] of states v [N, V] and h [N, H]."""
        return -v @ self.a - h @ self.b - ((v @ self.W) * h).sum(dim=-1)

    def hidden(self, v: Tensor) -> Tensor:
        """p(h = 1 | v) [N, H]: given the visible layer, hidden units do not depend on each other."""
        return torch.sigmoid(self.b + v @ self.W)

    def visible(self, h: Tensor) -> Tensor:
        """p(v = 1 | h) [N, V]."""
        return torch.sigmoid(self.a + h @ self.W.T)

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -a.v - sum_j softplus(b_j + v.W_j) [N], so that p(v) = exp(-F(v)) / Z: h is summed out."""
        return -v @ self.a - F.softplus(self.b + v @ self.W).sum(dim=-1)

    @torch.no_grad()
    def gibbs(self, v: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """v after `steps` rounds of drawing h given v and v given h (block Gibbs sampling): binary [N, V]."""
        for _ in range(steps):
            h = torch.bernoulli(self.hidden(v), generator=generator)
            v = torch.bernoulli(self.visible(h), generator=generator)
        return v

    def log_partition(self) -> Tensor:
        """log Z, by summing over all states of the smaller layer.

        Raises InputError when that layer has more than 18 units.
        """
        visible, hidden = self.W.shape
        if min(visible, hidden) > ENUMERABLE:
            raise InputError(f"log Z is summed over all states: at most {ENUMERABLE} units in one layer")
        if visible <= hidden:
            return torch.logsumexp(-self.free_energy(all_states(visible, self.W.dtype)), dim=0)
        h = all_states(hidden, self.W.dtype)
        return torch.logsumexp(h @ self.b + F.softplus(self.a + h @ self.W.T).sum(dim=1), dim=0)

    def log_likelihood(self, v: Tensor) -> Tensor:
        """log p(v) [N] in nats, exactly; for small machines (see `log_partition`)."""
        return -self.free_energy(v) - self.log_partition()


def all_states(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """All binary vectors of length n: [2^n, n].  Raises InputError for n > 18."""
    if n > ENUMERABLE:
        raise InputError(f"2^{n} states are too many to list; at most {ENUMERABLE} units")
    return torch.tensor(list(itertools.product((0, 1), repeat=n)), dtype=dtype)


def contrastive_divergence(
    rbm: RBM,
    v: Tensor,
    k: int = 1,
    chain: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """A loss whose gradient is the CD-k update (Hinton 2002, section 3, with k steps), and the end of the chain.

    The gradient of mean F(v) - mean F(v_k) with v_k held fixed is -(<v h>_data - <v h>_k), and likewise for a and b;
    hidden units enter by their probabilities.  v [N, V]; the chain starts at v, or, for persistent CD (Tieleman 2008),
    at `chain` [M, V], the second value returned by the step before.  Raises InputError for k < 1.
    """
    if k < 1:
        raise InputError(f"contrastive divergence needs at least one Gibbs step, got k={k}")
    end = rbm.gibbs(v if chain is None else chain, k, generator)
    return rbm.free_energy(v).mean() - rbm.free_energy(end).mean(), end


def train_rbm(
    v: Tensor,
    hidden: int,
    steps: int,
    k: int = 1,
    persistent: bool = False,
    lr: float = 0.1,
    batch_size: int = 100,
    weight_decay: float = 1e-4,
    seed: int = 0,
) -> RBM:
    """An RBM trained on v [N, V] (binary, or probabilities) by CD-k or persistent CD-k.

    Momentum rises from 0.5 to 0.9, the learning rate falls linearly to 0 (a persistent chain lags behind weights that
    move fast: give it a smaller lr).  The visible biases start at the log-odds of the data's means (Hinton 2010,
    section 8).
    """
    generator = torch.Generator().manual_seed(seed)
    rbm = RBM(v.shape[1], hidden, generator).to(v.dtype)
    with torch.no_grad():
        rbm.a.copy_(torch.logit(v.mean(dim=0).clamp(0.02, 0.98)))
    optimizer = torch.optim.SGD(
        [
            {"params": [rbm.W], "weight_decay": weight_decay},
            {"params": [rbm.a, rbm.b]},
        ],
        lr=lr,
        momentum=0.5,
    )
    chain = None
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"], group["momentum"] = lr * (1 - step / steps), 0.5 if step < steps / 10 else 0.9
        batch = v[torch.randint(len(v), (batch_size,), generator=generator)]
        loss, end = contrastive_divergence(rbm, batch, k, chain, generator)
        chain = end if persistent else None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rbm


def train_stack(v: Tensor, widths: tuple[int, ...], steps: int, seed: int = 0, **options) -> list[RBM]:
    """A deep belief net's RBMs, greedily from below (Hinton, Osindero and Teh 2006, section 4).

    Each RBM sees p(h = 1 | v) of the trained one under it as its data.  options go to `train_rbm`.
    """
    stack = []
    for i, width in enumerate(widths):
        rbm = train_rbm(v, width, steps, seed=seed + i, **options)
        stack.append(rbm.requires_grad_(False))
        v = rbm.hidden(v)
    return stack


@torch.no_grad()
def sample_dbn(stack: list[RBM], h: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Ancestral samples of a deep belief net: p(v = 1) [N, V].

    The undirected top RBM runs `steps` Gibbs rounds from its visible state h [N, V_top]; the layers below are
    directed, one draw each, down to the probabilities of the pixels (Hinton, Osindero and Teh 2006).
    """
    top, below = stack[-1], stack[-2::-1]
    v = top.gibbs(h, steps - 1, generator)
    v = top.visible(torch.bernoulli(top.hidden(v), generator=generator))
    for rbm in below:
        v = rbm.visible(torch.bernoulli(v, generator=generator))
    return v
