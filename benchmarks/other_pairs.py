"""Pairs without captions: what an eye learns from channels, places and sounds, and who finds which program.

The record is data/results/other_pairs.json, one row per part, arm and seed.

tuning    each task at each learning rate, half the steps, on a world of its own (seed 100), by held-out train scenes.
eyes      what an eye keeps (linear readout of every factor) after CMC, AMDIM and four questions about sounds.
programs  functions and docstrings of the standard library: mean reciprocal rank among 500, other modules than trained.
"""

import time
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume
from pairs import RATES, SEEDS, STEPS, TUNING_SEED, drawn, eye_of, kept

from ssl_lessons import losses
from ssl_lessons.modalities.pairs import encoders, programs, sounds, wordless
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
SIZES = {"steps": STEPS}
AMONG, RATE = 500, 4e-3


def seen_channels(seed: int):
    torch.manual_seed(seed)
    return wordless.TwoEyes()


def build(name: str, seed: int, scenes, heard):
    torch.manual_seed(seed)
    eye, ear = encoders.PictureNet(), sounds.EarNet()
    return {
        "CMC": lambda: wordless.Channels(seen_channels(seed), scenes),
        "AMDIM": lambda: wordless.GlobalLocal(eye, scenes),
        "correspondence": lambda: wordless.Correspond(eye, ear, scenes, heard),
        "contrast with sounds": lambda: wordless.HeardContrast(eye, ear, scenes, heard),
        "clusters of sounds": lambda: wordless.Clusters(eye, ear, scenes, heard),
        "XDC": lambda: wordless.Clusters(eye, ear, scenes, heard, refresh=max(1, SIZES["steps"] // 5)),
    }[name]()


NAMES = ("CMC", "AMDIM", "correspondence", "contrast with sounds", "clusters of sounds", "XDC")


def trained(task, steps: int, lr: float, seed: int) -> dict:
    start = time.process_time()
    history = fit(task, task, steps, lr=lr, seed=seed, after=getattr(task, "after", None))
    last = history[-20:]
    return {
        "steps": steps, "lr": lr, "loss": sum(last) / len(last), "first": history[0],
        "seconds": time.process_time() - start,
    }  # fmt: skip


def tune(name: str, lr: float, seed: int = TUNING_SEED) -> dict:
    scenes = drawn("train", seed)
    cut = len(scenes) - len(scenes) // 4
    train, held = scenes[:cut], scenes[cut:]
    task = build(name, seed, train, sounds.sounds(train, seed)[0])
    row = trained(task, max(1, SIZES["steps"] // 2), lr, seed)
    scores = kept(eye_of(task.eye), train, held)
    return row | {"method": name, "mean": sum(scores.values()) / len(scores)}


def best_rate(name: str) -> float:
    rows = [r for r in recorded("other_pairs") if r["part"] == "tuning" and r["method"] == name]
    return max(rows, key=lambda r: r["mean"])["lr"] if rows else RATE


def run_eye(name: str, seed: int) -> dict:
    train, test = drawn("train", seed), drawn("test", seed)
    if name.startswith("untrained"):
        torch.manual_seed(seed)
        eye = encoders.PictureNet() if name == "untrained" else seen_channels(seed)
        return {"steps": 0, "factors": kept(eye_of(eye), train, test)}
    task = build(name, seed, train, sounds.sounds(train, seed)[0])
    row = trained(task, SIZES["steps"], best_rate(name), seed)
    return row | {"factors": kept(eye_of(task.eye), train, test)}


# ---- programs -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def library(split: str) -> programs.Programs:
    return programs.programs(split)


def cut(texts: list[str]) -> list[list[str]]:
    return [programs.words(t) for t in texts]


def run_programs(name: str, seed: int) -> dict:
    """Another 500 of the test functions for each seed; `found`: the mean reciprocal rank of the right program."""
    train, test = library("train"), library("test")
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:AMONG].tolist()
    texts, codes = ([some[i] for i in rows] for some in (test.texts, test.codes))
    if name == "TF-IDF":
        from sklearn.feature_extraction.text import TfidfVectorizer

        count = TfidfVectorizer(analyzer=programs.words, sublinear_tf=True).fit(train.texts + train.codes)
        return {"steps": 0, "found": rank(count.transform(texts) @ count.transform(codes).T)}
    numbers = programs.Numbers(cut(train.texts) + cut(train.codes))
    torch.manual_seed(seed)
    shared = encoders.BagOfWords(96, len(numbers))
    readers = [shared, shared if name == "one reader" else encoders.BagOfWords(96, len(numbers))]
    both, row = torch.nn.ModuleList(readers), {"steps": 0}
    if name != "untrained":
        text, code = (numbers.ids(cut(some)) for some in (train.texts, train.codes))

        def one_batch(g):
            pick = torch.randint(len(text), (128,), generator=g)
            return losses.clip(readers[0](text[pick]), readers[1](code[pick]), 14.0)

        start = time.process_time()
        history = fit(both, one_batch, SIZES["steps"], lr=1e-2, seed=seed)
        row = {
            "steps": SIZES["steps"],
            "loss": sum(history[-20:]) / 20,
            "seconds": time.process_time() - start,
        }
    with torch.no_grad():
        u, v = (
            F.normalize(r(numbers.ids(cut(t))), dim=1) for r, t in zip(readers, (texts, codes), strict=True)
        )
    return row | {"found": programs.reciprocal_rank(u @ v.T)}


def rank(score) -> float:
    return programs.reciprocal_rank(torch.from_numpy(score.toarray()))


PARTS = {
    "eyes": (("untrained", "untrained, two eyes", *NAMES), run_eye),
    "programs": (("untrained", "TF-IDF", "two readers", "one reader"), run_programs),
}


def rows_of(part: str):
    if part == "tuning":
        yield from ((f"{n}, lr {lr:g}", TUNING_SEED, partial(tune, n, lr)) for n in NAMES for lr in RATES)
        return
    names, run = PARTS[part]
    yield from ((name, seed, partial(run, name, seed)) for seed in SEEDS for name in names)


def main(parts, seeds, seconds: float, steps: int, dry: bool) -> None:
    if steps != STEPS and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps)
    jobs = (
        ({"part": part, "arm": arm, "seed": seed}, run)
        for part in parts
        for arm, seed, run in rows_of(part)
        if not seeds or seed in seeds
    )
    resume("other_pairs", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, ("tuning", *PARTS), {"steps": STEPS}).parse_args()))
