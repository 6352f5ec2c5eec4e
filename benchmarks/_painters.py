"""What the painters of generate.py share: pictures as numbers, probes, learning rates, one VQ-VAE per seed."""

import copy
import functools

import torch
from _record import recorded
from _world import probe, splits

from ssl_lessons import evaluation, views
from ssl_lessons.models.generative import painting

TUNED_ON = 9  # the seed of a world that no other run sees
VQ_STEPS, CODES = 300, 64
# Of the denoiser's rates 6e-3 was a little better after 200 steps (its row stays in the record), but one of three runs
# of 600 steps went to pieces with it: it is no longer a candidate.
RATES = {"vq": (1e-3, 3e-3, 1e-2), "prior": (1e-3, 3e-3, 1e-2), "diffusion": (1e-3, 3e-3)}


def pictures(sets) -> list[torch.Tensor]:
    """The normalised pictures [N, 3, 32, 32] of unlabeled, train and test."""
    return [views.normalize(s.images) for s in sets]


@functools.cache
def rate(name: str) -> float:
    """The rate of RATES with the smallest held-out loss in the rows of --tune; 3e-3 where there are none."""
    arms = {f"tune: {name}, {lr:g}" for lr in RATES[name]}
    tried = [r for r in recorded("generate") if r["arm"] in arms]
    return min(tried, key=lambda r: r["held_out"])["lr"] if tried else 3e-3


def quality(h, h_test, sets) -> dict:
    """100-label probe and kNN of features of the train and the test pictures."""
    _, train, test = sets
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
    }


def unexplained(rebuilt: torch.Tensor, x: torch.Tensor) -> float:
    """Squared error as a share of the pixels' variance: the mean picture scores 1."""
    return float((rebuilt - x).square().mean() / x.var(dim=0).mean())


def looks(rebuilt: torch.Tensor, x: torch.Tensor) -> dict:
    """Error, and for each octave of spatial frequency the power left and the power of the error, as shares of the
    real."""
    real = painting.band_power(x)
    return {
        "error": unexplained(rebuilt, x),
        "power": (painting.band_power(rebuilt) / real).tolist(),
        "power_of_error": (painting.band_power(rebuilt - x) / real).tolist(),
    }


@functools.lru_cache(maxsize=1)
def _coder(seed: int, steps: int):
    torch.manual_seed(seed)
    model = painting.VQVAE(CODES)
    painting.train_codes(model, pictures(splits(seed))[0], steps, rate("vq"), seed=seed)
    return model.requires_grad_(False)


def coder(seed: int, steps: int = VQ_STEPS) -> painting.VQVAE:
    """A copy of this seed's VQ-VAE, trained once per process."""
    return copy.deepcopy(_coder(seed, steps)).requires_grad_(True)
