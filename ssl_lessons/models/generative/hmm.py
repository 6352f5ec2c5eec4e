"""Hidden Markov models: sampling, the forward and backward recursions, Baum-Welch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ssl_lessons.errors import InputError


class HMM(NamedTuple):
    """A chain of hidden states that emits one symbol per step (Baum and Petrie 1966).

    start [S]: p(z_1).  transition [S, S]: row i is p(z_t | z_{t-1} = i).  emission [S, V]: row i is p(x_t | z_t = i).
    p(x) = sum_z p(z_1) p(x_1 | z_1) prod_t p(z_t | z_{t-1}) p(x_t | z_t).
    """

    start: Tensor
    transition: Tensor
    emission: Tensor


class Messages(NamedTuple):
    """What the two recursions pass along sequences [N, T], scaled at every step (Rabiner 1989, section V.A).

    filtered [N, T, S]: p(z_t | x_1..t), the scaled forward variable.  backward [N, T, S]: p(x_t+1..T | z_t) over
    p(x_t+1..T | x_1..t).  scale [N, T]: p(x_t | x_1..t-1), so that the log-likelihood is the sum of its logarithms.
    """

    filtered: Tensor
    backward: Tensor
    scale: Tensor


def random_hmm(states: int, symbols: int, generator: torch.Generator, concentration: float = 1.0) -> HMM:
    """Random distributions (normalised powers of uniform numbers), float64: where Baum-Welch starts."""
    if states < 1 or symbols < 1:
        raise InputError(f"an HMM needs at least one state and one symbol, got {states} and {symbols}")

    def rows(*shape: int) -> Tensor:
        weight = torch.rand(*shape, generator=generator, dtype=torch.float64) ** concentration + 0.01
        return weight / weight.sum(dim=-1, keepdim=True)

    return HMM(rows(states), rows(states, states), rows(states, symbols))


def sample(hmm: HMM, n: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Symbols and states, both int64 [n, length]."""
    state = torch.multinomial(hmm.start, n, replacement=True, generator=generator)
    states, symbols = [], []
    for _ in range(length):
        states.append(state)
        symbols.append(torch.multinomial(hmm.emission[state], 1, generator=generator)[:, 0])
        state = torch.multinomial(hmm.transition[state], 1, generator=generator)[:, 0]
    return torch.stack(symbols, dim=1), torch.stack(states, dim=1)


def messages(hmm: HMM, x: Tensor) -> Messages:
    """The forward and the backward pass over sequences x [N, T] of symbols: O(T S^2) each.

    Raises InputError for an empty x or a symbol that the model does not have.
    """
    if x.ndim != 2 or not x.numel() or int(x.min()) < 0 or int(x.max()) >= hmm.emission.shape[1]:
        raise InputError(
            f"x must be [N, T] symbols between 0 and {hmm.emission.shape[1] - 1}, with at least one of them"
        )
    emitted = hmm.emission.T[x]  # [N, T, S]: p(x_t | z_t)
    filtered, scale = [], []
    prior = hmm.start.expand(len(x), -1)
    for t in range(x.shape[1]):
        joint = prior * emitted[:, t]
        scale.append(joint.sum(dim=1))
        filtered.append(joint / scale[-1][:, None])
        prior = filtered[-1] @ hmm.transition
    backward = [torch.ones_like(filtered[0])]
    for t in range(x.shape[1] - 1, 0, -1):
        backward.append((emitted[:, t] * backward[-1]) @ hmm.transition.T / scale[t][:, None])
    return Messages(
        torch.stack(filtered, dim=1), torch.stack(backward[::-1], dim=1), torch.stack(scale, dim=1)
    )


def log_likelihood(hmm: HMM, x: Tensor) -> Tensor:
    """log p(x) of sequences [N, T] in nats: [N].  Sequences that the model cannot emit give -inf or NaN."""
    return messages(hmm, x).scale.log().sum(dim=1)


def posterior(hmm: HMM, x: Tensor) -> Tensor:
    """p(z_t | x_1..T), from the whole sequence: [N, T, S] (Rabiner 1989, eq. 27)."""
    m = messages(hmm, x)
    return m.filtered * m.backward


def baum_welch_step(hmm: HMM, x: Tensor) -> tuple[HMM, float]:
    """One step of expectation-maximisation: the next model, and the mean log-likelihood of x [N, T] before the step.

    Expected counts of starts, transitions and emissions under the posterior, normalised (Baum et al. 1970; Rabiner
    1989, eqs. 37, 40).  The likelihood never falls.
    """
    m = messages(hmm, x)
    gamma = m.filtered * m.backward
    incoming = hmm.emission.T[x][:, 1:] * m.backward[:, 1:] / m.scale[:, 1:, None]  # [N, T-1, S]
    moves = hmm.transition * torch.einsum("nti,ntj->ij", m.filtered[:, :-1], incoming)
    emissions = torch.zeros_like(hmm.emission.T).index_add_(0, x.flatten(), gamma.flatten(0, 1)).T
    likelihood = float(m.scale.log().sum(dim=1).mean())
    if x.shape[1] == 1:
        moves = hmm.transition  # no transition was seen
    parts = (gamma[:, 0].sum(dim=0), moves, emissions)
    return HMM(*(p / p.sum(dim=-1, keepdim=True) for p in parts)), likelihood


def baum_welch(hmm: HMM, x: Tensor, iterations: int) -> tuple[HMM, list[float]]:
    """`iterations` steps from `hmm`: the last model, and the mean log-likelihood before each step and at the end."""
    history = []
    for _ in range(iterations):
        hmm, likelihood = baum_welch_step(hmm, x)
        history.append(likelihood)
    return hmm, [*history, float(log_likelihood(hmm, x).mean())]
