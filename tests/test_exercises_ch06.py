"""The checkers of chapters 06 and 06b against solutions in several styles, and wrong versions a reader would write."""

import itertools

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch06


def ceiling_by_pairs(pictures, p):
    """Every turned picture against every other one, without a dictionary."""
    turned = [(x.rot90(k, (0, 1)), w / 4, k) for x, w in zip(pictures, p, strict=True) for k in range(4)]
    left, total = list(turned), 0.0
    while left:
        same = [entry for entry in left if torch.equal(entry[0], left[0][0])]
        left = (
            [entry for entry in left if not torch.equal(entry[0], left[0][0])]
            if len(same) < len(left)
            else []
        )
        total += max(sum(w for _, w, k in same if k == turn) for turn in range(4))
    return total


def ceiling_alone(pictures, p):
    return sum(w * ceiling_by_pairs(x[None], torch.ones(1)) for x, w in zip(pictures, p, strict=True))


def mirrored_by_pictures(m):
    """Counted on a picture without any symmetry and its mirror image."""
    x = torch.arange(9).view(3, 3)
    seen = {}
    for picture, k, mirror in itertools.product((x, x.flip(1)), range(4), (False, True)):
        shown = picture.rot90(k, (0, 1))
        shown = shown.flip(1) if mirror else shown
        weight = (m if mirror else 1 - m) / 8
        seen.setdefault(tuple(shown.flatten().tolist()), [0.0] * 4)[k] += weight
    return sum(max(row) for row in seen.values())


def shifted(n):
    return torch.stack([torch.arange(n).roll(k) for k in range(n)])


def distance(right):
    share = right.float().mean(1)
    return ((share.mean() - 0.125) / (share.var() / len(share)).sqrt()).item()


def distance_of_answers(right):
    return (right.double().mean() - 0.125) / (right.double().std() / right.numel() ** 0.5)


def smoothed(logits, index, share):
    target = torch.nn.functional.one_hot(index, logits.shape[1]) * (1 - share) + share / logits.shape[1]
    return -(target * logits.log_softmax(1)).sum(1).mean()


RATIOS = {"number": 1, "edge": 1 / 2, "ink": 1 / 4, "brightness": 1 / 4}
CORRECT = {
    "check_ceiling": [ceiling_by_pairs, lambda x, p: ceiling_by_pairs(x.float(), p.float())],
    "check_mirrored_ceiling": [mirrored_by_pictures, lambda m: 0.5 + 0.5 * max(m, 1 - m)],
    "check_orders": [shifted, lambda n: shifted(n).flip(0), lambda n: shifted(n).float()],
    "check_distance_from_chance": [distance],
    "check_ratios": [RATIOS.get],
    "check_smoothed_loss": [smoothed, lambda z, i, s: smoothed(z.float(), i, s)],
}
WRONG = [
    ("check_ceiling", "alone", ceiling_alone),
    ("check_ceiling", "how probable", lambda x, p: ceiling_by_pairs(x, torch.ones(len(p)) / len(p))),
    ("check_mirrored_ceiling", "certain", lambda m: 1 - m / 2),
    ("check_mirrored_ceiling", "m = 1/2 only", lambda m: 0.75),
    ("check_orders", "no order", lambda n: torch.zeros(n, n)),
    ("check_orders", "agree", lambda n: torch.arange(n).expand(n, n)),
    ("check_orders", "instead of", lambda n: shifted(n)[:1]),
    ("check_distance_from_chance", "independent", distance_of_answers),
    ("check_distance_from_chance", "root of N", lambda r: (r.double().mean() - 1 / 8) / r.double().mean(1).std()),
    ("check_ratios", "shrunken", lambda name: 4.0 if name == "brightness" else 1.0),
    ("check_ratios", "four means", lambda name: 1.0 if name == "brightness" else RATIOS[name]),
    ("check_smoothed_loss", "not used", lambda z, i, s: torch.nn.functional.cross_entropy(z, i)),
]  # fmt: skip


TestCheckers = checker_tests(ch06, correct=CORRECT, wrong=WRONG)


def test_the_ratios_are_those_of_pictures():
    """One large square and its shrunken version, quarters through empty space or through the square alike."""
    x = torch.zeros(1, 1, 64, 64)
    x[:, :, 8:24, 8:24] = 1
    x[:, :, 40:56, 40:56] = 1
    small = torch.nn.functional.avg_pool2d(x, 2)
    quarters = [x[:, :, a : a + 32, b : b + 32] for a in (0, 32) for b in (0, 32)]

    def edge(picture):
        return sum((picture - picture.roll(1, dim)).abs().sum() for dim in (2, 3))

    for name, phi in (("edge", edge), ("ink", torch.sum), ("brightness", torch.mean)):
        assert torch.isclose(phi(small) / sum(map(phi, quarters)), torch.tensor(RATIOS[name])), name
