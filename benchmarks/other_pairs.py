"""Pairs without captions: chapter 11b's record, data/results/other_pairs.json, one row per part, arm and seed.

tuning    each task at each learning rate, half the steps, on a world of its own (seed 100), by held-out train scenes.
eyes      what an eye keeps (linear readout of every factor) after CMC, AMDIM and four questions about sounds; floors.
rooms     correspondence where each room has a hum and a camera with a tint: answers with and without the thing's sound.
programs  functions and docstrings of the standard library: mean reciprocal rank among 500, other modules than trained.
"""

import time
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume
from pairs import RATES, SEEDS, TUNING_SEED, drawn, eye_of, kept, small

from ssl_lessons import losses
from ssl_lessons.modalities.pairs import encoders, programs, sounds, wordless
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
STEPS = 600
SIZES = {"steps": STEPS}
AMONG, RATE = 500, 4e-3
READ, READ_RATE = 400, 1e-2  # steps and rate of the readers


CMC = {f"CMC, {split}": split for split in wordless.SPLITS}
SOUNDS = ("correspondence", "contrast with sounds", "clusters of sounds", "XDC", "own clusters")
NAMES = (*CMC, "AMDIM", *SOUNDS)
FLOORS = ("pixels", "untrained", *(f"untrained, {split}" for split in wordless.SPLITS))


def two_eyes(seed: int, split: str) -> wordless.TwoEyes:
    torch.manual_seed(seed)
    return wordless.TwoEyes(split=split)


def build(name: str, seed: int, scenes, heard):
    torch.manual_seed(seed)
    refresh = max(1, SIZES["steps"] // 5)
    eye, ear = encoders.PictureNet(), sounds.EarNet()
    if name in CMC:
        return wordless.Channels(two_eyes(seed, CMC[name]), scenes)
    return {
        "AMDIM": lambda: wordless.GlobalLocal(eye, scenes),
        "correspondence": lambda: wordless.Correspond(eye, ear, scenes, heard),
        "contrast with sounds": lambda: wordless.HeardContrast(eye, ear, scenes, heard),
        "clusters of sounds": lambda: wordless.Clusters(eye, ear, scenes, heard),
        "XDC": lambda: wordless.Clusters(eye, ear, scenes, heard, refresh=refresh),
        "own clusters": lambda: wordless.Clusters(eye, ear, scenes, heard, refresh=refresh, own=True),
    }[name]()


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


def floor(name: str, seed: int, train, test) -> dict:
    if name == "pixels":
        return kept(small, train, test)
    torch.manual_seed(seed)
    split = name.removeprefix("untrained, ")
    return kept(
        eye_of(two_eyes(seed, split) if split in wordless.SPLITS else encoders.PictureNet()), train, test
    )


def run_eye(name: str, seed: int) -> dict:
    train, test = drawn("train", seed), drawn("test", seed)
    if name in FLOORS:
        return {"steps": 0, "factors": floor(name, seed, train, test)}
    task = build(name, seed, train, sounds.sounds(train, seed)[0])
    row = trained(task, SIZES["steps"], best_rate(name), seed)
    return row | {"factors": kept(eye_of(task.eye), train, test)}


# ---- rooms ----------------------------------------------------------------------------------------------------------

HUM = 0.3
# arm -> (has every room's camera a tint?, are false pairs of one room?)
ROOMS = {
    "untrained": (True, False), "cameras alike": (False, False), "a tint for each room": (True, False),
    "a tint for each room, false pairs of one room": (True, True),
}  # fmt: skip


def filmed(split: str, seed: int, tint: bool):
    """Scenes, their sounds, the same without the thing, and the rooms."""
    scenes, seed = drawn(split, seed), seed + 1000 * (split == "test")
    heard, room = sounds.sounds(scenes, seed, hum=HUM)
    silent = sounds.sounds(scenes, seed, hum=HUM, silent=True)[0]
    return sounds.tinted(scenes, room) if tint else scenes, heard, silent, room


def run_room(name: str, seed: int) -> dict:
    """Right answers on test scenes: `right`; `one room`: the false pairs are of one room; `silent`: no thing sounds."""
    tint, same = ROOMS[name]
    train, heard, _, room = filmed("train", seed, tint)
    torch.manual_seed(seed)
    eye, ear = encoders.PictureNet(), sounds.EarNet()
    task = wordless.Correspond(eye, ear, train, heard, rooms=room if same else None)
    row = {"steps": 0}
    if name != "untrained":
        row = trained(task, SIZES["steps"], best_rate("correspondence"), seed)
    test, heard, silent, room = filmed("test", seed, tint)
    return row | {
        "right": task.right(test, heard), "one room": task.right(test, heard, room),
        "silent": task.right(test, silent), "factors": kept(eye_of(task.eye), train, test),
    }  # fmt: skip


# ---- programs -------------------------------------------------------------------------------------------------------


COUNTS = {"TF-IDF": None, "TF-IDF, first 3 letters": 3}
READERS = ("untrained, two readers", "two readers", "untrained, one reader", "one reader")


@lru_cache(maxsize=2)
def library(split: str) -> programs.Programs:
    return programs.programs(split)


def cut(texts: list[str]) -> list[list[str]]:
    return [programs.words(t) for t in texts]


def run_programs(name: str, seed: int) -> dict:
    """Another 500 of the test functions for each seed.

    `found`: the mean reciprocal rank of the right program; `unshared`: of queries without the words of their program.
    """
    train, test = library("train"), library("test")
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:AMONG].tolist()
    texts, codes = (cut([some[i] for i in rows]) for some in (test.texts, test.codes))
    score, row = counting(train, COUNTS[name]) if name in COUNTS else reading(name, seed, train)
    bare = programs.unshared(texts, codes)
    return row | {
        "found": programs.reciprocal_rank(score(texts, codes)),
        "unshared": programs.reciprocal_rank(score(bare, codes)),
    }


def counting(train: programs.Programs, letters: int | None):
    """TF-IDF of scikit-learn, fitted on the training functions: scores of lists of words, and what a row says of it.

    letters: count beginnings of words of so many letters, so that "files" finds "file"; None: whole words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    count = TfidfVectorizer(analyzer=lambda words: [w[:letters] for w in words], sublinear_tf=True)
    count.fit(cut(train.texts) + cut(train.codes))
    return (
        lambda texts, codes: torch.from_numpy((count.transform(texts) @ count.transform(codes).T).toarray()),
        {"steps": 0},
    )


def reading(name: str, seed: int, train: programs.Programs):
    """The same from bags of words, one reader for both sides or two, trained by contrast or not."""
    numbers = programs.Numbers(cut(train.texts) + cut(train.codes))
    torch.manual_seed(seed)
    first = encoders.BagOfWords(96, len(numbers))
    readers = [first, first if name.endswith("one reader") else encoders.BagOfWords(96, len(numbers))]
    row = {"steps": 0}
    if not name.startswith("untrained"):
        text, code = (numbers.ids(cut(some)) for some in (train.texts, train.codes))

        def one_batch(g):
            pick = torch.randint(len(text), (128,), generator=g)
            return losses.clip(readers[0](text[pick]), readers[1](code[pick]), 14.0)

        start = time.process_time()
        history = fit(torch.nn.ModuleList(readers), one_batch, READ, lr=READ_RATE, seed=seed)
        row = {
            "steps": READ, "lr": READ_RATE, "first": history[0], "loss": sum(history[-20:]) / 20,
            "seconds": time.process_time() - start,
        }  # fmt: skip

    @torch.no_grad()
    def score(texts, codes):
        u, v = (F.normalize(r(numbers.ids(t)), dim=1) for r, t in zip(readers, (texts, codes), strict=True))
        return u @ v.T

    return score, row


PARTS = {
    "eyes": ((*FLOORS, *NAMES), run_eye),
    "rooms": (tuple(ROOMS), run_room),
    "programs": ((*COUNTS, *READERS), run_programs),
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
