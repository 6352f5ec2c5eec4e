"""Drawn graphs of which every factor is known: one town of many people, and many small molecules.

Both are made so that no single look is enough.  In the town, who knows whom and what people say each tell the group a
little; in the molecules, the rule by which atoms bond shows neither in how many there are of each nor in the degrees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs.graph import Graphs

GROUPS, STYLES, LEVELS = 6, 4, 3
WORDS = {"group": 8, "style": 10, "idle": 150}  # words of each group, of each style, and of nobody
PACE = (0.5, 1.0, 2.0)  # of the levels: how easily one makes friends in one's group
ATOMS, RULES, SHAPES, SIZES = 4, 3, 3, (20, 36)
PARTNERS = ((1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))  # of atoms 0..3, under each rule
HUBS = (0.6, 1.2, 3.0)  # of the shapes: 1 grows like a random tree, more favours early atoms
TOWN, MOLECULES = 7919, 104729  # apart, so that no two worlds share a seed


def town(
    seed: int = 0, n: int = 1000, *, own: float = 6.0, other: float = 5.0, topic: float = 0.25, style: float = 0.4,
    idle: int = WORDS["idle"],
) -> Graphs:  # fmt: skip
    """One graph of n people: a stochastic block model with degrees of its own, and noisy words at the nodes.

    factors: "group" (6; in the edges and in the words), "style" (4; in the words alone) and "level" (3; in the edges
    alone: how many friends one has in one's own group).  own, other: friends in one's group and outside it, on average.
    Friends outside are as many on every level, so that edges between the well-known are those that tell most about
    groups.  topic, style: chance to say a word of one's group, of one's style; any other word has 5 %.  idle: words
    that say nothing.

    x: float [n, 8 * 6 + 10 * 4 + idle], said or not, standardised in each column.  The same arguments give the same
    town.  Raises InputError for numbers that make no sense.
    """
    if n < 60 or min(own, other) < 0 or not own + other > 0 or idle < 0:
        raise InputError("a town needs n >= 60 people, friends and idle >= 0, and some friends")
    if not (0 <= topic <= 1 and 0 <= style <= 1):
        raise InputError("topic and style are chances: give numbers from 0 to 1")
    g = torch.Generator().manual_seed(seed + TOWN)
    group, manner, level = (torch.randint(k, (n,), generator=g) for k in (GROUPS, STYLES, LEVELS))
    pace = torch.tensor(PACE)[level]
    pace = pace / pace.mean()
    inside = group[:, None] == group
    rate = torch.where(inside, own * pace[:, None] * pace, other / (GROUPS - 1)) * GROUPS / n
    edges = (torch.rand(n, n, generator=g) < rate).triu(1).nonzero().T
    chance = torch.cat(
        [_words(group, GROUPS, WORDS["group"], topic), _words(manner, STYLES, WORDS["style"], style),
         torch.full((n, idle), 0.05)], dim=1,
    )  # fmt: skip
    said = (torch.rand(chance.shape, generator=g) < chance).float()
    x = (said - said.mean(dim=0)) / said.std(dim=0).clamp_min(1e-6)
    factors = {"group": group, "style": manner, "level": level}
    return Graphs(x, edges, torch.zeros(n, dtype=torch.long), factors, 1)


def _words(who: Tensor, kinds: int, each: int, chance: float) -> Tensor:
    """Chances [n, kinds * each]: `chance` for the words of one's own kind, 5 % for the rest."""
    own = F.one_hot(who, kinds).repeat_interleave(each, dim=1).bool()
    return torch.where(own, chance, 0.05)


def halves(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two halves of the rows 0..n-1, at random: labels are given in the first and asked in the second."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order[: n // 2], order[n // 2 :]


def molecules(m: int = 1000, seed: int = 0, *, faith: float = 0.3, sizes: tuple[int, int] = SIZES) -> Graphs:
    """m trees of four kinds of atoms; each atom but the first is bound to one that was there before.

    factors of each: "rule" (3: which kinds are partners; with the chance `faith` a new atom is the partner of the one
    it is bound to, else any of the four), "shape" (3, in the wiring alone: from chains to stars) and "size" (3, the
    number of atoms from `sizes`, both ends included, in thirds).  Every rule pairs all four kinds, so that all are as
    frequent.

    x: float [N, 4], one-hot.  Raises InputError for numbers that make no sense.
    """
    low, high = sizes
    if m < 1 or not 2 <= low <= high or not 0 <= faith <= 1:
        raise InputError("molecules need m >= 1, 2 <= the smaller <= the larger size and 0 <= faith <= 1")
    g = torch.Generator().manual_seed(seed + MOLECULES)
    rule, shape = (torch.randint(k, (m,), generator=g) for k in (RULES, SHAPES))
    count = torch.randint(low, high + 1, (m,), generator=g)
    atoms, bound = torch.randint(ATOMS, (m, high), generator=g), torch.zeros(m, high, dtype=torch.long)
    early, partners = torch.tensor(HUBS)[shape], torch.tensor(PARTNERS)[rule]  # [m], [m, 4]
    for k in range(1, high):
        bound[:, k] = (torch.rand(m, generator=g) ** early * k).long().clamp(max=k - 1)
        mate = partners.gather(1, atoms.gather(1, bound[:, k : k + 1]))[:, 0]
        atoms[:, k] = torch.where(torch.rand(m, generator=g) < faith, mate, atoms[:, k])
    there = torch.arange(high) < count[:, None]  # [m, high]
    number = (there.flatten().cumsum(0) - 1).view(m, high)
    later = there & (torch.arange(high) > 0)
    edges = torch.stack([number.gather(1, bound)[later], number[later]])
    factors = {"rule": rule, "shape": shape, "size": (count - low) * 3 // (high + 1 - low)}
    owner = torch.arange(m)[:, None].expand(m, high)[there]
    return Graphs(F.one_hot(atoms[there], ATOMS).float(), edges, owner, factors, m)
