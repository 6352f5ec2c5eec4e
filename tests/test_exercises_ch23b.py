"""The checkers of chapter 23b against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons import losses, views
from ssl_lessons.book.exercises import ch23b


def by_drawing(p, q):
    return 1 / (1 / p + 1 / q - 1)


def broken(matcher):
    """Against the definition, on two pictures with rows of several lengths."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 5, 4, generator=g), torch.randn(3, 7, 4, generator=g)
    b = b * torch.linspace(0.2, 5, 7)[:, None]
    wanted = torch.cosine_similarity(a[:, :, None], b[:, None], dim=3).argmax(dim=2)
    return not torch.equal(matcher(a, b), wanted)


def broken_by_package(matcher):
    a, b = torch.randn(4, 6, 3), torch.randn(4, 9, 3) * torch.rand(9, 1)
    return bool((matcher(a, b) != losses.best_matches(a, b)).any())


def one_picture(matcher):
    a, b = torch.eye(4)[None], torch.eye(4).flip(0)[None]
    return matcher(a, b).tolist() != [[3, 2, 1, 0]]


def places_by_package(box, flip_x, flip_y, side):
    drawn = {"boxes": box[None], "flip": torch.tensor([flip_x]), "angle": torch.zeros(1)}
    found = views.places(drawn, side)[0]
    return found.flip(0) if flip_y else found


def places_by_flipping(box, flip_x, flip_y, side):
    steps = torch.linspace(0.5, side - 0.5, side) / side
    y, x = torch.meshgrid(box[0] + box[2] * steps, box[1] + box[3] * steps, indexing="ij")
    found = torch.stack([y, x], dim=-1)
    axes = [axis for axis, flip in enumerate((flip_y, flip_x)) if flip]
    return found.flip(axes)


def carry_loop(similarity, labels, side, radius):
    out = []
    for q in range(side**2):
        near = [
            p
            for p in range(side**2)
            if abs(p // side - q // side) <= radius and abs(p % side - q % side) <= radius
        ]
        out.append(labels[max(near, key=lambda p, q=q: float(similarity[q, p]))])
    return torch.stack(out)


CORRECT = {
    "check_overlap_by_lot": [by_drawing, lambda p, q: torch.tensor(p * q / (p + q - p * q))],
    "check_is_broken": [broken, broken_by_package],
    "check_places": [places_by_package, places_by_flipping],
    "check_carry_nearby": [carry_loop],
}
WRONG = [
    ("check_overlap_by_lot", "Dice", lambda p, q: 2 * p * q / (p + q)),
    ("check_overlap_by_lot", "counts what both have once", lambda p, q: p * q / (p + q)),
    ("check_is_broken", "more pictures than one", one_picture),
    ("check_is_broken", "refuse", lambda matcher: True),
    ("check_places", "nothing is turned round", lambda b, x, y, s: places_by_flipping(b, False, False, s)),
    ("check_places", "not (x, y)", lambda b, x, y, s: places_by_flipping(b, x, y, s).flip(2)),
    ("check_carry_nearby", "within the radius", lambda s, v, n, r: v[s.argmax(1)]),
    ("check_carry_nearby", "wrong axis", lambda s, v, n, r: carry_loop(s.T, v, n, r)),
]

TestCheckers = checker_tests(ch23b, correct=CORRECT, wrong=WRONG)
