"""Chapter 8: BERT's 80/10/10, a leaking mask, the masked-diffusion bound, a corruption that merges runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .core import Check, Exercise, judge_forecast

__all__ = ["check_corrupt", "check_loss", "check_bound", "check_merge", "judge_forecast"]


def check_corrupt(fn) -> Check:
    """fn(ids [B, T], chosen bool [B, T], kind [B, T] in 0..1, other [B, T], mask_id) -> the ids that BERT is shown."""
    return CORRUPT.check(fn)


def check_loss(fn) -> Check:
    """fn(logits [B, T, V], ids [B, T], chosen bool [B, T]) -> the loss of masked language modelling, a scalar."""
    return LOSS.check(fn)


def check_bound(fn) -> Check:
    """fn(ce [B, T], mask bool [B, T], t [B]) -> the masked-diffusion loss in nats per word, a scalar."""
    return BOUND.check(fn)


def check_merge(fn) -> Check:
    """fn(ids [T], gone bool [T], mask_id) -> the ids with every run of gone words replaced by one mask_id."""
    return MERGE.check(fn)


def _texts(g: torch.Generator) -> list[tuple]:
    cases = []
    for b, t in ((2, 9), (4, 20)):
        ids = torch.randint(10, 60, (b, t), generator=g)
        chosen = torch.rand(b, t, generator=g) < 0.5
        cases.append(
            (ids, chosen, torch.rand(b, t, generator=g), torch.randint(60, 90, (b, t), generator=g), 3)
        )
    return cases


def _corrupt(ids, chosen, kind, other, mask_id, random=0.1, keep=0.1):
    inner = torch.where(kind < random, other, torch.where(kind < random + keep, ids, mask_id))
    return torch.where(chosen, inner, ids)


CORRUPT = Exercise(
    sample=_texts,
    reference=_corrupt,
    mistakes=(
        ("every chosen word became the mask: one in ten stays and one in ten is replaced",
         lambda i, c, k, o, m: torch.where(c, m, i)),
        ("words that were not chosen were touched as well",
         lambda i, c, k, o, m: _corrupt(i, torch.ones_like(c), k, o, m)),
        ("a fifth is replaced and none stays: below 0.1 replace, from 0.1 to 0.2 keep",
         lambda i, c, k, o, m: _corrupt(i, c, k, o, m, 0.2, 0.0)),
        ("a fifth stays and none is replaced: below 0.1 replace, from 0.1 to 0.2 keep",
         lambda i, c, k, o, m: _corrupt(i, c, k, o, m, 0.0, 0.2)),
        ("the wrong way round: below 0.1 replace, from 0.1 to 0.2 keep",
         lambda i, c, k, o, m: torch.where(c, torch.where(k < 0.1, i, torch.where(k < 0.2, o, m)), i)),
        ("the words that were not chosen are hidden instead of the chosen ones",
         lambda i, c, k, o, m: _corrupt(i, ~c, k, o, m)),
    ),
    praise="the network cannot know which words in sight are right, so it has to say something about all of them",
)  # fmt: skip


def _predictions(g: torch.Generator) -> list[tuple]:
    return [
        (torch.randn(b, t, v, generator=g).double(), torch.randint(v, (b, t), generator=g),
         torch.rand(b, t, generator=g) < 0.4)
        for b, t, v in ((2, 6, 5), (3, 8, 7))
    ]  # fmt: skip


def _ce(logits: Tensor, ids: Tensor) -> Tensor:
    return -logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]


LOSS = Exercise(
    sample=_predictions,
    reference=lambda z, y, c: _ce(z, y)[c].mean(),
    mistakes=(
        ("the words that everybody can see are counted too: copying them costs nothing, so the loss goes to zero",
         lambda z, y, c: _ce(z, y).mean()),
        ("this counts only the words that everybody can see", lambda z, y, c: _ce(z, y)[~c].mean()),
        ("divide by the number of chosen words, not of all", lambda z, y, c: (_ce(z, y) * c).mean()),
        ("a mean of the means of each sentence: sentences with few chosen words weigh too much",
         lambda z, y, c: ((_ce(z, y) * c).sum(1) / c.sum(1)).mean()),
        ("the sum: divide by the number of chosen words", lambda z, y, c: _ce(z, y)[c].sum()),
        ("the sign: it is minus the logarithm", lambda z, y, c: -_ce(z, y)[c].mean()),
        ("in bits: use the natural logarithm", lambda z, y, c: _ce(z, y)[c].mean() / math.log(2)),
    ),
    praise="with the planted bug, most of the loss was copying",
)  # fmt: skip


def _hidden(g: torch.Generator) -> list[tuple]:
    cases = []
    for b, t in ((3, 6), (4, 9)):
        share = 0.2 + 0.6 * torch.rand(b, generator=g).double()
        mask = torch.rand(b, t, generator=g) < share[:, None]
        mask[:, 0], mask[:, 1] = True, False
        cases.append((0.1 + torch.rand(b, t, generator=g).double(), mask, share))
    return cases


BOUND = Exercise(
    sample=_hidden,
    reference=lambda ce, m, t: ((ce * m).sum(1) / t).mean() / ce.shape[1],
    mistakes=(
        ("without 1/t it is no bound: a sentence with little hidden weighs too little",
         lambda ce, m, t: (ce * m).sum(1).mean() / ce.shape[1]),
        ("divided by the number that happened to be hidden, not by t L, its mean: close, but no longer exact",
         lambda ce, m, t: ((ce * m).sum(1) / m.sum(1)).mean()),
        ("words in sight cost nothing here: sum over the hidden ones",
         lambda ce, m, t: (ce.sum(1) / t).mean() / ce.shape[1]),
        ("the mean over the hidden words of ce / t: divide by all words of the batch",
         lambda ce, m, t: (ce / t[:, None])[m].mean()),
        ("multiplied by t: divide", lambda ce, m, t: ((ce * m).sum(1) * t).mean() / ce.shape[1]),
        ("nats of a sentence: divide by its L words", lambda ce, m, t: ((ce * m).sum(1) / t).mean()),
        ("t is averaged over the batch first: every sentence has its own",
         lambda ce, m, t: (ce * m).sum(1).mean() / t.mean() / ce.shape[1]),
    ),
    praise="the only difference from masked language modelling with a drawn rate is what it is divided by",
)  # fmt: skip


def _runs(g: torch.Generator) -> list[tuple]:
    rows = ("0110100", "1100011", "0000000", "1111111", "0101010")
    cases = [
        (torch.randint(10, 60, (len(r),), generator=g), torch.tensor([c == "1" for c in r]), 3) for r in rows
    ]
    twice = torch.tensor([7, 7, 9, 9, 7])  # a word may follow itself: it is no run
    return [*cases, (twice, torch.tensor([False, False, True, False, False]), 3)]


def _merge(ids: Tensor, gone: Tensor, mask_id: int) -> Tensor:
    out = []
    for i, word in enumerate(ids.tolist()):
        if not gone[i]:
            out.append(word)
        elif i == 0 or not gone[i - 1]:
            out.append(mask_id)
    return torch.tensor(out)


MERGE = Exercise(
    sample=_runs,
    reference=_merge,
    mistakes=(
        ("one mask per word: then the length of every run is given away", lambda i, g, m: torch.where(g, m, i)),
        ("this deletes: one mask must stand where a run was", lambda i, g, m: i[~g]),
        ("the words that stay and those that go were exchanged", lambda i, g, m: _merge(i, ~g, m)),
        ("equal words that stay side by side were merged, too",
         lambda i, g, m: torch.unique_consecutive(torch.where(g, m, i))),
    ),
    praise="now the network has to say how many words are missing, as in BART's infilling and in T5",
)  # fmt: skip
