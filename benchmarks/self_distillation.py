"""Teachers without labels: the runs of chapters 15 and 15b.  BYOL with one part changed at a time, SimSiam with one
loss or two, DINO's four arms, SimDINO, neighbours as targets, two students with labels, and a few long runs.

    uv run python benchmarks/self_distillation.py                     # what is missing: seeds 0, 1, 2, the long runs
    uv run python benchmarks/self_distillation.py --groups byol dino  # two groups
    uv run python benchmarks/self_distillation.py --seconds 600       # for ten minutes; go on by repeating it

An arm sees 250 batches of 128 pictures; the long ones (group "long", seed 0 unless asked) see 3,000.  All arms of a
seed start from the same encoder, that of the row "untrained" (with its BatchNorm statistics settled).  Teachers are
settled before they are measured: their statistics are those of their students, and wrong for weights that lag behind.
A run that is in the record is not repeated.  (Rows without `world` are of the first edition, and of another protocol.)
"""

import argparse
import copy
import inspect
import math
import time
from functools import partial

import torch
from _labelled_teachers import distillation, mean_teacher
from _record import merge, recorded
from _world import WORLD, probe, splits
from collapse_ablations import answers, embeddings, trace
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from ssl_lessons import evaluation
from ssl_lessons.diagnostics import rank_me
from ssl_lessons.losses.distillation import byol, isd, negative_cosine
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.methods.dino import DINO
from ssl_lessons.methods.msf import MSF
from ssl_lessons.methods.simdino import SimDINO
from ssl_lessons.methods.simsiam import SimSiam
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import Diverged, Monitor, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize

STEPS, EVERY = 250, 25
LONG, LONG_EVERY = 3_000, 250
KEY = ("world", "group", "arm", "seed")
POLICY = get_recipe("quick").policy
SGD = {"batch_size": 128, "optimizer": "sgd", "lr": 0.12, "weight_decay": 5e-4, "warmup": 0.1}
ADAM = SGD | {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-4}
STUDENT_TEMPERATURE = 0.1  # of DINO: as the teacher's it is no sharpening


# ---- methods that only this comparison needs ------------------------------------------------------------------


class OneSided(SimSiam):
    """Only the first view predicts the second."""

    def forward(self, views, labels=None):
        z1, z2 = (self.embed(v) for v in views)
        return negative_cosine(self.predictor(z1), z2.detach())


class LinearPredictor(BYOL):
    """A matrix as predictor, from PyTorch's random start or from half of the identity."""

    def __init__(self, encoder, identity=False, **options):
        super().__init__(encoder, **options)
        d = self.projector[-1].out_features
        self.predictor = nn.Linear(d, d, bias=False)
        if identity:
            nn.init.eye_(self.predictor.weight).data.mul_(0.5)
        scale = self.predictor_lr
        self.predictor.weight.register_hook(lambda gradient: scale * gradient)


class Target(MSF):
    """MSF's frame (one direction, constant momentum, a queue) with BYOL's loss or ISD's."""

    def __init__(self, encoder, loss, **options):
        super().__init__(encoder, **options)
        self.loss = loss

    def distance(self, prediction, target):
        if self.loss == "byol":
            return byol(prediction, target)
        return isd(prediction, target, self.queue.rows, 0.1)


class Standardised(nn.Module):
    """Weight standardisation (Qiao et al. 2019): every output filter has mean 0 and variance 1 / inputs."""

    def forward(self, w):
        flat = w.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) * flat.shape[1] ** 0.5 + 1e-5)
        return flat.view_as(w)


def without_batch_norm(module: nn.Module, groups: int = 0) -> nn.Module:
    """Every BatchNorm out; group norm of standardised weights instead, where `groups` is not 0."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            new = nn.GroupNorm(groups, child.num_features) if groups else nn.Identity()
            setattr(module, name, new)
        else:
            without_batch_norm(child, groups)
            if groups and isinstance(child, nn.Conv2d):
                register_parametrization(child, "weight", Standardised())
    return module


class NoBatchNorm(BYOL):
    """BYOL with no batch statistics anywhere: no normalisation at all, or group norm and standardised weights."""

    def __init__(self, encoder, groups=0, **options):
        super().__init__(encoder, **options)
        self.encoder, self.projector, self.predictor, self.teacher = (
            without_batch_norm(m, groups)
            for m in (self.encoder, self.projector, self.predictor, self.teacher)
        )


# ---- the arms -------------------------------------------------------------------------------------------------

CONSTANT = {"rising": False}
COPY = CONSTANT | {"momentum": 0.0}  # the target is the student itself
BYOL_ARMS = {
    "byol": (BYOL, {}),
    "no predictor": (BYOL, {"predictor": False}),
    "no stop-gradient": (BYOL, {"stop_gradient": False}),
    "fixed target": (BYOL, CONSTANT | {"momentum": 1.0}),
    "momentum 0": (BYOL, COPY),
    "momentum 0.99": (BYOL, CONSTANT | {"momentum": 0.99}),
    "momentum 0.999": (BYOL, CONSTANT | {"momentum": 0.999}),
    "momentum 0, rate 1": (BYOL, COPY | {"predictor_lr": 1.0}),
    "momentum 0, rate 10": (BYOL, COPY | {"predictor_lr": 10.0}),
    "linear": (LinearPredictor, {}),
    "linear, identity": (LinearPredictor, {"identity": True}),
    "simsiam": (SimSiam, {}),
    "simsiam, one-sided": (OneSided, {}),
    "no norm": (NoBatchNorm, {}),
    "group norm": (NoBatchNorm, {"groups": 8}),
}
DINO_ARMS = {
    "dino": (DINO, {}),
    "no centring": (DINO, {"centering": False}),
    "no sharpening": (DINO, {"teacher_temperature": STUDENT_TEMPERATURE}),
    "neither": (DINO, {"centering": False, "teacher_temperature": STUDENT_TEMPERATURE}),
    "simdino": (SimDINO, {}),
    "simdino, no rate": (SimDINO, {"invariance_weight": 1e4}),  # AdamW does not mind the scale
}
NEIGHBOUR_ARMS = {
    "itself": (Target, {"loss": "byol"}),
    "5 neighbours": (MSF, {"k": 5}),
    "similarities": (Target, {"loss": "isd"}),
}
LONG_ARMS = {
    "byol": (BYOL, {}, SGD),
    "dino": (DINO, {}, ADAM),
    "simdino": (SimDINO, {}, ADAM),
    "linear": (LinearPredictor, {}, SGD),
}
FLOORS = ("untrained", "pixels", "edges", "untrained, no norm", "untrained, group norm")


def encoder():
    return build_encoder("convnet", width=16, dim=256)


# ---- measures -------------------------------------------------------------------------------------------------


def quality(features, train, test) -> dict:
    """Probe and kNN of features(images)."""
    h, h_test = features(train.images), features(test.images)
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
    }


def of_encoder(network, train, test) -> dict:
    h = evaluation.extract_features(network, test.images)
    return quality(partial(evaluation.extract_features, network), train, test) | {"rank_h": float(rank_me(h))}


class Watch(Monitor):
    """Also DINO's answers: the entropy of the teacher's on one view, and KL(teacher || student's on another); their sum
    is the loss."""

    def __call__(self, method, history=(), batch_size=None):
        row = super().__call__(method, history, batch_size)
        if hasattr(method, "center"):
            found, most = answers(method, POLICY, self.query.images, seed=0), math.log(len(method.center))
            row |= {"entropy": found["mean_entropy"] * most, "kl": found["kl"]}
            row["entropy_of_mean"] = found["entropy_of_mean"] * most
            method.train()
        return row


class Pair(Watch):
    """Also the teacher beside the student, both settled on the same pictures."""

    def __call__(self, method, history=(), batch_size=None):
        row = super().__call__(method, history, batch_size)
        for who, network in zip(("student", "teacher"), method.momentum_pairs()[0], strict=True):
            network = settle(copy.deepcopy(network), self.bank.images).eval()
            h, h_test = (evaluation.extract_features(network, s.images) for s in (self.bank, self.query))
            row[f"knn_{who}"] = evaluation.knn_accuracy(h, self.bank.labels, h_test, self.query.labels)
        return row


class Probes(Watch):
    """Also a probe on 100 labels, held-out train images against train images: is more time of any use?"""

    def __call__(self, method, history=(), batch_size=None):
        row = super().__call__(method, history, batch_size)
        sets = (self.bank, self.query)
        h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in sets)
        method.train()
        return row | {"held_out": probe(h, h_test, *sets)}


WATCHED = (
    "loss spread_z rank_z knn teacher_distance knn_student knn_teacher "
    "entropy kl entropy_of_mean usage held_out"
).split()


def learn(method, seed: int, sets, training, steps=STEPS, kind=Monitor) -> dict:
    """Train, and measure encoder, embeddings and, where there is one, the teacher."""
    unlabeled, train, test = sets
    every, half = (EVERY, 600) if steps == STEPS else (LONG_EVERY, 1000)
    start = time.perf_counter()
    history = pretrain(
        method, unlabeled.images, method.views(POLICY), steps=steps, seed=seed, progress=False,
        monitor=kind(train[:half], train[half : 2 * half], every=every, sample=512), **training,
    )  # fmt: skip
    method.eval()
    row = {"steps": steps, "seconds": time.perf_counter() - start, "verdict": history[-1]["verdict"]}
    row |= {"loss": sum(r["loss"] for r in history[-20:]) / 20}
    row |= of_encoder(method.encoder, train, test) | embeddings(method, test.images)
    seen = [r for r in history if "knn" in r]
    row["trace"] = trace(history, *(k for k in WATCHED if all(k in r for r in seen)))
    if hasattr(method, "teacher"):
        settle(method.teacher, unlabeled.images[:2048]).eval()
        found = of_encoder(method.teacher[0], train, test)
        row |= {"teacher_probe": found["probe"], "teacher_knn": found["knn"]}
        row["teacher_distance"] = history[-1]["teacher_distance"]
    return row


def byol_arm(name: str, seed: int, sets) -> dict:
    torch.manual_seed(seed)
    kind, options = BYOL_ARMS[name]
    method = kind(encoder(), **options)
    row = learn(method, seed, sets, SGD)
    return row | (predictor_spectrum(method, sets[2]) if kind is LinearPredictor else {})


@torch.no_grad()
def predictor_spectrum(method, test) -> dict:
    """How strong the predictor is along the eigenvectors of its input's covariance (centred), largest first."""
    z = torch.cat([method.embed(normalize(x)) for x in test.images.split(500)]).double()
    values, vectors = torch.linalg.eigh(torch.cov(z.T))
    w = method.predictor.weight.double()
    along = (vectors.T @ w @ vectors).diagonal().flip(0)
    return {
        "eigenvalues": " ".join(f"{v:.4g}" for v in values.flip(0)[:64].tolist()),
        "along": " ".join(f"{v:.4g}" for v in along[:64].tolist()),
        "asymmetry": float((w - w.T).norm() / w.norm()),
        "off_diagonal": float(1 - along.square().sum() / w.square().sum()),
    }


def dino_arm(name: str, seed: int, sets) -> dict:
    torch.manual_seed(seed)
    kind, options = DINO_ARMS[name]
    method = kind(encoder(), **options)
    row = learn(method, seed, sets, ADAM, kind=Pair if name == "dino" else Watch)
    return row | of_heads(method, sets)


@torch.no_grad()
def of_heads(method, sets) -> dict:
    """kNN on what stands above the features: the bottleneck, and the teacher's answers; DINO's entropies at the end."""
    _, train, test = sets
    heads = {"knn_z": method.embed} | ({"knn_answers": method.assign} if hasattr(method, "center") else {})
    row = {}
    for key, head in heads.items():
        z, z_test = (
            torch.cat([head(normalize(x)) for x in s.images.split(500)]).float() for s in (train, test)
        )
        row[key] = evaluation.knn_accuracy(z, train.labels, z_test, test.labels)
    if hasattr(method, "center"):
        row |= {"prototypes": len(method.center)} | answers(method, POLICY, test.images, seed=0)
    return row


def neighbour_arm(name: str, seed: int, sets) -> dict:
    torch.manual_seed(seed)
    kind, options = NEIGHBOUR_ARMS[name]
    return learn(kind(encoder(), **options), seed, sets, SGD)


def long_arm(name: str, seed: int, sets) -> dict:
    torch.manual_seed(seed)
    kind, options, training = LONG_ARMS[name]
    method = kind(encoder(), **options)
    row = learn(method, seed, sets, training, steps=LONG, kind=Probes)
    if kind is LinearPredictor:
        return row | predictor_spectrum(method, sets[2])
    return row | (of_heads(method, sets) if kind in (DINO, SimDINO) else {})


def floor(name: str, seed: int, sets) -> dict:
    """The encoder of this seed before training, its statistics settled, or no network."""
    unlabeled, train, test = sets
    if name in ("pixels", "edges"):
        return {"steps": 0} | quality(getattr(evaluation, name), train, test)
    torch.manual_seed(seed)
    network = encoder()
    if name != "untrained":
        without_batch_norm(network, 8 if name.endswith("group norm") else 0)
    return {"steps": 0} | of_encoder(settle(network, unlabeled.images[:2048]).eval(), train, test)


# ---- all ------------------------------------------------------------------------------------------------------


LABELLED = {"distillation": distillation, "mean teacher": mean_teacher}


def labelled_arm(name: str, seed: int, sets) -> dict:
    return LABELLED[name](seed, sets)


SHORT = (
    [("floor", n, floor) for n in FLOORS]
    + [("byol", n, byol_arm) for n in BYOL_ARMS]
    + [("dino", n, dino_arm) for n in DINO_ARMS]
    + [("neighbours", n, neighbour_arm) for n in NEIGHBOUR_ARMS]
    + [("labelled", n, labelled_arm) for n in LABELLED]
)
LONG_RUNS = [("long", n, long_arm) for n in LONG_ARMS]


def main(groups: list[str], arms: list[str], seeds: list[int], long_seeds: list[int], seconds: float) -> None:
    end = time.perf_counter() + seconds
    done = {tuple(row.get(k) for k in KEY) for row in recorded("self_distillation")}
    for seed, jobs in [(s, SHORT) for s in seeds] + [(s, LONG_RUNS) for s in long_seeds]:
        jobs = [j for j in jobs if (not groups or j[0] in groups) and (not arms or j[1] in arms)]
        jobs = [j for j in jobs if (WORLD, *j[:2], seed) not in done]
        sets = splits(seed) if jobs else None
        for group, name, job in jobs:
            if time.perf_counter() > end:
                return
            row = {"world": WORLD, "group": group, "arm": name, "seed": seed}
            try:
                row |= job(name, seed, sets)
            except Diverged as error:
                print(f"{group}, {name}, seed {seed}: left out, {error}", flush=True)
                continue
            merge("self_distillation", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--groups", nargs="+", default=[])
    parser.add_argument("--arms", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--long-seeds", nargs="+", type=int, default=[0], help='of the group "long"')
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no further run after that")
    main(**vars(parser.parse_args()))
