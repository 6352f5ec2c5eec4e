"""Which learning rate does a batch size want?  SGD and LARS, a grid of rates at each batch size, equal images seen.

    uv run python benchmarks/large_batch.py --optimizers sgd --seeds 0
    uv run python benchmarks/large_batch.py --optimizers lars --seeds 0
    uv run python benchmarks/large_batch.py --optimizers lars --seeds 0 1 2 --best --images 8192 131072
    uv run python benchmarks/large_batch.py --optimizers adamw --batches 1024 --powers -2 -1 0 1 2 --seeds 0 1 2
    uv run python benchmarks/large_batch.py --optimizers none --seeds 0 1 2

The quick recipe on the first drawn world (its rows name none) with another optimiser.  Every run sees --images images
(so a batch four times as large makes a quarter of the steps), with 10 % warm-up and a cosine.  A 100-label probe judges
each: of one half of the train split it scores the other half, which is what rates are chosen by; its score on the test
split is only reported.
(kNN is no judge here: raw pixels already reach 70 % with it.)  LARS runs with trust 0.02 instead of 0.001: the
published value moves each weight by a thousandth of its length per step, which suits runs a hundred times as long.
"none" is not trained: the encoder with settled BatchNorm statistics.

--best repeats only the best rate of each batch size (mean over the seeds on record at IMAGES images) for shorter and
longer runs: the grid of batch sizes and training lengths of SimCLR's figure 9.
"""

import argparse
import json
import statistics
import time
from functools import partial

from _record import RESULTS, merge
from _world import probe, splits

from ssl_lessons import evaluation
from ssl_lessons.models import settle
from ssl_lessons.training import Diverged, optimizers, pretrain
from ssl_lessons.training.recipes import get_recipe

TRUST = 0.02
BASE = {"sgd": 0.06, "lars": 0.2, "adamw": 0.003}  # the middle of the grid
UNTRAINED = "none"
BATCHES = (64, 256, 1024)
IMAGES = 32_768
KEY = ("optimizer", "batch", "lr", "seed", "images")
POWERS = (-3, -2, -1, 0, 1, 2, 3)  # rates are BASE times these powers of two, at every batch size
optimizers.OPTIMIZERS["lars"] = partial(optimizers.LARS, trust=TRUST)


def run(optimizer: str, batch: int, lr: float, seed: int, images: int, sets) -> dict:
    """One training: the probe on held-out train images (for choosing) and on the test split (for reporting)."""
    recipe = get_recipe("quick").with_(optimizer=optimizer, batch_size=batch, lr=lr)
    unlabeled, labelled, test = sets
    method, steps = recipe.build(seed), images // batch
    row = {"optimizer": optimizer, "batch": batch, "lr": lr, "seed": seed, "steps": steps, "images": images}
    try:
        rows = pretrain(
            method, unlabeled.images, (recipe.policy,) * 2, steps=steps, seed=seed, progress=False,
            **recipe.training(),
        )  # fmt: skip
    except Diverged:
        return row | {"diverged": True, "loss": None, "probe_held_out": None, "probe": None}
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (labelled, test))
    ours, held_out = labelled[:1000], labelled[1000:]
    chosen, found = probe(h[:1000], h[1000:], ours, held_out), probe(h[:1000], h_test, ours, test)
    late = rows[-max(1, steps // 10) :]
    loss = sum(r["loss"] for r in late) / len(late)
    return row | {"diverged": False, "loss": loss, "probe_held_out": chosen, "probe": found}


def untrained(seed: int, sets) -> dict:
    """The encoder before training, its BatchNorm statistics settled, by the same two probes."""
    unlabeled, labelled, test = sets
    method = settle(get_recipe("quick").build(seed), unlabeled.images[:2048])
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (labelled, test))
    ours, held_out = labelled[:1000], labelled[1000:]
    row = {"optimizer": UNTRAINED, "batch": 0, "lr": 0.0, "seed": seed, "steps": 0, "images": 0, "diverged": False}
    return row | {
        "loss": None,
        "probe_held_out": probe(h[:1000], h[1000:], ours, held_out), "probe": probe(h[:1000], h_test, ours, test),
    }  # fmt: skip


def best_rate(optimizer: str, batch: int) -> float:
    """The rate with the best mean over seeds on held-out images, of the runs on IMAGES images."""
    scores = {}
    for row in json.loads((RESULTS / "large_batch.json").read_text())["rows"]:
        if (row["optimizer"], row["batch"], row["images"]) == (optimizer, batch, IMAGES):
            scores.setdefault(row["lr"], []).append(row["probe_held_out"] or 0.0)
    return max(scores, key=lambda lr: statistics.mean(scores[lr]))


def main(names, batches, powers, seeds, images, best) -> None:
    for seed in seeds:
        sets = splits(seed, world=1)
        if UNTRAINED in names:
            merge("large_batch", [untrained(seed, sets)], KEY)
        for optimizer in (n for n in names if n != UNTRAINED):
            for batch in batches:
                rates = [BASE[optimizer] * 2.0**power for power in powers]
                for lr in [best_rate(optimizer, batch)] if best else rates:
                    for length in images:
                        start = time.perf_counter()
                        row = run(optimizer, batch, lr, seed, length, sets)
                        merge("large_batch", [row], KEY)
                        print(row, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--optimizers", nargs="+", choices=(*BASE, UNTRAINED), default=list(BASE), dest="names")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--powers", nargs="+", type=int, default=list(POWERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--images", nargs="+", type=int, default=[IMAGES])
    parser.add_argument("--best", action="store_true", help="only the best rate on record of each batch size")
    main(**vars(parser.parse_args()))
