"""Questions put to word vectors: neighbours, analogies, the direction of a bias and its removal."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.errors import InputError


def nearest(vectors: Tensor, query: Tensor, n: int = 5, exclude: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """The `n` rows of vectors [V, D] with the largest cosine to query [D]: cosines [n] and indices [n]."""
    cosine = normalize(vectors, dim=1) @ normalize(query, dim=0)
    cosine[list(exclude)] = -torch.inf
    return cosine.topk(n)


def analogy(vectors: Tensor, questions: Tensor, exclude: bool = True) -> Tensor:
    """The row closest to  b - a + c  for each question (a, b, c): indices [Q] of questions [Q, 3 or more].

    3CosAdd on unit vectors, the three given words not allowed as answers unless exclude=False (Mikolov, Yih and Zweig
    2013, section 4; Levy and Goldberg 2014, "Linguistic regularities").
    """
    unit = normalize(vectors, dim=1)
    a, b, c = questions.T[:3]
    cosine = (unit[b] - unit[a] + unit[c]) @ unit.T
    if exclude:
        cosine.scatter_(1, questions[:, :3], -torch.inf)
    return cosine.argmax(dim=1)


def analogy_accuracy(vectors: Tensor, questions: Tensor, exclude: bool = True) -> float:
    """Share of questions (a, b, c, d) [Q, 4] answered with d."""
    return float((analogy(vectors, questions, exclude) == questions[:, 3]).double().mean())


def group_accuracy(vectors: Tensor, groups: Tensor) -> float:
    """Share of rows [N, D] whose nearest other row (cosine) has the same group [N]: leave-one-out, one neighbour."""
    unit = normalize(vectors, dim=1)
    closest = (unit @ unit.T).fill_diagonal_(-torch.inf).argmax(dim=1)
    return float((groups[closest] == groups).double().mean())


def split_in_two(vectors: Tensor) -> Tensor:
    """The best of many 2-means clusterings of unit rows: labels 0 and 1 [N] for vectors [N, D], N >= 2.

    Lloyd's iterations from every pair of rows as centres, so nothing is drawn at random; meant for some dozens of rows.
    Label 0 is that of the first row.
    """
    if len(vectors) < 2:
        raise InputError("split_in_two() needs at least two rows.")
    unit, best, least = normalize(vectors, dim=1), None, torch.inf
    for pair in torch.combinations(torch.arange(len(unit))):
        centres, label = unit[pair], None
        for _ in range(50):
            before, label = label, torch.cdist(unit, centres).argmin(dim=1)
            if label.unique().numel() < 2 or (before is not None and torch.equal(before, label)):
                break
            centres = torch.stack([unit[label == side].mean(dim=0) for side in (0, 1)])
        cost = float((unit - centres[label]).square().sum())
        if cost < least - 1e-9:
            best, least = label, cost
    return (best != best[0]).long()


def alignment(labels: Tensor, sides: Tensor) -> float:
    """Share of words whose cluster, 0 or 1 [N], is that of their side, 0 or 1 [N], under the better of two namings.

    At least one half by construction.  The clustering test of Gonen and Goldberg (2019, section 4).
    """
    agree = float((labels.long() == sides.long()).double().mean())
    return max(agree, 1 - agree)


# ---- bias --------------------------------------------------------------------------------------------------


def bias_direction(vectors: Tensor, pairs: Tensor) -> Tensor:
    """The unit direction [D] along which the pairs [P, 2] of words differ most.

    First principal component of the pairs' members, each minus the mean of its pair (Bolukbasi et al. 2016, section
    5.1 with k = 1), of unit vectors; it points to the first members.
    """
    members = normalize(vectors, dim=1)[pairs]  # [P, 2, D]
    centred = (members - members.mean(dim=1, keepdim=True)).flatten(0, 1)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return direction * (members[:, 0] - members[:, 1]).sum(dim=0).dot(direction).sign()


def direct_bias(vectors: Tensor, direction: Tensor, strictness: float = 1.0) -> float:
    """Mean |cos(w, g)|^c of words [N, D] that should be neutral (DirectBias, Bolukbasi et al. 2016, section 5.2)."""
    return float((normalize(vectors, dim=1) @ normalize(direction, dim=0)).abs().pow(strictness).mean())


def neutralize(vectors: Tensor, direction: Tensor) -> Tensor:
    """Unit vectors [N, D] without their part along `direction`, made unit again (Bolukbasi et al. 2016, section 6)."""
    unit, g = normalize(vectors, dim=1), normalize(direction, dim=0)
    return normalize(unit - (unit @ g)[:, None] * g, dim=1)


def equalize(pair: Tensor, direction: Tensor) -> Tensor:
    """Two unit vectors [2, D] equal but for their sign along `direction` (Bolukbasi et al. 2016, section 6).

    Raises InputError when the two do not differ along the direction.
    """
    unit, g = normalize(pair, dim=1), normalize(direction, dim=0)
    mean = unit.mean(dim=0)
    along = unit @ g - mean @ g
    if not along.abs().min() > 1e-12:
        raise InputError("equalize() needs a pair that differs along the direction.")
    shared = mean - (mean @ g) * g
    return shared + (1 - shared.square().sum()).clamp(min=0).sqrt() * along.sign()[:, None] * g


def hard_debias(vectors: Tensor, direction: Tensor, pairs: Tensor) -> Tensor:
    """Unit vectors [V, D]: words in no pair are neutralised, the two words of each pair [P, 2] are equalised."""
    result = neutralize(vectors, direction)
    for pair in pairs:
        result[pair] = equalize(vectors[pair], direction)
    return result
