"""The pilots of chapter 27: small runs that say how large the real ones must be.

    uv run python benchmarks/open_questions.py                                    # what the record lacks, three seeds
    uv run python benchmarks/open_questions.py --parts negatives --seeds 0 1 2 3 4   # more seeds of one question
    uv run python benchmarks/open_questions.py --steps 4 --pictures 256 --dry     # everything once, nothing recorded

negatives  who must be pushed away?  32 pairs against 64 negatives: other pictures of the batch, pictures drawn anew at
           each step, 64 pictures chosen once, 64 pictures of pure noise, 64 random points of the sphere.
heads      SimCLR with and without a projector under two strengths of colour jitter: every factor of the drawn world,
           read from h and from z.
choose     contrast, reconstruction, masking, and a sum of the first and the third, on four sets of pictures: every
           factor after the run, and, on held-out train pictures, after one of a quarter of the steps.  Digits are
           read with ten labels of each; so are they from encoders that were trained on drawn upright objects.
criterion  (only on demand, an hour or two) the 36 policies of benchmarks/extensions.py in three worlds more, with
           the same scores that need no labels.
"""

import time
from functools import lru_cache, partial

import extensions
import torch
from _record import arguments, resume
from _world import WORLD, probe
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, losses, views
from ssl_lessons.data.image_set import Factor
from ssl_lessons.methods import SimCLR
from ssl_lessons.methods.context_encoder import Restore
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

KEY = ("part", "arm", "data", "seed")
SEEDS, STEPS, PICTURES, READ, TEST = (0, 1, 2), 300, 4096, 1000, 1000
SIZES = {"steps": STEPS, "pictures": PICTURES}
POLICY, TEMPERATURE, CROWD = get_recipe("quick").policy, 0.1, 64
TRAINING = {"optimizer": "adamw", "lr": 3e-3, "weight_decay": 1e-4, "warmup": 0.1, "progress": False}
FLOORS = ("pixels", "untrained")
SETS = {"upright": {}, "from above": {"oriented": False}, "textures": {"objects": False}, "digits": None}


@lru_cache(maxsize=4)
def splits(name: str, seed: int) -> list[data.ImageSet]:
    """unlabeled, train and test pictures of 32 pixels; the only factor of digits is the digit."""
    if SETS[name] is None:
        found = [data.digits(split, size=32) for split in data.SPLITS]
        return [s.__class__(s.images, s.labels, s.classes, s.name, s.split, as_factor(s)) for s in found]
    sizes = (SIZES["pictures"], 2 * READ, TEST)
    return [data.shapes(s, 32, n, seed, **SETS[name]) for s, n in zip(data.SPLITS, sizes, strict=True)]


def as_factor(digits: data.ImageSet) -> dict[str, Factor]:
    return {"digit": Factor(digits.labels, "categorical")}


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_encoder("convnet", width=16, dim=256)


def train(method, seed: int, pictures, policy=POLICY, steps: int | None = None, batch: int = 64) -> dict:
    steps, start = steps or SIZES["steps"], time.process_time()
    options = {"steps": steps, "batch_size": batch, "seed": seed} | TRAINING
    history = pretrain(method, pictures, method.views(policy), **options)
    last = [row["loss"] for row in history[-20:]]
    return {"steps": steps, "loss": sum(last) / len(last), "cpu_seconds": time.process_time() - start}


def factors(features, known: data.ImageSet, asked: data.ImageSet) -> dict[str, float]:
    """Every factor from features: 0 chance, 1 perfect."""
    x, y = features(known.images), features(asked.images)
    return evaluation.factor_probe(x, known.factors, y, asked.factors)


def known_and_held_out(name: str, seed: int) -> tuple[data.ImageSet, data.ImageSet]:
    """Two parts of the train pictures: to read with, and to choose by."""
    train_set = splits(name, seed)[1]
    if SETS[name] is not None:
        return train_set[: len(train_set) // 2], train_set[len(train_set) // 2 :]
    chosen = data.label_subset(train_set.labels, 10, seed)
    rest = torch.ones(len(train_set), dtype=torch.bool)
    rest[chosen] = False
    return train_set[chosen], train_set[rest]


def through(encoder):
    return partial(evaluation.extract_features, encoder)


# ---- who must be pushed away? -------------------------------------------------------------------------------------


class Against(SimCLR):
    """Two views find each other among `crowd` negatives that are the same for the whole batch."""

    def __init__(self, encoder, kind: str, pool: torch.Tensor, seed: int):
        super().__init__(encoder, temperature=TEMPERATURE)
        generator = torch.Generator().manual_seed(seed)
        self.kind, self.pool = kind, pool
        if kind == "random points":
            self.register_buffer("fixed", torch.randn(CROWD, 128, generator=generator))
        elif kind == "noise":
            self.register_buffer(
                "fixed", torch.randint(256, (CROWD, *pool.shape[1:]), generator=generator).byte()
            )
        else:
            self.register_buffer("fixed", pool[torch.randperm(len(pool), generator=generator)[:CROWD]])

    def crowd(self) -> torch.Tensor:
        """The views of this step's negatives, [CROWD, 3, 32, 32]."""
        pictures = self.fixed
        if self.kind == "drawn anew":
            pictures = self.pool[torch.randint(len(self.pool), (CROWD,))]
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        return views.augment(pictures, POLICY, generator)

    def forward(self, pairs, labels=None):
        if self.kind == "random points":
            z1, z2 = self.pair(pairs)
            others = self.fixed
        else:
            n = len(pairs[0])
            z1, z2, others = self.embed(torch.cat([*pairs, self.crowd()])).split([n, n, CROWD])
        sides = (losses.info_nce(a, b, others, TEMPERATURE) for a, b in ((z1, z2), (z2, z1)))
        return sum(sides) / 2


KINDS = ("drawn anew", "chosen once", "noise", "random points")


def run_negatives(arm: str, _: str, seed: int) -> dict:
    unlabeled, known, test = splits("upright", seed)
    encoder, row = net(seed), {"steps": 0}
    if arm == "pixels":
        features = evaluation.pixels
    elif arm == "untrained":
        features = through(settle(encoder, unlabeled.images[:1024]))
    else:
        pool = unlabeled.images
        method = SimCLR(encoder, TEMPERATURE) if arm == "the batch" else Against(encoder, arm, pool, seed)
        row = train(method, seed, pool, batch=32)
        row |= {"rank_z": float(diagnostics.rank_me(method.embed(views.normalize(test.images)).detach()))}
        features = through(encoder)
    x, y = features(known.images), features(test.images)
    return row | {"probe": probe(x, y, known, test), "rank_h": float(diagnostics.rank_me(y))}


# ---- when is the head unnecessary? --------------------------------------------------------------------------------


def run_heads(arm: str, _: str, seed: int) -> dict:
    """`h`, `z`: every factor from the features and from what the loss compares."""
    unlabeled, known, test = splits("upright", seed)
    encoder, row = net(seed), {"steps": 0}
    if arm == "untrained":
        settle(encoder, unlabeled.images[:1024])
        return row | {"h": factors(through(encoder), known, test)}
    head, strength = arm.split(", jitter ")
    method = SimCLR(encoder, TEMPERATURE, out_dim=encoder.dim)
    if head == "no head":
        method.projector = nn.Identity()
    row = train(method, seed, unlabeled.images, POLICY.scaled(float(strength)))
    method.eval()
    after = {"h": through(encoder), "z": lambda x: method.projector(through(encoder)(x)).detach()}
    return row | {name: factors(read, known, test) for name, read in after.items()}


HEADS = [f"{head}, jitter {s}" for s in ("1", "0.25") for head in ("no head", "head")]

# ---- who chooses the loss? ----------------------------------------------------------------------------------------


class Both(SimCLR):
    """Contrast plus the masked restoration of the first view, one encoder."""

    def __init__(self, encoder):
        super().__init__(encoder, TEMPERATURE)
        self.restore = Restore(encoder, "scattered")

    def forward(self, pairs, labels=None):
        return super().forward(pairs) + self.restore(pairs[:1])


LOSSES = {
    "contrast": lambda encoder: SimCLR(encoder, TEMPERATURE),
    "reconstruct": lambda encoder: Restore(encoder, "nothing"),
    "mask": lambda encoder: Restore(encoder, "scattered"),
    "contrast + mask": Both,
}


def run_choose(arm: str, name: str, seed: int) -> dict:
    """`early`: factors on held-out train pictures after a run of a quarter of the steps; `factors`: on test."""
    unlabeled, _, test = splits(name, seed)
    known, held_out = known_and_held_out(name, seed)
    if arm in FLOORS:
        encoder = settle(net(seed), unlabeled.images[:1024])
        features = evaluation.pixels if arm == "pixels" else through(encoder)
        return {"steps": 0, "factors": factors(features, known, test)}
    short, encoder = net(seed), net(seed)
    train(LOSSES[arm](short), seed, unlabeled.images, steps=max(1, SIZES["steps"] // 4))
    row = {"early": factors(through(short), known, held_out)}
    row |= train(LOSSES[arm](encoder), seed, unlabeled.images)
    row |= {"factors": factors(through(encoder), known, test)}
    row |= {"rank_h": float(diagnostics.rank_me(through(encoder)(test.images)))}
    if name == "upright":
        other = known_and_held_out("digits", seed)[0]
        row |= {"on digits": factors(through(encoder), other, splits("digits", seed)[2])["digit"]}
    return row


# ---- which criterion travels? -------------------------------------------------------------------------------------

MORE = {"textures": {"objects": False}, "first world": {"world": 1}, "rare kinds": {"imbalance": 50.0}}


def run_criterion(arm: str, name: str, seed: int) -> dict:
    """`probe` and the scores of one policy in one world, as chapter 26d measures them."""
    extensions.WORLDS.update(MORE)
    steps = extensions.STEPS if SIZES["steps"] == STEPS else max(10, SIZES["steps"])  # tenths need ten
    return extensions.policy_run(arm, name, seed, steps)


# ---- all of it ----------------------------------------------------------------------------------------------------

PARTS = {
    "negatives": (run_negatives, ("upright",), (*FLOORS, "the batch", *KINDS)),
    "heads": (run_heads, ("upright",), ("untrained", *HEADS)),
    "choose": (run_choose, tuple(SETS), (*FLOORS, *LOSSES)),
    "criterion": (run_criterion, tuple(MORE), tuple(extensions.POLICIES)),
}
USUAL = ("negatives", "heads", "choose")


def main(parts, seeds, seconds: float, steps: int, pictures: int, dry: bool) -> None:
    if (steps, pictures) != (STEPS, PICTURES) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, pictures=pictures)
    jobs = (
        (
            {"world": WORLD, "part": part, "arm": arm, "data": name, "seed": seed},
            partial(run, arm, name, seed),
        )
        for part in parts
        for seed in seeds or SEEDS
        for run, names, arms in (PARTS[part],)
        for name in names
        for arm in arms
    )
    resume("open_questions", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    parser = arguments(__doc__, PARTS, SIZES)
    parser.set_defaults(parts=USUAL)
    main(**vars(parser.parse_args()))
