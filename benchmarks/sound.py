"""Which loss keeps which factor of a sound: phones, words, speaker, room, from one small encoder (chapter 09).

    uv run python benchmarks/sound.py                        # what is missing in the record
    uv run python benchmarks/sound.py --part tuning          # the learning rates, first
    uv run python benchmarks/sound.py --seeds 0 --seconds 300
    uv run python benchmarks/sound.py --dry                  # two steps an arm, printed, nothing recorded

All arms: the same `SoundEncoder`, `STEPS` steps of `BATCH` clips out of the same 2,048 unlabelled ones.  The second
round of HuBERT needs the first one, which it trains itself, and twice the time with it.  Probes see LABELS labels per
class, three draws, other clips than those of the pretraining, and are scored on the test clips.  Part "tuning" tries
the RATES for every arm, 200 steps, and scores the phones (arms that predict frames) or the speaker (arms that compare
clips) on held-out train clips; part "arms" takes the best ones.
"""

import argparse
import inspect
import time
from functools import cache, partial

import torch
from _record import merge, recorded

from ssl_lessons import diagnostics, evaluation, losses
from ssl_lessons.data import label_subset
from ssl_lessons.modalities.audio import objectives, spectrogram, world
from ssl_lessons.modalities.audio.encoders import SoundEncoder
from ssl_lessons.training import fit

KEY = ("part", "arm", "lr", "seed")
STEPS, BATCH, CLIPS, LABELS, DRAWS, UNITS = 400, 32, 2048, 10, 3, 20
RATES, TUNING_STEPS, TUNING_SEED = (3e-4, 1e-3, 3e-3, 6e-3), 200, 100
FACTORS = ("phone", "word", "speaker", "room")
ARMS = {  # arm -> (what makes the objective from an encoder and the data, what tuning looks at)
    "CPC, other clips": (lambda e, d: objectives.CPC(e, "clips"), "phone"),
    "CPC, other times": (lambda e, d: objectives.CPC(e, "times"), "phone"),
    "COLA": (lambda e, d: objectives.COLA(e), "speaker"),
    "COLA, other room": (lambda e, d: objectives.COLA(e), "speaker"),
    "COLA, reversed": (lambda e, d: objectives.COLA(e), "speaker"),
    "BYOL-A": (lambda e, d: objectives.BYOLA(e, d.mean, d.std), "speaker"),
    "two formats": (lambda e, d: objectives.TwoFormats(e), "speaker"),
    "restore bands": (lambda e, d: objectives.Restore(e, "bands"), "phone"),
    "restore cells": (lambda e, d: objectives.Restore(e, "cells"), "phone"),
    "wav2vec 2.0": (lambda e, d: objectives.Wav2Vec2(e), "phone"),
    "wav2vec 2.0, not quantised": (lambda e, d: objectives.Wav2Vec2(e, quantised=False), "phone"),
    "wav2vec 2.0, no diversity": (lambda e, d: objectives.Wav2Vec2(e, alpha=0.0), "phone"),
    "HuBERT": (lambda e, d: objectives.HuBERT(e, UNITS), "phone"),
    "HuBERT, second round": (lambda e, d: objectives.HuBERT(e, UNITS), "phone"),
}
FLOORS = ("log-mel", "MFCC", "untrained", "untrained, causal")


class Data:
    """The unlabelled, train and test clips of one seed, standardised by the unlabelled ones."""

    def __init__(self, seed: int) -> None:
        sets = {
            split: world.sounds(split, n, seed)
            for split, n in (("unlabeled", CLIPS), ("train", 1200), ("test", 600))
        }
        logmel = {split: spectrogram.log_mel(s.wave) for split, s in sets.items()}
        order = torch.randperm(CLIPS, generator=torch.Generator().manual_seed(seed))
        elsewhere = spectrogram.log_mel(sets["unlabeled"].swapped(order).wave)
        self.mean = logmel["unlabeled"].mean((0, 1))
        self.std = logmel["unlabeled"].std((0, 1))
        self.sets, self.logmel = sets, logmel
        self.x = {split: self.standard(v) for split, v in logmel.items()}
        self.elsewhere = self.standard(elsewhere)

    def standard(self, logmel: torch.Tensor) -> torch.Tensor:
        return (logmel - self.mean) / self.std


data_of = cache(Data)


def encoder_of(seed: int) -> SoundEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SoundEncoder()


def units_of(features: torch.Tensor, seed: int) -> torch.Tensor:
    """k-means units [N, T / 2] of features [N, T / 2, D]; centroids from every fourth clip, all frames assigned."""
    _, centroids = losses.kmeans(features[::4].flatten(0, 1), UNITS, seed)
    return torch.cdist(features.float(), centroids[None].float()).argmin(-1)


def mfcc_frames(logmel: torch.Tensor) -> torch.Tensor:
    return spectrogram.cosines(logmel).unflatten(1, (-1, 2)).mean(2)


@torch.no_grad()
def in_batches(read, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([read(part) for part in x.split(256)])


def trained(
    arm: str, seed: int, lr: float, steps: int, labels=None
) -> tuple[objectives.Objective, list[float]]:
    """An arm after its steps; labels: the units that HuBERT is to name."""
    d = data_of(seed)
    encoder = encoder_of(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        objective = ARMS[arm][0](encoder, d)
    x, wave = d.x["unlabeled"], d.sets["unlabeled"].wave

    def loss(generator: torch.Generator) -> torch.Tensor:
        i = torch.randint(CLIPS, (BATCH,), generator=generator)
        more = {}
        if arm == "COLA, other room":
            more["other"] = d.elsewhere[i]
        elif arm == "COLA, reversed":
            more["other"] = x[i].flip(1)
        elif arm == "two formats":
            more["wave"] = 5 * wave[i]
        elif labels is not None:
            more["labels"] = labels[i]
        return objective.loss(x[i], generator, **more)

    after = getattr(objective, "update", None)
    return objective, fit(objective, loss, steps, lr=lr, seed=seed, after=after)


def examined(read: dict[str, torch.Tensor], seed: int, held_out: bool = False) -> dict[str, float]:
    """Probes of features [N, T / 2, D] of train and test clips; held_out: scored on train clips kept aside."""
    d = data_of(seed)
    sets = {"fit": (read["train"][:800], [f[:800] for f in d.sets["train"]])}
    if held_out:
        sets["score"] = (read["train"][800:], [f[800:] for f in d.sets["train"]])
    else:
        sets["score"] = (read["test"], list(d.sets["test"]))
    names, scores = world.Sounds._fields, {}
    for factor in FACTORS:
        pair = []
        for features, factors in sets.values():
            labels = factors[names.index(factor)]
            if labels.ndim == 2:  # a frame in the middle of every sixth of a clip
                features, labels = features[:, 4::8].flatten(0, 1), labels[:, 8::16].flatten()
            else:
                features = torch.cat([features.mean(1), features.std(1)], dim=1)
            pair.append((features, labels))
        (x, y), (tx, ty) = pair
        draws = []
        for draw in range(DRAWS):
            chosen = label_subset(y, LABELS, seed=draw)
            draws.append(evaluation.linear_probe(x[chosen], y[chosen], tx, ty, seed=draw).accuracy)
        scores[factor] = sum(draws) / DRAWS
    return scores


def floor(arm: str, seed: int) -> dict[str, torch.Tensor]:
    d = data_of(seed)
    encoder = encoder_of(seed).eval()
    reads = {
        "log-mel": lambda split: d.x[split].unflatten(1, (-1, 2)).flatten(2),
        "MFCC": lambda split: mfcc_frames(d.logmel[split]),
        "untrained": lambda split: in_batches(encoder, d.x[split]),
        "untrained, causal": lambda split: in_batches(partial(encoder, causal=True), d.x[split]),
    }
    return {split: reads[arm](split) for split in d.x}


def second_labels(arm: str, seed: int, lr: float, steps: int) -> torch.Tensor | None:
    """The units that a HuBERT arm is to name: of MFCC, or of what the first round has learned."""
    if not arm.startswith("HuBERT"):
        return None
    d = data_of(seed)
    first = units_of(mfcc_frames(d.logmel["unlabeled"]), seed)
    if arm == "HuBERT":
        return first
    objective, _ = trained("HuBERT", seed, lr, steps, first)
    return units_of(in_batches(objective.features, d.x["unlabeled"]), seed)


def row_of(arm: str, seed: int, lr: float, steps: int, held_out: bool = False) -> dict:
    d = data_of(seed)
    phones = d.sets["unlabeled"].phone[:, ::2]
    if arm in FLOORS:
        read, extra = floor(arm, seed), {}
    else:
        start = time.process_time()
        labels = second_labels(arm, seed, lr, steps)
        objective, history = trained(arm, seed, lr, steps, labels)
        read = {split: in_batches(objective.features, x) for split, x in d.x.items()}
        extra = {"loss": sum(history[-20:]) / len(history[-20:]), "seconds": time.process_time() - start}
        if labels is not None:
            extra["target_purity"] = evaluation.purity(labels.flatten(), phones.flatten())
        if arm.startswith("wav2vec") and objective.quantised:
            z = in_batches(objective.encoder.frames, d.x["test"]).flatten(0, 1)
            with torch.no_grad():
                p = objective.quantiser.logits(z).unflatten(-1, objective.quantiser.vectors.shape[:2])
            codes = torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).float()
            usage = [diagnostics.cluster_usage_entropy(codes[:, g]) for g in range(codes.shape[1])]
            extra["usage"] = sum(usage) / len(usage)
    row = examined(read, seed, held_out) | extra
    if not held_out:
        row["purity"] = evaluation.purity(units_of(read["unlabeled"], seed).flatten(), phones.flatten())
        row["spread"] = diagnostics.spread(read["test"].mean(1))
        row["rank"] = diagnostics.rank_me(read["test"].mean(1))
    return row


def best_rate(arm: str) -> float:
    """The rate that tuning likes best; the first arm's kin (a reversed or swapped view) takes that of its family."""
    rows = [r for r in recorded("sound") if r["part"] == "tuning" and r["arm"] == arm]
    if {r["lr"] for r in rows} < set(RATES):
        raise SystemExit(f"run --part tuning first: {arm} lacks some of {RATES}")
    return max(rows, key=lambda r: r[ARMS[arm][1]])["lr"]


def main(part: list[str], seeds: list[int], arms: list[str], seconds: float, dry: bool) -> None:
    start = time.perf_counter()
    if dry:
        for arm in arms:
            row = row_of(arm, 0, 3e-3, 2)
            print(arm, {k: round(v, 3) for k, v in row.items()}, flush=True)
        return
    todo = [("tuning", a, lr, TUNING_SEED) for lr in RATES for a in arms if a in ARMS and "tuning" in part]
    todo += [("arms", a, None, s) for s in seeds for a in arms if "arms" in part]
    done = {
        (r["part"], r["arm"], r["lr"] if r["part"] == "tuning" else None, r["seed"])
        for r in recorded("sound")
    }
    for key in (k for k in todo if k not in done):
        if time.perf_counter() - start > seconds:
            return
        p, arm, lr, seed = key
        if p == "arms" and arm in ARMS:
            lr = best_rate(arm)
        row = row_of(arm, seed, lr, TUNING_STEPS if p == "tuning" else STEPS, held_out=p == "tuning")
        merge("sound", [dict(zip(KEY, (p, arm, lr, seed), strict=True)) | row], KEY, packages=("torch",))
        print(p, arm, lr, seed, {k: round(v, 3) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", nargs="*", default=["tuning", "arms"], choices=["tuning", "arms"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="*", default=[*FLOORS, *ARMS], choices=[*FLOORS, *ARMS])
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after that many")
    parser.add_argument("--dry", action="store_true")
    main(**vars(parser.parse_args()))
