"""The checkers of chapters 04 and 04b against solutions in several styles, and wrong versions a reader would write."""

import math

import torch
import torch.nn.functional as F
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch04


def contrastive_by_loops(z1, z2, same, margin):
    total = 0.0
    for a, b, s in zip(z1, z2, same, strict=True):
        d = (a - b).square().sum().sqrt()
        total += d**2 / 2 if s else max(0.0, margin - d) ** 2 / 2
    return total / len(z1)


def contrastive_in_float64(z1, z2, same, margin):
    d, y = (z1 - z2).double().norm(dim=1), (~same).double()
    return ((1 - y) * d**2 + y * (margin - d).clamp(min=0) ** 2).mean() / 2


def contrastive_plain_hinge(z1, z2, same, margin):
    d = (z1 - z2).norm(dim=1)
    return torch.where(same, d**2, (margin - d).relu()).mean() / 2


def contrastive_separate_means(z1, z2, same, margin):
    d = (z1 - z2).norm(dim=1)
    return 0.5 * (d[same] ** 2).mean() + 0.5 * ((margin - d[~same]).relu() ** 2).mean()


def slope_by_autograd(near, far, margin):
    c = torch.ones((), requires_grad=True)
    loss = F.relu(c**2 * (near - far) + margin).mean()
    return torch.autograd.grad(loss, c)[0]


def slope_by_difference(near, far, margin):
    def loss(c):
        return F.relu(c**2 * (near - far).double() + margin).mean().item()

    return (loss(1 + 1e-6) - loss(1 - 1e-6)) / 2e-6


def supcon_by_loops(z, labels, tau):
    z = F.normalize(z.double(), dim=1)
    terms = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        total = sum(math.exp(z[i] @ z[j] / tau) for j in others)
        friends = [j for j in others if labels[j] == labels[i]]
        if friends:
            terms.append(sum(-math.log(math.exp(z[i] @ z[j] / tau) / total) for j in friends) / len(friends))
    return sum(terms) / len(terms)


def supcon_by_masks(z, labels, tau):
    z = F.normalize(z, dim=1)
    log_p = (z @ z.T / tau).fill_diagonal_(-math.inf).log_softmax(dim=1)
    friends = (labels[:, None] == labels).fill_diagonal_(False)
    count = friends.sum(dim=1)
    total = torch.where(friends, log_p, 0.0).sum(dim=1)
    return -(total[count > 0] / count[count > 0]).mean()


def soft_neighbours(z, labels, tau):
    z = F.normalize(z, dim=1)
    p = (z @ z.T / tau).fill_diagonal_(-math.inf).softmax(dim=1)
    share = (p * (labels[:, None] == labels).fill_diagonal_(False)).sum(dim=1)
    return -share[share > 0].log().mean()


def dimensions_by_matrices(distance):
    J = torch.eye(len(distance)) - 1 / len(distance)
    values = torch.linalg.eigvalsh(-J @ distance**2 @ J / 2)
    zero = values.abs().max() / 1000
    return -1 if values.min() < -zero else int((values > zero).sum())


def dimensions_without_signs(distance):
    J = torch.eye(len(distance)) - 1 / len(distance)
    values = torch.linalg.svdvals(J @ distance**2 @ J)
    return int((values > values.max() / 1000).sum())


def waves_by_counting(length, width):
    waves = [((p / length) ** 2 + (q / width) ** 2, -q) for p in range(40) for q in range(40) if p or q]
    return [q for _, q in sorted(waves)].index(-1) + 1


def learned_by_simulation_of_variances(shared, own):
    nats = torch.log((4 * shared + 2 * own) / (2 * own)) / 2
    return nats.argmax(), nats.max()


CORRECT = {
    "check_contrastive": [contrastive_by_loops, contrastive_in_float64],
    "check_shrinking_pays": [slope_by_autograd, slope_by_difference],
    "check_nt_xent_temperature": [lambda T, radius: T / 2 / radius / radius],
    "check_supcon": [supcon_by_loops, supcon_by_masks],
    "check_dimensions_needed": [dimensions_by_matrices, lambda d: torch.tensor(dimensions_by_matrices(d))],
    "check_map_with_width": [waves_by_counting, lambda a, b: -int(-a // b)],
    "check_what_is_learned": [
        learned_by_simulation_of_variances,
        lambda s, o: [int((s / o).argmax()), float(torch.atanh(s / (s + o)).max())],
    ],
}
WRONG = [
    ("check_contrastive", "exchanged", lambda a, b, s, m: contrastive_by_loops(a, b, ~s, m)),
    ("check_contrastive", "hinge is not squared", contrastive_plain_hinge),
    ("check_contrastive", "averaged apart: take one mean", contrastive_separate_means),
    ("check_contrastive", "averaged apart, and", lambda *a: 2 * contrastive_separate_means(*a)),
    ("check_contrastive", "factor 1/2 is missing", lambda *a: 2 * contrastive_by_loops(*a)),
    ("check_shrinking_pays", "hinge is closed", lambda n, f, m: 2 * (n - f).mean()),
    ("check_shrinking_pays", "sign is turned", lambda n, f, m: -slope_by_autograd(n, f, m)),
    ("check_shrinking_pays", "factor 2", lambda n, f, m: slope_by_autograd(n, f, m) / 2),
    ("check_nt_xent_temperature", "unit sphere", lambda T, radius: T / 2),
    ("check_nt_xent_temperature", "by its square", lambda T, radius: T / 2 / radius),
    ("check_supcon", "mean of the logs", soft_neighbours),
    ("check_supcon", "NaN", lambda z, y, t: soft_neighbours(z, torch.arange(len(z)), t)),
    ("check_dimensions_needed", "counted like positive", dimensions_without_signs),
    ("check_dimensions_needed", "always enough", lambda d: len(d) - 1),
    ("check_map_with_width", "tie", lambda a, b: int(a // b) + 1),
    ("check_map_with_width", "rounded down", lambda a, b: int(a // b)),
    ("check_what_is_learned", "largest variance", lambda s, o: ch04._best(s + o, ch04._nats(s, o))),
    ("check_what_is_learned", "halves the noise", lambda s, o: ch04._best(s / o, torch.log1p(s / o) / 2)),
    ("check_what_is_learned", "tuple", lambda s, o: (s / o).argmax()),
]


TestCheckers = checker_tests(ch04, correct=CORRECT, wrong=WRONG)
