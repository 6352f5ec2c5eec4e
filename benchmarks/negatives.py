"""Where negatives come from and which ones help: the sweeps of chapter 14, all with the quick recipe.

    uv run python benchmarks/negatives.py                      # seeds 0, 1, 2: about 20 minutes on one core
    uv run python benchmarks/negatives.py --groups momentum    # one sweep
    uv run python benchmarks/negatives.py --seconds 200        # stop early; the next call goes on where this one ended

Every arm sees 30,720 pairs of views (120 batches of 256, or as many in other batches) of the world drawn from seed 0;
`seed` moves the weights, the batches and the views.  Rows: group, arm, its settings, probe and kNN on the test split.
"""

import argparse
import inspect
import math
import time
from functools import partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import probe, splits

from ssl_lessons import data, diagnostics, evaluation, losses, views
from ssl_lessons.losses import contrastive
from ssl_lessons.methods.moco import MoCoV2
from ssl_lessons.methods.nnclr import NNCLR
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

PAIRS = 30_720
QUICK = get_recipe("quick")
MOCO = get_recipe("quick", "moco_v2")
LIGHT = {"jitter_p": 0.0, "grayscale_p": 0.0}  # crop and flip only


# ---- losses and methods that only this comparison needs -------------------------------------------------------


class Contrast(SimCLR):
    """SimCLR's encoder and projector with any loss(z1, z2), or loss(z1, z2, labels)."""

    def __init__(self, encoder, loss, needs_labels: bool = False):
        super().__init__(encoder)
        self.loss, self.needs_labels = loss, needs_labels

    def forward(self, views, labels=None):
        return self.loss(*self.pair(views), labels) if self.needs_labels else self.loss(*self.pair(views))


class TwoEncoders(SimCLR):
    """End to end with two encoders: the first views meet one, the second views another, both learn."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.other = SimCLR(build_encoder(encoder.name, **encoder.options))

    def forward(self, views, labels=None):
        return both_ways(self.embed(views[0]), self.other.embed(views[1]))


class Crowd(MoCoV2):
    """MoCo v2 with another loss over (positive cosine [N, 1], cosines with the queue [N, K])."""

    def __init__(self, encoder, loss, **options):
        super().__init__(encoder, **options)
        self.loss = loss

    def contrast(self, query, key):
        q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
        return self.loss((q * k).sum(dim=1, keepdim=True), q @ self.queue.rows.T)


def both_ways(z1, z2, temperature: float = 0.1):
    """InfoNCE among the partners of the batch, in both directions."""
    forth = losses.info_nce(z1, z2, temperature=temperature)
    return (forth + losses.info_nce(z2, z1, temperature=temperature)) / 2


def dcl_queue(own, others, temperature: float = 0.1):
    return ((others / temperature).logsumexp(dim=1) - own[:, 0] / temperature).mean()


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


def with_entropy(z1, z2, weight: float, temperature: float = 0.1):
    """InfoNCE minus the Kozachenko-Leonenko entropy: nobody may sit next to a neighbour (Pizzi et al. 2022, eq. 3)."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    n, m = len(z), len(z1)
    same = torch.eye(n, dtype=torch.bool) | torch.eye(n, dtype=torch.bool).roll(m, 1)
    nearest = torch.cdist(z, z.detach()).masked_fill(same.to(z.device), math.inf).amin(dim=1)
    return losses.nt_xent(z1, z2, temperature) - weight * nearest.clamp_min(1e-4).log().mean()


# ---- what is measured beside probe and kNN -------------------------------------------------------------------


@torch.no_grad()
def copy_detection(method, images) -> dict:
    """Find the strongly edited copy of each test image: recall at rank 1, and average precision over all pairs."""
    from sklearn.metrics import average_precision_score

    policy = QUICK.policy.replace(crop_scale=(0.5, 0.8), rotation=15.0)
    edited = views.augment(images, policy, torch.Generator().manual_seed(0))
    a, b = (F.normalize(method.embed(v), dim=1) for v in (views.normalize(images), edited))
    scores = a @ b.T
    right = torch.eye(len(a), dtype=torch.bool)
    return {
        "recall": float((scores.argmax(dim=1) == torch.arange(len(a))).float().mean()),
        "copy_ap": float(average_precision_score(right.flatten().numpy(), scores.flatten().numpy())),
        "uniformity": float(diagnostics.uniformity(a)),
    }


# ---- the arms: (group, arm) -> (settings, method, training) ----------------------------------------------------


def arms():
    """group, arm -> (settings shown in the record, encoder -> method, changes of the training)."""
    moco = MOCO.options
    for momentum in (0.0, 0.9, 0.99, 0.999):
        options = {"momentum": momentum}
        yield "momentum", f"{momentum:g}", options, partial(MoCoV2, **moco | options), MOCO.training()
    small = MOCO.training() | {"batch_size": 64, "lr": MOCO.lr / 2}
    queue_losses = {"InfoNCE": None, "DCL": dcl_queue, "dual temperature": dual_temperature}
    for size in (64, 256, 4096):
        for name, loss in queue_losses.items():
            build = partial(
                MoCoV2 if loss is None else partial(Crowd, loss=loss), **moco | {"queue_size": size}
            )
            yield "queue", f"{name}, {size}", {"loss_name": name, "queue_size": size}, build, small
    for batch in (32, 128, 512):
        scaled = QUICK.lr * math.sqrt(batch / 256)
        choices = [("NT-Xent", "nt_xent", scaled), ("DCL", "dcl", scaled)]
        if batch == 32:
            choices.append(("NT-Xent, learning rate not scaled", "nt_xent", QUICK.lr))
        for name, loss, lr in choices:
            build = partial(Contrast, loss=partial(getattr(contrastive, loss), temperature=0.1))
            yield "batch", f"{name}, {batch}", {"arm_name": name}, build, {"batch_size": batch, "lr": lr}
    for temperature, beta, tau_plus in (
        (0.1, 0, 0),
        (0.1, 0, 0.1),
        (0.1, 1, 0.1),
        (0.5, 0, 0.1),
        (0.5, 1, 0.1),
    ):
        settings = {"temperature": temperature, "beta": beta, "tau_plus": tau_plus}
        yield (
            "hard",
            str(settings),
            settings,
            partial(Contrast, loss=partial(contrastive.hard_negative, **settings)),
            {},
        )
    for name, loss in {"all negatives": None, "oracle": oracle, "SupCon": contrastive.supcon}.items():
        plain = partial(contrastive.nt_xent, temperature=0.1)
        build = partial(Contrast, loss=loss or plain, needs_labels=loss is not None)
        yield "oracle", name, {"labelled": True}, build, {}
    for shuffle in (False, True):
        options = {"groups": 8, "shuffle": shuffle}
        yield "statistics", f"shuffle {shuffle}", options, partial(MoCoV2, **moco | options), MOCO.training()
    for light in (False, True):
        for name, method in (("SimCLR", partial(SimCLR, temperature=0.1)), ("NNCLR", NNCLR)):
            settings = {"method": name, "light": light}
            yield "neighbours", f"{name}, {'light' if light else 'full'}", settings, method, {}
    yield "encoders", "one", {}, partial(Contrast, loss=both_ways), {}
    yield "encoders", "two", {}, TwoEncoders, {}
    yield "positives", "original and view", {"original": True}, partial(Contrast, loss=both_ways), {}
    for weight in (0.0, 1.0):
        yield (
            "entropy",
            f"{weight:g}",
            {"weight": weight},
            partial(Contrast, loss=partial(with_entropy, weight=weight)),
            {},
        )


def run(group, arm, settings, build, training, seed, sets, labelled) -> dict:
    torch.manual_seed(seed)
    method = build(build_encoder("convnet", **QUICK.encoder_options))
    training = QUICK.training() | training
    images = labelled if settings.get("labelled") else sets[0]
    policy = QUICK.policy.replace(**LIGHT) if settings.get("light") else QUICK.policy
    first = views.Policy.none(policy.size) if settings.get("original") else policy
    steps = PAIRS // training["batch_size"]
    history = pretrain(
        method, images.images, (first, policy), steps=steps, seed=seed, progress=False,
        labels=images.labels if method.needs_labels else None, **training,
    )  # fmt: skip
    method.eval()
    h, h_test = (evaluation.extract_features(method.encoder, images.images) for images in sets[1:])
    knn = evaluation.knn_accuracy(h, sets[1].labels, h_test, sets[2].labels)
    row = {
        "group": group,
        "arm": arm,
        "seed": seed,
        "steps": steps,
        "batch": training["batch_size"],
    } | settings
    row |= {
        "loss": sum(r["loss"] for r in history[-20:]) / 20,
        "probe": probe(h, h_test, *sets[1:]),
        "knn": knn,
    }
    return row | (copy_detection(method, sets[2].images[:1000]) if group == "entropy" else {})


def main(groups: list[str], seeds: list[int], seconds: float) -> None:
    end = time.perf_counter() + seconds
    rows = recorded("negatives")
    done = {(row["group"], row["arm"], row["seed"]) for row in rows}
    sets, labelled = splits(0, world=1), data.shapes("train", 32, 8192, 0, world=1)
    slowest = 0.0
    for seed in seeds:
        for group, arm, *rest in arms():
            if (group, arm, seed) in done or (groups and group not in groups):
                continue
            start = time.perf_counter()
            if start + slowest > end:
                return
            row = run(group, arm, *rest, seed, sets, labelled)
            slowest = max(slowest, time.perf_counter() - start)
            merge("negatives", [row], ("group", "arm", "seed"))
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--groups", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=math.inf)
    main(**vars(parser.parse_args()))
