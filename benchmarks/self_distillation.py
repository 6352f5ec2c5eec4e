"""The records of chapter 15: BYOL with one part changed at a time, DINO's four arms, and three relatives.

uv run python benchmarks/self_distillation.py            every arm that is not recorded yet
uv run python benchmarks/self_distillation.py --only no_predictor --seeds 0

Rows go to data/results/self_distillation.json; an arm that is there already is skipped (delete it to repeat it).
"""

import argparse
import copy
import json
import time
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from _record import RESULTS, merge
from _world import probe
from _world import splits as draw_splits
from torch import nn

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.data import label_subset, world
from ssl_lessons.losses.distillation import byol, isd
from ssl_lessons.methods.byol import BYOL
from ssl_lessons.methods.dino import DINO
from ssl_lessons.methods.msf import MSF
from ssl_lessons.models import build_encoder
from ssl_lessons.training import Monitor, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import augment, make_views, normalize

SGD = {"batch_size": 128, "optimizer": "sgd", "lr": 0.12, "weight_decay": 5e-4, "warmup": 0.1}
STEPS = 250
HEALTHY = {"momentum": 0.97, "predictor_lr": 4.0}
CONSTANT = {"rising": False}


class OneSided(BYOL):
    """Only the first view predicts the second."""

    def forward(self, views, labels=None):
        with torch.no_grad():
            target = self.teacher(views[1])
        return 2 * byol(self.predictor(self.embed(views[0])), target)


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


class ISD(MSF):
    """MSF's frame with the loss of ISD: the queue holds the anchors."""

    def distance(self, prediction, target):
        return isd(prediction, target, self.queue.rows, 0.1)


BYOL_ARMS = {
    "byol": (BYOL, HEALTHY),
    "no_predictor": (BYOL, HEALTHY | {"predictor": False}),
    "no_predictor_no_ema": (BYOL, CONSTANT | {"momentum": 0.0, "predictor": False}),
    "no_stop_gradient": (BYOL, HEALTHY | {"stop_gradient": False}),
    "no_ema": (BYOL, CONSTANT | {"momentum": 0.0, "predictor_lr": 1.0}),
    "no_ema_fast_predictor": (BYOL, CONSTANT | {"momentum": 0.0, "predictor_lr": 10.0}),
    "slow_predictor": (BYOL, HEALTHY | {"predictor_lr": 1.0}),
    "linear_predictor": (LinearPredictor, HEALTHY),
    "linear_from_identity": (LinearPredictor, HEALTHY | {"identity": True}),
    "no_batch_norm": (BYOL, HEALTHY | {"batch_norm": False}),
    "one_sided": (OneSided, HEALTHY),
    "momentum_0.9": (BYOL, HEALTHY | CONSTANT | {"momentum": 0.9}),
    "momentum_0.99": (BYOL, HEALTHY | CONSTANT | {"momentum": 0.99}),
    "momentum_0.999": (BYOL, HEALTHY | CONSTANT | {"momentum": 0.999}),
    "isd": (ISD, {"momentum": 0.97, "predictor_lr": 4.0}),
}
DINO_HEALTHY = {"momentum": 0.97}
DINO_ARMS = {
    "both": DINO_HEALTHY,
    "no_centering": DINO_HEALTHY | {"centering": False},
    "no_sharpening": DINO_HEALTHY | {"teacher_temperature": 0.1},
    "neither": DINO_HEALTHY | {"centering": False, "teacher_temperature": 0.1},
}


splits = lru_cache(maxsize=1)(partial(draw_splits, world=1))


def encoder():
    return build_encoder("convnet", width=16, dim=256)


def monitor_of(train, kind=Monitor) -> Monitor:
    return kind(train[:600], train[600:1200], every=25, sample=512)


def trace_of(history, *keys):
    return {"step": [r["step"] for r in history if "knn" in r]} | {
        k: [round(r[k], 5) for r in history if "knn" in r and k in r] for k in keys
    }


def quality(enc, train, test) -> dict:
    h, h_test = (evaluation.extract_features(enc, s.images) for s in (train, test))
    return {
        "probe": probe(h, h_test, train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
        "rank_h": float(diagnostics.rank_me(h)),
    }


def byol_arm(name: str, seed: int) -> dict:
    cls, options = BYOL_ARMS[name]
    unlabeled, train, test = splits(seed)
    torch.manual_seed(seed)
    method = cls(encoder(), **options)
    policy = get_recipe("quick").policy
    start = time.perf_counter()
    history = pretrain(
        method, unlabeled.images, (policy, policy), steps=STEPS, seed=seed, monitor=monitor_of(train),
        progress=False, **SGD,
    )  # fmt: skip
    row = {"seconds": time.perf_counter() - start} | quality(method.encoder, train, test)
    method.eval()
    row["teacher_probe"] = quality(method.teacher[0], train, test)["probe"]
    with torch.no_grad():
        z = method.embed(normalize(test.images))
    row |= {k: history[-1].get(k) for k in ("verdict", "spread_z", "rank_z", "teacher_distance")} | {
        "std_z": diagnostics.feature_std(z), "loss": sum(r["loss"] for r in history[-20:]) / 20,
        "trace": trace_of(history, "loss", "spread_z", "rank_z", "knn", "teacher_distance"),
    }  # fmt: skip
    if cls is LinearPredictor:
        row |= predictor_spectrum(method, z)
    return row


def predictor_spectrum(method, z) -> dict:
    """The predictor's strength along the eigenvectors of the embeddings' correlation matrix, largest first."""
    f = z.double().T @ z.double() / len(z)
    values, vectors = torch.linalg.eigh(f)
    w = method.predictor.weight.detach().double()
    along = (vectors.T @ w @ vectors).diagonal().flip(0)
    return {
        "f_eigenvalues": [round(v, 6) for v in values.flip(0)[:64].tolist()],
        "predictor_along": [round(v, 5) for v in along[:64].tolist()],
        "asymmetry": float((w - w.T).norm() / w.norm()),
        "off_diagonal": float(1 - (vectors.T @ w @ vectors).diagonal().norm() / w.norm()),
    }


class DinoTrace(Monitor):
    """Also the entropy of the teacher's answers, and KL(teacher || student) across two views: their sum is the loss."""

    def __call__(self, method, history=(), batch_size=None):
        policy = get_recipe("quick").policy
        a, b = make_views(self.query.images[:512], (policy, policy), torch.Generator().manual_seed(0))
        method.eval()
        with torch.no_grad():
            p = method.assign(a)
            log_q = (method.projector(method.encoder(b)) / method.student_temperature).log_softmax(dim=1)
        method.train()
        entropy = float(torch.special.entr(p).sum(dim=1).mean())
        kl = float(-(p * log_q).sum(dim=1).mean()) - entropy
        return super().__call__(method, history, batch_size) | {"entropy": entropy, "kl": kl}


def dino_arm(name: str, seed: int) -> dict:
    unlabeled, train, test = splits(seed)
    torch.manual_seed(seed)
    method = DINO(encoder(), **DINO_ARMS[name])
    policy = get_recipe("quick").policy
    start = time.perf_counter()
    history = pretrain(
        method, unlabeled.images, method.views(policy), steps=STEPS, seed=seed,
        monitor=monitor_of(train, DinoTrace), progress=False, **SGD | DINO_TRAINING,
    )  # fmt: skip
    return {
        "seconds": time.perf_counter() - start, "prototypes": len(method.center), "verdict": history[-1]["verdict"],
        "trace": trace_of(history, "loss", "spread_z", "knn", "entropy", "kl", "usage", "information"),
    } | quality(method.encoder, train, test)  # fmt: skip


DINO_TRAINING = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-4}


# ---- relatives with labels ----------------------------------------------------------------------------------


def fit(model, loss_of, steps, lr=2e-3, after=lambda step: None):
    opt = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    model.train()
    for step in range(steps):
        loss = loss_of(step)
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
        after(step)
    return model.eval()


def classifier(width: int, dim: int) -> nn.Sequential:
    return nn.Sequential(build_encoder("convnet", width=width, dim=dim), nn.Linear(dim, 10))


@torch.no_grad()
def accuracy(model, images, labels) -> float:
    out = torch.cat([model(normalize(b)) for b in images.split(500)])
    return float((out.argmax(dim=1) == labels).float().mean())


def batches(n, size, seed):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(n, generator=generator).split(size)


def knowledge_distillation(seed: int) -> dict:
    """A small student learns the labels of 2,000 images, or the answers of a big teacher, at two temperatures."""
    _, train, test = splits(seed)
    policy = get_recipe("quick").policy.replace(grayscale_p=0.0).scaled(0.3)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)

    def learn(model, target_of, steps):
        order = batches(len(train), 128, seed)

        def loss_of(step):
            index = next(order)
            x = augment(train.images[index], policy, generator)
            return target_of(model(x), x, train.labels[index])

        return fit(model, loss_of, steps)

    teacher = learn(classifier(24, 256), lambda out, x, y: F.cross_entropy(out, y), 400)
    row = {"teacher": accuracy(teacher, test.images, test.labels)}
    small = classifier(4, 32)

    def soft(t):
        def target(out, x, y):
            with torch.no_grad():
                p = (teacher(x) / t).softmax(dim=1)
            return t**2 * F.cross_entropy(out / t, p)

        return target

    for name, target in (
        ("labels", lambda out, x, y: F.cross_entropy(out, y)),
        ("T=1", soft(1.0)),
        ("T=4", soft(4.0)),
    ):
        student = learn(copy.deepcopy(small), target, 300)
        row[name] = accuracy(student, test.images, test.labels)
    again = learn(classifier(24, 256), soft(1.0), 400)  # born again: same size
    return row | {"born_again": accuracy(again, test.images, test.labels)}


def mean_teacher(seed: int) -> dict:
    """40 labels and 2,000 images without: cross-entropy alone, or with consistency to a moving-average teacher."""
    unlabeled, train, test = splits(seed)
    few = label_subset(train.labels, 4, seed=seed)
    x_few, y_few = train.images[few], train.labels[few]
    pool = unlabeled.images[:4000]
    policy = get_recipe("quick").policy.replace(grayscale_p=0.0).scaled(0.3)
    row = {}
    for name, weight in (("labels_only", 0.0), ("mean_teacher", 10.0)):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        student = classifier(16, 256)
        teacher = copy.deepcopy(student).requires_grad_(False)
        order = batches(len(pool), 128, seed)

        def loss_of(step, student=student, teacher=teacher, weight=weight, order=order, generator=generator):
            loss = F.cross_entropy(student(augment(x_few, policy, generator)), y_few)
            if weight:
                index = next(order)
                a, b = make_views(pool[index], (policy, policy), generator)
                with torch.no_grad():
                    p = teacher(b).softmax(dim=1)
                ramp = min(1.0, step / 100)
                loss = loss + ramp * weight * (student(a).softmax(dim=1) - p).square().sum(dim=1).mean()
            return loss

        def after(step, student=student, teacher=teacher):
            m = min(1 - 1 / (step + 1), 0.98)
            with torch.no_grad():
                for s, t in zip(student.parameters(), teacher.parameters(), strict=True):
                    t.lerp_(s, 1 - m)
                for s, t in zip(student.buffers(), teacher.buffers(), strict=True):
                    t.copy_(s)

        fit(student, loss_of, 300, after=after)
        row[name] = accuracy(student, test.images, test.labels)
        row[f"{name}_ema"] = accuracy(teacher.eval(), test.images, test.labels)
    return row


# ---- attention of a small ViT -------------------------------------------------------------------------------


def object_masks(images, size: int = 32) -> torch.Tensor:
    """bool [N, size, size]: the pixels that change when the object is left out of the drawing."""
    factors = {name: f.values for name, f in images.factors.items()}
    with_it, without = world.render(factors, size), world.render(factors, size, objects=False)
    return (with_it.int() - without.int()).abs().amax(dim=1) > 12


@torch.no_grad()
def attention_received(vit, images, chunk: int = 250) -> torch.Tensor:
    """How much each patch is looked at in the last block, averaged over heads and queries: [N, T], rows sum to 1."""
    rows = []
    for batch in images.split(chunk):
        tokens = vit.tokens(normalize(batch))
        for block in vit.blocks[:-1]:
            tokens = block(tokens)
        x = vit.blocks[-1].norm1(tokens)
        _, weights = vit.blocks[-1].self_attn(x, x, x, need_weights=True, average_attn_weights=True)
        rows.append(weights.mean(dim=1))
    return torch.cat(rows)


def overlap(score, on_object) -> float:
    """Mean intersection over union of the object's patches with the as many patches of highest score."""
    rank = score.argsort(dim=1, descending=True).argsort(dim=1)
    chosen = rank < on_object.sum(dim=1, keepdim=True)
    both, either = (chosen & on_object).sum(dim=1), (chosen | on_object).sum(dim=1)
    return float((both[either > 0] / either[either > 0]).mean())


def attention(seed: int) -> dict:
    """Does a small ViT trained by DINO look at the object?  Against chance, the image's centre and no training."""
    unlabeled, _, test = splits(seed)
    images = test[:1000]
    torch.manual_seed(seed)
    method = DINO(build_encoder("vit", patch=4, depth=3), momentum=0.97)
    masks = F.avg_pool2d(object_masks(images).float()[:, None], 4).flatten(1) > 0.5
    generator = torch.Generator().manual_seed(seed)
    side = method.encoder.side
    grid = torch.arange(side) - (side - 1) / 2
    center = -(grid[:, None] ** 2 + grid[None] ** 2).flatten().expand(len(masks), -1)
    row = {
        "object_share": float(masks.float().mean()),
        "random": overlap(torch.rand(masks.shape, generator=generator), masks),
        "image_center": overlap(center + 0.01 * torch.rand(masks.shape, generator=generator), masks),
        "untrained": overlap(attention_received(method.encoder, images.images), masks),
    }
    policy = get_recipe("quick").policy
    pretrain(
        method,
        unlabeled.images,
        (policy, policy),
        steps=200,
        batch_size=64,
        lr=1e-3,
        seed=seed,
        progress=False,
    )
    row["dino"] = overlap(attention_received(method.encoder, images.images), masks)
    shown = images.images[:6]
    return row | {
        "maps": [[round(v, 4) for v in m] for m in attention_received(method.encoder, shown).tolist()],
        "masks": masks[:6].int().tolist(),
    }


RELATED = {
    "knowledge_distillation": knowledge_distillation, "mean_teacher": mean_teacher, "attention": attention,
}  # fmt: skip


def main(only: list[str] | None, seeds: list[int], seconds: float) -> None:
    start = time.perf_counter()
    jobs = [("byol", n, byol_arm) for n in BYOL_ARMS] + [("dino", n, dino_arm) for n in DINO_ARMS]
    jobs += [("related", n, lambda name, seed: RELATED[name](seed)) for n in RELATED]
    path = RESULTS / "self_distillation.json"
    for seed in seeds:
        for group, name, job in jobs:
            if (only and name not in only) or time.perf_counter() - start > seconds:
                continue
            rows = json.loads(path.read_text())["rows"] if path.exists() else []
            if any((r["group"], r["arm"], r["seed"]) == (group, name, seed) for r in rows):
                continue
            row = {"group": group, "arm": name, "seed": seed, "steps": STEPS} | job(name, seed)
            merge("self_distillation", [row], ("group", "arm", "seed"))
            print({k: v for k, v in row.items() if not isinstance(v, list | dict)}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=1e9, help="start no arm after this time")
    main(**vars(parser.parse_args()))
