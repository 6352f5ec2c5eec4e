"""The measurements of chapter 19: nine losses, one network, equal tuning; and where each puts its features.

    uv run python benchmarks/one_view.py                   # all rows that the record does not have yet
    uv run python benchmarks/one_view.py --seconds 300     # start no new row after 300 seconds
    uv run python benchmarks/one_view.py --parts tuning    # first this, then --parts arms
    uv run python benchmarks/one_view.py --dry             # two steps of every arm, nothing written

tuning   learning rate and one setting of its own for each arm, in a world of its own (seed 100), scored on held-out
         images of the train split; the best of each is what "arms" uses.  Three rates, then two other settings at the
         best rate: five runs for every arm (three for the supervised one, which has no setting).
arms     the nine arms, raw pixels and the network before training, three seeds.

All arms share encoder, projector, batches, views and steps; only the loss differs.  "debiased" is SimCLR at the
temperature that SimCLR's own tuning has chosen, with some of p spread over all other views.  "transposed" is VICReg
whose variance and covariance terms see the batch transposed: pictures and dimensions change places.  "supervised" is
trained with the kinds of the same pictures, which the others never see.
"""

import argparse
import inspect
import math
import time
from functools import cache, partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import WORLD, probe, splits

from ssl_lessons import diagnostics, evaluation, losses, views
from ssl_lessons.methods.simclr import SimCLR
from ssl_lessons.methods.supervised import Supervised
from ssl_lessons.models import build_encoder
from ssl_lessons.models.settle import settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe

KEY = ("world", "part", "arm", "setting", "lr", "seed")
QUICK = get_recipe("quick")
SEEDS, TUNING_SEED = (0, 1, 2), 100
STEPS, TUNING_STEPS, BATCH = 300, 120, 128
RATES = (2e-3, 4e-3, 8e-3)
FLOORS = ("pixels", "untrained")
MOMENTS = 6  # of a run at which alignment and uniformity are measured


def cosine_q(z1, z2, temperature: float):
    """log q of SimCLR: a softmax of cosines among all other views."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return losses.neighbor_log_probs(z @ z.T / temperature)


def student_q(z1, z2, scale: float):
    """log q with Student's tail, one degree of freedom: q ~ 1 / (1 + d^2 / scale), rows of unit length."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return losses.neighbor_log_probs(-torch.log1p((2 - 2 * z @ z.T).clamp_min(0) / scale))


def partner_p(n: int, alpha: float = 0.0):
    """p of two views: the other view of the same picture, and a share alpha for all other views alike."""
    picture = torch.arange(n).repeat(2)
    return losses.debias(losses.neighbor_probs(picture[:, None] == picture), alpha)


def debiased(z1, z2, alpha: float, temperature: float):
    return losses.i_con(partner_p(len(z1), alpha), cosine_q(z1, z2, temperature))


def student(z1, z2, scale: float):
    return losses.i_con(partner_p(len(z1)), student_q(z1, z2, scale))


def spectral(z1, z2, radius: float):
    return losses.spectral_contrastive(*(radius * F.normalize(z, dim=1) for z in (z1, z2)))


def vicreg(z1, z2, weight: float):
    return losses.vicreg(z1, z2, covariance_weight=weight)


def transposed(z1, z2, weight: float):
    """VICReg, but variance and covariance are those of the transposed batch: lengths and angles of the pictures."""
    regular = sum(losses.vcreg(z.T, 12.5, weight) for z in (z1, z2))
    return 25 * losses.vicreg_invariance(z1, z2) + regular


def align_uniform(z1, z2, weight: float):
    return losses.align_uniform(z1, z2, align_weight=weight)


# arm -> loss(z1, z2, setting) and the three settings on offer, the first one being the usual one.
LOSSES = {
    "simclr": (losses.nt_xent, (0.1, 0.05, 0.2)),
    "debiased": (debiased, (0.2, 0.1, 0.4)),
    "student": (student, (0.1, 0.02, 0.5)),
    "spectral": (spectral, (2.0, 1.5, 3.0)),
    "vicreg": (vicreg, (1.0, 0.25, 4.0)),
    "transposed": (transposed, (1.0, 0.25, 4.0)),
    "align_uniform": (align_uniform, (1.0, 0.5, 3.0)),
    "hsic": (losses.ssl_hsic, (3.0, 1.0, 9.0)),
}
ARMS = (*LOSSES, "supervised")


class Watched:
    """Mixed into a method: alignment and uniformity of h and z on fixed views of test images, as training goes on."""

    def watch(self, pair: list[torch.Tensor], steps: int):
        self.pair_watched, self.seen, self.path = pair, 0, []
        self.moments = {round(steps * i / MOMENTS) for i in range(1, MOMENTS + 1)} if steps else set()

    def after_step(self, progress: float) -> None:
        self.seen += 1
        if self.seen in self.moments:
            was = self.training
            self.path.append([self.seen, *geometry(self.eval(), self.pair_watched, "h").values()])
            self.train(was)


class OneLoss(Watched, SimCLR):
    """SimCLR's network with any loss of two views."""

    def __init__(self, encoder, loss):
        super().__init__(encoder)
        self.loss = loss

    def forward(self, pair, labels=None):
        return self.loss(*self.pair(pair))


class WatchedSupervised(Watched, Supervised):
    pass


@torch.no_grad()
def geometry(method, pair, layer: str) -> dict:
    """Alignment of the two views and uniformity of the first, rows of unit length, of "h" or "z"."""
    h1, h2 = (method.encoder(v) for v in pair)
    if layer == "z":
        h1, h2 = method.projector(h1), method.projector(h2)
    return {"alignment": diagnostics.alignment(h1, h2), "uniformity": diagnostics.uniformity(h1)}


@cache
def drawn(seed: int):
    """unlabeled, train, test of a seed, and a fixed pair of views of 500 test images."""
    sets = splits(seed)
    generator = torch.Generator().manual_seed(seed)
    return sets, views.make_views(sets[2].images[:500], (QUICK.policy,) * 2, generator)


def build(arm: str, setting, seed: int):
    """An arm before training; the weights depend on the seed alone."""
    torch.manual_seed(seed)
    encoder = build_encoder(QUICK.encoder, **QUICK.encoder_options)
    if arm == "supervised":
        return WatchedSupervised(encoder, n_classes=10)
    loss = LOSSES[arm][0]
    if arm == "debiased":
        loss = partial(debiased, temperature=chosen("simclr")[1])
    return OneLoss(encoder, lambda z1, z2: loss(z1, z2, setting))


def train(arm: str, setting, lr: float, seed: int, steps: int):
    (unlabeled, _, _), pair = drawn(seed)
    method = build(arm, setting, seed)
    method.watch(pair, steps if seed != TUNING_SEED else 0)
    labels = unlabeled.factors["kind"].values.long() if arm == "supervised" else None
    training = QUICK.training() | {"batch_size": BATCH, "lr": lr}
    start = time.perf_counter()
    history = pretrain(
        method, unlabeled.images, method.views(QUICK.policy), steps=steps, seed=seed, labels=labels,
        progress=False, **training,
    )  # fmt: skip
    loss = sum(r["loss"] for r in history[-20:]) / len(history[-20:])
    return method.eval(), {"steps": steps, "loss": loss, "seconds": round(time.perf_counter() - start, 1)}


def tuning_run(arm: str, setting, lr: float, steps: int = TUNING_STEPS) -> dict:
    """Nothing is chosen on the test split: one half of the train images is scored by a probe on the other."""
    method, found = train(arm, setting, lr, TUNING_SEED, steps)
    labelled = drawn(TUNING_SEED)[0][1]
    h, half = evaluation.extract_features(method.encoder, labelled.images), len(labelled) // 2
    return found | {"held_out": probe(h[:half], h[half:], labelled[:half], labelled[half:])}


def measured(method, seed: int) -> dict:
    (_, labelled, test), pair = drawn(seed)
    h, h_test = (evaluation.extract_features(method.encoder, s.images) for s in (labelled, test))
    found = {
        "probe": probe(h, h_test, labelled, test),
        "knn": evaluation.knn_accuracy(h, labelled.labels, h_test, test.labels),
        "rank_h": float(diagnostics.rank_me(h_test)),
    }
    layers = ("h", "z") if hasattr(method, "projector") else ("h",)
    for layer in layers:
        found |= {f"{k}_{layer}": v for k, v in geometry(method, pair, layer).items()}
    if "z" in layers:
        found |= norms(method, pair[0])
    return found


@torch.no_grad()
def norms(method, view) -> dict:
    """How unequal the squared lengths of rows and columns of z are: mean square over squared mean; 1 where equal."""
    z = method.projector(method.encoder(view)).double().square()
    lengths = {"rows": z.sum(dim=1), "columns": z.sum(dim=0)}
    return {f"unequal_{name}": float(s.square().mean() / s.mean() ** 2) for name, s in lengths.items()}


def arm_run(arm: str, seed: int, steps: int = STEPS) -> dict:
    lr, setting = chosen(arm)
    method, found = train(arm, setting, lr, seed, steps)
    return {"chosen_lr": lr, "chosen_setting": setting, "path": method.path} | found | measured(method, seed)


def floor(arm: str, seed: int) -> dict:
    (unlabeled, labelled, test), _ = drawn(seed)
    if arm == "pixels":
        h, h_test = evaluation.pixels(labelled.images), evaluation.pixels(test.images)
        return {
            "steps": 0, "probe": probe(h, h_test, labelled, test),
            "knn": evaluation.knn_accuracy(h, labelled.labels, h_test, test.labels),
        }  # fmt: skip
    method = build("simclr", 0.1, seed)
    settle(method, unlabeled.images[:2048])
    return {"steps": 0} | measured(method.eval(), seed)


def rows_of(part: str) -> list[dict]:
    return [r for r in recorded("one_view") if r["part"] == part and r.get("world") == WORLD]


def chosen(arm: str) -> tuple[float, float | None]:
    """(learning rate, setting) that did best on held-out train images."""
    rows = [r for r in rows_of("tuning") if r["arm"] == arm]
    best = max(rows, key=lambda r: r["held_out"]) if rows else {"lr": RATES[1], "setting": usual(arm)}
    return best["lr"], best["setting"]


def usual(arm: str):
    return LOSSES[arm][1][0] if arm in LOSSES else None


def tuning_jobs(arms):
    """Place and run, in order; the settings wait for the rates."""
    for arm in arms:
        for lr in RATES:
            yield {"arm": arm, "setting": usual(arm), "lr": lr, "seed": TUNING_SEED}, tuning_run
        for setting in LOSSES[arm][1][1:] if arm in LOSSES else ():
            known = [r for r in rows_of("tuning") if r["arm"] == arm and r["setting"] == usual(arm)]
            best = max(known, key=lambda r: r["held_out"])["lr"] if known else RATES[1]
            yield {"arm": arm, "setting": setting, "lr": best, "seed": TUNING_SEED}, tuning_run


def arm_jobs(arms, seeds):
    for seed in seeds:
        for arm in FLOORS:
            yield {"arm": arm, "setting": None, "lr": None, "seed": seed}, floor
        for arm in arms:
            yield {"arm": arm, "setting": None, "lr": None, "seed": seed}, arm_run


def main(parts, arms, seeds, seconds: float, dry: bool) -> None:
    if dry:
        return rehearse(arms)
    start = time.perf_counter()
    for part in parts:
        for place, run in tuning_jobs(arms) if part == "tuning" else arm_jobs(arms, seeds):
            place = {"world": WORLD, "part": part} | place
            if any(all(r.get(k) == place[k] for k in KEY) for r in rows_of(part)):
                continue
            if time.perf_counter() - start > seconds:
                return print("time is up; the next call goes on here:", place)
            arguments = ("arm", "setting", "lr") if run is tuning_run else ("arm", "seed")
            row = place | run(*(place[k] for k in arguments))
            merge("one_view", [row], KEY)
            shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items() if k != "path"}
            print(shown, flush=True)


def rehearse(arms) -> None:
    """Two steps of every arm, nothing written."""
    for arm in arms:
        row = arm_run(arm, 0, steps=2) | tuning_run(arm, usual(arm), RATES[0], steps=2)
        assert math.isfinite(row["loss"])
        print(arm, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=("tuning", "arms"), choices=("tuning", "arms"))
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new row after this time"
    )
    parser.add_argument("--dry", action="store_true", help="two steps of every arm, nothing written")
    main(**vars(parser.parse_args()))
