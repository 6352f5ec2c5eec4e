"""Label-free measures of quality beside the 100-label probe, over a sweep of short runs (chapter 21).

    uv run python benchmarks/quality.py                # every run that the record lacks: about 20 minutes on one core
    uv run python benchmarks/quality.py --seconds 180  # as many as fit; call it again for the rest

One run varies one choice of the quick recipe (SimCLR, 150 steps) and belongs to the slice of that name; "base" is
the recipe itself. Measures use unlabeled images only; probe and knn use labels and judge the measures.
"""

import argparse
import time

import torch
from _record import merge, recorded
from _world import WORLD, probe, splits

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.data.image_set import Factor
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views, normalize

STEPS = 150
IMAGES = 1500  # unlabeled images behind the spectra, alignment and uniformity
LIDAR_IMAGES, LIDAR_VIEWS = 200, 8
ROTATED = 600  # images of the rotation probe, half of them to train it
QUICK = get_recipe("quick")
SGD = {"optimizer": "sgd", "lr": 0.09, "weight_decay": 5e-4}


def changed(policy: dict | None = None, options: dict | None = None, method: str | None = None, **training):
    """The quick recipe with some choices changed."""
    recipe = get_recipe("quick", method)
    recipe = recipe.with_(options=recipe.options | (options or {}), **training)
    return recipe.with_(policy=recipe.policy.replace(**(policy or {})))


def sweep() -> dict[tuple[str, str, int], tuple]:
    """(slice, setting, seed) -> (recipe, steps)."""
    runs = {("base", "SimCLR", 0): (QUICK, STEPS)}
    for t in (0.02, 0.05, 0.2, 0.5, 1.0):
        runs["temperature", f"{t:g}", 0] = changed(options={"temperature": t}), STEPS
    no_colour = {"jitter_p": 0.0, "grayscale_p": 0.0}
    policies = {
        "no colour change": no_colour,
        "no crop": {"crop_p": 0.0},
        "large crops only": {"crop_scale": (0.7, 1.0)},
        "small crops too": {"crop_scale": (0.08, 1.0)},
        "weak colour change": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1, "grayscale_p": 0.05},
        "gray half the time": {"grayscale_p": 0.5},
        "blur and solarize": {"blur_p": 0.5, "solarize_p": 0.2},
        "rotation by up to 45 degrees": {"rotation": 45.0},
    }  # fmt: skip
    for name, policy in policies.items():
        runs["augmentation", name, 0] = changed(policy), STEPS
    for width in (4, 16, 512):
        runs["projector", f"output {width}", 0] = changed(options={"out_dim": width}), STEPS
    runs["projector", "hidden 16", 0] = changed(options={"hidden_dim": 16}), STEPS
    runs["projector", "three layers", 0] = changed(method="simclr_v2", options=dict(QUICK.options)), STEPS
    for steps in (15, 40, 80, 300):
        runs["length", f"{steps} steps", 0] = QUICK, steps
    for lr in (5e-4, 1.6e-2):
        runs["learning rate", f"{lr:g}", 0] = changed(lr=lr), STEPS
    for method in ("dcl", "spectral", "moco_v2", "swav"):
        runs["method", method, 0] = changed(method=method), STEPS
    for method in ("byol", "simsiam", "dino", "barlow_twins", "vicreg", "w_mse"):
        runs["method", method, 0] = changed(method=method, **SGD), STEPS
    runs |= {("base", "SimCLR", seed): (QUICK, STEPS) for seed in (1, 2)}  # how much is chance
    runs["augmentation", "no colour change", 1] = runs["augmentation", "no colour change", 0]
    return dict(sorted(runs.items(), key=lambda item: _turn(item[0], list(runs))))


FIRST = [
    ("base", "SimCLR", 0), ("augmentation", "no colour change", 0), ("temperature", "0.5", 0),
    ("length", "40 steps", 0), ("projector", "output 4", 0),
]  # fmt: skip


def _turn(key: tuple, keys: list[tuple]) -> tuple:
    """The runs the chapter names come first, then one run of each slice in turn: any part of the record is balanced."""
    place = [other for other in keys if other[0] == key[0]].index(key)
    return (FIRST.index(key), 0) if key in FIRST else (len(FIRST) + place, keys.index(key))


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


def spectrum_auc(z: torch.Tensor) -> float:
    """Area under the cumulative share of the singular values: 1/2 = all alike, 1 = a single direction."""
    values = diagnostics.singular_values(z)
    return float((values.cumsum(0) / values.sum()).mean())


def measures(method, images: torch.Tensor, policy) -> dict:
    """What needs no label, from unlabeled images. _h: encoder features; _z: the embeddings of the loss."""
    row = {"rotation": rotation_score(method.encoder, images[:ROTATED])}
    for place, x in zip("hz", embed(method, normalize(images[:IMAGES])), strict=True):
        row |= {
            f"rank_{place}": diagnostics.rank_me(x),
            f"alpha_{place}": diagnostics.alpha_req(x),
            f"auc_{place}": spectrum_auc(x),
            f"uniformity_{place}": diagnostics.uniformity(x),
        }
    # With the run's own views, and with one policy for all: there the yardstick is the same for every run.
    row |= pair_measures(method, images, policy, "own")
    if policy == QUICK.policy:
        return row | {name.replace("own", "common"): value for name, value in row.items() if "own" in name}
    return row | pair_measures(method, images, QUICK.policy, "common")


def pair_measures(method, images: torch.Tensor, policy, name: str) -> dict:
    """LiDAR and alignment, from several views of the same images."""
    generator = torch.Generator().manual_seed(0)
    views = [embed(method, v) for v in make_views(images[:LIDAR_IMAGES], [policy] * LIDAR_VIEWS, generator)]
    row = {}
    for place, many in zip("hz", zip(*views, strict=True), strict=True):
        row[f"lidar_{name}_{place}"] = diagnostics.lidar(torch.stack(many, dim=1))
        pairs = zip(many[::2], many[1::2], strict=True)
        row[f"alignment_{name}_{place}"] = sum(diagnostics.alignment(a, b) for a, b in pairs) / (
            len(many) // 2
        )
    return row


def run(recipe, steps: int, seed: int, sets) -> dict:
    unlabeled, labelled, test = sets
    method = recipe.build(seed, n_images=len(unlabeled), n_classes=len(unlabeled.classes))
    policies, training = method.views(recipe.policy), recipe.training()
    history = pretrain(method, unlabeled.images, policies, steps=steps, seed=seed, progress=False, **training)
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (labelled, test))
    row = {
        "steps": steps,
        "loss": sum(r["loss"] for r in history[-20:]) / len(history[-20:]),
        "probe": probe(h, h_test, labelled, test),
        "knn": evaluation.knn_accuracy(h, labelled.labels, h_test, test.labels),
    }
    return row | measures(method, unlabeled.images, recipe.policy)


def main(seconds: float) -> None:
    rows = recorded("quality")
    done = {(row["slice"], row["setting"], row["seed"]) for row in rows if row.get("world") == WORLD}
    sets, start, longest = splits(0), time.perf_counter(), 0.0
    for (part, setting, seed), (recipe, steps) in sweep().items():
        if (part, setting, seed) in done or time.perf_counter() - start + longest > seconds:
            continue
        clock = time.perf_counter()
        row = {"world": WORLD, "slice": part, "setting": setting, "seed": seed, "method": recipe.method}
        row |= run(recipe, steps, seed, sets)
        merge("quality", [row], ("world", "slice", "setting", "seed"))
        longest = max(longest, 1.2 * (time.perf_counter() - clock))
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        print(f"{time.perf_counter() - clock:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=float("inf"))
    main(**vars(parser.parse_args()))
