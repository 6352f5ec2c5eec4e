"""The measurements of chapter 23: the same encoders under many protocols, and how much each protocol can be rigged.

Over 400 lines: all protocols of one record, so that what made a row can be read in one place.

    uv run python benchmarks/protocols.py                              # all rows that the record does not have yet
    uv run python benchmarks/protocols.py --seeds 0 --arms simclr pixels
    uv run python benchmarks/protocols.py --folder tiny-imagenet-200   # with the arm and reading that need photographs
    uv run python benchmarks/protocols.py --steps 2                    # a rehearsal: small sets, nothing is kept

encoders     one ConvNet shape, trained in seven ways for about the same processor time (STEPS), beside the same network
             before training (statistics settled), the pixels' 256 principal components, and outlines; all of READINGS.
worlds       SimCLR trained on drawings and on photographs, CROSSED steps each, both read on both; needs --folder.
auxiliary    a classifier alone and with rotation prediction beside it (Hendrycks et al. 2019: cross-entropy plus half
             of the rotation loss on four copies), with right labels, with half of the labels drawn anew, and trained on
             attacked pictures (by up to 8/255 in five steps where the paper takes ten); all are attacked in 20 steps.

Splits of the drawn world, world 2, seed s: 8,192 unlabeled; 2,000 labelled, that vote and fit probes in all arms; the
next 2,000 labelled, which only "supervised" and "auxiliary" train on; 2,000 for the test.  Everything that is chosen
(penalties) is chosen inside the labelled 2,000; what "rigged" chooses otherwise, it says.
"""

import argparse
import inspect
import json
import time
from functools import cache, partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from torch import Tensor, nn

from ssl_lessons import data, evaluation, views
from ssl_lessons.methods import METHODS
from ssl_lessons.methods.context_encoder import Restore
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.methods.vicreg import VICReg
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views.pretext import four_rotations

NAME, WORLD, KEY = "protocols", 2, ("world", "part", "arm", "seed")
QUICK = get_recipe("quick")
COUNTS = {"unlabeled": 8192, "train": 4000, "test": 2000}
SEEDS, PARTS = (0, 1, 2), ("encoders", "worlds", "auxiliary")
SIZES = {
    "draws": 5, "few draws": 3, "pictures": 200, "variants": 8, "biased": 1000, "elsewhere": 1000, "crossed": 100,
    "attacked": 1000,
}  # fmt: skip
SMALL = (  # of a rehearsal
    {"unlabeled": 260, "train": 700, "test": 260},
    {
        "draws": 1, "few draws": 1, "pictures": 40, "variants": 3, "biased": 150, "elsewhere": 350, "crossed": 20,
        "attacked": 40,
    },
)  # fmt: skip
# Steps of about the processor time of 500 steps of SimCLR.
STEPS = {"simclr": 500, "vicreg": 425, "dino": 640, "rotation": 1300, "denoising": 950, "supervised": 950}
PHOTOGRAPHS = "simclr, photographs"
FLOORS = ("untrained", "pixels", "edges")
ARMS = (*FLOORS, *STEPS, PHOTOGRAPHS)
WORLDS, CROSSED = (*FLOORS, "simclr", PHOTOGRAPHS), 1500
AUXILIARY = tuple(
    f"{name}{how}" for how in ("", ", half noise", ", attacked") for name in ("classifier", "with rotation")
)


# ---- training ------------------------------------------------------------------------------------------------------


class Watched:
    """A linear head beside the loss that reads h and sends nothing back: the online probe."""

    needs_labels = True

    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        self.head = nn.Linear(encoder.dim, 10)

    def pair(self, views):
        h = self.encoder(torch.cat(views))
        self.seen = h.detach()
        return self.projector(h).chunk(2)

    def forward(self, views, labels=None):
        loss = super().forward(views)
        return loss + F.cross_entropy(self.head(self.seen[: len(labels)]), labels)


class WatchedSimCLR(Watched, SimCLR):
    pass


class WatchedVICReg(Watched, VICReg):
    pass


@cache
def sets_of(seed: int) -> dict[str, data.ImageSet]:
    found = {split: data.shapes(split, n=n, seed=seed, world=WORLD) for split, n in COUNTS.items()}
    half = COUNTS["train"] // 2
    return {
        "unlabeled": found["unlabeled"], "bank": found["train"][:half], "own": found["train"][half:],
        "test": found["test"],
    }  # fmt: skip


@cache
def photographs(folder: str):
    from _photographs import read

    return read(folder, 32)


def build(arm: str, seed: int):
    """The method of an arm, with weights drawn from `seed`, its recipe and its number of steps."""
    name = {"denoising": "context_encoder", PHOTOGRAPHS: "simclr"}.get(arm, arm)
    recipe = get_recipe("quick", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder("convnet", **QUICK.encoder_options)
        if arm == "denoising":
            method = Restore(encoder, "noise")
        elif arm == "supervised":
            method = METHODS["supervised"](encoder, n_classes=10)
        else:
            kind = {"simclr": WatchedSimCLR, "vicreg": WatchedVICReg}.get(arm, METHODS[name])
            method = kind(encoder, **recipe.options)
    return method, recipe, STEPS.get(arm, STEPS["simclr"])


def train(arm: str, seed: int, folder: str | None, steps: int | None):
    """(method, what the record says about its training)."""
    method, recipe, usual = build(arm, seed)
    images, sets = None, sets_of(seed)
    if arm == PHOTOGRAPHS:
        images, labels = photographs(folder).unlabeled.images, None
    elif arm == "supervised":
        images, labels = sets["own"].images, sets["own"].labels
    else:
        images = sets["unlabeled"].images
        labels = sets["unlabeled"].factors["kind"].values if method.needs_labels else None
    start = time.process_time()
    history = pretrain(
        method, images, method.views(recipe.policy), steps=steps or usual, seed=seed, labels=labels, progress=False,
        **recipe.training(),
    )  # fmt: skip
    tail = [row["loss"] for row in history[-20:]]
    spent = round(time.process_time() - start, 1)
    return method.eval(), {"steps": steps or usual, "processor_seconds": spent, "loss": sum(tail) / len(tail)}


# ---- reading -------------------------------------------------------------------------------------------------------


class Reader:
    """A logistic regression on standardised features, for many labels: its penalty is the best on a fifth of them."""

    def __init__(self, x: Tensor, y: Tensor):
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        def fit(rows, c):
            return LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(z[rows], labels[rows])

        self.scaler, labels, n = StandardScaler().fit(x.numpy()), y.numpy(), len(y)
        z, fifth = self.scaler.transform(x.numpy()), n // 5
        scores = {c: fit(slice(fifth, n), c).score(z[:fifth], labels[:fifth]) for c in evaluation.PROBE_CS}
        self.C = max(scores, key=scores.get)
        self.model = fit(slice(0, n), self.C)

    def score(self, x: Tensor, y: Tensor) -> float:
        return float(self.model.score(self.scaler.transform(x.numpy()), y.numpy()))


class Arm:
    """What all readings ask of an arm: features of pictures, and where there is a network, more."""

    def __init__(self, features, seed: int, method=None, trained: bool = True):
        self.features, self.seed, self.method, self.trained = features, seed, method, trained
        self.encoder = None if method is None else method.encoder
        self.sets = sets_of(seed)
        self.bank, self.test = self.sets["bank"], self.sets["test"]
        self.x, self.x_test = features(self.bank.images), features(self.test.images)
        self.y, self.y_test = self.bank.labels, self.test.labels
        self.reader = Reader(self.x, self.y)

    def low(self, x, x_test, per_class, y=None, y_test=None, draws="draws") -> dict:
        y, y_test = (self.y, self.y_test) if y is None else (y, y_test)
        rows = evaluation.label_efficiency(x, y, x_test, y_test, per_class=per_class, draws=SIZES[draws])
        return {str(row["labels_per_class"]): row["accuracies"] for row in rows}


def tenth(arm: Arm) -> Tensor:
    """A tenth of the labels, 20 per class: the first draw."""
    return data.label_subset(arm.y, 20, seed=0)


def neighbours(arm: Arm) -> dict:
    """kNN: the book's (k = 20, weighted), and by plain majority for several k."""
    return {
        "knn": evaluation.knn_accuracy(arm.x, arm.y, arm.x_test, arm.y_test),
        "majority": {
            str(k): evaluation.knn_accuracy(arm.x, arm.y, arm.x_test, arm.y_test, k, temperature=1e6)
            for k in (1, 5, 20, 100)
        },
    }


def linear(arm: Arm) -> dict:
    """All 2,000 labels; 1 % and 10 % of them (2 and 20 per class) and between."""
    return {
        "linear": arm.reader.score(arm.x_test, arm.y_test), "C": arm.reader.C,
        "low": arm.low(arm.x, arm.x_test, (2, 10, 20)),
    }  # fmt: skip


def richer(arm: Arm) -> dict:
    """A hidden layer, and attention over the places of the last map, with a tenth of the labels."""
    rows, found = tenth(arm), {}
    found["mlp"] = evaluation.mlp_probe(arm.x[rows], arm.y[rows], arm.x_test, arm.y_test, hidden=128).accuracy
    if arm.encoder is not None:
        few, test = (
            evaluation.extract_features(arm.encoder, s, maps=True).flatten(2).mT.contiguous()
            for s in (arm.bank.images[rows], arm.test.images)
        )
        found["attentive"] = evaluation.attentive_probe(few, arm.y[rows], test, arm.y_test, steps=100).accuracy
        flat = few.flatten(1), arm.y[rows], test.flatten(1), arm.y_test
        found["places"] = evaluation.linear_probe(*flat).accuracy
    return found


def retrieval(arm: Arm) -> dict:
    """The test pictures search among each other."""
    return {
        "map": evaluation.mean_average_precision(arm.x_test, arm.y_test),
        "recall": {str(k): evaluation.recall_at_k(arm.x_test, arm.y_test, k) for k in (1, 10)},
        "precision": evaluation.precision_at_k(arm.x_test, arm.y_test, 10),
    }


def factors(arm: Arm) -> dict:
    names = ("kind", "x", "y", "scale", "rotation", "facing", "object_hue", "background_hue", "background_texture")
    chosen = [{n: s.factors[n] for n in names} for s in (arm.bank, arm.test)]
    return {"factors": evaluation.factor_probe(arm.x, chosen[0], arm.x_test, chosen[1])}


def layers(arm: Arm) -> dict:
    """Every stage of the network averaged to about 256 numbers, then the layers of its head: 10 labels per class."""
    if arm.encoder is None:
        return {}
    found, tensors = {}, {}
    for stage, side in ((1, 4), (2, 3), (3, 2), (4, 1)):
        net = nn.Sequential(arm.encoder.layers[: 3 * stage], nn.AdaptiveAvgPool2d(side), nn.Flatten())
        tensors[f"stage {stage}"] = [evaluation.extract_features(net, s.images) for s in (arm.bank, arm.test)]
    head = getattr(arm.method, "projector", None)
    head = getattr(head, "mlp", head)
    if isinstance(head, nn.Sequential):
        with torch.no_grad():
            h = (arm.x, arm.x_test)
            for depth in range(1, len(head) + 1):
                h = [head[depth - 1].eval()(v) for v in h]
                if depth == len(head) or isinstance(head[depth - 1], nn.ReLU):
                    tensors["z" if depth == len(head) else f"head {depth}"] = h
    for name, (x, x_test) in tensors.items():
        found[name] = {
            "low": arm.low(x, x_test, (10,), draws="few draws")["10"],
            "knn": evaluation.knn_accuracy(x, arm.y, x_test, arm.y_test),
        }
    return {"layers": found}


def online(arm: Arm) -> dict:
    """The head that trained beside the loss, and a probe fitted afterwards on the same 8,192 pictures and labels."""
    if not isinstance(arm.method, Watched) or not arm.trained:
        return {}
    from sklearn.linear_model import LogisticRegression

    with torch.no_grad():
        says = arm.method.head(arm.x_test).argmax(dim=1)
    everything = arm.features(arm.sets["unlabeled"].images)
    kinds = arm.sets["unlabeled"].factors["kind"].values
    z, z_test = (arm.reader.scaler.transform(v.numpy()) for v in (everything, arm.x_test))
    model = LogisticRegression(C=arm.reader.C, max_iter=300, tol=1e-3).fit(z, kinds.numpy())
    return {
        "online": float((says == arm.y_test).double().mean()),
        "offline": float(model.score(z_test, arm.y_test.numpy())),
    }


def tuned(arm: Arm, steps: int | None) -> dict:
    """The whole network, trained on on 2 and 10 labels per class ("untrained" is training from scratch)."""
    if arm.encoder is None:
        return {}
    rows = evaluation.fine_tune_efficiency(
        arm.encoder, arm.bank.images, arm.y, arm.test.images, arm.y_test, per_class=(2, 10),
        draws=SIZES["few draws"], steps=steps or 200, policy=QUICK.policy,
    )  # fmt: skip
    return {"tuned": {str(row["labels_per_class"]): row["accuracies"] for row in rows}}


# ---- reading elsewhere, and under damage ---------------------------------------------------------------------------


def as_bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


def blurred(images: Tensor, strength: float) -> Tensor:
    axis = torch.arange(-3, 4).float()
    row = torch.exp(-(axis**2) / (2 * strength**2))
    kernel = (row[:, None] * row / row.sum() ** 2).expand(3, 1, 7, 7)
    return as_bytes(F.conv2d(F.pad(images.float(), (3, 3, 3, 3), mode="reflect"), kernel, groups=3))


def noisy(images: Tensor, strength: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return as_bytes(images.float() + 255 * strength * noise)


def paler(images: Tensor, strength: float) -> Tensor:
    center = images.float().mean(dim=(1, 2, 3), keepdim=True)
    return as_bytes(center + (1 - strength) * (images.float() - center))


def occluded(images: Tensor, strength: float) -> Tensor:
    """A gray square, `strength` of the side, at a random place."""
    side, size = round(strength * images.shape[-1]), images.shape[-1]
    corners = torch.randint(0, size - side + 1, (2, len(images), 1), generator=torch.Generator().manual_seed(1))
    axis = torch.arange(size)
    rows, columns = ((axis >= c) & (axis < c + side) for c in corners)
    return images.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 128)


DAMAGE = {
    "noise": (noisy, (0.05, 0.15)), "blur": (blurred, (0.7, 1.5)), "contrast": (paler, (0.5, 0.8)),
    "occlusion": (occluded, (0.25, 0.5)),
}  # fmt: skip


def robustness(arm: Arm) -> dict:
    """The probe of the clean pictures on damaged ones, weak and strong; and probes of labels half drawn anew."""
    found = {
        f"{name}, {how}": arm.reader.score(arm.features(damage(arm.test.images, strength)), arm.y_test)
        for name, (damage, strengths) in DAMAGE.items()
        for how, strength in zip(("weak", "strong"), strengths, strict=True)
    }
    y = with_noise(arm.y, 0.5, arm.seed)
    return {"damaged": found, "noisy_labels": Reader(arm.x, y).score(arm.x_test, arm.y_test)}


def with_noise(y: Tensor, share: float, seed: int) -> Tensor:
    """Labels of which a share is drawn anew (it may be drawn right)."""
    g = torch.Generator().manual_seed(seed)
    new, hit = torch.randint(0, 10, y.shape, generator=g), torch.rand(y.shape, generator=g) < share
    return torch.where(hit, new, y)


def enlarged(images: data.ImageSet) -> Tensor:
    return as_bytes(F.interpolate(images.images.float(), 32, mode="bilinear", align_corners=False))


def transfer(arm: Arm, folder: str | None) -> dict:
    """Fitted anew elsewhere: digits, the first world, pictures from above, photographs of 20 kinds; 20 per class."""
    world = partial(data.shapes, seed=arm.seed)
    targets = {"digits": [(enlarged(s), s.labels) for s in map(data.digits, ("train", "test"))]}
    for name, options in (("first world", {"world": 1}), ("from above", {"oriented": False})):
        sets = (world(split, n=SIZES["elsewhere"], **options) for split in ("train", "test"))
        targets[name] = [(s.images, s.labels) for s in sets]
    if folder is not None:
        found = photographs(folder)
        targets["photographs"] = [(s.images, s.labels) for s in (found.train, found.test)]
    result = {}
    for name, ((images, y), (images_test, y_test)) in targets.items():
        x, x_test = arm.features(images), arm.features(images_test)
        result[name] = {
            "low": arm.low(x, x_test, (20,), y, y_test, "few draws")["20"],
            "knn": evaluation.knn_accuracy(x, y, x_test, y_test),
        }
        if name not in ("digits", "photographs"):  # the same kinds: the probe of the old world, as it is
            result[name]["kept"] = arm.reader.score(x_test, y_test)
    return {"transfer": result}


# ---- what changes the features -------------------------------------------------------------------------------------

GROUND = ("background_hue", "background_texture", "texture_scale", "texture_angle")
THING = ("kind", "facing", "proportion", "object_hue", "object_texture")
CHANGES = {  # which factors are drawn anew; "occlusion" is done to the pixels
    "occlusion": (),
    "place": ("x", "y"),
    "size": ("scale",),
    "turn": ("rotation",),
    "mirror": ("facing",),
    "light": ("light_angle", "light_strength"),
    "object colour": ("object_hue",),
    "instance": ("proportion", "object_texture"),
    "background": GROUND,
    "kind": ("kind",),
}


@cache
def changed(change: str, seed: int) -> Tensor:
    """Pictures and versions of each: uint8 [pictures, variants, 3, 32, 32], the picture itself first."""
    table = data.sample_factors(SIZES["pictures"], seed=1000 + seed)
    versions = [table]
    for v in range(1, SIZES["variants"]):
        new = data.sample_factors(SIZES["pictures"], seed=2000 + 100 * seed + v)
        versions.append(table | {name: new[name] for name in CHANGES[change]})
    images = torch.stack([data.render(t) for t in versions], dim=1)
    if change == "occlusion":
        for v in range(1, SIZES["variants"]):
            images[:, v] = occluded(images[:, v].roll(v, dims=0), 0.4).roll(-v, dims=0)
    return images


def invariance(arm: Arm) -> dict:
    """Per change: how far the features move (1: as far as to another picture), and how many firing units go on firing.

    moved: mean cosine distance of a picture to its versions over that to other pictures, after centring.
    kept: over units, of the pictures at which a unit fires (its highest 5 % on the test pictures), the share of the
    versions at which it fires too: the local firing rate (Goodfellow et al. 2009; Purushwalkam & Gupta 2020), the mean
    of the 25 best units that fire at 10 of the pictures at least.
    """
    center, level = arm.x_test.mean(dim=0), arm.x_test.quantile(0.95, dim=0)
    apart = F.normalize(arm.x_test - center, dim=1)
    half = len(apart) // 2
    elsewhere = 1 - float((apart[:half] * apart[half:]).sum(dim=1).mean())
    found = {}
    for change in CHANGES:
        images = changed(change, arm.seed)
        x = arm.features(images.flatten(0, 1)).view(*images.shape[:2], -1)
        z = F.normalize(x - center, dim=2)
        moved = 1 - float((z[:, 1:] * z[:, :1]).sum(dim=2).mean())
        on = x > level
        count = on[:, 0].sum(dim=0)
        rate = (on[:, 1:] & on[:, :1]).sum(dim=(0, 1)) / ((images.shape[1] - 1) * count.clamp(min=1))
        best = rate[count >= 10].sort(descending=True).values[:25]
        found[change] = {"moved": moved / elsewhere, "kept": float(best.mean()) if len(best) else None}
    return {"invariance": found}


@cache
def biased(n: int, seed: int, cue: str, share: float) -> tuple[Tensor, Tensor]:
    """Pictures in a share of which the background tells the kind, by its hue or its texture; and their kinds."""
    table = data.sample_factors(n, seed=seed)
    g = torch.Generator().manual_seed(seed)
    told = torch.rand(n, generator=g) < share
    if cue == "background_hue":
        value = (table["kind"] + 0.2 + 0.6 * torch.rand(n, generator=g)) * 2 * torch.pi / 10
    else:
        value = table["kind"] % 6
    table[cue] = torch.where(told, value, table[cue])
    return data.render(table), table["kind"]


def background(arm: Arm) -> dict:
    """A probe fitted where the background tells the kind in nine of ten pictures, tested where it does and where not.

    share: of the move that an exchange of background and object would cause, the background's: distance to the picture
    with another background over the sum of that and the distance to the picture with another object.
    """
    found = {}
    for cue in ("background_hue", "background_texture"):
        images, y = biased(SIZES["biased"], 3000 + arm.seed, cue, 0.9)
        reader = Reader(arm.features(images), y)
        for name, share in (("same", 0.9), ("any", 0.0)):
            images, y = biased(SIZES["biased"], 4000 + arm.seed, cue, share)
            found[f"{cue}, {name}"] = reader.score(arm.features(images), y)
    table, other = (data.sample_factors(500, seed=s + arm.seed) for s in (5000, 6000))
    x, ground, thing = (
        arm.features(data.render(t))
        for t in (table, table | {n: other[n] for n in GROUND}, table | {n: other[n] for n in THING})
    )
    d_ground, d_thing = (float((1 - F.cosine_similarity(x, v)).mean()) for v in (ground, thing))
    return {"background": found | {"share": d_ground / (d_ground + d_thing)}}


# ---- rigged --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def in_training_mode(encoder, images: Tensor, order: Tensor) -> Tensor:
    """The bug: features in training mode, batches of 100 in the order given; BatchNorm uses the batch's statistics."""
    twin = build_encoder("convnet", **QUICK.encoder_options)
    twin.load_state_dict(encoder.state_dict())
    twin.train()
    x = torch.cat([twin(views.normalize(images[rows])) for rows in order.split(100)])
    return x[order.argsort()]


def rigged(arm: Arm) -> dict:
    """What a mistake or a choice on the test adds to honest numbers, most by kNN: see the names."""
    y, y_test, few = arm.y, arm.y_test, slice(0, 200)
    found = {"unnormalised": dot_knn(arm.x, y, arm.x_test, y_test)}
    if arm.encoder is not None:
        shuffled = torch.randperm(len(y_test), generator=torch.Generator().manual_seed(0))
        train = in_training_mode(arm.encoder, arm.bank.images, torch.arange(len(y)))
        for name, order in (("shuffled", shuffled), ("sorted", y_test.argsort(stable=True))):
            test = in_training_mode(arm.encoder, arm.test.images, order)
            found[f"training mode, test {name}"] = evaluation.knn_accuracy(train, y, test, y_test)
        both = in_training_mode(arm.encoder, arm.bank.images, y.argsort(stable=True))
        found["training mode, all sorted"] = evaluation.knn_accuracy(both, y, test, y_test)
    grid = [(k, t) for k in (1, 2, 5, 10, 20, 50, 100) for t in (0.03, 0.07, 0.2, 1.0)]
    looks = [evaluation.knn_accuracy(arm.x, y, arm.x_test[few], y_test[few], *g) for g in grid]
    best = grid[max(range(len(grid)), key=looks.__getitem__)]
    rest = arm.x_test[200:], y_test[200:]
    found |= {
        "k on test, there": max(looks), "k on test, elsewhere": evaluation.knn_accuracy(arm.x, y, *rest, *best),
        "k as usual, there": looks[grid.index((20, 0.07))],
    }  # fmt: skip
    for share in (0.1, 0.3):  # test pictures whose shifted copy is in the bank
        copies = arm.features(arm.test.images[: round(share * len(y_test))].roll(1, dims=3))
        x, labels = torch.cat([copies, arm.x[len(copies) :]]), torch.cat([y_test[: len(copies)], y[len(copies) :]])
        found[f"leak {share:g}"] = evaluation.knn_accuracy(x, labels, arm.x_test, y_test)
        found[f"leak {share:g}, k = 1"] = evaluation.knn_accuracy(x, labels, arm.x_test, y_test, k=1)
    own = arm.sets["own"]  # the pictures that "supervised" was trained on
    found["bank of training pictures"] = evaluation.knn_accuracy(
        arm.features(own.images), own.labels, arm.x_test, y_test
    )
    return {"rigged": found}


def dot_knn(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, k: int = 20, temperature: float = 0.07) -> float:
    """`knn_accuracy` as it is without normalising: long features are everybody's neighbours."""
    value, index = (x_test @ x.T).topk(k, dim=1)
    weight = ((value - value[:, :1]) / temperature).exp()
    votes = weight.new_zeros(len(x_test), 10).scatter_add_(1, y[index], weight)
    return float((votes.argmax(dim=1) == y_test).double().mean())


# ---- a second task beside the labels -------------------------------------------------------------------------------


DEFENDED, STRIDE, TRIED = 8 / 255, 2 / 255, (2 / 255, 4 / 255, 8 / 255)  # radii and the step of attacks, in colours
DARK, LIGHT = (float(views.normalize(torch.full((1, 3, 1, 1), v, dtype=torch.uint8)).mean()) for v in (0, 255))


def attacked(loss, x: Tensor, radius: float, steps: int, generator: torch.Generator) -> Tensor:
    """Normalized pictures moved to where the loss is larger; radius is one of colours in [0, 1]."""
    unit = LIGHT - DARK
    return evaluation.pgd(loss, x.clamp(DARK, LIGHT), radius * unit, steps, STRIDE * unit, DARK, LIGHT, generator)


def beside(arm: str, seed: int, steps: int):
    """A trained classifier, pictures -> logits, and its last loss."""
    images = sets_of(seed)["own"]
    y = with_noise(images.labels, 0.5, seed) if arm.endswith("noise") else images.labels
    torch.manual_seed(seed)
    encoder = build_encoder("convnet", **QUICK.encoder_options)
    classifier, turner = nn.Linear(encoder.dim, 10), nn.Linear(encoder.dim, 4)
    network = nn.ModuleList([encoder, classifier, turner])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g, policy = torch.Generator().manual_seed(seed), QUICK.policy.replace(jitter_p=0.0, grayscale_p=0.0)
    n, turns = 64, None

    def loss_of(x: Tensor) -> Tensor:  # of n pictures, and of their turned copies where there are any
        loss = F.cross_entropy(classifier(encoder(x[:n])), y[rows])
        return loss if turns is None else loss + 0.5 * F.cross_entropy(turner(encoder(x[n:])), turns)

    for _ in range(steps):
        rows = torch.randint(0, len(y), (n,), generator=g)
        x = views.augment(images.images[rows], policy, g)
        if arm.startswith("with rotation"):
            turned, turns = four_rotations(x)
            x = torch.cat([x, turned])
        if arm.endswith("attacked"):
            x = attacked(loss_of, x, DEFENDED, 5, g)
        loss = loss_of(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return nn.Sequential(encoder, classifier).eval(), float(loss.detach())


def auxiliary(arm: str, seed: int, steps: int | None) -> dict:
    """A classifier's share of right answers: on clean test pictures, on damaged ones, and on some that are attacked."""
    steps = steps or 400
    network, loss = beside(arm, seed, steps)
    test = sets_of(seed)["test"]

    def score(images: Tensor) -> float:
        says = evaluation.extract_features(network, images).argmax(dim=1)
        return float((says == test.labels).double().mean())

    damaged = {
        f"{name}, {how}": score(damage(test.images, strength))
        for name, (damage, strengths) in DAMAGE.items()
        for how, strength in zip(("weak", "strong"), strengths, strict=True)
    }
    some = test[: SIZES["attacked"]]
    moved = {}
    for radius in TRIED:
        x = attacked(
            lambda x: F.cross_entropy(network(x), some.labels, reduction="sum"), views.normalize(some.images), radius,
            20, torch.Generator().manual_seed(seed),
        )  # fmt: skip
        with torch.no_grad():
            moved[f"{255 * radius:g}"] = float((network(x).argmax(dim=1) == some.labels).double().mean())
    return {"steps": steps, "loss": loss, "clean": score(test.images), "damaged": damaged, "attacked": moved}


# ---- all of it -----------------------------------------------------------------------------------------------------

READINGS = (
    neighbours, linear, richer, retrieval, factors, layers, online, robustness, invariance, background, rigged,
)  # fmt: skip


def components(x: Tensor, dim: int = 256):
    """The function that gives the first principal components of pixels, fitted on x [N, D]: as wide as the encoders."""
    center = x.mean(dim=0)
    axes = torch.linalg.svd(x - center, full_matrices=False).Vh[:dim].T
    return lambda images: (evaluation.pixels(images) - center) @ axes


def features_of(arm: str, seed: int, folder: str | None, steps: int | None):
    """(function from pictures to features, method or None, what the record says about the training)."""
    method, found, some = None, {"steps": 0}, sets_of(seed)["unlabeled"].images[:2048]
    if arm == "pixels":
        return components(evaluation.pixels(some)), None, found
    if arm == "edges":
        return evaluation.edges, None, found
    if arm == "untrained":
        method = settle(build("simclr", seed)[0], some).eval()
    else:
        method, found = train(arm, seed, folder, steps)
    return partial(evaluation.extract_features, method.encoder), method, found


def measure(arm: str, seed: int, folder: str | None, steps: int | None) -> dict:
    features, method, found = features_of(arm, seed, folder, steps)
    start = time.process_time()
    read = Arm(features, seed, method, arm != "untrained")
    seconds = {}
    for reading in READINGS:
        before = time.process_time()
        found |= reading(read)
        seconds[reading.__name__] = round(time.process_time() - before, 1)
    found |= tuned(read, steps) | transfer(read, folder)
    return found | {"reading_seconds": round(time.process_time() - start, 1), "seconds_of": seconds}


def crossed(arm: str, seed: int, folder: str, steps: int | None) -> dict:
    """One network, read on drawings of ten kinds and on photographs of twenty: probes (10, 100 per class) and kNN."""
    features, _, found = features_of(arm, seed, folder, steps or CROSSED)
    sets, photos = sets_of(seed), photographs(folder)
    pairs = {"drawings": (sets["bank"], sets["test"]), "photographs": (photos.train, photos.test)}
    for name, (known, test) in pairs.items():
        x, y, x_test, y_test = features(known.images), known.labels, features(test.images), test.labels
        rows = evaluation.label_efficiency(x, y, x_test, y_test, per_class=(10, SIZES["crossed"]), draws=SIZES["draws"])
        low = {str(row["labels_per_class"]): row["accuracies"] for row in rows}
        found[name] = {"low": low, "knn": evaluation.knn_accuracy(x, y, x_test, y_test)}
    return found


def jobs(seeds, arms, parts, folder, steps):
    for seed in seeds:
        if "encoders" in parts:
            for arm in ARMS:
                if arm in arms and (arm != PHOTOGRAPHS or folder is not None):
                    yield "encoders", arm, seed, partial(measure, arm, seed, folder, steps)
        if "worlds" in parts and folder is not None:
            for arm in WORLDS:
                if arm in arms:
                    yield "worlds", arm, seed, partial(crossed, arm, seed, folder, steps)
        if "auxiliary" in parts:
            for arm in AUXILIARY:
                if arm in arms:
                    yield "auxiliary", arm, seed, partial(auxiliary, arm, seed, steps)


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value


def main(seeds, arms, parts, folder: str | None, steps: int | None, seconds: float) -> None:
    start = time.perf_counter()
    if steps is not None:
        COUNTS.update(SMALL[0])
        SIZES.update(SMALL[1])
    done = {tuple(row[k] for k in KEY) for row in recorded(NAME)} if steps is None else set()
    for part, arm, seed, run in jobs(seeds, arms, parts, folder, steps):
        place = dict(zip(KEY, (WORLD, part, arm, seed), strict=True))
        if tuple(place.values()) in done:
            continue
        if time.perf_counter() - start > seconds:
            return print("time is up; the next call goes on here:", place)
        row = rounded(place | run())
        if steps is None:
            merge(NAME, [row], KEY, packages=("torch", "torchvision", "scikit-learn"))
        else:
            print(json.dumps(row))
        shown = {k: row[k] for k in ("steps", "processor_seconds", "reading_seconds", "knn", "linear") if k in row}
        print(part, arm, seed, shown, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--arms", nargs="+", default=(*ARMS, *AUXILIARY), choices=(*ARMS, *AUXILIARY))
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--folder", help="tiny-imagenet-200: for the arm and the reading that need photographs")
    parser.add_argument("--steps", type=int, help="of every training; the rows are printed and not kept")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no new row after this time")
    main(**vars(parser.parse_args()))
