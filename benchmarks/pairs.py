"""What pictures and captions teach each other: chapter 11's record, data/results/pairs.json.

One row per part, arm and seed.

tuning    each method at each learning rate, half the steps, on a world of its own (seed 100), by held-out train scenes.
methods   what an eye keeps (linear readout of every factor), zero-shot classes, retrieval, prompts; and the floors.
said      CLIP on captions that speak of the kind only, of colours too, of the place only: which factor is kept?
noise     wrong captions against few captions.
bags      four captions to a picture, one of them right: MIL-NCE, one at random, the mean of all, the right one.
batch     softmax and sigmoid where a batch is small.
unseen    combinations of colour and kind that no training picture shows.
binding   two things: is a picture nearer to its caption than to the same words with the colours exchanged?
gap       how far apart pictures and captions lie, by the scale of the loss, and what closing the gap does.
"""

import math
import time
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume

from ssl_lessons import evaluation
from ssl_lessons.data.image_set import Factor
from ssl_lessons.modalities.pairs import captions, encoders, exams, objectives, world
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, (2e-3, 5e-3, 1e-2)
RATE = 4e-3  # of what is not tuned
STEPS, TRAIN, PROBE, TEST = 400, 3000, 1500, 1000
SIZES = {"steps": STEPS, "scenes": TRAIN}
WORDS, SENTENCE = encoders.BagOfWords, encoders.Sentence


@lru_cache(maxsize=8)
def drawn(split: str, seed: int, n: int | None = None, two: bool = False, **options) -> world.Scenes:
    n = n or (TEST if split == "test" else SIZES["scenes"])
    return (world.two_things if two else world.scenes)(split, n, seed, **options)


def factors_of(scenes: world.Scenes) -> dict[str, Factor]:
    return {name: Factor(values, "categorical") for name, values in scenes.factors.items()}


def trained(task, steps: int, lr: float, seed: int) -> dict:
    start = time.process_time()
    history = fit(task, task, steps, lr=lr, seed=seed)
    last = history[-20:]
    return {
        "steps": steps, "lr": lr, "loss": sum(last) / len(last), "first": history[0],
        "seconds": time.process_time() - start,
    }  # fmt: skip


def kept(features, train: world.Scenes, test: world.Scenes) -> dict[str, float]:
    """Every factor from features by a linear readout: 0 chance, 1 always right."""
    train = train[:PROBE]
    return evaluation.factor_probe(features(train), factors_of(train), features(test), factors_of(test))


def eye_of(eye):
    return lambda scenes: encoders.apply(eye, scenes.pictures, eye)


def found(u, v, k: int) -> float:
    """recall@k: each picture looks for its own caption, which says everything; equal ones of others count as wrong."""
    rows = torch.arange(len(u))
    return evaluation.recall_at_k(u, rows, k, v, rows)


def exam(towers: encoders.Towers, test: world.Scenes, seed: int) -> dict:
    """Zero-shot classes, retrieval among 1,000 full captions, the gap."""
    full = drawn("test", seed, said=1.0)
    u, v = exams.see(towers, full.pictures), exams.read(towers, full.ids)
    return {
        "kind": exams.zero_shot(towers, test), "colour": exams.zero_shot(towers, test, "colour"),
        "pairs": exams.zero_shot_pairs(towers, test), "recall": found(u, v, 5), "back": found(v, u, 5),
        "gap": exams.gap(u, v), "scale": towers.scale.item(),
    }  # fmt: skip


# ---- methods --------------------------------------------------------------------------------------------------------


def locked(seed: int, train: world.Scenes, steps: int, lock: bool) -> objectives.Captioned:
    """LiT: an eye trained by two views first, then kept as it is (or not) while the reader learns."""
    towers = encoders.towers(seed, WORDS)
    first = objectives.TwoViews(towers.eye, train)
    fit(first, first, steps, lr=best_rate("two views"), seed=seed)
    towers.eye.requires_grad_(not lock)
    return objectives.Captioned(towers, train)


def sigmoid_towers(seed: int, batch: int = objectives.BATCH) -> encoders.Towers:
    """The bias begins where "no" to everything has its right share: sigmoid(bias) = 1 / batch."""
    return encoders.towers(seed, WORDS, bias=-math.log(batch - 1))


def build(name: str, seed: int, train: world.Scenes, steps: int):
    towers = encoders.towers(seed, SENTENCE if name == "CLIP, transformer" else WORDS)
    return {
        "CLIP": lambda: objectives.Captioned(towers, train),
        "CLIP, transformer": lambda: objectives.Captioned(towers, train),
        "CLIP, augmented": lambda: objectives.Captioned(towers, train, augmented=True),
        "ConVIRT": lambda: objectives.Captioned(towers, train, "convirt"),
        "SigLIP": lambda: objectives.Captioned(sigmoid_towers(seed), train, "siglip"),
        "SigLIP, bias from -10": lambda: objectives.Captioned(towers, train, "siglip"),
        "SLIP": lambda: objectives.Slip(towers, train),
        "two views": lambda: objectives.TwoViews(towers.eye, train),
        "two views, not augmented": lambda: objectives.TwoViews(towers.eye, train, augmented=False),
        "LiT": lambda: locked(seed, train, steps, lock=True),
        "same start, unlocked": lambda: locked(seed, train, steps, lock=False),
    }[name]()


NAMES = (
    "CLIP", "CLIP, transformer", "CLIP, augmented", "ConVIRT", "SigLIP", "SigLIP, bias from -10", "SLIP", "two views",
    "two views, not augmented", "LiT", "same start, unlocked",
)  # fmt: skip


def eye_and_towers(task):
    towers = getattr(task, "towers", None)
    return (task.eye, None) if towers is None else (towers.eye, towers)


def tune(name: str, lr: float, seed: int = TUNING_SEED) -> dict:
    """The mean of the readouts of five factors from train scenes that were held out."""
    scenes = drawn("train", seed)
    cut = len(scenes) - len(scenes) // 4
    train, held = scenes[:cut], scenes[cut:]
    steps = max(1, SIZES["steps"] // 2)
    task = build(name, seed, train, steps)
    row = trained(task, steps, lr, seed)
    scores = kept(eye_of(eye_and_towers(task)[0]), train, held)
    return row | {"method": name, "mean": sum(scores[k] for k in captions.SAID) / len(captions.SAID)}


def best_rate(name: str) -> float:
    rows = [r for r in recorded("pairs") if r["part"] == "tuning" and r["method"] == name]
    return max(rows, key=lambda r: r["mean"])["lr"] if rows else RATE


def run_method(name: str, seed: int) -> dict:
    train, test = drawn("train", seed), drawn("test", seed)
    task = build(name, seed, train, SIZES["steps"])
    row = trained(task, SIZES["steps"], best_rate(name), seed)
    eye, towers = eye_and_towers(task)
    row["factors"] = kept(eye_of(eye), train, test)
    if towers is not None:
        row |= exam(towers, test, seed)
        row["prompts"] = [exams.zero_shot(towers, test, "kind", (p,)) for p in captions.PROMPTS]
        row["ensemble"] = exams.zero_shot(towers, test, "kind", captions.PROMPTS)
    return row


def small(scenes: world.Scenes) -> torch.Tensor:
    return F.avg_pool2d(scenes.pictures.float(), 2).flatten(1)


def counts(ids: torch.Tensor) -> torch.Tensor:
    """Which words stand in each caption: float [N, words]."""
    there = torch.zeros(len(ids), len(captions.VOCABULARY)).scatter_(1, ids, 1.0)
    there[:, captions.PAD] = 0
    return there


def ridge_words(seed: int, **options):
    """The plain baseline: ridge regression from pixels to the words of the caption; (of pictures, of texts)."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    train = drawn("train", seed, **options)
    scaler, words = StandardScaler().fit(small(train)), counts(train.ids)
    mean = words.mean(dim=0)
    model = RidgeCV(alphas=(1e2, 1e3, 1e4)).fit(scaler.transform(small(train)), (words - mean).numpy())
    return (
        lambda scenes: torch.from_numpy(model.predict(scaler.transform(small(scenes)))).float(),
        lambda texts: counts(captions.encode(texts) if isinstance(texts, list) else texts) - mean,
    )


def pair_texts() -> list[str]:
    return [f"a {c} {k}" for k in captions.SAID["kind"] for c in captions.SAID["colour"]]


def nearest(u, v, right) -> float:
    found = (F.normalize(u, dim=1) @ F.normalize(v, dim=1).T).argmax(dim=1)
    return float((found == right).float().mean())


def code_of(scenes: world.Scenes) -> torch.Tensor:
    return scenes.factors["kind"] * world.COLOURS + scenes.factors["colour"]


def floor(name: str, seed: int) -> dict:
    train, test, full = drawn("train", seed), drawn("test", seed), drawn("test", seed, said=1.0)
    if name == "untrained":
        towers = encoders.towers(seed, WORDS)
        return {"steps": 0, "factors": kept(eye_of(towers.eye), train, test)} | exam(towers, test, seed)
    if name == "pixels":  # and the caption of the nearest training picture
        x = F.normalize(small(test) - 128, dim=1) @ F.normalize(small(train) - 128, dim=1).T
        near = x.argmax(dim=1)
        right = {k: (train.factors[k][near] == test.factors[k]).float() for k in ("kind", "colour")}
        return {
            "steps": 0, "factors": kept(small, train, test), "kind": right["kind"].mean().item(),
            "colour": right["colour"].mean().item(), "pairs": (right["kind"] * right["colour"]).mean().item(),
        }  # fmt: skip
    see, read = ridge_words(seed)
    u, v = see(full), read(full.ids)
    asked = {k: nearest(see(test), read(captions.prompts(k)), test.factors[k]) for k in ("kind", "colour")}
    pairs = nearest(see(test), read(pair_texts()), code_of(test))
    return {"steps": 0, "pairs": pairs, "recall": found(u, v, 5), "back": found(v, u, 5)} | asked


# ---- what is said ---------------------------------------------------------------------------------------------------

SAY = {
    "the kind": ("kind",), "kind and colour": ("kind", "colour"), "place and size": ("place", "size"),
    "everything": tuple(captions.SAID),
}  # fmt: skip


def run_said(name: str, seed: int) -> dict:
    train, test = drawn("train", seed, say=SAY[name]), drawn("test", seed)
    task = objectives.Captioned(encoders.towers(seed, WORDS), train)
    row = trained(task, SIZES["steps"], best_rate("CLIP"), seed)
    return row | {"factors": kept(eye_of(task.towers.eye), train, test)}


# ---- wrong captions, bags, small batches ----------------------------------------------------------------------------

NOISE = {f"{n} pairs, {w:.0%} wrong": (n, w) for n in (TRAIN // 4, TRAIN) for w in (0.0, 0.4, 0.8)}


def run_noise(name: str, seed: int) -> dict:
    n, wrong = NOISE[name]
    n = min(n, SIZES["scenes"])
    task = objectives.Captioned(encoders.towers(seed, WORDS), drawn("train", seed, n, wrong=wrong))
    row = trained(task, SIZES["steps"], best_rate("CLIP"), seed)
    return row | exam(task.towers, drawn("test", seed), seed)


def run_bags(name: str, seed: int) -> dict:
    train, towers = drawn("train", seed), encoders.towers(seed, WORDS)
    if name == "the right one":
        task = objectives.Captioned(towers, train, batch=objectives.BATCH // 2)
    else:
        task = objectives.Bags(towers, train, name)
    row = trained(task, SIZES["steps"], RATE, seed)
    return row | exam(towers, drawn("test", seed), seed)


BATCHES = {
    f"{name}, batch {b}": (loss, b)
    for b in (8, 32)
    for name, loss in (("CLIP", "clip"), ("SigLIP", "siglip"))
}


def run_batch(name: str, seed: int) -> dict:
    loss, batch = BATCHES[name]
    towers = sigmoid_towers(seed, batch) if loss == "siglip" else encoders.towers(seed, WORDS)
    task = objectives.Captioned(towers, drawn("train", seed), loss, batch)
    row = trained(task, 2 * SIZES["steps"], best_rate({"clip": "CLIP", "siglip": "SigLIP"}[loss]) / 2, seed)
    return row | exam(task.towers, drawn("test", seed), seed)


# ---- combinations ---------------------------------------------------------------------------------------------------


def run_unseen(name: str, seed: int) -> dict:
    """Right colour and kind, among all 36: on combinations that training showed, and on those it did not."""
    tests = {k: drawn("test", seed, unseen=u) for k, u in (("seen", False), ("unseen", True))}
    if name == "ridge":
        see, read = ridge_words(seed, unseen=False)
        return {"steps": 0} | {k: nearest(see(t), read(pair_texts()), code_of(t)) for k, t in tests.items()}
    towers, row = encoders.towers(seed, SENTENCE if name == "transformer" else WORDS), {"steps": 0}
    if name != "untrained":
        task = objectives.Captioned(towers, drawn("train", seed, unseen=False))
        row = trained(task, SIZES["steps"], best_rate("CLIP"), seed)
    return row | {k: exams.zero_shot_pairs(towers, t) for k, t in tests.items()}


# arm -> reader, and how the corpus is drawn.  placed: captions say who stands where.  half: of two scenes that exchange
# their colours the corpus has one.  swapped: captions with exchanged colours are negatives.
BINDING = {
    "bag of words": (WORDS, {"placed": True}),
    "left and right said": (SENTENCE, {"placed": True}),
    "and": (SENTENCE, {"placed": False}),
    "and, swapped negatives": (SENTENCE, {"placed": False, "swapped": True}),
    "and, one of each two, swapped negatives": (SENTENCE, {"placed": False, "half": True, "swapped": True}),
}  # fmt: skip


def run_binding(name: str, seed: int) -> dict:
    """`own`: on scenes as the corpus with one of each two has them; `absent`: on the other ones."""
    reader, options = BINDING[name]
    options = dict(options)
    swapped, placed = options.pop("swapped", False), options["placed"]
    towers = encoders.towers(seed, reader)
    task = objectives.Captioned(towers, drawn("train", seed, two=True, **options), swapped=swapped)
    row = trained(task, SIZES["steps"] * 3 // 4, RATE, seed)
    for key, which in (("own", True), ("absent", False)):
        test = drawn("test", seed, two=True, half=which, placed=placed)
        row[key] = exams.prefers_own(towers, test)
        row[f"recall {key}"] = found(exams.see(towers, test.pictures), exams.read(towers, test.ids), 5)
    return row


# ---- the gap --------------------------------------------------------------------------------------------------------

SCALES = {"scale 3": 3.0, "scale 10": 10.0, "scale 100": 100.0, "learned": None}


def run_gap(name: str, seed: int) -> dict:
    towers, scale = encoders.towers(seed, WORDS), SCALES[name]
    if scale is not None:
        towers.log_scale.data.fill_(scale).log_()
        towers.log_scale.requires_grad_(False)
    full = drawn("test", seed, said=1.0)
    before = exams.gap(exams.see(towers, full.pictures), exams.read(towers, full.ids))
    task = objectives.Captioned(towers, drawn("train", seed))
    row = trained(task, SIZES["steps"], best_rate("CLIP"), seed) | exam(towers, drawn("test", seed), seed)
    u, v = exams.closed(exams.see(towers, full.pictures), exams.read(towers, full.ids))
    return row | {"before": before, "closed": exams.gap(u, v), "recall closed": found(u, v, 5)}


# ---- all of it ------------------------------------------------------------------------------------------------------


def rows_of(part: str):
    if part == "tuning":
        yield from ((f"{n}, lr {lr:g}", TUNING_SEED, partial(tune, n, lr)) for n in NAMES for lr in RATES)
        return
    arms = {
        "methods": (("untrained", "pixels", "ridge"), floor, NAMES, run_method),
        "said": ((), None, SAY, run_said),
        "noise": ((), None, NOISE, run_noise),
        "bags": ((), None, (*objectives.BAGS, "the right one"), run_bags),
        "batch": ((), None, BATCHES, run_batch),
        "unseen": (("untrained", "ridge"), run_unseen, ("bag of words", "transformer"), run_unseen),
        "binding": ((), None, BINDING, run_binding),
        "gap": ((), None, SCALES, run_gap),
    }[part]
    for seed in SEEDS:
        for names, run in (arms[:2], arms[2:]):
            yield from ((name, seed, partial(run, name, seed)) for name in names)


PARTS = ("tuning", "methods", "said", "noise", "bags", "batch", "unseen", "binding", "gap")


def main(parts, seeds, seconds: float, steps: int, scenes: int, dry: bool) -> None:
    if (steps, scenes) != (STEPS, TRAIN) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, scenes=scenes)
    jobs = (
        ({"part": part, "arm": arm, "seed": seed}, run)
        for part in parts
        for arm, seed, run in rows_of(part)
        if not seeds or seed in seeds
    )
    resume("pairs", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, PARTS, {"steps": STEPS, "scenes": TRAIN}).parse_args()))
