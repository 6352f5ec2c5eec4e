"""Does BatchNorm that sees one device at a time leak, on pictures?  Joined, per device, shuffled, three seeds.

    uv run python benchmarks/batch_norm.py

The quick recipe in one process that pretends to be RANKS devices with EACH pictures: BatchNorm sees all views
("joined"), the two views of a device's pictures ("per device"), or a device's first views, and second views dealt anew
("shuffled": He et al. 2020, section 3.3).  Same pictures, views, steps and schedule; after training every arm's running
statistics are settled by the same forward passes, so that only the weights differ.  A run on record is not repeated.
"""

import argparse
import inspect
import time

import torch
from _record import merge, recorded
from _world import WORLD, measure, splits
from torch import nn

from ssl_lessons.losses import nt_xent
from ssl_lessons.models import settle
from ssl_lessons.training.optimizers import build_optimizer, warmup_cosine
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import make_views

RANKS, EACH, STEPS = 16, 8, 300
UNTRAINED, ARMS = "untrained", ("joined", "per device", "shuffled")
KEY = ("world", "arm", "seed")


def embed(net: nn.Module, pair, arm: str, generator) -> tuple:
    """z1, z2 [N, D] of all devices from views [N, ...], with BatchNorm's view of them as the arm says."""
    a, b = pair
    if arm == "joined":
        return net(torch.cat([a, b])).chunk(2)
    if arm == "per device":
        parts = [net(torch.cat(both)).chunk(2) for both in zip(a.chunk(RANKS), b.chunk(RANKS), strict=True)]
        return tuple(torch.cat(side) for side in zip(*parts, strict=True))
    deal = torch.randperm(len(b), generator=generator)
    dealt = torch.cat([net(x) for x in b[deal].chunk(RANKS)])
    return torch.cat([net(x) for x in a.chunk(RANKS)]), dealt[deal.argsort()]


def run(arm: str, seed: int, sets, steps: int) -> dict:
    """One training, or none, and what its features are worth."""
    recipe, (unlabeled, train, test) = get_recipe("quick"), sets
    method, losses = recipe.build(seed).train(), []
    steps = 0 if arm == UNTRAINED else steps
    net = nn.Sequential(method.encoder, method.projector).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(net, recipe.optimizer, recipe.lr, recipe.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * warmup_cosine(step, steps, round(recipe.warmup * steps))
        chosen = torch.randint(len(unlabeled), (RANKS * EACH,), generator=generator)
        pair = make_views(unlabeled.images[chosen], (recipe.policy,) * 2, generator)
        loss = nt_xent(*embed(net, pair, arm, generator), method.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    settle(method, unlabeled.images[:2048])
    found, last = measure(method, train, test), losses[-max(1, steps // 10) :]
    row = {"world": WORLD, "arm": arm, "seed": seed, "steps": steps, "devices": RANKS, "each": EACH}
    return row | {
        "loss": sum(last) / len(last) if last else None,
        "probe": found["probe"],
        "knn": found["knn"],
    }


def main(arms: list[str], seeds: list[int], steps: int) -> None:
    done = {tuple(r.get(k) for k in KEY) for r in recorded("batch_norm")}
    for seed in seeds:
        todo = [arm for arm in arms if (WORLD, arm, seed) not in done]
        sets = splits(seed) if todo else None
        for arm in todo:
            start = time.perf_counter()
            row = run(arm, seed, sets, steps)
            merge("batch_norm", [row], KEY)
            print(row, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="*", default=[UNTRAINED, *ARMS], choices=[UNTRAINED, *ARMS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS)
    main(**vars(parser.parse_args()))
