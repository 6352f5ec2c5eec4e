"""Is the embedded world hard for pixels and learnable by SSL?  Three seeds, 100 labels, one minute of SimCLR.

    uv run python benchmarks/embedded_world.py

Prints and records the probe on raw pixels, on an untrained encoder, after SimCLR with the quick recipe, and after
the same SimCLR without colour jitter and grayscale.
"""

import argparse
from statistics import median

from _record import record
from _world import measure, probe, splits, train

from ssl_lessons import evaluation
from ssl_lessons.models import encoders
from ssl_lessons.training.recipes import get_recipe


def main(steps: int, seeds: int) -> None:
    recipe = get_recipe("quick")
    no_color = recipe.with_(policy=recipe.policy.scaled(0).replace(grayscale_p=0))
    rows = []
    for seed in range(seeds):
        _, labelled, test = splits(seed)
        fresh = encoders.untrained(recipe.build(seed).encoder, seed + 100)
        h, h_test = (evaluation.extract_features(fresh, s.images) for s in (labelled, test))
        x, x_test = evaluation.pixels(labelled.images), evaluation.pixels(test.images)
        rows.append({"arm": "pixels", "seed": seed, "probe": probe(x, x_test, labelled, test)})
        rows.append({"arm": "untrained", "seed": seed, "probe": probe(h, h_test, labelled, test)})
        for arm, chosen in (("simclr", recipe), ("simclr without colour", no_color)):
            method, history, seconds, _ = train(chosen, seed, steps)
            row = {"arm": arm, "seed": seed, "steps": steps, "seconds": round(seconds, 1)}
            rows.append(row | {"loss": history[-1]["loss"]} | measure(method, labelled, test))
            print(arm, seed, f"probe {rows[-1]['probe']:.3f}  {seconds:.0f} s", flush=True)
    for arm in dict.fromkeys(row["arm"] for row in rows):
        scores = [row["probe"] for row in rows if row["arm"] == arm]
        print(f"{arm:24s} median {median(scores):.3f}   all {[round(s, 3) for s in scores]}")
    print("saved", record("embedded_world", rows).name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800, help="about a minute on two idle cores")
    parser.add_argument("--seeds", type=int, default=3)
    main(**vars(parser.parse_args()))
