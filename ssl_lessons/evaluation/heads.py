"""Probes that are more than linear: a hidden layer on one vector per picture, attention over its tokens."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.checks import checked_features, checked_labels, checked_split
from ssl_lessons.evaluation.probes import folds_of

MLP_PENALTIES = (1e-2, 1.0, 1e2)  # scikit-learn's alpha
DECAYS = (1e-3, 1e-1, 1.0)  # weight decay of AdamW


class HeadResult(NamedTuple):
    """Test accuracy of a probe and the penalty that its validation chose."""

    accuracy: float
    penalty: float


def mlp_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, hidden: int = 256, seed: int = 0
) -> HeadResult:
    """A probe with one hidden layer of ReLUs on frozen features: scikit-learn's MLPClassifier.

    Features [N, D] are standardised with the training mean and deviation.  The L2 penalty (scikit-learn's alpha, of
    MLP_PENALTIES) is chosen by the cross-validation of `linear_probe`; the test split is scored once.
    hidden: units.  seed: decides the folds and the start of the weights.
    Raises InputError for fewer than two classes, for a single label per class (nothing could be validated), and for
    features or labels that cannot be used.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if hidden < 1:
        raise InputError(f"hidden must be at least 1 unit, not {hidden}")
    x, y, test_x, test_y = (v.cpu().numpy() for v in checked_split(train_x, train_y, test_x, test_y))
    folds = folds_of(y, seed)
    if not folds:
        raise InputError("an MLP probe needs a class with at least two labels, to validate its penalty on")
    scaler = StandardScaler().fit(x)
    model = MLPClassifier((hidden,), solver="lbfgs", max_iter=200, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(1):  # many small fits: threads would only wait for each other
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(model, {"alpha": MLP_PENALTIES}, cv=folds).fit(scaler.transform(x), y)
    return HeadResult(float(search.score(scaler.transform(test_x), test_y)), search.best_params_["alpha"])


class AttentivePool(nn.Module):
    """Tokens [N, T, D] -> one vector [N, D]: Q learned queries, each of which looks for its own D / Q dimensions.

    a_j = softmax over the tokens of x_t . q_j / sqrt(D);  y_j = sum_t a_jt (V x_t)_j, where (V x)_j is the j-th of Q
    equal parts of V x (Psomas et al. 2026, "Attention, please!", efficient probing).  At the start q = 0: the mean.
    """

    def __init__(self, dim: int, queries: int = 4):
        super().__init__()
        if queries < 1 or dim % queries:
            raise InputError(f"{dim} dimensions cannot be shared equally by {queries} queries")
        self.queries = nn.Parameter(torch.zeros(queries, dim))
        self.values = nn.Linear(dim, dim, bias=False)

    def attention(self, x: Tensor) -> Tensor:
        """How much each query looks at each token: [N, Q, T], rows sum to 1."""
        return (self.queries @ x.mT / x.shape[-1] ** 0.5).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        values = self.values(x).unflatten(-1, (len(self.queries), -1))  # [N, T, Q, D / Q]
        return torch.einsum("nqt,ntqd->nqd", self.attention(x), values).flatten(1)


def attentive_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, queries: int = 4, steps: int = 200,
    lr: float = 1e-2, seed: int = 0,
) -> HeadResult:  # fmt: skip
    """A linear classifier behind an `AttentivePool`, on frozen tokens [N, T, D]: for encoders whose tokens know more
    than their mean.

    Tokens are standardised per dimension with the training mean and deviation.  Pool and classifier are trained
    together by AdamW, all training pictures in each step, lr falling to 0 along half a cosine.  The weight decay (of
    DECAYS) is the one that scores best on a fifth of the training labels, held out; the test split is scored once.
    seed: decides the held-out pictures and the start of the weights.  The random state of the program is left alone.
    Raises InputError as `mlp_probe` does, and for D that the queries do not divide.
    """
    (train_x, train_y), (test_x, test_y) = (_tokens(*s) for s in ((train_x, train_y), (test_x, test_y)))
    if train_x.shape[1:] != test_x.shape[1:]:
        raise InputError(f"tokens of one encoder have one shape, not {[*train_x.shape[1:]]} and {[*test_x.shape[1:]]}")
    folds = folds_of(train_y.numpy(), seed)
    if not folds:
        raise InputError("an attentive probe needs a class with at least two labels, to validate its penalty on")
    mean, deviation = train_x.mean(dim=(0, 1)), train_x.std(dim=(0, 1)) + 1e-6
    train_x, test_x = ((x - mean) / deviation for x in (train_x, test_x))

    def trained(rows: Tensor, decay: float) -> nn.Module:
        torch.manual_seed(seed)
        head = nn.Sequential(AttentivePool(train_x.shape[2], queries), nn.Linear(train_x.shape[2], classes))
        optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(head(train_x[rows]), train_y[rows]).backward()
            optimizer.step()
            schedule.step()
        return head

    def score(head: nn.Module, x: Tensor, y: Tensor) -> float:
        with torch.no_grad():
            return float((head(x).argmax(dim=1) == y).float().mean())

    classes = int(train_y.max()) + 1
    rows, held = (torch.from_numpy(part) for part in folds[0])
    with torch.random.fork_rng(devices=[]):
        found = {d: score(trained(rows, d), train_x[held], train_y[held]) for d in DECAYS}
        decay = max(found, key=found.get)
        return HeadResult(score(trained(torch.arange(len(train_x)), decay), test_x, test_y), decay)


def _tokens(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [N, T, D] as float32 and labels [N], checked, on the CPU."""
    if not isinstance(x, Tensor) or x.ndim != 3:
        got = [*x.shape] if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"an attentive probe reads tokens [images, tokens, dimensions], not {got}")
    y = checked_labels(y, x)
    return checked_features(x.flatten(1), "tokens").view(x.shape).float().cpu(), y.cpu()
