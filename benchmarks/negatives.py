"""Where negatives come from and which ones help: the runs of chapters 14 and 14b, all with the quick recipe.

    uv run python benchmarks/negatives.py                      # what is missing in the record, seeds 0, 1, 2
    uv run python benchmarks/negatives.py --groups momentum    # one sweep
    uv run python benchmarks/negatives.py --seconds 600        # for ten minutes; go on by repeating it

An arm sees 61,440 pairs of views (240 steps of 256, or as many in other batches) unless its name says otherwise;
`seed` draws the world, the weights, the batches and the views.  Rows: group, arm, its settings; probe and kNN on the
test split; `held_out`, the same probe with one half of the train images on the other: rates are chosen by it.  A run
that is in the record is not repeated.  (Rows without `world` are of the first edition, and of another protocol.)
"""

import argparse
import copy
import inspect
import math
import time
from functools import partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import UNLABELED, WORLD, probe, splits
from torch import nn

from ssl_lessons import data, evaluation, views
from ssl_lessons.losses import contrastive
from ssl_lessons.methods.instdisc import InstDisc
from ssl_lessons.methods.mochi import MoCHi
from ssl_lessons.methods.moco import MoCoV2
from ssl_lessons.methods.nnclr import NNCLR
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.methods.simclr_v2 import SimCLRv2
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

PAIRS = 61_440
LONG = 1_280
FEW = 1_920  # steps of the smallest batches, which see fewer pairs
KEY = ("world", "group", "arm", "seed")
QUICK = get_recipe("quick")
MOCO = get_recipe("quick", "moco_v2")
UNTRAINED, PIXELS = "untrained", "pixels"
FILMED, AGES = (72, 144), (8, 32)  # steps at which keys are made, and how long they wait


# ---- losses and methods that only this comparison needs -------------------------------------------------------


class Contrast(SimCLR):
    """SimCLR's encoder and projector with any loss(z1, z2), or loss(z1, z2, labels)."""

    def __init__(self, encoder, loss, needs_labels: bool = False):
        super().__init__(encoder)
        self.loss, self.needs_labels = loss, needs_labels

    def forward(self, views, labels=None):
        return self.loss(*self.pair(views), labels) if self.needs_labels else self.loss(*self.pair(views))


class Crowd(MoCoV2):
    """MoCo v2 with another loss over (positive cosine [N, 1], cosines with the queue [N, K])."""

    def __init__(self, encoder, loss, **options):
        super().__init__(encoder, **options)
        self.loss = loss

    def contrast(self, query, key):
        q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
        return self.loss((q * k).sum(dim=1, keepdim=True), q @ self.queue.rows.T)


class Ageing(MoCoV2):
    """MoCo v2 that also notes how much keys of the same views change while they wait: `aged`, by whom made and age.

    Made by the encoder that learns ("trained") and by the one that makes the keys ("momentum"), in training mode.
    """

    def film(self, images) -> None:
        self.shots = views.make_views(images, (QUICK.policy,), torch.Generator().manual_seed(0))[0]
        self.count, self.made, self.aged = 0, {}, {}

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        self.count += 1
        times = [(start, age) for start in FILMED for age in (0, *AGES) if start + age == self.count]
        for start, age in times:
            for who, net in (
                ("trained", nn.Sequential(self.encoder, self.projector)),
                ("momentum", self.teacher),
            ):
                with torch.no_grad():
                    keys = F.normalize(copy.deepcopy(net).train()(self.shots), dim=1)
                first = self.made.setdefault((who, start), keys)
                if age:
                    self.aged.setdefault(f"aged_{who}_{age}", []).append(
                        float(1 - (first * keys).sum(1).mean())
                    )


def dcl_queue(own, others, temperature: float = 0.1):
    return ((others / temperature).logsumexp(dim=1) - own[:, 0] / temperature).mean()


def simple(z1, z2, weight: float):
    """Minus the positive cosine plus `weight` times the mean negative one (Wang and Liu 2021, eq. 3), both ways."""
    cosine = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T
    n, positive = len(cosine), cosine.diagonal()
    return weight * (cosine.sum() - positive.sum()) / (n * (n - 1)) - positive.mean()


def chosen(z1, z2, share: float, hardest: bool, temperature: float = 0.1):
    """NT-Xent with only that share of each anchor's negatives: its hardest, or its easiest."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    scores, partner = z @ z.T / temperature, torch.arange(len(z)).roll(len(z1))
    own = scores.gather(1, partner[:, None])
    fill = -math.inf if hardest else math.inf
    rest = scores.scatter(1, partner[:, None], fill).fill_diagonal_(fill)
    kept = rest.topk(round(share * (len(z) - 2)), dim=1, largest=hardest).values
    return (torch.cat([own, kept], dim=1).logsumexp(dim=1) - own[:, 0]).mean()


def dual_temperature(own, others, low: float = 0.1, high: float = 1.0):
    """Shares among the negatives at `low`, weight of the whole query at `high` (Zhang et al. 2022, section 4)."""
    scores = torch.cat([own, others], dim=1)
    log_p = {t: (scores / t).log_softmax(dim=1)[:, 0] for t in (low, high)}
    weight = (1 - log_p[high].exp()) / (1 - log_p[low].exp()).clamp_min(1e-6)
    return -(weight.detach() * log_p[low]).mean()


def oracle(z1, z2, labels, temperature: float = 0.1):
    """NT-Xent that leaves the false negatives out: views of other images of the same class."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    both, partner = labels.repeat(2), torch.arange(len(z), device=z.device).roll(len(z1))
    left_out = both[:, None] == both
    left_out[torch.arange(len(z)), partner] = False
    return F.cross_entropy((z @ z.T / temperature).masked_fill(left_out, -math.inf), partner)


# ---- the arms: (group, arm) -> (settings, method, training) ----------------------------------------------------


def arms():
    """group, arm, settings shown in the record, encoder -> method, changes of the training, steps (None: all pairs)."""
    nt_xent = partial(contrastive.nt_xent, temperature=0.1)
    yield "plain", "NT-Xent", {}, partial(Contrast, loss=nt_xent), {}, None
    moco = MOCO.options
    for momentum in (0.99, 0.0, 0.9, 0.999):
        build = partial(Ageing, **moco | {"momentum": momentum})
        yield "momentum", f"{momentum:g}", {"momentum": momentum}, build, MOCO.training(), None
    for momentum in (0.99, 0.0):
        build = partial(Ageing, **moco | {"momentum": momentum})
        yield "long", f"{momentum:g}", {"momentum": momentum}, build, MOCO.training(), LONG
    build = partial(InstDisc, n_images=UNLABELED)
    yield "long", "memory bank", {}, build, get_recipe("quick", "instdisc").training(), LONG
    for name, kind in (("nnclr", NNCLR), ("simclr_v2", SimCLRv2)):
        yield "relatives", name, {}, kind, get_recipe("quick", name).training(), None
    for batch, loss, factor, rule, steps in batch_arms():
        build = partial(Contrast, loss=partial(getattr(contrastive, loss), temperature=0.1))
        arm = f"{loss}, {batch}, {rule}" + (f", {steps} steps" if steps else "")
        settings = {"loss_name": loss, "rule": rule, "lr": QUICK.lr * factor}
        yield "batch", arm, settings, build, {"batch_size": batch, "lr": QUICK.lr * factor}, steps
    for name, loss, size in (
        ("InfoNCE", None, 256),
        ("InfoNCE", None, 4096),
        ("DCL", dcl_queue, 256),
        ("DCL", dcl_queue, 2048),
        ("dual temperature", dual_temperature, 256),
        ("dual temperature", dual_temperature, 2048),
    ):
        build = partial(MoCoV2 if loss is None else partial(Crowd, loss=loss), **moco | {"queue_size": size})
        settings = {"loss_name": name, "queue_size": size}
        yield "queue", f"{name}, {size}", settings, build, MOCO.training(), None
    yield "hard", "MoCHi", {}, partial(MoCHi, **moco), MOCO.training(), None
    for temperature, beta, tau_plus in ((0.5, 0, 0), (0.5, 0, 0.1), (0.5, 1, 0.1), (0.1, 1, 0.1)):
        settings = {"temperature": temperature, "beta": beta, "tau_plus": tau_plus}
        build = partial(Contrast, loss=partial(contrastive.hard_negative, **settings))
        yield "hard", f"t {temperature}, beta {beta}, tau+ {tau_plus}", settings, build, {}, None
    yield (
        "hard",
        "hardest half",
        {},
        partial(Contrast, loss=partial(chosen, share=0.5, hardest=True)),
        {},
        None,
    )
    yield (
        "hard",
        "easiest 95 %",
        {},
        partial(Contrast, loss=partial(chosen, share=0.95, hardest=False)),
        {},
        None,
    )
    yield (
        "hard",
        "simple loss",
        {"weight": 1.0},
        partial(Contrast, loss=partial(simple, weight=1.0)),
        {},
        None,
    )
    for name, loss in {"all negatives": None, "oracle": oracle, "SupCon": contrastive.supcon}.items():
        build = partial(Contrast, loss=loss or nt_xent, needs_labels=loss is not None)
        yield "oracle", name, {"labelled": True}, build, {}, None


def batch_arms():
    """batch, loss, learning rate over the recipe's at 256, by which rule, steps (None: all pairs)."""
    for batch, rules in (
        (32, {"linear": 1 / 8, "square root": math.sqrt(1 / 8), "the same": 1.0}),
        (512, {"the same": 1.0, "square root": math.sqrt(2), "linear": 2.0}),
    ):
        for rule, factor in rules.items():
            yield batch, "nt_xent", factor, rule, None
        yield batch, "nt_xent", rules["linear"], "linear", PAIRS // 4 // batch
    yield 32, "nt_xent", math.sqrt(1 / 8), "square root", PAIRS // 256
    yield 32, "dcl", math.sqrt(1 / 8), "square root", None
    for batch in (8, 4):
        for loss in ("nt_xent", "dcl"):
            yield batch, loss, math.sqrt(batch / 256), "square root", FEW


def run(group, arm, settings, build, training, steps, seed, sets) -> dict:
    torch.manual_seed(seed)
    method = build(build_encoder("convnet", **QUICK.encoder_options))
    training = QUICK.training() | training
    steps = steps or PAIRS // training["batch_size"]
    if isinstance(method, Ageing):
        method.film(sets[1].images[:128])
    seen = data.shapes("train", n=UNLABELED, seed=seed) if settings.get("labelled") else sets[0]
    history = pretrain(
        method, seen.images, method.views(QUICK.policy), steps=steps, seed=seed, progress=False,
        labels=seen.labels if method.needs_labels else None, **training,
    )  # fmt: skip
    row = {"world": WORLD, "group": group, "arm": arm, "seed": seed, "steps": steps}
    row |= {"batch": training["batch_size"]} | settings
    last = history[-20:]
    row |= {"loss": sum(r["loss"] for r in last) / len(last)} | getattr(method, "aged", {})
    return row | measured(partial(evaluation.extract_features, method.eval().encoder), sets)


def measured(features, sets) -> dict:
    """Probe, kNN and the probe on held-out train images, of features(images)."""
    _, train, test = sets
    h, h_test = features(train.images), features(test.images)
    half = len(h) // 2
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
        "held_out": probe(h[:half], h[half:], train[:half], train[half:]),
    }


def floor(arm: str, seed: int, sets) -> dict:
    """The same encoder before training, its statistics settled, or the raw pixels."""
    method = QUICK.build(seed)
    settle(method, sets[0].images[:2048])
    encode = partial(evaluation.extract_features, method.eval().encoder)
    found = measured(encode if arm == UNTRAINED else lambda x: views.normalize(x).flatten(1), sets)
    return {"world": WORLD, "group": "floor", "arm": arm, "seed": seed, "steps": 0} | found


def main(groups: list[str], seeds: list[int], seconds: float) -> None:
    end = time.perf_counter() + seconds
    done = {tuple(row.get(k) for k in KEY) for row in recorded("negatives")}
    for seed in seeds:
        todo = [("floor", arm) for arm in (UNTRAINED, PIXELS)] + list(arms())
        todo = [(g, a, *rest) for g, a, *rest in todo if (WORLD, g, a, seed) not in done]
        sets = splits(seed) if todo else None
        for group, arm, *rest in todo:
            if groups and group not in groups:
                continue
            if time.perf_counter() > end:
                return
            row = run(group, arm, *rest, seed, sets) if rest else floor(arm, seed, sets)
            merge("negatives", [row], KEY)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--groups", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="start no further run after that many"
    )
    main(**vars(parser.parse_args()))
