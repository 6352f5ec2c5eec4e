"""The many-run experiments of chapter 17: who suffers on a long-tailed world, false negatives, and small relatives.

    uv run python benchmarks/clustering.py                               # everything that is not recorded yet
    uv run python benchmarks/clustering.py --arms msn pmsn --seeds 0 1   # some of it

Every run: 8,192 images, batches of 128, STEPS steps of the quick recipe (unless its arm says otherwise); then the
protocol's probe on 100 labels from a *balanced* world.  Arms with imbalance 100 pretrain on a world whose commonest
kind is a hundred times as frequent as its rarest.  A row that is recorded is not run again; --again forces it.
"""

import argparse
import copy
import time

import torch
from _record import merge, recorded
from _world import TEST, UNLABELED, probe
from torch import nn
from torch.nn import functional as F

from ssl_lessons import data, evaluation
from ssl_lessons.losses import info_nce
from ssl_lessons.losses.clustering import kmeans, nat, nat_assignment
from ssl_lessons.methods import SimCLR, Supervised
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.msn import MSN
from ssl_lessons.methods.online_deepcluster import OnlineDeepCluster
from ssl_lessons.models import projection_head
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

STEPS, BATCH, LABELLED = 250, 128, 2000
HEAD, TAIL = (0, 1, 2), (7, 8, 9)  # the commonest and the rarest kinds of the imbalanced world
KEY = ("arm", "imbalance", "seed")


class OracleSimCLR(SimCLR):
    """SimCLR whose negatives never have the anchor's label: what a perfect clustering could save it from."""

    needs_labels = True

    def forward(self, views, labels=None):
        z = F.normalize(self.projector(self.encoder(torch.cat(views))), dim=1)
        logits = z @ z.T / self.temperature
        same, partner = labels.repeat(2)[:, None] == labels.repeat(2), torch.arange(len(z)).roll(len(z) // 2)
        keep = ~same
        keep[torch.arange(len(z)), partner] = True
        return F.cross_entropy(logits.masked_fill(~keep, float("-inf")), partner)


class NAT(Method):
    """Noise as Targets: every image has a fixed random direction; a batch swaps its directions among its images."""

    needs_index = True

    def __init__(self, encoder: nn.Module, n_images: int, out_dim: int = 64):
        super().__init__()
        self.encoder, self.projector = encoder, projection_head(encoder.dim, encoder.dim, out_dim)
        self.register_buffer("targets", F.normalize(torch.randn(n_images, out_dim), dim=1))

    def forward(self, views, labels, index):
        z = self.embed(torch.cat(views))
        with torch.no_grad():
            order = nat_assignment(torch.stack(z.chunk(2)).mean(dim=0), self.targets[index])
            self.targets[index] = self.targets[index][order]
        return nat(z, self.targets[index].repeat(2, 1))


class InterCLR(OnlineDeepCluster):
    """InfoNCE within an image, plus InfoNCE towards a remembered image of the same online cluster."""

    temperature, inter_weight, negatives = 0.2, 0.5, 512

    def forward(self, views, labels, index):
        z1, z2 = self.embed(torch.cat(views)).chunk(2)
        intra = (info_nce(z1, z2, None, self.temperature) + info_nce(z2, z1, None, self.temperature)) / 2
        with torch.no_grad():
            same = self.pseudo_labels[index][:, None] == self.pseudo_labels
            positive = torch.multinomial(same.float(), 1)[:, 0]  # any image of the same cluster
            crowd = torch.randint(len(self.memory), (self.negatives,))
            z = (z1 + z2).detach() / 2
        inter = [info_nce(v, self.memory[positive], self.memory[crowd], self.temperature) for v in (z1, z2)]
        self._remember(z, index)
        return (1 - self.inter_weight) * intra + self.inter_weight * sum(inter) / 2


class Distil(Method):
    """The last act of Divide and Contrast: one student predicts the features of the base and of every expert."""

    def __init__(self, encoder: nn.Module, base: nn.Module, experts: list[nn.Module]):
        super().__init__()
        self.encoder, self.projector = encoder, nn.Identity()
        self.teachers = nn.ModuleList([base, *experts]).requires_grad_(False)
        self.heads = nn.ModuleList(
            projection_head(encoder.dim, encoder.dim, encoder.dim) for _ in self.teachers
        )

    def views(self, policy):
        return (policy,)

    def forward(self, views, labels=None):
        self.teachers.eval()
        h = self.encoder(views[0])
        losses = []
        for teacher, head in zip(self.teachers, self.heads, strict=True):
            with torch.no_grad():
                wanted = F.normalize(teacher(views[0]), dim=1)
            losses.append((F.normalize(head(h), dim=1) - wanted).square().sum(dim=1).mean())
        return torch.stack(losses).mean()


def fit(method, images, steps: int, seed: int, labels=None, **changes):
    recipe = get_recipe("quick")
    settings = recipe.training() | {"batch_size": BATCH} | changes
    pretrain(
        method, images, method.views(recipe.policy), steps=steps, seed=seed, labels=labels, progress=False, **settings
    )  # fmt: skip
    return method


def build(kind, seed: int, **options):
    torch.manual_seed(seed)
    recipe = get_recipe("quick")
    encoder = recipe.build(seed).encoder
    return kind(encoder, **options)


def divide_and_contrast(images, seed: int, parts: int = 4):
    """400 steps for the base, 100 for the expert of each part, 400 for the student; SimCLR alone gets 1,200."""
    base = fit(build(SimCLR, seed, temperature=0.1), images, 400, seed).encoder
    labels, _ = kmeans(F.normalize(evaluation.extract_features(base, images), dim=1), parts, seed)
    experts = []
    for part in range(parts):
        expert = build(SimCLR, seed + 1, temperature=0.1)
        experts.append(fit(expert, images[labels == part], 100, seed).encoder)
    base, experts = copy.deepcopy(base).eval(), [e.eval() for e in experts]
    student = build(Distil, seed + 2, base=base, experts=experts)
    return fit(student, images, 400, seed)


def msn(images, seed: int, **options):
    return fit(build(MSN, seed, **options), images, STEPS, seed, **SGD | {"lr": 0.2})


SGD = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4}
ARMS = {
    "simclr": lambda x, y, s: fit(build(SimCLR, s, temperature=0.1), x, STEPS, s),
    "supervised": lambda x, y, s: fit(build(Supervised, s, n_classes=10), x, STEPS, s, labels=y),
    "msn": lambda x, y, s: msn(x, s),
    "pmsn": lambda x, y, s: msn(x, s, prior_exponent=1.0),
    "simclr without false negatives": lambda x, y, s: fit(
        build(OracleSimCLR, s, temperature=0.1), x, STEPS, s, labels=y
    ),
    "nat": lambda x, y, s: fit(build(NAT, s, n_images=len(x)), x, STEPS, s, **SGD),
    "interclr": lambda x, y, s: fit(build(InterCLR, s, n_images=len(x)), x, STEPS, s),
    "dnc": lambda x, y, s: divide_and_contrast(x, s),
    "simclr, 1200 steps": lambda x, y, s: fit(build(SimCLR, s, temperature=0.1), x, 1200, s),
}
TAILED = ("simclr", "supervised", "msn", "pmsn")
JOBS = [(arm, imbalance) for arm in ARMS for imbalance in (1, 100) if imbalance == 1 or arm in TAILED]


def run(arm: str, imbalance: int, seed: int) -> dict:
    images = data.shapes("unlabeled", 32, UNLABELED, seed, imbalance=imbalance, world=1)
    sizes = {"train": LABELLED, "test": TEST}
    train_set, test_set = (data.shapes(split, 32, n, seed, world=1) for split, n in sizes.items())
    kinds = images.factors["kind"].values
    method = ARMS[arm](images.images, kinds, seed).eval()
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train_set, test_set))
    row = {"arm": arm, "imbalance": imbalance, "seed": seed, "probe": probe(h, h_test, train_set, test_set)}
    for name, chosen in (("knn", range(10)), ("knn_head", HEAD), ("knn_tail", TAIL)):
        of = torch.isin(test_set.labels, torch.tensor(tuple(chosen)))
        row[name] = evaluation.knn_accuracy(h, train_set.labels, h_test[of], test_set.labels[of])
    counts = torch.bincount(kinds, minlength=10).tolist()
    return row | {"commonest": max(counts), "rarest": min(counts)}


def main(arms: list[str], seeds: list[int], again: bool) -> None:
    done = recorded("clustering")
    known = set() if again else {tuple(row[k] for k in KEY) for row in done}
    for seed in seeds:
        for arm, imbalance in JOBS:
            if arm in arms and (arm, imbalance, seed) not in known:
                start = time.perf_counter()
                row = run(arm, imbalance, seed)
                merge("clustering", [row], KEY)
                words = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
                print(words, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--again", action="store_true")
    main(**vars(parser.parse_args()))
