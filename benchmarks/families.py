"""Every method, same data, same encoder, one minute of training each: the running results table of chapters 14 to 18.

    uv run python benchmarks/families.py                          # everything: about three hours on two cores
    uv run python benchmarks/families.py --methods byol --seeds 0 # one run; its row replaces the old one

A minute is counted as work, not by the clock, so that a busy machine changes nothing: a minute of two idle cores is
MINUTE steps of SimCLR, and another method gets as many steps as cost the same processor time on one thread (measured
at its first seed and kept in the record).  Arm "live" is a short run that a chapter repeats.
Masked methods and iBOT need tokens: they train a small vision transformer, and "simclr_vit" is their reference.
"""

import argparse
import inspect
import time
from functools import partial

import torch
from _record import merge, recorded
from _world import WORLD, measure, probe, splits

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.methods import METHODS
from ssl_lessons.models import encoders
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

MINUTE = 1000  # steps of SimCLR with the quick recipe that fit a minute on two idle cores (60 ms each)
# Steps of the short run that a chapter has time to repeat.
LIVE = dict.fromkeys(("moco_v2", "byol", "vicreg", "swav"), 300) | {"mae": 200}
BASELINES = ("pixels", "untrained", "untrained_vit")
SIMCLR_VIT = {"lr": 2e-3, "weight_decay": 0.05}
KEY = ("world", "method", "arm", "seed")


def recipe_for(name: str):
    """The quick recipe of a method; "simclr_vit" is SimCLR around the small transformer."""
    if name == "simclr_vit":
        return get_recipe("quick").with_(encoder="vit", encoder_options={}, **SIMCLR_VIT)
    return get_recipe("quick", name)


def training_set(recipe, sets):
    """The unlabeled images; for a method that learns from labels, the labelled ones and their labels."""
    return sets[1] if METHODS[recipe.method].needs_labels else sets[0]


def train(recipe, seed: int, steps: int, sets, progress: bool = False):
    chosen = training_set(recipe, sets)
    method = recipe.build(seed, n_images=len(chosen), n_classes=len(chosen.classes))
    labels = chosen.labels if method.needs_labels else None
    history = pretrain(
        method, chosen.images, method.views(recipe.policy), steps=steps, seed=seed, labels=labels,
        progress=progress, **recipe.training(),
    )  # fmt: skip
    return method, history


def cost(recipe, sets, short: int = 4, long: int = 20) -> float:
    """Processor seconds of one step, the share of `refresh` included."""
    spent = []
    for steps in (short, short, long):  # the first run sets things up and does not count
        start = time.process_time()
        method, _ = train(recipe, 0, steps, sets)
        spent.append(time.process_time() - start)
    step = (spent[2] - spent[1]) / (long - short)
    if method.refresh_every:
        start = time.process_time()
        method.refresh(
            partial(evaluation.extract_features, images=training_set(recipe, sets).images, device="cpu")
        )
        step += (time.process_time() - start) / method.refresh_every
    return step


def steps_of(name: str, sets) -> int:
    """Steps that cost as much as MINUTE steps of SimCLR: from the record when it has them, else measured."""
    rows = recorded("families")
    known = [row["steps"] for row in rows if row["method"] == name and row["arm"] == "minute"]
    if name == "simclr" or known:
        return known[0] if known else MINUTE
    recipe = recipe_for(name)
    ratio = cost(get_recipe("quick"), sets) / cost(recipe, sets)
    return max(10, 10 * round(MINUTE * ratio / 10))


@torch.no_grad()
def embeddings(method, images):
    method.eval()
    return torch.cat([method.embed(normalize(batch)) for batch in images.split(500)])


def run(name: str, arm: str, seed: int) -> dict:
    sets, recipe = splits(seed), recipe_for(name)
    steps = LIVE[name] if arm == "live" else steps_of(name, sets)
    clock, work = time.perf_counter(), time.process_time()
    method, history = train(recipe, seed, steps, sets)
    row = {
        "world": WORLD,
        "method": name,
        "arm": arm,
        "seed": seed,
        "encoder": recipe.encoder,
        "steps": steps,
    }
    row |= {
        "seconds": round(time.perf_counter() - clock, 1),
        "processor_seconds": round(time.process_time() - work, 1),
        "loss": sum(r["loss"] for r in history[-20:]) / len(history[-20:]),
    }
    if chance := method.chance_loss(recipe.batch_size):
        history[-1]["chance_loss"] = chance  # as the monitor would
    z = embeddings(method, sets[2].images)
    report = diagnostics.diagnose(z, history=history)
    found = measure(method, sets[1], sets[2])
    return row | found | {"rank_z": diagnostics.rank_me(z), "verdict": report.verdict}


def baseline(name: str, seed: int) -> dict:
    _, labelled, test = splits(seed)
    if name == "pixels":
        h, h_test = evaluation.pixels(labelled.images), evaluation.pixels(test.images)
    else:
        encoder = recipe_for("simclr_vit" if name == "untrained_vit" else "simclr").build(seed).encoder
        fresh = encoders.untrained(encoder, seed + 100, labelled.images)
        h, h_test = (evaluation.extract_features(fresh, s.images) for s in (labelled, test))
    return {
        "world": WORLD, "method": name, "arm": "minute", "seed": seed, "steps": 0, "seconds": 0.0,
        "probe": probe(h, h_test, labelled, test),
        "knn": evaluation.knn_accuracy(h, labelled.labels, h_test, test.labels),
        "rank_h": diagnostics.rank_me(h),
    }  # fmt: skip


def main(methods: list[str], seeds: list[int], live: bool) -> None:
    for name in methods:
        for seed in seeds:
            row = baseline(name, seed) if name in BASELINES else run(name, "live" if live else "minute", seed)
            merge("families", [row], KEY)
            short = {
                k: row.get(k) for k in ("steps", "seconds", "probe", "knn", "rank_h", "rank_z", "verdict")
            }
            print(name, seed, short, flush=True)


if __name__ == "__main__":
    everything = [*BASELINES, "simclr_vit", *(name for name in METHODS if name != "supervised")]
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=everything)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--live", action="store_true", help="the short runs that chapters repeat (seed 0 is used)"
    )
    arguments = parser.parse_args()
    if arguments.live:
        arguments.methods, arguments.seeds = [m for m in arguments.methods if m in LIVE], [0]
    main(**vars(arguments))
