"""The many-run experiments of chapter 17: the family side by side, the uniform prior, false negatives, two relatives.

    uv run python benchmarks/clustering.py                               # everything that is not recorded yet
    uv run python benchmarks/clustering.py --arms msn pmsn --seeds 0 1   # some of it

Every run: 8,192 images, batches of 128, STEPS steps of its method's quick recipe; then the protocol's probe on 100
labels from a *balanced* world.  Three crowds: "even", all kinds equally frequent; "tail", the commonest kind a
hundred times as frequent as the rarest; "pairs", the pictures of the even crowd in batches that hold two kinds
only, 64 of each.  In a fourth, "taught", DeepCluster learns for TAUGHT steps of its recipe's batch from labels that
a teacher made once ("by edges", ...), or from its own ("by itself", renewed now and then); `made` and `purity` are
the purity of those labels and of the clusters of the features.  A row that is recorded is not run again.
"""

import argparse
import time

import torch
from _record import merge, recorded
from _world import LABELLED, TEST, UNLABELED, WORLD, probe
from torch import nn
from torch.nn import functional as F

from ssl_lessons import data, evaluation
from ssl_lessons.losses import info_nce
from ssl_lessons.losses.clustering import kmeans, nat, nat_assignment
from ssl_lessons.methods import SimCLR, Supervised
from ssl_lessons.methods.base import Method
from ssl_lessons.methods.deepcluster import whiten
from ssl_lessons.methods.online_deepcluster import OnlineDeepCluster
from ssl_lessons.models import projection_head
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.batches import epoch_order
from ssl_lessons.training.recipes import get_recipe

STEPS, BATCH = 250, 128
HEAD, TAIL = (0, 1, 2), (7, 8, 9)  # the commonest and the rarest kinds of the imbalanced world
KEY = ("world", "arm", "crowd", "seed")


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


class EvenSupervised(Supervised):
    """Supervised learning in which every kind pulls with the same force, however rare: the long tail's control."""

    def __init__(self, encoder: nn.Module, counts: list[int]):
        super().__init__(encoder, n_classes=len(counts))
        self.register_buffer("weight", 1 / torch.tensor(counts, dtype=torch.float32))

    def forward(self, views, labels=None):
        return F.cross_entropy(self.embed(views[0]), labels, self.weight)


def stream(images, kinds, steps: int, seed: int):
    """images [steps BATCH, 3, H, W] of which `pretrain` makes batches of two kinds, half and half."""
    g, half, batches = torch.Generator().manual_seed(seed), BATCH // 2, []
    while len(batches) < steps:  # an epoch: every kind in random halves, the rest of it left out
        halves = []
        for kind in range(int(kinds.max()) + 1):
            own = (kinds == kind).nonzero()[:, 0]
            own = own[torch.randperm(len(own), generator=g)]
            halves += [(kind, part) for part in own.split(half) if len(part) == half]
        order = [halves[i] for i in torch.randperm(len(halves), generator=g).tolist()]
        batches += [
            torch.cat([a[1], b[1]]) for a, b in zip(order[::2], order[1::2], strict=False) if a[0] != b[0]
        ]
    wanted = torch.cat(batches[:steps])
    places = torch.empty_like(wanted)
    places[epoch_order(len(wanted), 0, seed)] = wanted  # batch t of the first epoch is then batches[t]
    return images[places]


def fit(method, recipe, images, steps: int, seed: int, labels=None):
    settings = recipe.training() | {"batch_size": BATCH}
    pretrain(
        method, images, method.views(recipe.policy), steps=steps, seed=seed, labels=labels, progress=False, **settings
    )  # fmt: skip
    return method


QUICK = {name: (name, {}) for name in ("simclr", "swav", "msn", "deepcluster", "sela", "pcl")}
QUICK |= {
    "pmsn": ("msn", {"prior_exponent": 0.25}),
}
OWN = {  # built here, with the training of a method's quick recipe
    "simclr without false negatives": ("simclr", lambda e, n, counts: OracleSimCLR(e, temperature=0.1)),
    "supervised, even": ("simclr", lambda e, n, counts: EvenSupervised(e, counts)),
    "nat": ("pcl", lambda e, n, counts: NAT(e, n)),
    "interclr": ("simclr", lambda e, n, counts: InterCLR(e, n_images=n)),
}


def thumbnail(images):
    """uint8 [N, 3, H, W] -> 16 x 16 pixels, [N, 768]."""
    return F.adaptive_avg_pool2d(images.float() / 255, 16).flatten(1)


FIXED = {"pixels": evaluation.pixels, "thumbnail": thumbnail, "edges": evaluation.edges}
FLOOR = (*FIXED, "untrained")
CORE = [
    *[(arm, "even") for arm in (*FLOOR, "simclr", "swav", "msn")],
    ("simclr", "pairs"), ("swav", "pairs"), ("deepcluster", "even"), ("msn", "tail"), ("pmsn", "tail"),
    ("simclr without false negatives", "even"), ("pmsn", "even"), ("msn", "pairs"),
]  # fmt: skip
CLUSTERS, TAUGHT = 64, 100
REFRESH = {"by itself": 25, "by itself, four lessons": TAUGHT}  # steps between two clusterings
LONGER = ("by itself, four lessons", "by an untrained network, four times")  # 4 TAUGHT steps
TEACHERS = ("nobody", "chance", "an untrained network", "thumbnail", "edges")
CORE += [(arm, "taught") for arm in (*(f"by {name}" for name in TEACHERS), *REFRESH, LONGER[1])]
MORE = [  # after the core of all seeds
    ("simclr", "tail"), ("swav", "tail"), ("supervised, even", "even"), ("supervised, even", "tail"),
    *[(arm, "even") for arm in ("sela", "pcl", "nat", "interclr")],
]  # fmt: skip
ARMS = list(dict.fromkeys(arm for arm, _ in CORE + MORE))


def train(arm: str, crowd: str, world, seed: int, steps: int):
    """The trained method of an arm."""
    images, kinds = world.images, world.factors["kind"].values
    if crowd == "pairs":
        images = stream(images, kinds, steps, seed)
    name, made = (QUICK | OWN)[arm]
    recipe = get_recipe("quick", name)
    if arm in OWN:
        encoder = recipe.build(seed, n_images=len(images)).encoder
        torch.manual_seed(seed)
        method = made(encoder, len(images), torch.bincount(kinds, minlength=10).tolist())
    else:
        method = recipe.with_(options=recipe.options | made).build(seed, n_images=len(images))
    return fit(method, recipe, images, steps, seed, kinds if method.needs_labels else None).eval()


def cluster(features):
    """k-means on 64 whitened directions, [N, D] -> [N]."""
    return kmeans(whiten(features, CLUSTERS), CLUSTERS)[0]


def lesson(arm: str, method, images, seed: int):
    """The labels [N] that a teacher makes; None: the method makes its own."""
    if arm in REFRESH:
        return None
    if arm.removeprefix("by ") in FIXED:
        return cluster(FIXED[arm.removeprefix("by ")](images))
    network = nn.Sequential(method.encoder, method.projector)
    own = cluster(evaluation.extract_features(settle(network, images[:2048]), images))
    if arm == "by chance":
        return own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))]
    return own


def taught(arm: str, world, seed: int, steps: int):
    """A student and the purity of its labels; "by nobody": settled statistics, no step."""
    recipe = get_recipe("quick", "deepcluster").with_(options={"refresh_every": REFRESH.get(arm, 0)})
    method = recipe.build(seed, n_images=len(world.images))
    if arm == "by nobody":
        return settle(method, world.images[:2048]), {}
    labels, row = lesson(arm, method, world.images, seed), {}
    if labels is not None:
        method.pseudo_labels.copy_(labels)
        method.sizes.copy_(torch.bincount(labels, minlength=CLUSTERS))
        row["made"] = evaluation.purity(labels, world.factors["kind"].values)
    pretrain(
        method, world.images, method.views(recipe.policy), steps=steps, seed=seed, progress=False, **recipe.training()
    )  # fmt: skip
    return method, row


@torch.no_grad()
def tightness(z, labels) -> float:
    """Mean cosine of z [N, D] of different pictures of one kind, minus that of pictures of different kinds."""
    z = F.normalize(z, dim=1)
    cosine, same = z @ z.T, labels[:, None] == labels
    other = ~same
    same.fill_diagonal_(False)
    return float(cosine[same].mean() - cosine[other].mean())


def run(arm: str, crowd: str, seed: int, steps: int) -> dict:
    unlabeled = data.shapes("unlabeled", 32, UNLABELED, seed, imbalance=100 if crowd == "tail" else 1)
    train_set, test_set = (data.shapes(split, 32, n, seed) for split, n in (("train", LABELLED), ("test", TEST)))
    row = {"world": WORLD, "arm": arm, "crowd": crowd, "seed": seed, "steps": 0 if arm in FLOOR else steps}
    if arm in FIXED:
        h, h_test = (FIXED[arm](s.images) for s in (train_set, test_set))
    else:
        if crowd == "taught":
            row["steps"] = 0 if arm == "by nobody" else TAUGHT * (4 if arm in LONGER else 1)
            method, found = taught(arm, unlabeled, seed, row["steps"])
            features = evaluation.extract_features(method.encoder, unlabeled.images)
            row |= found | {"purity": evaluation.purity(cluster(features), unlabeled.factors["kind"].values)}
        elif arm == "untrained":
            method = settle(get_recipe("quick").build(seed), unlabeled.images[:2048])
        else:
            method = train(arm, crowd, unlabeled, seed, steps)
        h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train_set, test_set))
        if hasattr(method, "projector"):
            with torch.no_grad():
                row["tightness"] = tightness(method.eval().projector(h_test), test_set.labels)
    row["probe"] = probe(h, h_test, train_set, test_set)
    for name, chosen in (("knn", range(10)), ("knn_head", HEAD), ("knn_tail", TAIL)):
        of = torch.isin(test_set.labels, torch.tensor(tuple(chosen)))
        row[name] = evaluation.knn_accuracy(h, train_set.labels, h_test[of], test_set.labels[of])
    counts = torch.bincount(unlabeled.factors["kind"].values, minlength=10).tolist()
    return row | {"commonest": max(counts), "rarest": min(counts)}


def main(arms: list[str], seeds: list[int], steps: int) -> None:
    known = {tuple(row.get(k) for k in KEY) for row in recorded("clustering")}
    jobs = [(arm, crowd, seed) for part in (CORE, MORE) for seed in seeds for arm, crowd in part if arm in arms]
    for arm, crowd, seed in jobs:
        if (WORLD, arm, crowd, seed) not in known:
            start = time.perf_counter()
            row = run(arm, crowd, seed, steps)
            if steps == STEPS:
                merge("clustering", [row], KEY)
            words = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
            print(words, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help="another number is a trial: nothing is recorded")
    main(**vars(parser.parse_args()))
