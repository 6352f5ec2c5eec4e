"""Word vectors of every method of chapter 02, examined: concepts, analogies, classes of the manual, a planted bias.

    uv run python benchmarks/words.py                  # what is missing in the record
    uv run python benchmarks/words.py --seconds 200    # for as long; go on by repeating it

A seed decides the text of the little language, or what subsampling drops from the manual, and all of the training.
Methods that count have no other chance in them.  All trained vectors have 40 dimensions; within an exam they see the
same number of examples (those without negatives a quarter: they have long collapsed).
A run that is in the record is not repeated.
"""

import argparse
import inspect
import time
from functools import cache

import torch
from _record import merge, recorded

from ssl_lessons import diagnostics
from ssl_lessons.modalities.words import corpora, counts, exams, geometry, objectives, training

KEY = ("exam", "arm", "setting", "seed")
LEARNED = {  # arm -> objective (or what makes one of a corpus), whether it has a bias
    "skip-gram, softmax": (training.skip_gram_softmax, True),
    "skip-gram, tree": (training.skip_gram_tree, False),
    "skip-gram, NCE": (training.skip_gram_nce, True),
    "skip-gram, NEG": (training.skip_gram, False),
    "CBOW, NEG": (training.cbow, False),
    "no negatives": (training.no_negatives, False),
}
COUNTED = ("raw counts", "PMI table", "PMI table, SVD", "GloVe", "untrained")
DIM = 40
LITTLE = {"window": 5, "lr": 0.03, "steps": 900}
MANUAL = {"window": 4, "lr": 0.02, "steps": 1200}
PLAN = {  # exam -> its settings, arms and seeds
    "little": ((12_000,), (*COUNTED, *LEARNED), range(3)),  # sentences
    "short": ((1500,), (*COUNTED, "skip-gram, NEG"), range(3)),
    "manual": (
        (0.0, 1e-3),
        (*COUNTED, "skip-gram, tree", "skip-gram, NEG", "CBOW, NEG"),
        range(3),
    ),  # threshold
    "bias": ((0.0, 0.5), ("skip-gram, NEG",), range(3)),  # company
}


@cache
def little(sentences: int, seed: int, company: float = 0.0) -> counts.Corpus:
    return counts.read(corpora.little_language(sentences, seed=seed, company=company))


@cache
def manual() -> counts.Corpus:
    return counts.read(corpora.python_documentation(), min_count=5)


def learned(corpus, arm: str, seed: int, threshold: float = 0.0, steps: int = 900, **options) -> dict:
    """input and sum: the vectors v and v + u; spread and loss of the last step."""
    objective, bias = LEARNED[arm]
    objective = objective(corpus) if arm == "skip-gram, tree" else objective
    model, history = training.learn(
        corpus,
        objective,
        steps,
        dim=DIM,
        seed=seed,
        bias=bias,
        threshold=threshold,
        watch=lambda v: 0.0,
        **options,
    )
    v, u = model.input.detach(), model.output.detach()
    return {
        "v": v,
        "sum": v + u,
        "loss": history[-1]["loss"],
        "lowest": min(r["spread"] for r in history[1:]),
    }


def counted(corpus, arm: str, seed: int, window: int, x_max: float, steps: int) -> torch.Tensor:
    """Vectors [V, ...] of a method that counts, or that learns nothing."""
    if arm == "untrained":
        return objectives.WordVectors(
            len(corpus.words), DIM, torch.Generator().manual_seed(seed)
        ).input.detach()
    if arm == "GloVe":
        X = counts.cooccurrence(corpus, window, harmonic=True).float()
        w, c, _, _ = training.fit_glove(X, DIM, steps, x_max=x_max, seed=seed)
        return w + c
    table = counts.cooccurrence(corpus, window)
    if arm == "raw counts":
        return table.float()
    table = counts.shifted_positive_pmi(table).float()
    if arm == "PMI table":
        return table
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        u, s, _ = torch.svd_lowrank(table, q=DIM, niter=4)
    return u * s.sqrt()


def little_row(arm: str, sentences: int, seed: int) -> dict:
    corpus, extra = little(sentences, seed), {}
    if arm in LEARNED:
        steps = LITTLE["steps"] // 4 if arm == "no negatives" else LITTLE["steps"]
        found = learned(corpus, arm, seed, **LITTLE | {"steps": steps})
        v = found["v"]
        extra = {"loss": found["loss"], "lowest_spread": found["lowest"]}
        extra["concept_sum"] = exams.concepts(corpus)(found["sum"])
    else:
        v = counted(corpus, arm, seed, LITTLE["window"], 100.0 if sentences > 5000 else 10.0, 300)
    right = {f: geometry.analogy_accuracy(v, q) for f, q in exams.analogies(corpus).items()}
    numbers = {
        "concept": exams.concepts(corpus)(v),
        "rank": diagnostics.rank_me(v),
        "spread": diagnostics.spread(v),
    }
    return right | numbers | extra


def manual_row(arm: str, threshold: float, seed: int) -> dict:
    corpus = manual()
    if arm in LEARNED:
        v = learned(corpus, arm, seed, threshold, **MANUAL)["v"]
    else:
        thinner = (
            counts.subsample(corpus, threshold, torch.Generator().manual_seed(seed)) if threshold else corpus
        )
        v = counted(thinner, arm, seed, MANUAL["window"], 10.0, 120)
    report = exams.analogy_report(v, exams.plurals(corpus))
    return {"class": exams.manual_classes(corpus)(v), "rank": diagnostics.rank_me(v)} | report


def bias_row(arm: str, company: float, seed: int) -> dict:
    """Occupations before and after hard debiasing."""
    corpus = little(12_000, seed, company)
    v, jobs = learned(corpus, arm, seed, **LITTLE)["v"], exams.occupations(corpus)
    g = jobs.direction(v)
    clean = geometry.hard_debias(v, g, jobs.pairs)
    row = {"r": float(torch.corrcoef(torch.stack([jobs.share, jobs.lean(v, g)]))[0, 1])}
    for when, w in (("before", v), ("after", clean)):
        row |= {f"{name}_{when}": value for name, value in jobs.report(w, g).items()}
        row |= {f"people_{when}": geometry.analogy_accuracy(w, exams.analogies(corpus)["people"])}
        row |= {f"concept_{when}": exams.concepts(corpus)(w)}
    return row


ROWS = {"little": little_row, "short": little_row, "manual": manual_row, "bias": bias_row}


def main(exam: list[str], seeds: int, seconds: float) -> None:
    done = {tuple(r.get(k) for k in KEY) for r in recorded("words")}
    start = time.perf_counter()
    todo = [
        (e, arm, s, seed)
        for e in exam
        for s in PLAN[e][0]
        for seed in PLAN[e][2][:seeds]
        for arm in PLAN[e][1]
    ]
    for key in (key for key in todo if key not in done):
        if time.perf_counter() - start > seconds:
            return
        row = dict(zip(KEY, key, strict=True)) | ROWS[key[0]](*key[1:])
        merge("words", [row], KEY, packages=("torch",))
        print(*key, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--exam", nargs="*", default=[*PLAN], choices=[*PLAN])
    parser.add_argument("--seeds", type=int, default=5, help="at most that many seeds of each exam")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    main(**vars(parser.parse_args()))
