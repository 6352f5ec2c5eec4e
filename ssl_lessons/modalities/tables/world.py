"""Tables with everything known, and three real ones that come with scikit-learn.

"tied": the columns come in three blocks.  In each block a row stands at one of eight places on a ring, and every column
of the block shows the place from its own angle, under noise.  The label is the place of the first block modulo 4: two
opposite places share a label, so the means of all classes are zero and no linear fit finds them.

"loose": the same columns, each shuffled on its own.  Every column keeps its distribution, and all are independent: no
cell says anything about another.  The label is a rule about six of the columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_lessons.errors import InputError

PLACES, BLOCKS, SIZE, CLASSES = 8, 3, 16, 4  # places on a ring; blocks; columns in a block; labels
NOISE = 0.6
DRAWN, REAL = ("tied", "loose"), ("digits", "cancer", "wine")
SPLITS = ("train", "test")
TEST_SHARE = 0.3  # of a real table


@dataclass(frozen=True)
class Table:
    """N rows of D columns.

    x: float32 [N, D].  y: int64 [N], the label.  factors: name -> int64 [N], what a drawn row was made from.
    """

    x: Tensor
    y: Tensor
    factors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows) -> Table:
        return Table(self.x[rows], self.y[rows], {name: v[rows] for name, v in self.factors.items()})


def drawn(kind: str, split: str, n: int, seed: int = 0, noise: float = NOISE) -> Table:
    """Draw n rows; the same arguments give the same rows.  A seed is a world: angles and order of its columns.

    kind: "tied" or "loose".  noise: standard deviation of what is added to each cell; the signal has 1.
    factors: "first", "second" and "third", the places in the three blocks ("tied" only).
    Raises InputError for an unknown kind or split, fewer than one row, or a negative noise.
    """
    if kind not in DRAWN or split not in SPLITS:
        raise InputError(f"kinds: {', '.join(DRAWN)}; splits: {', '.join(SPLITS)}")
    if n < 1 or noise < 0:
        raise InputError("needs n >= 1 and noise >= 0")
    angles, order = _world(seed)
    g = torch.Generator().manual_seed(2 * seed + SPLITS.index(split) + 104729)
    place = torch.randint(PLACES, (n, BLOCKS), generator=g)
    turn = 2 * math.pi / PLACES * place[:, :, None] - angles  # [n, BLOCKS, SIZE]
    x = (math.sqrt(2) * turn.cos()).flatten(1)
    x = (x + noise * torch.randn(x.shape, generator=g)) / math.sqrt(1 + noise**2)
    if kind == "tied":
        factors = dict(zip(("first", "second", "third"), place.T, strict=True))
        return Table(x[:, order], place[:, 0] % CLASSES, factors)
    x = x.gather(0, torch.rand(x.shape, generator=g).argsort(0))[:, order]
    return Table(x, 2 * (x[:, :3].sum(1) > 0).long() + (x[:, 3:6].sum(1) > 0).long(), {})


def _world(seed: int) -> tuple[Tensor, Tensor]:
    """Angles [BLOCKS, SIZE] under which the columns look at their ring, and the order of the columns."""
    g = torch.Generator().manual_seed(seed + 15485863)
    return 2 * math.pi * torch.rand(BLOCKS, SIZE, generator=g), torch.randperm(BLOCKS * SIZE, generator=g)


def real(name: str, seed: int = 0) -> tuple[Table, Table]:
    """A table of scikit-learn, its rows shuffled by the seed: (train, test), not standardised; 30 % are test rows.

    digits: 1,797 rows, 64 columns (gray values), 10 classes.  cancer: 569 rows, 30 columns, 2 classes.  wine: 178 rows,
    13 columns, 3 classes.  Columns that never vary in the train rows are left out.  Raises InputError for other names.
    """
    from sklearn import datasets

    load = {"digits": datasets.load_digits, "cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}
    if name not in load:
        raise InputError(f"real tables: {', '.join(REAL)}")
    x, y = load[name](return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = len(x) - round(TEST_SHARE * len(x))
    whole = Table(torch.tensor(x).float()[order], torch.tensor(y).long()[order], {})
    varies = whole.x[:cut].std(dim=0) > 0
    whole = Table(whole.x[:, varies], whole.y, {})
    return whole[:cut], whole[cut:]


def standardised(train: Table, *others: Table) -> tuple[Table, ...]:
    """Every column minus its mean, over its deviation, both taken from the *train* rows alone.

    Raises InputError for a column that never varies in the train rows.
    """
    mean, std = train.x.mean(dim=0), train.x.std(dim=0)
    if not bool((std > 0).all()):
        raise InputError("a column never varies in the train rows; leave it out")
    return tuple(Table((t.x - mean) / std, t.y, t.factors) for t in (train, *others))


def split(name: str, seed: int = 0, rows: int = 4000, test_rows: int = 1000) -> tuple[Table, Table]:
    """(train, test) of any table by name, standardised by the train rows; rows, test_rows: of a drawn one."""
    if name in DRAWN:
        return standardised(drawn(name, "train", rows, seed), drawn(name, "test", test_rows, seed))
    return standardised(*real(name, seed))
