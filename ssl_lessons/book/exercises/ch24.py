"""Chapter 24: Amdahl's law backwards, a log-sum-exp of a stream, the gradient cache, a batch that fits."""

from __future__ import annotations

import math
import weakref

import torch
from torch import Tensor

from ssl_lessons.losses import nt_xent

from .core import NOT_ATTEMPTED, Check, Exercise


def check_factor_needed(fn) -> Check:
    """fn(share, target) -> how many times faster a part with that share must get for a step `target` times as fast;
    math.inf where no factor does it."""
    return FACTOR_NEEDED.check(fn)


def check_streaming_logsumexp(fn) -> Check:
    """fn(blocks, an iterator over K blocks [N, M]) -> [N]: log of the sum of exp over all K M columns.

    Every block comes once, and is to be let go before the next but one is asked for.
    """
    streams = []

    def streamed(blocks):
        streams.append(_Stream(blocks))
        return fn(streams[-1])

    check = STREAMING.check(streamed if callable(fn) and fn is not NOT_ATTEMPTED else fn)
    if any(s.most > 3 for s in streams):
        return Check(
            False, f"{max(s.most for s in streams)} blocks are in memory at once: use a block, and let it go"
        )
    if check.passed is False and any(s.again for s in streams):
        return Check(False, "the blocks come once: a second pass over the iterator finds nothing")
    return check


def check_cached_gradient(fn) -> Check:
    """fn(embed, loss, w [8, D], x1 [N, 8], x2 [N, 8], pieces) -> [8, D]: the gradient of
    loss(embed(x1, w), embed(x2, w)) with respect to w, with no more than 2 N / pieces rows in a graph at a time."""
    ledgers = []

    def cached(w, x1, x2, pieces):
        ledgers.append((_Ledger(), 2 * len(x1) // pieces))
        return fn(ledgers[-1][0].embed, _loss, w, x1, x2, pieces)

    check = CACHED.check(cached if callable(fn) and fn is not NOT_ATTEMPTED else fn)
    for ledger, allowed in ledgers:
        if ledger.most > allowed and check.passed:
            return Check(
                False,
                f"the right gradient, but {ledger.most} rows are in a graph at once, and {allowed} are allowed: embed "
                "everything without gradient, ask the loss for the gradients of the embeddings, and go piece by piece",
            )
    return check


def check_largest_batch(fn) -> Check:
    """fn(budget, parameters, per_picture, matrices) -> int: the largest batch whose training fits into budget bytes."""
    return LARGEST_BATCH.check(fn)


def _factor_needed(share: float, target: float) -> float:
    left = 1 / target - (1 - share)
    return share / left if left > 0 else math.inf


FACTOR_NEEDED = Exercise(
    sample=lambda g: [(0.5, 1.5), (0.9, 5.0), (0.5, 3.0), (0.2, 1.2), (0.1, 2.0)],
    reference=_factor_needed,
    mistakes=(
        ("this is the speed-up of the step: the part has to do more, for the rest stays", lambda s, t: t),
        (
            "this is the speed-up of the step if the part gets `target` times faster",
            lambda s, t: 1 / (1 - s + s / t),
        ),
        (
            "a negative factor: the rest alone takes longer than that, so the answer is math.inf",
            lambda s, t: s / (1 / t - (1 - s)),
        ),
        ("upside down: the new time of the part over its old one", lambda s, t: 1 / _factor_needed(s, t)),
        ("the part may take 1 / target minus the rest, 1 - share", lambda s, t: s * t),
        ("the roles are swapped: share is the part that gets faster", lambda s, t: _factor_needed(1 - s, t)),
    ),
    praise=": and beyond 1 / (1 - share) nothing helps",
)


class _Stream:
    """Blocks [K, N, M] one at a time, once.

    most: blocks alive at once; again: whether somebody asked a second time.
    """

    def __init__(self, blocks: Tensor):
        self.blocks, self.given, self.most, self.done, self.again = blocks, [], 0, False, False

    def __iter__(self):
        self.again = self.again or self.done
        return self

    def __next__(self) -> Tensor:
        if len(self.given) == len(self.blocks):
            self.again, self.done = self.again or self.done, True
            raise StopIteration
        block = self.blocks[len(self.given)].clone()
        self.given.append(weakref.ref(block))
        self.most = max(self.most, sum(ref() is not None for ref in self.given))
        return block


def _blocks(g: torch.Generator) -> list[tuple]:
    small = torch.randn(4, 5, 3, generator=g).double()
    rising = small * 3 + torch.arange(4).double()[:, None, None] * 40
    return [(small,), (rising,), (rising.flip(0),), (small + 2000.0,), (small - 2000.0,)]


def _streamed(blocks: Tensor, rescale: bool = True, total_last: bool = True) -> Tensor:
    top = torch.full(blocks.shape[1:2], -math.inf, dtype=blocks.dtype)
    total = torch.zeros_like(top)
    for block in blocks:
        new = torch.maximum(top, block.amax(dim=1))
        total = total * ((top - new).exp() if rescale else 1) + (block - new[:, None]).exp().sum(dim=1)
        top = new
    return top + total.log() if total_last else total.log()


STREAMING = Exercise(
    sample=_blocks,
    reference=lambda blocks: torch.logsumexp(torch.cat(list(blocks), dim=1), dim=1),
    mistakes=(
        (
            "exp overflows (or vanishes): keep a running maximum and take it out of every exponent",
            lambda b: b.exp().sum(dim=(0, 2)).log(),
        ),
        (
            "when the maximum rises, what was summed before must shrink: multiply it by exp(old - new)",
            lambda b: _streamed(b, rescale=False),
        ),
        ("the maximum is never added back", lambda b: _streamed(b, total_last=False)),
        ("only the last block is in the sum", lambda b: torch.logsumexp(b[-1], dim=1)),
        ("one value per block: the sum runs over all blocks", lambda b: torch.logsumexp(b, dim=2)),
        ("this is the maximum: the others count as well", lambda b: b.amax(dim=(0, 2))),
        (
            "log-sum-exps of the blocks are added: exponentiate, add, take the logarithm",
            lambda b: torch.logsumexp(b, dim=2).sum(dim=0),
        ),
        (
            "the sum runs over the rows: each row has its own",
            lambda b: torch.logsumexp(b.permute(0, 2, 1).flatten(0, 1), dim=1),
        ),
    ),
    praise=": one block in memory at a time",
)


class _Held(torch.autograd.Function):
    """tanh(x w), of which a ledger knows how many rows are kept for a backward pass."""

    @staticmethod
    def forward(ctx, x, w, ledger, held):
        y = torch.tanh(x @ w)
        ctx.save_for_backward(x, w, y)
        ctx.token = ledger.hold(len(x)) if held else None
        return y

    @staticmethod
    def backward(ctx, gradient):
        x, w, y = ctx.saved_tensors
        if ctx.token is not None:
            ctx.token.release()
        inner = gradient * (1 - y.square())
        return inner @ w.T, x.T @ inner, None, None


class _Token:
    def __init__(self, ledger, rows: int):
        self.release = weakref.finalize(self, ledger.let_go, rows)


class _Ledger:
    """most: the largest number of rows that were in a graph at once."""

    def __init__(self):
        self.rows, self.most = 0, 0

    def hold(self, rows: int) -> _Token:
        self.rows += rows
        self.most = max(self.most, self.rows)
        return _Token(self, rows)

    def let_go(self, rows: int) -> None:
        self.rows -= rows

    def embed(self, x: Tensor, w: Tensor) -> Tensor:
        return _Held.apply(x, w, self, torch.is_grad_enabled() and (w.requires_grad or x.requires_grad))


def _loss(z1: Tensor, z2: Tensor) -> Tensor:
    return nt_xent(z1, z2, 0.2)


def _gradient(w: Tensor, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Of the mean of the losses of pairs of views."""
    live = w.clone().requires_grad_()
    value = sum(_loss(torch.tanh(a @ live), torch.tanh(b @ live)) for a, b in pairs) / len(pairs)
    return torch.autograd.grad(value, live)[0]


def _pieces(x1: Tensor, x2: Tensor, pieces: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x1.chunk(pieces), x2.chunk(pieces), strict=True))


def _one_side(w: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    live = w.clone().requires_grad_()
    return torch.autograd.grad(_loss(torch.tanh(x1 @ live), torch.tanh(x2 @ w)), live)[0]


def _views(g: torch.Generator) -> list[tuple]:
    cases = []
    for n, d, pieces in [(12, 4, 3), (16, 3, 4), (8, 5, 2)]:
        w, x1, noise = (torch.randn(*s, generator=g).double() for s in ((8, d), (n, 8), (n, 8)))
        cases.append((0.3 * w, x1, x1 + 0.5 * noise, pieces))
    return cases


CACHED = Exercise(
    sample=_views,
    reference=lambda w, x1, x2, pieces: _gradient(w, (x1, x2)),
    mistakes=(
        (
            "this is accumulation: the mean of the losses of the pieces, whose views never meet",
            lambda w, x1, x2, pieces: _gradient(w, *_pieces(x1, x2, pieces)),
        ),
        (
            "accumulation, and the sum instead of the mean: the views of two pieces never meet",
            lambda w, x1, x2, pieces: pieces * _gradient(w, *_pieces(x1, x2, pieces)),
        ),
        (
            "only the first views send a gradient back: the second ones do as well",
            lambda w, x1, x2, p: _one_side(w, x1, x2),
        ),
        (
            "only the second views send a gradient back: the first ones do as well",
            lambda w, x1, x2, p: _one_side(w, x2, x1),
        ),
        (
            "divided by the number of pieces: what the pieces send back adds up",
            lambda w, x1, x2, pieces: _gradient(w, (x1, x2)) / pieces,
        ),
        (
            "only the last piece is in it: add up",
            lambda w, x1, x2, pieces: _gradient(w, _pieces(x1, x2, pieces)[-1]),
        ),
    ),
    praise=": the gradient of the whole batch, a piece in memory at a time",
)


def _largest_batch(
    budget: float, parameters: int, per_picture: float, matrices: int, bytes_each=16.0, views=2
) -> int:
    left, square = budget - bytes_each * parameters, 4 * matrices * views**2
    if left < 0:
        return 0
    return int((math.sqrt(per_picture**2 + 4 * square * left) - per_picture) / (2 * square))


LARGEST_BATCH = Exercise(
    sample=lambda g: [
        (16e9, 11_504_704, 8.2e6, 4),
        (1e9, 1_000_000, 20_000.0, 3),
        (4e9, 25_000_000, 1e6, 5),
        (1e8, 10_000_000, 1e5, 4),
    ],
    reference=_largest_batch,
    mistakes=(
        (
            "the weights alone are not enough: gradients and two moments make four numbers per parameter",
            lambda b, p, a, m: _largest_batch(b, p, a, m, bytes_each=4.0),
        ),
        (
            "AdamW keeps two moments beside weights and gradients: four numbers per parameter",
            lambda b, p, a, m: _largest_batch(b, p, a, m, bytes_each=8.0),
        ),
        (
            "AdamW keeps two moments, not one: four numbers of four bytes per parameter",
            lambda b, p, a, m: _largest_batch(b, p, a, m, bytes_each=12.0),
        ),
        ("the parameters take memory too", lambda b, p, a, m: _largest_batch(b, p, a, m, bytes_each=0.0)),
        ("the matrices of the loss are missing", lambda b, p, a, m: max(0, int((b - 16 * p) / a))),
        (
            "the loss compares views, not pictures: its matrices are 2N x 2N",
            lambda b, p, a, m: _largest_batch(b, p, a, m, views=1),
        ),
        ("a batch that is one too large: round down", lambda b, p, a, m: _largest_batch(b, p, a, m) + 1),
    ),
)
