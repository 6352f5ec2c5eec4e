"""Teachers of networks with labels, for benchmarks/self_distillation.py: knowledge distillation and Mean Teacher."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons.data import label_subset
from ssl_lessons.models import build_encoder, settle
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import augment, make_views, normalize

POLICY = get_recipe("quick").policy
MILD = POLICY.replace(grayscale_p=0.0).scaled(0.3)


def fit(model, loss_of, steps, after=lambda step: None):
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
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


def distillation(seed: int, sets) -> dict:
    """A small student learns 2,000 labels, or the answers of a big teacher at two temperatures."""
    _, train, test = sets
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)

    def taught(model, loss, steps):
        order = batches(len(train), 128, seed)

        def loss_of(step):
            index = next(order)
            x = augment(train.images[index], MILD, generator)
            return loss(model(x), x, train.labels[index])

        return fit(model, loss_of, steps)

    def soft(t):
        def loss(out, x, y):
            with torch.no_grad():
                p = (teacher(x) / t).softmax(dim=1)
            return t**2 * F.cross_entropy(out / t, p)

        return loss

    hard = lambda out, x, y: F.cross_entropy(out, y)  # noqa: E731 - of the form of soft(t)
    teacher = taught(classifier(16, 256), hard, 300)
    row, small = {"teacher": accuracy(teacher, test.images, test.labels)}, classifier(4, 32)
    for name, loss in (("labels", hard), ("T=1", soft(1.0)), ("T=4", soft(4.0))):
        row[name] = accuracy(taught(copy.deepcopy(small), loss, 300), test.images, test.labels)
    again = taught(classifier(16, 256), soft(1.0), 300)  # born again: of the teacher's size
    return {"steps": 300} | row | {"born_again": accuracy(again, test.images, test.labels)}


def mean_teacher(seed: int, sets) -> dict:
    """40 labels and 4,000 pictures without: cross-entropy alone, or with consistency to a moving-average teacher."""
    unlabeled, train, test = sets
    few, pool = label_subset(train.labels, 4, seed=seed), unlabeled.images[:4000]
    row = {"steps": 300}
    for name, weight in (("labels only", 0.0), ("mean teacher", 10.0)):
        torch.manual_seed(seed)
        generator, student = torch.Generator().manual_seed(seed), classifier(16, 256)
        teacher = copy.deepcopy(student).requires_grad_(False)
        order = batches(len(pool), 128, seed)

        def loss_of(step, student=student, teacher=teacher, weight=weight, order=order, generator=generator):
            x = augment(train.images[few], MILD, generator)
            loss = F.cross_entropy(student(x), train.labels[few])
            if weight:
                a, b = make_views(pool[next(order)], (MILD, MILD), generator)
                with torch.no_grad():
                    p = teacher(b).softmax(dim=1)
                consistency = (student(a).softmax(dim=1) - p).square().sum(dim=1).mean()
                loss = loss + min(1.0, step / 100) * weight * consistency
            return loss

        @torch.no_grad()
        def follow(step, student=student, teacher=teacher):
            m = min(1 - 1 / (step + 1), 0.98)
            for s, t in zip(student.parameters(), teacher.parameters(), strict=True):
                t.lerp_(s, 1 - m)

        fit(student, loss_of, 300, after=follow)
        row[name] = accuracy(student, test.images, test.labels)
        settle(teacher, pool[:2048])  # BatchNorm statistics of its own weights
        row[f"{name}, average"] = accuracy(teacher.eval(), test.images, test.labels)
    return row
