"""Rebuilding pictures and patches, as before 2013: autoencoders, and dictionaries of patches with their controls.

    uv run python benchmarks/early_methods.py                  # what is missing in the record, seeds 0, 1, 2
    uv run python benchmarks/early_methods.py --seconds 200    # start no further run after that; go on by repeating it

Autoencoders: one small conv net and decoder from the same weights, the same pictures and the same number of steps; an
arm differs in what its input or its code has to suffer.  Dictionaries: 64 atoms of 8x8 pixels, learned or taken from
somewhere, and the codes of a picture's patches averaged over its quarters; every arm says how many of its codes are not
zero.  A run that is in the record is not repeated.
"""

import argparse
import inspect
import itertools
import time
from functools import partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import DRAWS, WORLD, splits
from torch import nn

from ssl_lessons import evaluation, views, widgets
from ssl_lessons.methods import Method
from ssl_lessons.models import encoders
from ssl_lessons.models.generative import autoencoders, patches
from ssl_lessons.training import pretrain

KEY = ("world", "arm", "steps", "seed")
STEPS, BATCH, LR, NOISE, HIDE, COMPONENTS = (90, 330), 64, 4e-3, 1.0, 0.5, 256
FACTORS = ("kind", "x", "y", "object_hue", "background_hue", "background_texture", "polarity", "light_angle")
CORRUPTIONS = {
    "autoencoder": lambda x: x,
    "denoising": partial(autoencoders.add_gaussian, sigma=NOISE),
    "inpainting": partial(autoencoders.mask_patches, share=HIDE),
}
PLAIN = views.Policy(32, crop_p=0.0, flip_p=0.0, jitter_p=0.0)  # the picture as it is
ATOMS, PENALTY, FEW = 64, 0.15, 1000
DICTIONARIES = (
    "learned", "patches", "noise", "noise, matched", "learned elsewhere", "patches elsewhere", "patches, threshold",
    "learned, threshold", "noise, threshold"
)  # fmt: skip


class Rebuild(Method):
    """Rebuilds x from a corrupted x; `corrupt` maps [N, 3, S, S] to the same."""

    def __init__(self, encoder: nn.Module, corrupt):
        super().__init__()
        self.encoder, self.decoder, self.corrupt = encoder, autoencoders.ConvDecoder(encoder.dim), corrupt

    def embed(self, x):
        return self.encoder(x)

    def rebuild(self, x):
        return self.decoder(self.encoder(x))

    def forward(self, pictures, labels=None):
        return F.mse_loss(self.rebuild(self.corrupt(pictures[0])), pictures[0])


class Variational(Rebuild):
    """The code is drawn from N(mu(h), sigma(h)); the price is its divergence from N(0, I)."""

    def __init__(self, encoder: nn.Module, latent: int = 64, pixel_sigma: float = 0.5):
        super().__init__(encoder, None)
        self.heads, self.decoder = nn.Linear(encoder.dim, 2 * latent), autoencoders.ConvDecoder(latent)
        self.pixel_sigma = pixel_sigma

    def rebuild(self, x):
        return self.decoder(self.heads(self.encoder(x)).chunk(2, dim=1)[0])

    def forward(self, pictures, labels=None):
        x, (mu, log_var) = pictures[0], self.heads(self.encoder(pictures[0])).chunk(2, dim=1)
        rebuilt = self.decoder(autoencoders.reparameterize(mu, log_var))
        cost = (x - rebuilt).square().sum(dim=(1, 2, 3)) / (2 * self.pixel_sigma**2)
        return (cost + autoencoders.kl_to_standard_normal(mu, log_var)).mean() / x[0].numel()


def new_encoder(seed: int, images=None) -> nn.Module:
    return encoders.untrained(encoders.build_encoder("convnet", width=16, dim=256), seed, images)


def measure(features, train, test) -> dict:
    """Probes with 100 labels, one accuracy per draw of them; kNN with all labels."""
    x, y = features
    found = evaluation.label_efficiency(x, train.labels, y, test.labels, per_class=(10,), draws=DRAWS)[0]
    return {"probe": found["accuracies"], "knn": evaluation.knn_accuracy(x, train.labels, y, test.labels)}


def measure_encoder(encoder: nn.Module, train, test) -> dict:
    """The same of an encoder's features, and how well each factor is read from them linearly."""
    x, y = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    tables = [{f: s.factors[f] for f in FACTORS} for s in (train, test)]
    return measure((x, y), train, test) | {"factors": evaluation.factor_probe(x, tables[0], y, tables[1])}


@torch.no_grad()
def unexplained(rebuild, images) -> float:
    """Squared error of the rebuilt clean pictures as a share of the pixels' variance."""
    x = views.normalize(images)
    rebuilt = torch.cat([rebuild(part) for part in x.split(500)])
    return float((rebuilt - x).square().mean() / x.var(dim=0).mean())


def rebuilding(arm: str, steps: int, seed: int, sets) -> dict:
    """One autoencoder, trained."""
    unlabeled, train, test = sets
    torch.manual_seed(seed)
    encoder = new_encoder(seed)
    method = Variational(encoder) if arm == "variational" else Rebuild(encoder, CORRUPTIONS[arm])
    history = pretrain(
        method, unlabeled.images, (PLAIN,), steps=steps, batch_size=BATCH, lr=LR, seed=seed, progress=False
    )
    method.eval()
    found = measure_encoder(encoder, train, test) | {"error": unexplained(method.rebuild, test.images)}
    return found | {"loss": sum(r["loss"] for r in history[-20:]) / 20}


def baseline(arm: str, sets) -> dict:
    """Pixels less the mean picture, or their first principal components."""
    unlabeled, train, test = sets
    fit, x, y = (evaluation.pixels(s.images) for s in (unlabeled[:2048], train, test))
    mean = fit.mean(dim=0)
    if arm == "pixels":
        return measure((x - mean, y - mean), train, test) | {"error": 0.0}
    torch.manual_seed(0)
    axes = torch.svd_lowrank(fit - mean, q=COMPONENTS + 4, niter=2)[2][:, :COMPONENTS]
    codes = [(v - mean) @ axes for v in (x, y)]
    left = (codes[1] @ axes.T + mean - y).square().mean() / y.var(dim=0).mean()
    return measure(codes, train, test) | {"error": float(left)}


def dictionary(arm: str, seed: int, unlabeled):
    """64 atoms: learned, or patches as they come, or noise; from the same world or (elsewhere) two photographs."""
    g = torch.Generator().manual_seed(seed)
    if arm.startswith("noise"):
        return F.normalize(torch.randn(ATOMS, 3 * patches.SIDE**2, generator=g), dim=1)
    images = unlabeled.images[:FEW]
    if "elsewhere" in arm:
        images = patches.crops(widgets.photographs(256), FEW, 32, g)
    x = patches.cut(images).flatten(0, 1)
    if arm.startswith("patches"):
        return patches.sample(x, ATOMS, g)
    return autoencoders.learn_dictionary(x, ATOMS, PENALTY, rounds=15, batch_size=1500, seed=seed)


def used(x, atoms, penalty: float) -> float:
    """Share of the atoms that a sparse code of patches x uses."""
    return 2 * float((patches.sparse(x, atoms, penalty) != 0).float().mean())  # an atom is used up or down


def matched(x, atoms, share: float) -> float:
    """The penalty at which `atoms` are used as often as `share` says, by halving."""
    low, high = 0.0, PENALTY
    for _ in range(6):
        middle = (low + high) / 2
        low, high = (middle, high) if used(x, atoms, middle) > share else (low, middle)
    return high


def coding(arm: str, seed: int, sets) -> dict:
    """Codes of pictures in one dictionary: probed, with the share of atoms in use and of patches that use none."""
    unlabeled, train, test = sets
    atoms, penalty = dictionary(arm, seed, unlabeled), PENALTY
    x = patches.cut(test.images[:200]).flatten(0, 1)
    if "matched" in arm:
        penalty = matched(x, atoms, used(x, dictionary("learned", seed, unlabeled), PENALTY))
    encode = partial(patches.threshold if "threshold" in arm else patches.sparse, penalty=penalty)
    on = encode(x, atoms) != 0
    found = measure(
        [patches.describe(s.images, partial(encode, atoms=atoms)) for s in (train, test)], train, test
    )
    return found | {
        "penalty": penalty, "on": 2 * float(on.float().mean()), "empty": float((~on).all(1).float().mean())
    }  # fmt: skip


def jobs() -> list[list[tuple[str, int]]]:
    """The runs of one seed, (arm, steps), in two parts: what a reader asks for first, and the shorter runs."""
    first = [("untrained", 0), *((arm, STEPS[-1]) for arm in CORRUPTIONS)]
    first += [(f"dictionary: {name}", 0) for name in DICTIONARIES]
    first += [("pixels", 0), ("components", 0)]
    return [first, [*((arm, STEPS[0]) for arm in CORRUPTIONS), ("variational", STEPS[-1])]]


def run(arm: str, steps: int, seed: int, sets) -> dict:
    if arm == "untrained":
        return measure_encoder(new_encoder(seed, sets[0].images[:2048]), *sets[1:])
    if arm.startswith("dictionary"):
        return coding(arm.split(": ")[1], seed, sets)
    return rebuilding(arm, steps, seed, sets) if steps else baseline(arm, sets)


def main(seeds: list[int], seconds: float) -> None:
    done = {tuple(r.get(k) for k in KEY) for r in recorded("early_methods")}
    start = time.perf_counter()
    for part, seed in itertools.product(jobs(), seeds):
        todo = [job for job in part if (WORLD, *job, seed) not in done]
        sets = splits(seed) if todo else None
        for arm, steps in todo:
            if time.perf_counter() - start > seconds:
                return
            began = time.perf_counter()
            row = {"world": WORLD, "arm": arm, "steps": steps, "seed": seed} | run(arm, steps, seed, sets)
            merge("early_methods", [row], KEY)
            mean = sum(row["probe"]) / len(row["probe"])
            print(f"{arm} {steps} {seed}: probe {mean:.3f}, kNN {row['knn']:.3f}, "
                  f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    main(**vars(parser.parse_args()))
