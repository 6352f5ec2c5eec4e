"""The checkers of chapter 12 against solutions in several styles, and plausible wrong ones."""

import torch
from exercise_cases import checker_tests

from ssl_lessons.book.exercises import ch12


def averaging_loop(edges, n):
    s, degree = torch.eye(n), [1] * n
    for a, b in edges.T.tolist():
        s[a, b] = s[b, a] = 1
        degree[a] += 1
        degree[b] += 1
    for i in range(n):
        for j in range(n):
            s[i, j] /= (degree[i] * degree[j]) ** 0.5
    return s


def averaging_by_matrices(edges, n):
    a = torch.eye(n).double()
    a[edges[0], edges[1]] = 1
    a[edges[1], edges[0]] = 1
    root = torch.diag(a.sum(0) ** -0.5)
    return root @ a @ root


def hidden_loop(guess, x, hidden, gamma):
    found = []
    for i in range(len(x)):
        if hidden[i]:
            cosine = torch.nn.functional.cosine_similarity(guess[i], x[i], dim=0)
            found.append((1 - float(cosine)) ** gamma)
    return sum(found) / len(found)


def colours(edges, n, rounds):
    names = ["" for _ in range(n)]
    for _ in range(rounds):
        around = [[] for _ in range(n)]
        for a, b in edges.T.tolist():
            around[a] += [names[b]]
            around[b] += [names[a]]
        names = [f"({names[i]}:{','.join(sorted(around[i]))})" for i in range(n)]
    return len(set(names))


CORRECT = {
    "check_survives": [lambda share, views: (1 - share) ** (2 * views), lambda s, v: ((1 - s) ** 2) ** v],
    "check_averaging": [averaging_loop, averaging_by_matrices],
    "check_hidden_error": [hidden_loop],
    "check_colours": [colours, lambda e, n, r: torch.tensor(colours(e, n, r))],
}
WRONG = [
    ("check_survives", "one end", lambda s, v: (1 - s) ** v),
    ("check_survives", "one view", lambda s, v: (1 - s) ** 2),
    ("check_averaging", "identity to A first", ch12._without_loops),
    ("check_averaging", "roots of both degrees", lambda e, n: averaging_loop(e, n).sign()),
    ("check_averaging", "goes both ways", ch12._one_way),
    ("check_hidden_error", "hidden ones alone", lambda z, x, h, g: hidden_loop(z, x, h | True, g)),
    ("check_hidden_error", "not of the cosine", lambda z, x, h, g: (1 - ch12._cosines(z, x)[h] ** g).mean()),
    ("check_colours", "round too many", lambda e, n, r: colours(e, n, r + 1)),
    ("check_colours", "both ways", ch12._one_way_colours),
]
TestCheckers = checker_tests(ch12, correct=CORRECT, wrong=WRONG)
