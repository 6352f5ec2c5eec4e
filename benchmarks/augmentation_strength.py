"""What does a representation forget as the augmentation grows?  The record behind chapter 25's slider.

    uv run python benchmarks/augmentation_strength.py

The quick recipe with its colour jitter (and grayscale) scaled by each strength, three seeds.
A run that is in the record is not repeated.
"""

import argparse
import itertools

from _record import merge, recorded
from _world import WORLD, measure, train

from ssl_lessons.training.recipes import get_recipe

KEY = ("world", "strength", "seed")
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)


def at_strength(policy, strength: float):
    """The policy with jitter ranges and grayscale probability multiplied by `strength`."""
    return policy.scaled(strength).replace(grayscale_p=min(1.0, policy.grayscale_p * strength))


def main(steps: int, seeds: int, strengths: list[float]) -> None:
    recipe = get_recipe("quick")
    done = {tuple(row.get(k) for k in KEY) for row in recorded("augmentation_strength")}
    for strength, seed in itertools.product(strengths, range(seeds)):
        if (WORLD, strength, seed) in done:
            continue
        chosen = recipe.with_(policy=at_strength(recipe.policy, strength))
        method, history, seconds, (_, labelled, test) = train(chosen, seed, steps)
        row = {
            "world": WORLD,
            "strength": strength,
            "seed": seed,
            "steps": steps,
            "loss": history[-1]["loss"],
        }
        row |= measure(method, labelled, test)
        merge("augmentation_strength", [row], KEY)
        print(strength, seed, f"probe {row['probe']:.3f}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS)
    main(**vars(parser.parse_args()))
