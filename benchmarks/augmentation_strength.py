"""What does a representation forget as the augmentation grows?  The record behind chapter 25's slider.

    uv run python benchmarks/augmentation_strength.py

The quick recipe with its colour jitter (and grayscale) scaled by each strength, three seeds.
"""

import argparse

from _record import record
from _world import measure, train

from ssl_lessons.training.recipes import get_recipe

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 1.5)


def at_strength(policy, strength: float):
    """The policy with jitter ranges and grayscale probability multiplied by `strength`."""
    return policy.scaled(strength).replace(grayscale_p=min(1.0, policy.grayscale_p * strength))


def main(steps: int, seeds: int) -> None:
    recipe = get_recipe("quick")
    rows = []
    for seed in range(seeds):
        for strength in STRENGTHS:
            chosen = recipe.with_(policy=at_strength(recipe.policy, strength))
            method, history, seconds, (_, labelled, test) = train(chosen, seed, steps)
            row = {"strength": strength, "seed": seed, "steps": steps, "loss": history[-1]["loss"]}
            rows.append(row | measure(method, labelled, test))
            print(strength, seed, f"probe {rows[-1]['probe']:.3f}  {seconds:.0f} s", flush=True)
            record("augmentation_strength", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    main(**vars(parser.parse_args()))
