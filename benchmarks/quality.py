"""Label-free measures of quality beside probes with labels, over a sweep of short runs (chapter 21).

    uv run python benchmarks/quality.py                  # every run that the record lacks: about 50 minutes on one core
    uv run python benchmarks/quality.py --seconds 600    # for ten minutes; go on by repeating it
    uv run python benchmarks/quality.py --seeds 0        # one seed

One run varies one choice of the quick recipe (SimCLR, STEPS steps) and belongs to the slice of that name; "base" is the
recipe itself.  `seed` draws the world, the weights, the batches and the views.  Measures see unlabeled images only;
`probe` and `knn` use labels and judge the measures; `held_out`, the same probe with one half of the train images on the
other: what choosing with labels may look at.
"""

import argparse
import inspect
import math
import time

import torch
from _record import merge, recorded
from _world import UNLABELED, WORLD, probe, splits

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.data.image_set import Factor
from ssl_lessons.models import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views, normalize

STEPS = 120
IMAGES = 1500  # unlabeled images behind spectra, dimensions, clusters and views that find each other
LIDAR_IMAGES, LIDAR_VIEWS = 200, 8
ROTATED = 1500  # images of the rotation probe, half of them to train it
KEY = ("world", "slice", "setting", "seed")
QUICK = get_recipe("quick")
POLICIES = {
    "no colour change": {"jitter_p": 0.0, "grayscale_p": 0.0},
    "no crop": {"crop_p": 0.0},
    "weak colour change": {
        "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1, "grayscale_p": 0.05
    },
    "large crops only": {"crop_scale": (0.7, 1.0)},
    "small crops too": {"crop_scale": (0.08, 1.0)},
    "gray half the time": {"grayscale_p": 0.5},
    "blur and solarize": {"blur_p": 0.5, "solarize_p": 0.2},
}  # fmt: skip
METHODS = ("vicreg", "moco_v2", "byol", "lejepa", "swav", "barlow_twins", "dcl", "simsiam")
FIRST = [
    ("base", "SimCLR"),
    ("augmentation", "no colour change"),
    ("temperature", "0.5"),
    ("length", "30 steps"),
    ("projector", "output 4"),
]  # fmt: skip  the runs of the chapter's puzzle


def changed(policy: dict | None = None, options: dict | None = None, method: str | None = None, **training):
    """The quick recipe with some choices changed."""
    recipe = get_recipe("quick", method)
    recipe = recipe.with_(options=recipe.options | (options or {}), **training)
    return recipe.with_(policy=recipe.policy.replace(**(policy or {})))


def sweep() -> dict[tuple[str, str], tuple]:
    """(slice, setting) -> (recipe, steps), in the order in which they are run."""
    runs = {("base", "SimCLR"): (QUICK, STEPS)}
    for t in (0.5, 0.02, 1.0, 0.05, 0.2):
        runs["temperature", f"{t:g}"] = changed(options={"temperature": t}), STEPS
    for name, policy in POLICIES.items():
        runs["augmentation", name] = changed(policy), STEPS
    for name in METHODS:
        runs["method", name] = changed(method=name), STEPS
    for steps in (30, 480, 60, 240):
        runs["length", f"{steps} steps"] = QUICK, steps
    for name, options in (
        ("output 4", {"out_dim": 4}),
        ("output 16", {"out_dim": 16}),
        ("hidden 16", {"hidden_dim": 16}),
    ):
        runs["projector", name] = changed(options=options), STEPS
    for lr in (1e-3, 1.6e-2):
        runs["learning rate", f"{lr:g}"] = changed(lr=lr), STEPS
    return dict(sorted(runs.items(), key=lambda item: _turn(item[0], list(runs))))


def _turn(key: tuple, keys: list[tuple]) -> tuple:
    """The runs the chapter names first, then one of each slice in turn: any part of the record is balanced."""
    place = [other for other in keys if other[0] == key[0]].index(key)
    return (FIRST.index(key), 0) if key in FIRST else (len(FIRST) + place, keys.index(key))


# ---- measures --------------------------------------------------------------------------------------------------


def rotation_score(encoder, images: torch.Tensor) -> float:
    """How well a linear classifier reads the angle of images turned by quarters: 0 = chance, 1 = always."""
    turned = torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)])
    h = evaluation.extract_features(encoder, turned)
    angle = torch.arange(4).repeat_interleave(len(images))
    first = (torch.arange(len(images)) < len(images) // 2).repeat(4)
    train, test = ({"angle": Factor(angle[part], "categorical")} for part in (first, ~first))
    return evaluation.factor_probe(h[first], train, h[~first], test)["angle"]


@torch.no_grad()
def embed(method, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features h and embeddings z of normalized images x, in evaluation mode."""
    method.eval()
    pairs = [(method.encoder(batch), method.embed(batch)) for batch in x.split(500)]
    return tuple(torch.cat(parts) for parts in zip(*pairs, strict=True))


def standardised(z: torch.Tensor) -> torch.Tensor:
    """Centred, and of mean variance 1 over the dimensions: what SIGReg then sees is shape, not scale."""
    z = z.double() - z.double().mean(dim=0)
    return z / z.square().mean().sqrt().clamp_min(1e-12)


def measures(method, images: torch.Tensor, policy) -> dict:
    """What needs no label, from unlabeled images.  _h: encoder features; _z: the embeddings of the loss."""
    row = {"rotation": rotation_score(method.encoder, images[:ROTATED])}
    both = embed(method, normalize(images[:IMAGES]))
    for place, x in zip("hz", both, strict=True):
        row |= {
            f"rank_{place}": diagnostics.rank_me(x),
            f"alpha_{place}": diagnostics.alpha_req(x),
            f"area_{place}": diagnostics.spectrum_area(x),
            f"uniformity_{place}": diagnostics.uniformity(x),
            f"two_nn_{place}": diagnostics.two_nn(x),
            f"tree_{place}": diagnostics.mst_dimension(x),
            f"learnability_{place}": diagnostics.cluster_learnability(x),
            f"width_{place}": x.shape[1],
        }
    row["sigreg_z"] = diagnostics.sigreg(standardised(both[1]))
    # With the run's own views, and with one policy for all: there the yardstick is the same for every run.
    row |= pair_measures(method, images, policy, "own")
    if policy == QUICK.policy:
        return row | {name.replace("own", "common"): value for name, value in row.items() if "own" in name}
    return row | pair_measures(method, images, QUICK.policy, "common")


def pair_measures(method, images: torch.Tensor, policy, name: str) -> dict:
    """LiDAR, alignment and how often views find each other, from several views of the same images."""
    generator = torch.Generator().manual_seed(0)
    views = [embed(method, v) for v in make_views(images[:LIDAR_IMAGES], [policy] * LIDAR_VIEWS, generator)]
    pair = [embed(method, v) for v in make_views(images[:IMAGES], [policy] * 2, generator)]
    row = {}
    for i, place in enumerate("hz"):
        many, two = [v[i] for v in views], [v[i] for v in pair]
        row[f"lidar_{name}_{place}"] = diagnostics.lidar(torch.stack(many, dim=1))
        row[f"alignment_{name}_{place}"] = diagnostics.alignment(*two)
        row[f"found_{name}_{place}"] = diagnostics.views_found(*two)
    return row


def judged(h, h_test, labelled, test) -> dict:
    """Probe and kNN on the test images, and the probe on held-out train images."""
    half = len(h) // 2
    return {
        "probe": probe(h, h_test, labelled, test),
        "knn": evaluation.knn_accuracy(h, labelled.labels, h_test, test.labels),
        "held_out": probe(h[:half], h[half:], labelled[:half], labelled[half:]),
    }


# ---- runs ------------------------------------------------------------------------------------------------------


def run(recipe, steps: int, seed: int, sets) -> dict:
    unlabeled, labelled, test = sets
    method = recipe.build(seed, n_images=UNLABELED, n_classes=len(unlabeled.classes))
    policies, training = method.views(recipe.policy), recipe.training()
    history = pretrain(method, unlabeled.images, policies, steps=steps, seed=seed, progress=False, **training)
    last = history[-20:]
    row = {"method": recipe.method, "steps": steps, "seconds": history[-1]["seconds"]}
    return row | {"loss": sum(r["loss"] for r in last) / len(last)} | read(method, recipe, sets)


def read(method, recipe, sets) -> dict:
    unlabeled, labelled, test = sets
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (labelled, test))
    return judged(h, h_test, labelled, test) | measures(method, unlabeled.images, recipe.policy)


def floor(name: str, seed: int, sets) -> dict:
    """The same encoder before training, its statistics settled, or the raw pixels."""
    unlabeled, labelled, test = sets
    if name == "pixels":
        h, h_test = (evaluation.pixels(s.images) for s in (labelled, test))
        return {"steps": 0} | judged(h, h_test, labelled, test)
    method = QUICK.build(seed)
    settle(method, unlabeled.images[:2048])
    return {"steps": 0} | read(method, QUICK, sets)


def main(seeds: list[int], seconds: float) -> None:
    start, longest = time.perf_counter(), 0.0
    for seed in seeds:
        done = {tuple(row.get(k) for k in KEY) for row in recorded("quality")}
        todo = {("floor", name): None for name in ("untrained", "pixels")} | sweep()
        todo = {key: value for key, value in todo.items() if (WORLD, *key, seed) not in done}
        sets = splits(seed) if todo else None
        for (part, setting), plan in todo.items():
            clock = time.perf_counter()
            if clock - start + 1.2 * longest > seconds:
                return
            row = {"world": WORLD, "slice": part, "setting": setting, "seed": seed}
            row |= run(*plan, seed, sets) if plan else floor(setting, seed, sets)
            merge("quality", [row], KEY)
            longest = max(longest, time.perf_counter() - clock)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="start no run that may end after that many"
    )
    main(**vars(parser.parse_args()))
