"""The record behind chapter 22: SimCLR around one base, one knob at a time, and a few pairs of knobs.

    uv run python benchmarks/knobs.py                            # one complete seed after the other
    uv run python benchmarks/knobs.py --knobs jitter temperature --seeds 0
    uv run python benchmarks/knobs.py --methods vicreg byol      # the few settings that other methods get as well
    uv run python benchmarks/knobs.py --dry                      # two steps of every setting, nothing written

The base is the quick recipe for 250 steps on 8,192 pictures of the second drawn world.  Runs of one seed share the
pictures, the encoder's first weights, the order of the batches (where batch and number of pictures agree) and the
random numbers of the views.  A run that is in the record is not repeated.
"""

import argparse
import functools
import inspect
import time
from functools import partial
from unittest import mock

import torch
from _record import merge, recorded
from _world import UNLABELED, WORLD, probe, splits
from extensions import held_out, last, which_quarter
from torch import Tensor, nn

from ssl_lessons import data, diagnostics, evaluation
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models.settle import settle
from ssl_lessons.training import Monitor, loop, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

KEY = ("world", "method", "knob", "level", "seed")
STEPS, BATCH, SEEDS = 250, 256, (0, 1, 2)
BASE, UNTRAINED, PIXELS = "base", "untrained", "pixels"
POLICY = get_recipe("quick").policy


def views(**changes) -> dict:
    return {"policy": changes}


def strength(s: float) -> dict:
    scaled = POLICY.scaled(s)
    return views(**{name: getattr(scaled, name) for name in ("brightness", "contrast", "saturation", "hue")})


def batch(size: int, steps: int | None = None) -> dict:
    """Another batch, for as many pictures as the base sees unless `steps` says otherwise."""
    return {"batch_size": size, "steps": steps or STEPS * BATCH // size}


# knob -> level -> what changes; an empty change marks the level that the base has.
KNOBS: dict[str, dict[str, dict]] = {
    "crop": {
        "0.05": views(crop_scale=(0.05, 1.0)), "0.25": {}, "0.5": views(crop_scale=(0.5, 1.0)),
        "1": views(crop_scale=(1.0, 1.0)),
    },
    "jitter": {"0": strength(0.0), "0.5": strength(0.5), "1": {}, "1.5": strength(1.5)},
    "temperature": {
        f"{t:g}": {} if t == 0.1 else {"options": {"temperature": t}} for t in (0.05, 0.1, 0.2, 0.5, 1.0)
    },
    "learning rate": {
        "/4": {"lr": 1 / 4}, "/2": {"lr": 1 / 2}, "x1": {}, "x2": {"lr": 2.0}, "x4": {"lr": 4.0},
    },
    "batch": {"64": batch(64), "128": batch(128), "256": {}, "512": batch(512)},
    "projector": {
        "none": {"projector": "none"}, "linear": {"options": {"layers": 1}}, "2 layers": {},
        "3 layers": {"options": {"layers": 3}},
    },
    "gray": {"0": views(grayscale_p=0.0), "0.2": {}, "0.5": views(grayscale_p=0.5)},
    "blur": {"off": {}, "on": views(blur_p=0.5)},
    "flip": {"off": views(flip_p=0.0), "on": {}},
    "steps": {f"{n}": {} if n == STEPS else {"steps": n} for n in (125, STEPS, 500, 1000)},
    "pictures": {f"{n}": {} if n == UNLABELED else {"pictures": n} for n in (512, 2048, UNLABELED)},
    "optimiser": {
        "AdamW": {}, "SGD 0.06": {"optimizer": "sgd", "rate": 0.06}, "SGD 0.2": {"optimizer": "sgd", "rate": 0.2},
        "LARS 0.3": {"optimizer": "lars", "rate": 0.3}, "LARS 1": {"optimizer": "lars", "rate": 1.0},
    },
    "schedule": {"warm-up, cosine": {}, "cosine": {"warmup": 0.0}, "constant": {"schedule": "constant"}},
    "weight decay": {
        "0": {"weight_decay": 0.0}, "1e-4": {}, "1e-2": {"weight_decay": 1e-2}, "1e-1": {"weight_decay": 1e-1},
    },
    "output width": {f"{n}": {} if n == 128 else {"options": {"out_dim": n}} for n in (16, 64, 128, 512)},
    "encoder width": {f"{n}": {} if n == 16 else {"encoder": {"width": n}} for n in (8, 16, 32)},
    "feature width": {f"{n}": {} if n == 256 else {"encoder": {"dim": n}} for n in (64, 256, 512)},
    "precision": {"float32": {}, "bfloat16": {"precision": "bfloat16"}},
    "imbalance": {"1": {}, "10": {"imbalance": 10.0}, "100": {"imbalance": 100.0}},
    "views": {  # (views, small ones besides); as many pixels as the base unless the steps are the base's
        "2": {}, "4, as many pixels": {"views": (4, 0), "steps": STEPS // 2},
        "2 + 4 small, as many pixels": {"views": (2, 4), "steps": STEPS * 2 // 3},
        "2 + 4 small, as many steps": {"views": (2, 4)},
    },
    "batch, equal steps": {"64": batch(64, STEPS), "256": {}, "512": batch(512, STEPS)},
}  # fmt: skip
PAIRS = (  # two knobs turned at once; the single turns are above
    (("jitter", "0"), ("crop", "1")),
    (("jitter", "0"), ("projector", "none")),
    (("temperature", "0.5"), ("batch", "64")),
    *((("learning rate", rate), ("batch", size)) for size in ("64", "512") for rate in ("/4", "x4")),
)
OWN = {  # the number that is each method's own, low and high
    "simclr": {"low": {"options": {"temperature": 0.05}}, "high": {"options": {"temperature": 0.5}}},
    "vicreg": {"low": {"options": {"covariance_weight": 0.0}}, "high": {"options": {"covariance_weight": 25.0}}},
    "byol": {"low": {"options": {"momentum": 0.5}}, "high": {"options": {"momentum": 0.9995}}},
}  # fmt: skip
FEW = (  # what the other methods get
    ("learning rate", "/4"),
    ("learning rate", "x4"),
    ("jitter", "0"),
    ("batch", "64"),
    ("projector", "none"),
)


class ManyViews(SimCLR):
    """SimCLR with more views: every view that comes first looks for each other view of its picture.

    n: full views; n_small: further ones of half the side.  The pairs are those of SwAV's multi-crop (Caron et al. 2020,
    eq. 6): (full, any other), of which two full views are counted in both orders; the loss is their mean NT-Xent.
    """

    def __init__(self, encoder, n: int, n_small: int, **options):
        super().__init__(encoder, **options)
        self.n, self.n_small = n, n_small

    def views(self, policy):
        small = policy.replace(size=policy.size // 2, crop_scale=(0.1, 0.4))
        return (policy,) * self.n + (small,) * self.n_small

    def forward(self, views: list[Tensor], labels: Tensor | None = None) -> Tensor:
        z = list(self.embed(torch.cat(views[: self.n])).chunk(self.n))
        if self.n_small:  # another size, so another pass
            z += self.embed(torch.cat(views[self.n :])).chunk(self.n_small)
        pairs = [(i, j) for i in range(self.n) for j in range(len(z)) if i != j]
        return sum(nt_xent(z[i], z[j], self.temperature) for i, j in pairs) / len(pairs)


@functools.lru_cache(maxsize=1)
def sets_of(seed: int):
    return splits(seed)


def both(first: dict, second: dict) -> dict:
    """Two changes at once."""
    merged = first | second
    for name in ("policy", "options", "encoder"):
        if name in first and name in second:
            merged[name] = first[name] | second[name]
    return merged


def build(kind: str, change: dict, seed: int):
    """The untrained method, its recipe, and its policies under a change."""
    recipe = get_recipe("quick", kind)
    recipe = recipe.with_(
        policy=recipe.policy.replace(**change.get("policy", {})),
        options=recipe.options | change.get("options", {}),
        encoder_options=recipe.encoder_options | change.get("encoder", {}),
        batch_size=change.get("batch_size", BATCH),
        optimizer=change.get("optimizer", recipe.optimizer),
        lr=change.get("rate", recipe.lr * change.get("lr", 1.0)),
        weight_decay=change.get("weight_decay", recipe.weight_decay),
        warmup=change.get("warmup", recipe.warmup),
    )
    if change.get("projector") == "none" and kind == "byol":
        recipe = recipe.with_(options=recipe.options | {"out_dim": recipe.encoder_options["dim"]})
    method = recipe.build(seed)
    if change.get("projector") == "none":
        method.projector = nn.Identity()
        if kind == "byol":
            method.teacher[1] = nn.Identity()
    if "views" in change:
        n, n_small = change["views"]
        plain, method = method, ManyViews(method.encoder, n, n_small, **recipe.options)
        method.projector = plain.projector
    return method, recipe, method.views(recipe.policy)


def flat(step: int, steps: int, warmup_steps: int) -> float:
    """The schedule without decay: the warm-up, then the peak to the end."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def run(kind: str, change: dict, seed: int, most: int | None = None) -> dict:
    """Train under a change and measure; most: at most so many steps."""
    unlabeled, train, test = sets_of(seed)
    images = unlabeled.images[: change.get("pictures", UNLABELED)]
    if "imbalance" in change:
        images = data.shapes("unlabeled", 32, UNLABELED, seed, imbalance=change["imbalance"]).images
    steps = min(change.get("steps", STEPS), most or STEPS * BATCH)
    method, recipe, policies = build(kind, change, seed)
    monitor = Monitor(train[:1000], train[1000:], every=max(1, steps // 5))
    schedule = flat if change.get("schedule") == "constant" else loop.warmup_cosine
    about = {
        "steps": steps, "batch": recipe.batch_size, "lr": recipe.lr, "optimizer": recipe.optimizer, "change": change,
        "pictures": len(images), "seen": steps * recipe.batch_size,
    }  # fmt: skip
    start = time.perf_counter()
    try:
        with mock.patch.object(loop, "warmup_cosine", schedule):
            history = pretrain(
                method, images, policies, steps=steps, seed=seed, monitor=monitor, progress=False,
                precision=change.get("precision"), **recipe.training(),
            )  # fmt: skip
    except loop.Diverged as error:
        return about | {"verdict": "not finite", "error": str(error)}
    seconds = time.perf_counter() - start
    with torch.no_grad():
        z = method.eval().embed(normalize(train.images[:1000]))
    return about | measured(method.eval().encoder, seed) | {
        "first_loss": history[0]["loss"], "loss": last(history), "verdict": history[-1]["verdict"],
        "rank_z": float(diagnostics.rank_me(z)), "std_z": float(diagnostics.feature_std(z)),
        "spread_z": float(diagnostics.spread(z)),
        "online": [[r["step"], r["knn"], r["loss"], r["rank"]] for r in history if "knn" in r], "seconds": seconds,
    }  # fmt: skip


def measured(encoder, seed: int) -> dict:
    """What the frozen features are worth on the test split, on held-out train images, and without labels."""
    _, train, test = sets_of(seed)
    encode = partial(evaluation.extract_features, encoder)
    h, h_test = encode(train.images), encode(test.images)
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
        **held_out(encode, train),
        "rank_h": float(diagnostics.rank_me(h)), "quarter": which_quarter(encoder, train, test),
    }  # fmt: skip


def floor(arm: str, kind: str, seed: int) -> dict:
    """The encoder before training, its statistics settled, or the raw pixels."""
    unlabeled, train, test = sets_of(seed)
    if arm == UNTRAINED:
        method, *_ = build(kind, {}, seed)
        settle(method, unlabeled.images[:2048])
        return {"steps": 0} | measured(method.eval().encoder, seed)
    x, x_test = evaluation.pixels(train.images), evaluation.pixels(test.images)
    return {
        "steps": 0, "probe": probe(x, x_test, train, test),
        "knn": evaluation.knn_accuracy(x, train.labels, x_test, test.labels), **held_out(evaluation.pixels, train),
    }  # fmt: skip


def arms(kind: str, knobs: list[str] | None):
    """(knob, level, facts about the place, change) of every run of one seed, the base and the floors first."""
    yield BASE, "", {}, {}
    if kind != "simclr":
        for knob, level in FEW:
            yield knob, level, {}, KNOBS[knob][level]
    else:
        for knob, levels in KNOBS.items():
            names = list(levels)
            usual = next(name for name, change in levels.items() if not change)
            for level, change in levels.items():
                if change and (not knobs or knob in knobs):
                    yield knob, level, {"levels": names, "usual": usual}, change
        for (a, low), (b, high) in PAIRS:
            if not knobs or f"{a} x {b}" in knobs:
                both_of = both(KNOBS[a][low], KNOBS[b][high])
                yield f"{a} x {b}", f"{low}, {high}", {"pair": [[a, low], [b, high]]}, both_of
    for level, change in OWN[kind].items():
        if kind != "simclr":  # SimCLR's are levels of its temperature
            yield "own", level, {}, change


def main(methods: list[str], seeds: list[int], knobs: list[str] | None, dry: bool, seconds: float) -> None:
    start = time.perf_counter()
    done = {tuple(row.get(k) for k in KEY) for row in recorded("knobs")}
    for seed in seeds:
        for kind in methods:
            todo = [(arm, "", {}, partial(floor, arm, kind, seed)) for arm in (PIXELS, UNTRAINED)]
            for knob, level, facts, change in arms(kind, knobs):
                todo.append((knob, level, facts, partial(run, kind, change, seed, 2 if dry else None)))
            for knob, level, facts, measure in todo:
                place = {"world": WORLD, "method": kind, "knob": knob, "level": level, "seed": seed}
                if not dry and tuple(place.values()) in done:
                    continue
                if time.perf_counter() - start > seconds:
                    return print("time is up; the next call goes on here:", place)
                row = place | facts | measure()
                if not dry:
                    merge("knobs", [row], KEY)
                shown = (
                    "knob",
                    "level",
                    "seed",
                    "method",
                    "probe",
                    "held_out",
                    "rank_h",
                    "loss",
                    "verdict",
                    "seconds",
                )
                print(
                    {k: round(row[k], 3) if isinstance(row.get(k), float) else row.get(k) for k in shown},
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["simclr"], choices=tuple(OWN))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--knobs", nargs="+", help="only these, and the base (SimCLR)")
    parser.add_argument("--dry", action="store_true", help="two steps a run, nothing is written")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new run after this time"
    )
    main(**vars(parser.parse_args()))
