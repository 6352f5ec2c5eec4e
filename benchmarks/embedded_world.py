"""Does the embedded world leave room?  Hard for pixels, learnable without labels, and labels are saved in it.

    uv run python benchmarks/embedded_world.py            # runs what the record lacks, then prints the five lines
    uv run python benchmarks/embedded_world.py --print    # prints only

Arms, each for three seeds: pixels and the untrained encoder (BatchNorm settled); SimCLR for a minute of two idle
cores, without colour distortion, and for ten minutes; fine-tuned from the minute's encoder and from scratch with the
same views, steps and draws of labels; the other loss families' leaders, a minute each.  Every finished row is saved: a
killed run goes on where it stopped.
"""

import argparse
import inspect
import time
from functools import cache
from statistics import median

from _record import merge, recorded
from _world import WORLD, measure, probe, splits
from families import SIMCLR_VIT, train

from ssl_lessons import evaluation
from ssl_lessons.evaluation.evidence import compare
from ssl_lessons.models.settle import settle
from ssl_lessons.training.recipes import get_recipe

SEEDS = (0, 1, 2)
MINUTE, LONG = 1000, 10_000  # steps of SimCLR that take a minute, and ten, on two idle cores (60 ms each)
LEADERS = {"byol": 760, "vicreg": 710, "swav": 940, "mae": 950}  # steps of the same processor time
PER_CLASS, DRAWS, STEPS = (2, 5, 10, 25, 50), 3, 300  # of fine-tuning and training from scratch
KEY = ("world", "arm", "seed")
YES = {True: "yes", False: "NO"}
sets_of = cache(lambda seed: splits(seed))


def recipe_of(arm: str):
    if arm in LEADERS:
        return get_recipe("quick", arm)
    quick = get_recipe("quick")
    if arm == "untrained vit":
        return quick.with_(encoder="vit", encoder_options={}, **SIMCLR_VIT)
    return quick.with_(policy=quick.policy.scaled(0).replace(grayscale_p=0)) if arm == "no colour" else quick


def pretrained(arm: str, seed: int) -> tuple:
    """The encoder after its run and the row that describes it."""
    sets, steps = sets_of(seed), LEADERS.get(arm, LONG if arm == "long" else MINUTE)
    clock, work = time.perf_counter(), time.process_time()
    method, history = train(recipe_of(arm), seed, steps, sets)
    spent = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - work}
    row = {"steps": steps, "loss": sum(r["loss"] for r in history[-10:]) / 10}
    return method, row | {k: round(v, 1) for k, v in spent.items()} | measure(method, *sets[1:])


def with_labels(encoder, seed: int) -> dict:
    """Accuracies of the whole network by number of labels per class, {count: one per draw}."""
    _, labelled, test = sets_of(seed)
    rows = evaluation.fine_tune_efficiency(
        encoder, labelled.images, labelled.labels, test.images, test.labels,
        per_class=PER_CLASS, draws=DRAWS, steps=STEPS, policy=get_recipe("quick").policy, seed=seed,
    )  # fmt: skip
    return {"by_labels": {row["labels_per_class"]: row["accuracies"] for row in rows}, "steps": STEPS}


def frozen(encoder, seed: int) -> dict:
    """Accuracies of a linear probe by number of labels per class, for the same draws as `with_labels`."""
    _, labelled, test = sets_of(seed)
    h, h_test = (evaluation.extract_features(encoder, s.images) for s in (labelled, test))
    rows = evaluation.label_efficiency(
        h, labelled.labels, h_test, test.labels, per_class=PER_CLASS, draws=DRAWS, seed=seed
    )
    return {"by_labels": {row["labels_per_class"]: row["accuracies"] for row in rows}}


def fresh(arm: str, seed: int):
    """The encoder from which the run of this seed starts, its statistics settled."""
    return settle(recipe_of(arm).build(seed).encoder, sets_of(seed)[0].images[:2048])


def baseline(arm: str, seed: int) -> dict:
    _, labelled, test = sets_of(seed)
    if arm == "pixels":
        x, x_test = (evaluation.pixels(s.images) for s in (labelled, test))
        knn = evaluation.knn_accuracy(x, labelled.labels, x_test, test.labels)
        return {"probe": probe(x, x_test, labelled, test), "knn": knn}
    encoder = fresh(arm, seed)
    found = measure(_Frozen(encoder), labelled, test)
    return found | frozen(encoder, seed) if arm == "untrained" else found


class _Frozen:
    """An encoder where `measure` expects a method."""

    def __init__(self, encoder):
        self.encoder, self.eval = encoder, encoder.eval


def run(arm: str, seed: int) -> dict[str, dict]:
    """The rows of one arm; SimCLR's encoder is fine-tuned at once, and the scratch arm shares its draws."""
    if arm in ("pixels", "untrained", "untrained vit"):
        return {arm: baseline(arm, seed)}
    if arm == "scratch":
        return {arm: with_labels(fresh("simclr", seed), seed)}
    method, row = pretrained(arm, seed)
    if arm != "simclr":
        return {arm: row}
    return {arm: row | frozen(method.encoder, seed), "fine-tuned": with_labels(method.encoder, seed)}


ARMS = ("pixels", "untrained", "untrained vit", "simclr", "scratch", "no colour", *LEADERS, "long")


def rows() -> list[dict]:
    return [row for row in recorded("embedded_world") if row.get("world") == WORLD]


def report() -> None:
    """The five lines, each with what it asks and whether the median of the seeds meets it."""
    table = {(row["arm"], row["seed"]): row for row in rows()}

    def of(arm, key, labels=None):
        found = [table[arm, seed] for seed in SEEDS if (arm, seed) in table]
        values = [row[key] if labels is None else row[key][str(labels)] for row in found]
        return values if labels is None else [sum(v) / len(v) for v in values]

    def line(number, arm, key, sign, target):
        values = of(arm, key)
        if values:
            met = median(values) <= target if sign == "<=" else median(values) >= target
            spread = f"{min(values):.3f} to {max(values):.3f}, n = {len(values)}"
            print(
                f"{number}  {arm:14s} {key:6s} {median(values):.3f} ({spread})  {sign} {target}: {YES[met]}"
            )

    for arm, target in (("pixels", 0.16), ("untrained", 0.20)):
        line(1, arm, "probe", "<=", target)
        line(1, arm, "knn", "<=", 0.45)
    for arm, key, target in (("simclr", "probe", 0.50), ("simclr", "knn", 0.70), ("long", "probe", 0.65)):
        line(2, arm, key, ">=", target)
    if of("fine-tuned", "by_labels", 5) and len(of("scratch", "by_labels", 5)) == len(of("simclr", "probe")):
        for labels in PER_CLASS:
            arms = of("fine-tuned", "by_labels", labels), of("scratch", "by_labels", labels)
            told = compare(*arms, 0.05, learns="none")
            tuned, scratch = (f"{median(arm):.3f}" for arm in arms)
            print(f"3  {labels} labels a class: fine-tuned {tuned}, scratch {scratch}; {told}")
    for arm in ("simclr", *LEADERS):
        floor = "untrained vit" if arm == "mae" else "untrained"
        if of(arm, "probe") and of(floor, "probe"):
            gain = median(of(arm, "probe")) - median(of(floor, "probe"))
            print(f"4  {arm:14s} probe {gain:+.3f} over untrained  >= 0.1: {YES[gain >= 0.1]}")
    if of("no colour", "probe"):
        gain = median(of("no colour", "probe")) - median(of("untrained", "probe"))
        print(f"5  no colour      probe {gain:+.3f} over untrained  within 0.05: {YES[abs(gain) <= 0.05]}")


def main(arms: list[str], seeds: list[int], only_print: bool) -> None:
    done = {(row["arm"], row["seed"]) for row in rows()}
    for arm in arms if not only_print else ():
        for seed in seeds:
            if (arm, seed) not in done:
                found = [{"world": WORLD, "arm": a, "seed": seed} | r for a, r in run(arm, seed).items()]
                merge("embedded_world", found, KEY)
                print(
                    arm, seed, {k: found[0].get(k) for k in ("probe", "knn", "loss", "seconds")}, flush=True
                )
    report()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--print", dest="only_print", action="store_true", help="print the recorded lines only"
    )
    main(**vars(parser.parse_args()))
