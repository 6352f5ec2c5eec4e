"""What to ask of a row: one class per task, each a loss for `training.fit`.

A task holds an encoder, its heads and the train rows [N, D], standardised and without labels.  Its call takes a
generator and returns the loss of one fresh batch; `features(x)` is read in the way the task was trained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.tables import encoders, views
from ssl_lessons.modalities.tables.encoders import RowNet

BATCH = 256


class Task(nn.Module):
    """An encoder, the rows it learns from, and what is asked of them."""

    def __init__(self, encoder: RowNet, x: Tensor, batch: int = BATCH):
        super().__init__()
        if x.ndim != 2 or x.shape[1] != encoder.columns or len(x) < 2:
            raise InputError(f"needs rows [N, {encoder.columns}], at least two, not {list(x.shape)}")
        self.encoder, self.batch = encoder, min(batch, len(x))
        self.rows = [x]  # in a list: data are no buffers

    def draw(self, generator: torch.Generator) -> Tensor:
        x = self.rows[0]
        return x[torch.randint(len(x), (self.batch,), generator=generator)].to(self.device)

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def features(self, x: Tensor) -> Tensor:
        return encoders.features(self.encoder, x)


class Vime(Task):
    """Which cells were replaced (mask), and what stood there (values); both together are VIME.

    Yoon et al. (2020), section 4.1, equations 3 to 6; the official code has rate 0.3 and alpha 2.  There every column
    runs from 0 to 1 (section 5), and alpha is a weight of errors in that unit.  Rows come standardised here: beside the
    mask, errors are divided by the range of their column in x, which gives the same loss.
    """

    def __init__(
        self, encoder, x, rate: float = 0.3, mask: bool = True, values: bool = True, fill: str = "marginal",
        alpha: float = 2.0, batch: int = BATCH,
    ):  # fmt: skip
        super().__init__(encoder, x, batch)
        if not (mask or values):
            raise InputError("ask for the mask, the values, or both")
        self.mask = nn.Sequential(nn.ReLU(), nn.Linear(encoder.dim, encoder.columns)) if mask else None
        self.values = nn.Sequential(nn.ReLU(), nn.Linear(encoder.dim, encoder.columns)) if values else None
        self.rate, self.fill, self.alpha = rate, fill, alpha
        span = x.amax(dim=0) - x.amin(dim=0)
        self.register_buffer("span", torch.where(span > 0, span, torch.ones_like(span)))

    def spoiled(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return views.corrupt(x, self.rows[0].to(x.device), self.rate, generator, self.fill)

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        corrupted, mask = self.spoiled(x, generator)
        h = self.encoder(corrupted)
        if self.mask is None:
            return F.mse_loss(self.values(h), x)
        if self.values is None:
            return F.binary_cross_entropy_with_logits(self.mask(h), mask.float())
        return losses.vime(self.mask(h), mask, self.values(h) / self.span, x / self.span, self.alpha)

    @torch.no_grad()
    def suspicion(self, corrupted: Tensor) -> Tensor:
        """The chance, for each cell of [N, D], that it was replaced."""
        if self.mask is None:
            raise InputError("this task was never asked for the mask; build it with mask=True")
        self.eval()
        return self.mask(self.encoder(corrupted.to(self.device))).sigmoid().cpu()

    def detection(self, x: Tensor, generator: torch.Generator) -> float:
        """Area under the ROC curve of `suspicion` on other rows: 0.5 is a coin, 1 knows every replaced cell."""
        from sklearn.metrics import roc_auc_score

        corrupted, mask = self.spoiled(x.to(self.device), generator)
        return float(roc_auc_score(mask.cpu().flatten(), self.suspicion(corrupted).flatten()))


class Scarf(Task):
    """A row and its corrupted self find each other among those of other rows (InfoNCE).

    Bahri et al. (2022), section 3, algorithm 1, with the rate and temperature of its section 4.  There a row has
    exactly floor(rate * columns) cells replaced; here each cell has a chance of its own.
    """

    def __init__(self, encoder, x, rate: float = 0.6, temperature: float = 1.0, batch: int = BATCH):
        super().__init__(encoder, x, batch)
        self.projector = _projector(encoder.dim)
        self.rate, self.temperature = rate, temperature

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        corrupted, _ = views.corrupt(x, self.rows[0].to(x.device), self.rate, generator)
        z, other = (self.projector(self.encoder(v)) for v in (x, corrupted))
        return losses.info_nce(z, other, temperature=self.temperature)


class SubTab(Task):
    """Subsets of the columns; from each the whole row, and all of them near each other.

    Ucar et al. (2021), section 2, with the four subsets, overlap and temperature of the official code's mnist.yaml,
    which also swaps some cells of a subset; here the subsets alone are tested.  The official encoder takes the values
    of a subset and does not know which columns they are; here a missing column is zero, its mean.  Features are means
    over the subsets, as there.  A row is seen k times in a step, so a batch has a quarter of the rows of the others.
    """

    def __init__(
        self, encoder, x, k: int = 4, overlap: float = 0.75, values: bool = True, contrast: bool = True,
        temperature: float = 0.1, batch: int = BATCH // 4,
    ):  # fmt: skip
        super().__init__(encoder, x, batch)
        self.register_buffer("keep", views.subsets(encoder.columns, k, overlap))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(encoder.dim, encoder.columns))
        self.projector = _projector(encoder.dim)
        self.values, self.contrast, self.temperature = values, contrast, temperature

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        h = [self.encoder(x * keep) for keep in self.keep]
        return losses.subtab(
            [self.decoder(v) for v in h] if self.values else [],
            [self.projector(v) for v in h] if self.contrast else [],
            x, self.temperature,
        )  # fmt: skip

    def features(self, x: Tensor) -> Tensor:
        keep = self.keep.cpu()
        return torch.stack([encoders.features(self.encoder, x * k) for k in keep]).mean(dim=0)


class Saint(Task):
    """SAINT's pretraining with an MLP for its attention: CutMix of cells, mixup of embeddings, InfoNCE, denoising.

    Somepalli et al. (2021), section 4 (pre-training); the temperature is that of the official code.
    cut: share of the cells taken from one other row.  own: share of the row's own embedding in the mixture.  The code's
    defaults are 0.1 and 0.3; a mixture that is mostly another row is hard to restore, and here the own share is larger.
    denoise: weight of the squared error, 20 times that of the contrast as in the code (10 and 0.5); 0 leaves it out.
    """

    def __init__(
        self, encoder, x, cut: float = 0.3, own: float = 0.8, temperature: float = 0.7, denoise: float = 20.0,
        batch: int = BATCH,
    ):  # fmt: skip
        super().__init__(encoder, x, batch)
        self.heads = nn.ModuleList(_projector(encoder.dim) for _ in range(2))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(encoder.dim, encoder.columns))
        self.cut, self.own, self.temperature, self.denoise = cut, own, temperature, denoise

    def forward(self, generator: torch.Generator) -> Tensor:
        x = self.draw(generator)
        other = x[torch.randperm(len(x), generator=generator).to(x.device)]
        cut = (torch.rand(x.shape, generator=generator) < self.cut).to(x.device)
        mixed = views.mix(self.encoder.embed(torch.where(cut, other, x)), self.own, generator)
        h, spoiled = self.encoder(x), self.encoder.body(mixed)
        z = [head(v) for head, v in zip(self.heads, (h, spoiled), strict=True)]
        return losses.saint(*z, self.decoder(spoiled), x, self.temperature, self.denoise)


class Classify(Task):
    """Labels: cross-entropy of a linear head on the encoder.  Fine-tuning, or training from scratch."""

    def __init__(self, encoder, x, y: Tensor, classes: int, batch: int = 64):
        super().__init__(encoder, x, batch)
        self.y, self.head = [y], nn.Linear(encoder.dim, classes)

    def forward(self, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self.rows[0]), (self.batch,), generator=generator)
        x, y = (v[0][rows].to(self.device) for v in (self.rows, self.y))
        return F.cross_entropy(self.head(self.encoder(x)), y)

    @torch.no_grad()
    def accuracy(self, x: Tensor, y: Tensor) -> float:
        self.eval()
        guess = self.head(self.encoder(x.to(self.device))).argmax(dim=1).cpu()
        return float((guess == y).float().mean())


class Aware(nn.Module):
    """A pretext and the labels that there are, at once: target-aware pretraining, after Rubachev et al. (2022)."""

    def __init__(self, pretext: Task, x: Tensor, y: Tensor, classes: int, weight: float = 1.0):
        super().__init__()
        self.pretext, self.weight = pretext, weight
        self.labels = Classify(pretext.encoder, x, y, classes)

    def forward(self, generator: torch.Generator) -> Tensor:
        return self.pretext(generator) + self.weight * self.labels(generator)


def _projector(dim: int, out: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out))


def tasks(encoder: Callable[[], RowNet], x: Tensor) -> dict[str, Callable[[], Task]]:
    """name -> a fresh task with a fresh encoder: the arms of "what should a table be asked?"."""
    return {
        "mask": lambda: Vime(encoder(), x, values=False),
        "values": lambda: Vime(encoder(), x, mask=False),
        "VIME": lambda: Vime(encoder(), x),
        "SCARF": lambda: Scarf(encoder(), x),
        "SubTab": lambda: SubTab(encoder(), x),
        "SubTab, values only": lambda: SubTab(encoder(), x, contrast=False),
        "SAINT": lambda: Saint(encoder(), x),
        "SAINT, contrast only": lambda: Saint(encoder(), x, denoise=0.0),
    }
