"""How a row is spoiled: cells from other rows, subsets of columns, rows mixed."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ssl_lessons.errors import InputError

FILLS = ("marginal", "gauss", "mean", "code")
CODE = 4.0  # deviations above the mean: what a table writes where something is missing


def corrupt(
    x: Tensor, pool: Tensor, rate: float, generator: Generator, fill: str = "marginal"
) -> tuple[Tensor, Tensor]:
    """Replace cells: (corrupted [N, D], mask bool [N, D], true where a cell has changed).

    Each cell is drawn with probability `rate`.  fill: "marginal", the value that a random row of `pool` [M, D] has in
    the same column, drawn for each cell anew (VIME, Yoon et al. 2020, equation 3; SCARF, Bahri et al. 2022, algorithm
    1, which draws a fixed number of cells per row); "gauss", a normal number with the column's mean and deviation;
    "mean", the column's mean; "code", one number far outside, as tables write -999 where something is missing.
    A cell that is replaced by an equal value is not masked: nobody could tell, and the official code of VIME counts it
    so.  Raises InputError for a rate outside 0..1, an unknown fill, or a pool of other columns.
    """
    if not 0 <= rate <= 1 or fill not in FILLS:
        raise InputError(f"needs a rate in 0..1 and a fill of {', '.join(FILLS)}, not {rate} and {fill!r}")
    if x.ndim != 2 or pool.ndim != 2 or x.shape[1] != pool.shape[1]:
        raise InputError("rows [N, D] and pool [M, D] must have the same columns")
    chosen = (torch.rand(x.shape, generator=generator) < rate).to(x.device)
    if fill == "marginal":
        rows = torch.randint(len(pool), x.shape, generator=generator).to(x.device)
        value = pool.gather(0, rows)
    else:
        away = {"mean": 0.0, "code": CODE}.get(fill)
        if away is None:
            away = torch.randn(x.shape, generator=generator).to(x)
        value = (pool.mean(dim=0) + away * pool.std(dim=0)).expand_as(x)
    corrupted = torch.where(chosen, value, x)
    return corrupted, corrupted != x


def subsets(columns: int, k: int = 4, overlap: float = 0.75) -> Tensor:
    """SubTab's views (Ucar et al. 2021, section 2): bool [k, columns], which columns each view keeps.

    Neighbouring columns in k groups of columns / k, each lengthened by the share `overlap` of a group on one side,
    round the end.  Raises InputError unless 2 <= k <= columns and 0 <= overlap < 1.
    """
    if not 2 <= k <= columns or not 0 <= overlap < 1:
        raise InputError(f"{columns} columns cannot be cut into {k} groups that overlap by {overlap}")
    edges = torch.linspace(0, columns, k + 1).round().long()
    more = int(overlap * (columns // k))
    keep = torch.zeros(k, columns, dtype=torch.bool)
    for view, (start, end) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        keep[view, torch.arange(start, end + more) % columns] = True
    return keep


def mix(h: Tensor, own: float, generator: Generator) -> Tensor:
    """own * h + (1 - own) * h of another row of the batch (mixup of embeddings, Somepalli et al. 2021, section 4).

    h: [N, D].  Raises InputError unless 0 <= own <= 1.
    """
    if not 0 <= own <= 1:
        raise InputError(f"own must be a share in 0..1, not {own}")
    order = torch.randperm(len(h), generator=generator).to(h.device)
    return own * h + (1 - own) * h[order]
