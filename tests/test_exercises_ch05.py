"""The checkers of chapters 05 and 05b against solutions in several styles, and wrong versions a reader would write."""

import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch05


def hole_loss_by_selection(x, painted, hole):
    return (x - painted)[:, :, hole.bool()].square().mean()


def floor_loops(p, answers):
    best = sum(q * a for q, a in zip(p, answers, strict=True))
    return sum(q * (a - best).square().mean() for q, a in zip(p, answers, strict=True))


def absolute_by_search(p, answers):
    """The best value of every pixel is one of those that occur."""
    best = []
    for column in answers.T:
        errors = [(p * (column - value).abs()).sum() for value in column]
        best.append(column[int(torch.stack(errors).argmin())])
    return torch.stack(best)


def absolute_float(p, answers):
    values, order = answers.float().sort(dim=0)
    first = (p.float()[order].cumsum(dim=0) < 0.5).sum(dim=0)
    return values[first, torch.arange(values.shape[1])]


def pushes_by_autograd(scores):
    found = []
    for sign in (1, -1):
        s = scores.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.softplus(sign * s).sum(), s)
        found.append(gradient.abs().mean())
    return tuple(found)


def pushes_at_the_mean(scores):
    d = torch.sigmoid(scores.mean())
    return d, 1 - d


def to_screen_loops(v):
    return torch.tensor([12.92 * u if u <= 0.0031308 else 1.055 * u ** (1 / 2.4) - 0.055 for u in v.tolist()])


def paleness_by_integration(chroma, spread):
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = (-z.square() / 2).softmax(dim=0)
    return chroma * (density * torch.cos(spread * z)).sum()


def blind_by_descent(p, w):
    """The minimum found without algebra."""
    logits = torch.zeros(len(p), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -(p * w * logits.log_softmax(dim=0)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


def blind_formula(p, w):
    a = p * w
    return float(a.sum() * a.sum().log() - (a * a.log()).sum())


def leak_centred(x1, x2):
    a, b = x1 - x1.mean(dim=0), x2 - x2.mean(dim=0)
    fit = a @ torch.linalg.pinv(a) @ b
    return (fit.square().sum() / b.square().sum()).item()


def leak_without_constant(x1, x2):
    rest = x2 - x1 @ torch.linalg.pinv(x1) @ x2
    return 1 - rest.square().sum() / (x2 - x2.mean(dim=0)).square().sum()


CORRECT = {
    "check_floor": [floor_loops, lambda p, a: ((p @ a.square()) - (p @ a).square()).mean()],
    "check_hole_loss": [hole_loss_by_selection],
    "check_absolute_answer": [absolute_by_search, absolute_float],
    "check_two_pushes": [
        pushes_by_autograd,
        lambda s: [s.sigmoid().mean().item(), 1 - s.sigmoid().mean().item()],
    ],
    "check_to_screen": [to_screen_loops, lambda v: to_screen_loops(v).float()],
    "check_paleness": [paleness_by_integration, lambda c, s: c * math.exp(-s * s / 2)],
    "check_blind_painter": [blind_by_descent, blind_formula],
    "check_leak": [leak_centred, lambda a, b: leak_centred(a.float(), b.float())],
}
WRONG = [
    ("check_floor", "most probable", lambda p, a: p @ (a - a[p.argmax()]).square().mean(dim=1)),
    ("check_floor", "second moment", lambda p, a: p @ a.square().mean(dim=1)),
    ("check_floor", "weigh", lambda p, a: (a - a.mean(dim=0)).square().mean()),
    ("check_floor", "twice too much", lambda p, a: p @ (a[:, None] - a[None]).square().mean(dim=2) @ p),
    ("check_hole_loss", "all pixels", lambda x, y, m: F.mse_loss(x, y)),
    ("check_hole_loss", "outside", lambda x, y, m: hole_loss_by_selection(x, y, 1 - m)),
    ("check_hole_loss", "also those outside", lambda x, y, m: ((x - y) * m).square().mean()),
    ("check_absolute_answer", "squared", lambda p, a: (p[:, None] * a).sum(dim=0)),
    ("check_absolute_answer", "equally probable", lambda p, a: a.median(dim=0).values),
    ("check_absolute_answer", "most probable", lambda p, a: a[p.argmax()]),
    ("check_two_pushes", "exchanged", lambda s: ((-s).sigmoid().mean(), s.sigmoid().mean())),
    ("check_two_pushes", "average the pushes", pushes_at_the_mean),
    ("check_two_pushes", "tuple of 2", lambda s: s.sigmoid().mean()),
    (
        "check_to_screen",
        "0.04045 / 12.92",
        lambda v: torch.where(v < 0.04045, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055),
    ),
    ("check_to_screen", "2.2", lambda v: v.pow(1 / 2.2)),
    ("check_paleness", "1/2 is missing", lambda c, s: c * math.exp(-s * s)),
    ("check_paleness", "small spreads", lambda c, s: c * (1 - s * s / 2)),
    ("check_blind_painter", "answering p", lambda p, w: -(p * w * p.log()).sum()),
    ("check_blind_painter", "weights are missing", lambda p, w: -(p * p.log()).sum()),
    ("check_blind_painter", "sum to 1", lambda p, w: -(p * w * (p * w).log()).sum()),
    ("check_leak", "column of ones", leak_without_constant),
    ("check_leak", "other way round", lambda a, b: leak_centred(b, a)),
]


TestCheckers = checker_tests(ch05, correct=CORRECT, wrong=WRONG)
