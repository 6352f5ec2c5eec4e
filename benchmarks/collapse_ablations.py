"""What holds a method up: four methods, whole and with one part taken away at a time, and each before training.

    uv run python benchmarks/collapse_ablations.py                    # what is missing in the record, seeds 0, 1, 2
    uv run python benchmarks/collapse_ablations.py --seconds 600      # for ten minutes; go on by repeating it

An arm differs from its method in the one part that its name says, nothing else: the quick recipe of the method, 300
steps of 256 images.  (The patients of the clinic, in _clinic_cases.py, are shorter, and some are broken twice so that
they collapse in the time they have.)  A run that is in the record is not repeated.
"""

import argparse
import inspect
import math
import time

import torch
from _record import merge, recorded
from _world import WORLD, measure, splits

from ssl_lessons.diagnostics import diagnose, spread
from ssl_lessons.models.settle import settle
from ssl_lessons.training import Monitor, pretrain
from ssl_lessons.training.recipes import Recipe, get_recipe
from ssl_lessons.views import make_views, normalize

STEPS, EVERY = 300, 30
KEY = ("world", "arm", "seed")
UNTRAINED = "untrained"
STUDENT_TEMPERATURE = 0.1  # of DINO: as the teacher's it is no sharpening
ARMS = {  # arm -> method, options that its recipe does not have
    "simsiam": ("simsiam", {}),
    "simsiam_no_predictor": ("simsiam", {"predictor": False}),
    "simsiam_no_stop_gradient": ("simsiam", {"stop_gradient": False}),
    "byol": ("byol", {}),
    "byol_no_predictor": ("byol", {"predictor": False}),
    "dino": ("dino", {}),
    "dino_no_centering": ("dino", {"centering": False}),
    "dino_no_sharpening": ("dino", {"teacher_temperature": STUDENT_TEMPERATURE}),
    "vicreg": ("vicreg", {}),
    "vicreg_no_variance": ("vicreg", {"variance_weight": 0.0}),
    "vicreg_no_covariance": ("vicreg", {"covariance_weight": 0.0}),
}
BEFORE = {  # the encoder is the same four times; what is in front of z is not
    UNTRAINED: ("simsiam", {}),
    f"{UNTRAINED}_byol": ("byol", {}),
    f"{UNTRAINED}_dino": ("dino", {}),
    f"{UNTRAINED}_vicreg": ("vicreg", {}),
}


def recipe_of(arm: str) -> Recipe:
    method, options = (ARMS | BEFORE)[arm]
    recipe = get_recipe("quick", method)
    return recipe.with_(options=recipe.options | options)


@torch.no_grad()
def embeddings(method, images) -> dict:
    """Numbers about z of the test images, in evaluation mode; its spread also with the statistics of the batches."""
    batches = [normalize(x) for x in images.split(500)]
    z = torch.cat([method.eval().embed(x) for x in batches])
    found = diagnose(z).evidence
    kept = [b.clone() for b in method.buffers()]
    in_batches = torch.cat([method.train().embed(x) for x in batches])
    for buffer, before in zip(method.buffers(), kept, strict=True):
        buffer.copy_(before)
    method.eval()
    return {
        "spread_z": found["spread"],
        "spread_z_batch": spread(in_batches),
        "std_z": float(z.std(dim=0).mean()),  # of z as it is, not of unit-length rows
        "effective_rank_z": found["effective_rank"], "directions_z": found["directions"], "width_z": z.shape[1],
    }  # fmt: skip


@torch.no_grad()
def answers(method, policy, images, seed: int) -> dict:
    """DINO's teacher on one view of the test images, and how far the student is from it on the other."""
    a, b = make_views(images, (policy, policy), torch.Generator().manual_seed(seed))
    method.eval()
    p = torch.cat([method.assign(x) for x in a.split(500)]).double()
    logits = torch.cat([method.projector(method.encoder(x)) for x in b.split(500)]).double()
    log_q = (logits / method.student_temperature).log_softmax(dim=1)
    most, single = math.log(p.shape[1]), torch.special.entr(p).sum(dim=1).mean()
    return {
        "entropy_of_mean": float(torch.special.entr(p.mean(dim=0)).sum()) / most,
        "mean_entropy": float(single) / most,
        "kl": float(-(p * log_q).sum(dim=1).mean() - single),  # nats
    }


def run(arm: str, seed: int, sets, steps: int) -> dict:
    recipe, (unlabeled, train, test) = recipe_of(arm), sets
    method = recipe.build(seed)
    row = {"world": WORLD, "arm": arm, "seed": seed, "steps": steps}
    if arm in BEFORE:
        settle(method, unlabeled.images[:2048])
        row["steps"] = 0
    else:
        history = pretrain(
            method, unlabeled.images, method.views(recipe.policy), steps=steps, seed=seed, progress=False,
            monitor=Monitor(train[:600], train[600:1200], every=EVERY), **recipe.training(),
        )  # fmt: skip
        last = history[-20:]
        row |= {"loss": sum(r["loss"] for r in last) / len(last), "verdict": history[-1]["verdict"]}
        row["trace"] = trace(history, "spread_z", "rank_z", "knn")
    found = measure(method, train, test)
    row |= {k: found[k] for k in ("probe", "knn", "rank_h")} | embeddings(method, test.images)
    return row | (answers(method, recipe.policy, test.images, seed) if recipe.method == "dino" else {})


def trace(history, *names: str) -> dict:
    """What the monitor saw on the way: the step and each of `names`, a number per measurement, in one line of text."""
    seen = [r for r in history if "knn" in r]
    return {k: " ".join(f"{r[k]:.4g}" for r in seen) for k in ("step", *names)}


def main(arms: list[str], seeds: list[int], steps: int, seconds: float) -> None:
    done = {tuple(r.get(k) for k in KEY) for r in recorded("collapse_ablations")}
    start = time.perf_counter()
    for seed in seeds:
        todo = [arm for arm in arms if (WORLD, arm, seed) not in done]
        sets = splits(seed) if todo else None
        for arm in todo:
            if time.perf_counter() - start > seconds:
                return
            row = run(arm, seed, sets, steps)
            merge("collapse_ablations", [row], KEY)
            print(arm, seed, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="*", default=[*BEFORE, *ARMS], choices=[*BEFORE, *ARMS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    main(**vars(parser.parse_args()))
