"""What the features keep of what the views change, and who may choose the changes: chapter 22c.

    uv run python benchmarks/keep.py                               # all rows that the record does not have yet
    uv run python benchmarks/keep.py --parts keep --seeds 0        # one part, one seed
    uv run python benchmarks/keep.py --dry --steps 2 --short 4     # two steps of everything, nothing written

tuning   the learning rate of each family, on a world of its own (seed 100), from one list, by the 100-label probe on
         held-out train images.  Arms of a family share its rate.
keep     SimCLR with and without some augmentation, and four ways to keep what a view changes (E-SSL, EquiMod, LooC, two
         encoders side by side), equal steps: which factors a linear probe reads, and what it costs the kinds.
search   a shorter run each: the recipe's policy, RandAugment's grid, and a population of four policies from one space.
         The scores that choose come from held-out train images, what is reported from the test split.  (A search by
         proxy over whole policies can be made from the record of extensions.py, part "policies".)
"""

import time
from collections.abc import Callable
from functools import cache, partial

import torch
from _record import arguments, recorded, resume
from _world import WORLD, probe
from extensions import held_out, which_quarter
from torch import Tensor

from ssl_lessons import data, evaluation
from ssl_lessons.methods.essl import ESSL
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import fit, pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import Policy, augment, draw, make_views, normalize, searched
from ssl_lessons.views.pretext import rotate

KEY = ("part", "arm", "seed", "lr")
PARTS, SIZES = ("tuning", "keep", "search"), {"steps": 300, "short": 120}
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, (2e-3, 4e-3, 8e-3, 1.6e-2)
BATCH, COUNTS = 128, (8192, 2000, 2000)
POLICY = get_recipe("quick").policy
NO_COLOUR = POLICY.scaled(0.0).replace(grayscale_p=0.0)
CHEAP = POLICY.scaled(0.0)  # crops, flips and gray
FACTORS = ("kind", "object_hue", "background_hue", "x", "y", "scale", "rotation", "facing")
ROUNDS, POPULATION = 4, 4
GRID = [(n, m) for n in (1, 4) for m in (0.3, 1.0)]


class Noisy(SimCLR):
    """SimCLR whose views are the whole picture with Gaussian noise: nothing else is changed."""

    sigma = 1.0  # of pixels that are scaled to about unit variance

    def views(self, policy):
        return (Policy.none(policy.size),) * 2

    def forward(self, views, labels=None):
        return super().forward([v + self.sigma * torch.randn_like(v) for v in views])


class Turned(SimCLR):
    """SimCLR that is to ignore quarter turns as well: each view is turned by a number of quarters of its own."""

    def forward(self, views, labels=None):
        return super().forward([rotate(v, torch.randint(4, (len(v),))) for v in views])


class TurnsOnly(ESSL):
    """E-SSL without its first term: the features learn from the turns alone."""

    def forward(self, views, labels=None):
        return self.turn_loss(views[2])


# arm: (family, whose rate it has; method; options; policy)
ARMS: dict[str, tuple[str, object, dict, Policy]] = {
    "SimCLR": ("SimCLR", "simclr", {}, POLICY),
    "SimCLR, once more": ("SimCLR", "simclr", {}, POLICY),
    "without colour": ("without colour", "simclr", {}, NO_COLOUR),
    "without flips": ("SimCLR", "simclr", {}, POLICY.replace(flip_p=0.0)),
    "without crops": ("SimCLR", "simclr", {}, POLICY.replace(crop_p=0.0)),
    "crops and gray": ("SimCLR", "simclr", {}, CHEAP),
    "noise alone": ("noise alone", Noisy, {}, POLICY),
    "turns ignored": ("SimCLR", Turned, {}, POLICY),
    "E-SSL, small view": ("E-SSL, small view", "essl", {}, POLICY),
    "E-SSL 0.4": ("E-SSL", "essl", {"whole": True, "equivariance_weight": 0.4}, POLICY),
    "E-SSL 1.6": ("E-SSL", "essl", {"whole": True, "equivariance_weight": 1.6}, POLICY),
    "turns alone": ("E-SSL", TurnsOnly, {"whole": True}, POLICY),
    "EquiMod": ("EquiMod", "equimod", {}, POLICY),
    "LooC": ("LooC", "looc", {}, POLICY),
    "LooC, a tenth": ("LooC, a tenth", "looc", {"space_weight": 0.1}, POLICY),
}  # fmt: skip
FAMILIES = {
    "SimCLR": "SimCLR", "without colour": "without colour", "noise alone": "noise alone", "E-SSL": "E-SSL 0.4",
    "E-SSL, small view": "E-SSL, small view", "EquiMod": "EquiMod", "LooC": "LooC", "LooC, a tenth": "LooC, a tenth",
}  # fmt: skip
FUSED = {
    "SimCLR + SimCLR": ("SimCLR", "SimCLR, once more"),
    "SimCLR + without colour": ("SimCLR", "without colour"),
}
FLOORS = ("pixels", "untrained")


@cache
def sets_of(seed: int) -> list[data.ImageSet]:
    return [data.shapes(s, 32, n, seed, world=WORLD) for s, n in zip(data.SPLITS, COUNTS, strict=True)]


def build(arm: str, seed: int) -> SimCLR:
    """The untrained method of an arm; arms of one seed share the encoder's first weights, except "once more"."""
    _, kind, options, _ = ARMS[arm]
    recipe = get_recipe("quick").with_(encoder_options={"width": 8, "dim": 128})
    options = {"temperature": recipe.options["temperature"]} | options
    first = seed + 1000 * arm.endswith("once more")
    if isinstance(kind, str):
        return recipe.with_(method=kind, options=options).build(first)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first)
        return kind(build_encoder("convnet", **recipe.encoder_options), **options)


def train(arm: str, seed: int, lr: float, steps: int):
    """(method, mean loss of the last steps, seconds of one thread)."""
    method, policy, start = build(arm, seed), ARMS[arm][3], time.process_time()
    history = pretrain(
        method, sets_of(seed)[0].images, method.views(policy), steps=steps, batch_size=BATCH, lr=lr, seed=seed,
        progress=False,
    )  # fmt: skip
    tail = [row["loss"] for row in history[-20:]]
    return method.eval(), sum(tail) / len(tail), time.process_time() - start


# ---- what a probe reads ---------------------------------------------------------------------------------------------


def read(h: Tensor, h_test: Tensor, seed: int) -> dict:
    """The kinds from 100 labels, and each factor from 2,000 (0: chance, 1: all of it)."""
    _, train_set, test = sets_of(seed)
    chosen = [{name: s.factors[name] for name in FACTORS} for s in (train_set, test)]
    factors = evaluation.factor_probe(h, chosen[0], h_test, chosen[1])
    return {"probe": probe(h, h_test, train_set, test), "factors": factors}


def moved(encoder, seed: int) -> dict:
    """How far a change moves the features, against how far two pictures are apart: 0 is ignored, 1 as another picture.

    1,000 test pictures, features scaled to unit variance, squared distances (after Ericsson et al. 2022).
    """
    images = sets_of(seed)[2].images[:1000]
    plain = Policy.none(32)
    changes = {
        "colour": lambda g: augment(images, POLICY.replace(crop_p=0.0, flip_p=0.0), g),
        "crop": lambda g: augment(images, plain.replace(crop_p=1.0, crop_scale=POLICY.crop_scale), g),
        "flip": lambda g: normalize(images.flip(3)), "quarter turn": lambda g: normalize(images.rot90(1, (2, 3))),
        "noise": lambda g: normalize(images) + Noisy.sigma * torch.randn(images.shape, generator=g),
    }  # fmt: skip

    @torch.no_grad()
    def features(x):
        return torch.cat([encoder(part) for part in x.split(250)])

    h = features(normalize(images))
    scale = h.std(dim=0) + 1e-6
    apart = 2 * (h / scale).var(dim=0).sum()
    found = {}
    for name, change in changes.items():
        there = features(change(torch.Generator().manual_seed(seed)))
        found[name] = float(((there - h) / scale).square().sum(dim=1).mean() / apart)
    return found


@cache
def features_of(arm: str, seed: int, steps: int):
    """(method, features of train and test pictures, facts) of a trained arm."""
    lr = best_rate(ARMS[arm][0])
    method, loss, seconds = train(arm, seed, lr, steps)
    _, train_set, test = sets_of(seed)
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train_set, test))
    return method, h, h_test, {"rate": lr, "loss": loss, "seconds": seconds, "steps": steps}


def own(method, seed: int) -> dict:
    """What only some methods can tell: can the head name turns, does the module gain, what do LooC's spaces hold?"""
    _, train_set, test = sets_of(seed)
    if isinstance(method, ESSL):
        return {"turn_accuracy": method.turn_accuracy(test.images[:500])}
    if hasattr(method, "gain"):
        images, g = test.images[:500], torch.Generator().manual_seed(seed)
        policies, state = method.views(POLICY), g.get_state()
        seen = make_views(images, policies, g)
        g.set_state(state)
        return {"gain": method.gain(seen, [draw(p, len(images), images.shape[2:], g) for p in policies])}
    if not hasattr(method, "spaces"):
        return {}
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (train_set, test))
    spaces = {"ignores all": method.projector, "keeps colour": method.spaces[0]}
    with torch.no_grad():
        return {"spaces": {name: read(head(h), head(h_test), seed) for name, head in spaces.items()}}


def keep(arm: str, seed: int, steps: int) -> dict:
    _, train_set, test = sets_of(seed)
    if arm == "pixels":
        return read(*(evaluation.pixels(s.images) for s in (train_set, test)), seed) | {"steps": 0}
    if arm == "untrained":
        method = build("SimCLR", seed)
        settle(method, sets_of(seed)[0].images[:2048])
        encoder = method.eval().encoder
        h, h_test = (evaluation.extract_features(encoder, s.images) for s in (train_set, test))
        about = {"moved": moved(encoder, seed), "quarter": which_quarter(encoder, train_set, test)}
        return read(h, h_test, seed) | about | {"steps": 0}
    if arm in FUSED:
        sides = [features_of(a, seed, steps) for a in FUSED[arm]]
        return read(*(torch.cat([s[k] for s in sides], dim=1) for k in (1, 2)), seed) | {"steps": steps}
    method, h, h_test, facts = features_of(arm, seed, steps)
    about = {"moved": moved(method.encoder, seed), "quarter": which_quarter(method.encoder, train_set, test)}
    return facts | read(h, h_test, seed) | about | own(method, seed)


def tune(family: str, lr: float, steps: int) -> dict:
    method, loss, seconds = train(FAMILIES[family], TUNING_SEED, lr, steps)
    encode = partial(evaluation.extract_features, method.encoder)
    return held_out(encode, sets_of(TUNING_SEED)[1]) | {"loss": loss, "seconds": seconds, "steps": steps}


@cache
def best_rate(family: str) -> float:
    """The rate of the record's tuning rows; the middle one where there are none yet (a dry run)."""
    rows = [r for r in recorded("keep") if r["part"] == "tuning" and r["arm"] == family]
    return max(rows, key=lambda r: r["held_out"])["lr"] if len(rows) == len(RATES) else RATES[1]


# ---- who chooses ----------------------------------------------------------------------------------------------------


class Short:
    """One short run whose views come from a function: (pictures, generator) -> a view; it may be continued."""

    def __init__(self, seed: int):
        self.method, self.images, self.seed = build("SimCLR", seed), sets_of(seed)[0].images, seed

    def run(self, view: Callable, steps: int, part: int = 0) -> None:
        def loss(generator):
            batch = self.images[torch.randint(len(self.images), (BATCH,), generator=generator)]
            return self.method([view(batch, generator) for _ in range(2)])

        fit(self.method, loss, steps, lr=best_rate("SimCLR"), seed=self.seed + 1000 * part)

    def score(self) -> float:
        """The probe on held-out train images: what a search may look at."""
        return held_out(partial(evaluation.extract_features, self.method.encoder), sets_of(self.seed)[1])[
            "held_out"
        ]

    def result(self) -> dict:
        _, train_set, test = sets_of(self.seed)
        h, h_test = (evaluation.extract_features(self.method.encoder, s.images) for s in (train_set, test))
        return {"held_out": self.score(), "probe": probe(h, h_test, train_set, test)}


def by_policy(policy: Policy) -> Callable:
    return lambda batch, generator: augment(batch, policy, generator)


def alone(view: Callable, seed: int, steps: int, **about) -> dict:
    start, short = time.process_time(), Short(seed)
    short.run(view, steps)
    return about | {"steps": steps} | short.result() | {"seconds": time.process_time() - start}


def point(k: int) -> dict[str, float]:
    """The k-th policy of the first population, the same for all seeds."""
    return searched.random_numbers(torch.Generator().manual_seed(2200 + k))


def in_rounds(numbers: dict, seed: int, steps: int, rounds: int = ROUNDS) -> Short:
    short = Short(seed)
    for part in range(rounds):
        short.run(by_policy(searched.as_policy(numbers, 32)), steps // rounds, part)
    return short


def population(seed: int, steps: int) -> dict:
    """PBA in small (Ho et al. 2019): after each round the worst takes the best one's weights and a changed policy."""
    g, start = torch.Generator().manual_seed(seed), time.process_time()
    members = [{"short": Short(seed), "numbers": point(k), "past": []} for k in range(POPULATION)]
    for part in range(ROUNDS):
        for m in members:
            m["short"].run(by_policy(searched.as_policy(m["numbers"], 32)), steps // ROUNDS, part)
            m["past"], m["score"] = [*m["past"], m["numbers"]], m["short"].score()
        best, worst = (pick(members, key=lambda m: m["score"]) for pick in (max, min))
        if part < ROUNDS - 1:
            worst["short"].method.load_state_dict(best["short"].method.state_dict())
            worst["past"], worst["numbers"] = list(best["past"]), searched.perturbed(best["numbers"], g)
    about = {"steps": steps, "schedule": best["past"], "seconds": time.process_time() - start}
    return about | best["short"].result() | {"fixed": in_rounds(best["past"][-1], seed, steps).result()}


def unmoved(seed: int, steps: int) -> dict:
    """The same four policies for as long, and nobody copies: the best by the held-out score."""
    members = [in_rounds(point(k), seed, steps).result() for k in range(POPULATION)]
    return max(members, key=lambda m: m["held_out"]) | {"steps": steps}


def searches(seed: int, sizes: dict):
    steps = sizes["short"]
    yield "quick policy", lambda: alone(by_policy(POLICY), seed, steps)
    for n, m in GRID:
        view = partial(lambda n, m, batch, g: searched.rand_augment(batch, n, m, 32, g), n, m)
        yield f"RandAugment {n}, {m}", partial(alone, view, seed, steps, number=n, magnitude=m)
    yield "population", partial(population, seed, steps)
    yield "population, nobody copies", partial(unmoved, seed, steps)


def jobs(parts, seeds, sizes: dict):
    if "tuning" in parts and (seeds is None or TUNING_SEED in seeds):
        for family in FAMILIES:
            for lr in RATES:
                place = {"world": WORLD, "part": "tuning", "arm": family, "seed": TUNING_SEED, "lr": lr}
                yield place, partial(tune, family, lr, sizes["steps"])
    for seed in [s for s in SEEDS if seeds is None or s in seeds]:
        for arm in (*FLOORS, *ARMS, *FUSED) if "keep" in parts else ():
            yield (
                {"world": WORLD, "part": "keep", "arm": arm, "seed": seed},
                partial(keep, arm, seed, sizes["steps"]),
            )
    for seed in [s for s in SEEDS if seeds is None or s in seeds]:
        for arm, measure in searches(seed, sizes) if "search" in parts else ():
            yield {"world": WORLD, "part": "search", "arm": arm, "seed": seed}, measure


def main() -> None:
    options = vars(arguments(__doc__, PARTS, SIZES).parse_args())
    sizes = {name: options[name] for name in SIZES}
    todo = jobs(options["parts"], options["seeds"], sizes)
    resume("keep", KEY, todo, ("torch", "scikit-learn"), options["seconds"], options["dry"])


if __name__ == "__main__":
    main()
