"""What a model knows that only predicts the next sample, or the next code, of a tune (chapter 09b).

    uv run python benchmarks/sound_codes.py                 # what is missing in the record
    uv run python benchmarks/sound_codes.py --parts tuning  # the learning rates, first
    uv run python benchmarks/sound_codes.py --dry --steps 6 --clips 128

A quarter of an hour on one thread.  Parts.  tuning: RATES for every arm that learns, on a world of its own (seed 100),
by its own loss on held-out train clips, with half the steps.  samples: bits per sample of mu-law samples, WaveNets
beside counts and linear prediction.  codes: a VQ-VAE with and without restarts.  prior: bits per code.  probes: what
can be read from the mean over time of each layer, LABELS labels per class, DRAWS draws.  continued: the second half of
a clip, from the first: is the pitch right?
"""

import math
from functools import cache, partial

import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume

from ssl_lessons import evaluation
from ssl_lessons.data import label_subset
from ssl_lessons.modalities.audio import objectives, tunes
from ssl_lessons.modalities.audio.encoders import SoundEncoder
from ssl_lessons.models.generative import sound_codes as codes
from ssl_lessons.models.generative import vq
from ssl_lessons.models.generative.autoregressive import GPT, bits_per_symbol, continued
from ssl_lessons.models.generative.wavenet import WaveNet, mu_law
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
STEPS, CLIPS, SEEDS, TUNING_SEED, RATES = 700, 4096, (0, 1, 2), 100, (2e-3, 5e-3, 1e-2)
CODES, LENGTH, DEPTH, BATCH, LABELS, DRAWS = 128, 32, 6, 32, 25, 2
SIZES = {"steps": STEPS, "clips": CLIPS}
WAVENETS = {  # arm -> (dilations, gated)
    "WaveNet": ((1, 2, 4, 8, 16, 32, 64, 128), True),
    "no holes": ((1,) * 8, True),
    "no gate": ((1, 2, 4, 8, 16, 32, 64, 128), False),
}
SPLITS = {"unlabeled": None, "train": 1200, "test": 600}


@cache
def sounds(seed: int) -> dict[str, tunes.Tunes]:
    return {split: tunes.tunes(split, n or SIZES["clips"], seed) for split, n in SPLITS.items()}


@cache
def pictures(seed: int) -> dict[str, torch.Tensor]:
    return {split: codes.spectra(s.wave) for split, s in sounds(seed).items()}


def some(x: torch.Tensor, generator: torch.Generator, n: int = BATCH) -> torch.Tensor:
    return x[torch.randint(len(x), (n,), generator=generator)]


def steps_of(seed: int) -> int:
    return SIZES["steps"] // (2 if seed == TUNING_SEED else 1)


def rate(arm: str) -> float:
    """The rate with the lowest loss on held-out clips of the tuning world."""
    rows = {r["lr"]: r["held_out"] for r in recorded("sound_codes") if r["arm"].startswith(f"{arm}, lr ")}
    if set(rows) != set(RATES):
        if SIZES == {"steps": STEPS, "clips": CLIPS}:
            raise SystemExit(f"run --parts tuning first: {arm} lacks some of {RATES}")
        return RATES[0]
    return min(rows, key=rows.get)


# ---- samples --------------------------------------------------------------------------------------------------------


@cache
def levels(seed: int) -> dict[str, torch.Tensor]:
    return {split: mu_law(s.wave) for split, s in sounds(seed).items()}


@cache
def wavenet(arm: str, seed: int, lr: float) -> WaveNet:
    """After a third of the prior's steps, each of 8 stretches of 768 samples; the first 256 cost nothing."""
    dilations, gated = WAVENETS[arm]
    torch.manual_seed(seed)
    model, x = WaveNet(dilations, gated=gated), levels(seed)["unlabeled"]

    def loss(g):
        start = int(torch.randint(tunes.SAMPLES - 767, (1,), generator=g))
        part = some(x[:, start : start + 768], g, 8)
        return F.cross_entropy(model(part)[..., 256:], part[:, 256:])

    fit(model, loss, steps_of(seed) // 3, lr=lr, seed=seed)
    return model


def linear_bits(seed: int, order: int = 32) -> float:
    """Least squares from the 32 samples before, in mu-law levels; its errors by a histogram of the train clips."""
    from numpy.linalg import lstsq

    def rows(x):
        past = x.double().unfold(1, order + 1, 7)  # every seventh place is enough to fit, and to score
        flat = past.flatten(0, 1)
        return torch.cat([flat[:, :-1], torch.ones(len(flat), 1)], dim=1), flat[:, -1]

    past, now = rows(levels(seed)["train"][:300])
    weight = torch.tensor(lstsq(past.numpy(), now.numpy(), rcond=None)[0])
    off = (now - (past @ weight).round()).long().clamp(-255, 255) + 255
    p = (torch.bincount(off, minlength=511) + 0.5).double()
    past, now = rows(levels(seed)["test"])
    off = (now - (past @ weight).round()).long().clamp(-255, 255) + 255
    return float(-(p / p.sum())[off].log2().mean())


def counted_bits(seed: int, pairs: bool) -> float:
    """A table of how often each level comes, after each level or at all, with half a count on top."""
    x, y = levels(seed)["unlabeled"], levels(seed)["test"]
    return table_bits(x, y, 256, pairs)


def table_bits(x: torch.Tensor, y: torch.Tensor, k: int, pairs: bool) -> float:
    before, after = (
        (x[:, :-1], y[:, :-1]) if pairs else (torch.zeros_like(x[:, 1:]), torch.zeros_like(y[:, 1:]))
    )
    table = torch.bincount((before * k + x[:, 1:]).flatten(), minlength=k * k).view(k, k).double()
    p = (table + 0.05) / (table + 0.05).sum(1, keepdim=True)
    return float(-p[after, y[:, 1:]].log2().mean())


def run_samples(arm: str, seed: int) -> dict:
    floors = {
        "each alone": partial(counted_bits, seed, False), "the one before": partial(counted_bits, seed, True),
        "linear, 32 before": partial(linear_bits, seed),
    }  # fmt: skip
    if arm in floors:
        return {"bits": floors[arm]()}
    lr = rate(arm)
    model, y = wavenet(arm, seed, lr), levels(seed)["test"][:200]
    with torch.no_grad():
        each = torch.cat([F.cross_entropy(model(p), p, reduction="none") for p in y.split(20)]) / math.log(2)
    s = tunes.Tunes(*(f[:200] for f in sounds(seed)["test"]))
    fresh = s.since() < 20
    return {"bits": float(each.mean()), "lr": lr, "reach": model.receptive_field,
            "fresh": float(each[fresh].mean()), "later": float(each[~fresh].mean())}  # fmt: skip


# ---- codes and their prior ------------------------------------------------------------------------------------------


@cache
def coder(arm: str, seed: int, lr: float) -> codes.SoundCodes:
    torch.manual_seed(seed)
    model, x = codes.SoundCodes(CODES), pictures(seed)["unlabeled"]
    model.settle(x)
    steps = steps_of(seed) // 2
    chance = torch.Generator().manual_seed(seed)

    def after(step):
        if arm == "restarts" and step % 10 == 0 and step <= steps // 2:
            with torch.no_grad():
                model.vq.restart_unused(model.encode(some(x, chance)), chance)

    fit(model, lambda g: model.loss(some(x, g)), steps, lr=lr, seed=seed, after=after)
    return model


@cache
def sentences(seed: int) -> dict[str, torch.Tensor]:
    model = coder("restarts", seed, rate("restarts"))
    with torch.no_grad():
        return {split: model.codes(x) for split, x in pictures(seed).items()}


def run_codes(arm: str, seed: int) -> dict:
    lr = rate(arm)
    model, x = coder(arm, seed, lr), pictures(seed)["test"]
    with torch.no_grad():
        chosen = model.codes(x)
        error = (model.decode(chosen) - x).square().mean() / model.std.square()
    return {"error": float(error), "in_use": vq.perplexity(chosen, CODES), "lr": lr}


def gpt(seed: int) -> GPT:
    torch.manual_seed(seed)
    return GPT(CODES, LENGTH, 64, DEPTH, 4)


@cache
def prior(seed: int, lr: float) -> GPT:
    model, x = gpt(seed), sentences(seed)["unlabeled"]

    def loss(g):
        part = some(x, g)
        return F.cross_entropy(model(part), part)

    fit(model, loss, steps_of(seed), lr=lr, seed=seed)
    return model


class Tagger(torch.nn.Module):
    """The prior's network, asked for the instrument of every clip: the mean of its last states, and a linear map."""

    def __init__(self, seed: int):
        super().__init__()
        self.gpt = gpt(seed)
        self.head = torch.nn.Linear(64, len(tunes.INSTRUMENTS))

    def hidden(self, x):
        return self.gpt.hidden(x)

    def loss(self, x, tags):
        return F.cross_entropy(self.head(self.gpt.norm(self.hidden(x)[-1]).mean(1)), tags)


@cache
def tagger(seed: int, lr: float) -> Tagger:
    model, x, tags = Tagger(seed), sentences(seed)["unlabeled"], sounds(seed)["unlabeled"].instrument

    def loss(g):
        i = torch.randint(len(x), (BATCH,), generator=g)
        return model.loss(x[i], tags[i])

    fit(model, loss, steps_of(seed), lr=lr, seed=seed)
    return model


@cache
def mels(seed: int) -> dict[str, torch.Tensor]:
    x = {split: tunes.log_mel(s.wave) for split, s in sounds(seed).items()}
    mean, std = x["unlabeled"].mean((0, 1)), x["unlabeled"].std((0, 1))
    return {split: (v - mean) / std for split, v in x.items()}


@cache
def cola(seed: int, lr: float) -> objectives.COLA:
    """Chapter 09's: two stretches of a clip, 0.48 s each, among those of other clips."""
    torch.manual_seed(seed)
    model, x = objectives.COLA(SoundEncoder(), 24), mels(seed)["unlabeled"]
    fit(model, lambda g: model.loss(some(x, g), g), steps_of(seed), lr=lr, seed=seed)
    return model


def run_prior(arm: str, seed: int) -> dict:
    x = sentences(seed)
    if arm != "all before":
        return {"bits": table_bits(x["unlabeled"], x["test"], CODES, arm == "the one before")}
    lr = rate("prior")
    return {"bits": bits_per_symbol(prior(seed, lr), x["test"]), "lr": lr}


# ---- probes ---------------------------------------------------------------------------------------------------------


def means(model, x: torch.Tensor, layer: int) -> torch.Tensor:
    """The states after a layer, averaged over time, [N, width]."""
    axis = 2 if isinstance(model, WaveNet) else 1
    with torch.no_grad():
        return torch.cat([model.hidden(part)[layer].mean(axis) for part in x.split(50)])


def read(arm: str, seed: int, split: str) -> torch.Tensor:
    name, _, layer = arm.partition(", layer ")
    if name == "log-mel":
        return torch.cat([mels(seed)[split].mean(1), mels(seed)[split].std(1)], dim=1)
    if name == "log-mel, all times":
        return mels(seed)[split].flatten(1)
    if name == "how often each code":
        return F.one_hot(sentences(seed)[split], CODES).float().mean(1)
    if name == "how often each pair":  # a code and the next
        x = sentences(seed)[split]
        pairs, one = x[:, :-1] * CODES + x[:, 1:], torch.ones(1).expand(len(x), LENGTH - 1)
        return torch.zeros(len(x), CODES**2).scatter_add_(1, pairs, one)
    if name == "VQ-VAE's encoder":
        model = coder("restarts", seed, rate("restarts"))
        with torch.no_grad():
            return model.encode(pictures(seed)[split]).mean(2)
    if name == "COLA":
        return cola(seed, rate("COLA")).features(mels(seed)[split]).mean(1)
    if name == "WaveNet":
        return means(wavenet("WaveNet", seed, rate("WaveNet")), levels(seed)[split], int(layer) - 1)
    makers = {"untrained": lambda: gpt(seed), "prior": lambda: prior(seed, rate("prior")),
              "tagger": lambda: tagger(seed, rate("tagger"))}  # fmt: skip
    return means(makers[name](), sentences(seed)[split], int(layer))


def run_probe(arm: str, seed: int) -> dict:
    train, test = (read(arm, seed, split) for split in ("train", "test"))
    row = {}
    for factor in tunes.FACTORS:
        y, ty = (getattr(sounds(seed)[split], factor) for split in ("train", "test"))
        draws = [label_subset(y, LABELS, seed=draw) for draw in range(DRAWS)]
        found = [
            evaluation.linear_probe(train[i], y[i], test, ty, seed=k).accuracy for k, i in enumerate(draws)
        ]
        row[factor] = sum(found) / DRAWS
    return row


PROBES = (
    "log-mel", "log-mel, all times", "how often each code", "how often each pair", "VQ-VAE's encoder", "COLA",
    "WaveNet, layer 8", f"tagger, layer {DEPTH // 2}", f"tagger, layer {DEPTH}",
    *(f"{name}, layer {k}" for name in ("untrained", "prior") for k in range(DEPTH + 1)),
)  # fmt: skip


# ---- going on -------------------------------------------------------------------------------------------------------


def run_continued(arm: str, seed: int) -> dict:
    """Share of frames with the right pitch in eighths of the second half of 100 slow test clips."""
    s = sounds(seed)["test"]
    slow = (s.tempo == 0).nonzero()[:100, 0]
    half, truth = tunes.SAMPLES // 2, s.pitch()[slow]
    reader = tunes.PitchReader(pictures(seed)["train"][:300], sounds(seed)["train"].pitch()[:300])
    generator = torch.Generator().manual_seed(seed)
    if arm == "WaveNet":
        model = wavenet("WaveNet", seed, rate("WaveNet"))
        wave = model.samples(levels(seed)["test"][slow][:, :half], half, generator)
        found = reader(codes.spectra(wave))
    elif arm == "prior":
        model, x = prior(seed, rate("prior")), sentences(seed)["test"][slow][:, : LENGTH // 2]
        found = reader(
            coder("restarts", seed, rate("restarts")).decode(continued(model, x, LENGTH, generator))
        )
    elif arm == "through the codes":
        found = reader(coder("restarts", seed, rate("restarts")).decode(sentences(seed)["test"][slow]))
    else:
        found = reader(pictures(seed)["test"][slow])
        if arm == "another clip":
            found = found.roll(1, 0)
    right = (found == truth[:, :: codes.HOP])[:, 32:].float()
    return {"right": right.mean(0).unflatten(0, (8, 4)).mean(1).tolist(), "all": float(right.mean())}


# ---- all of it ------------------------------------------------------------------------------------------------------


def tune(arm: str, lr: float) -> dict:
    """The loss on the train clips of the tuning world, which nothing else has seen."""
    seed = TUNING_SEED
    makers = {"prior": prior, "tagger": tagger, "COLA": cola} | {
        name: partial(wavenet if name in WAVENETS else coder, name)
        for name in (*WAVENETS, "restarts", "no restarts")
    }
    model = makers[arm](seed, lr)
    with torch.no_grad():
        if arm in WAVENETS:
            held_out = bits_per_symbol(model, levels(seed)["train"][:100])
        elif arm in ("restarts", "no restarts"):
            held_out = float(model.loss(pictures(seed)["train"]))
        elif arm == "prior":
            held_out = bits_per_symbol(model, sentences(seed)["train"])
        elif arm == "tagger":
            held_out = float(model.loss(sentences(seed)["train"], sounds(seed)["train"].instrument))
        else:
            g, parts = torch.Generator().manual_seed(seed), mels(seed)["train"][:1184].split(BATCH)
            held_out = sum(float(model.loss(part, g)) for part in parts) / len(parts)
    return {"lr": lr, "held_out": held_out}


ARMS = {
    "samples": (("each alone", "the one before", "linear, 32 before", *WAVENETS), run_samples),
    "codes": (("restarts", "no restarts"), run_codes),
    "prior": (("each alone", "the one before", "all before"), run_prior),
    "probes": (PROBES, run_probe),
    "continued": (
        ("the clip itself", "through the codes", "another clip", "WaveNet", "prior"), run_continued,
    ),
}  # fmt: skip
LEARNERS = ("restarts", "no restarts", "prior", "tagger", "COLA", *WAVENETS)


def jobs(parts, seeds):
    for arm in LEARNERS if "tuning" in parts else ():
        for lr in RATES:
            place = {"part": "tuning", "arm": f"{arm}, lr {lr:g}", "seed": TUNING_SEED}
            yield place, partial(tune, arm, lr)
    for seed in seeds or SEEDS:
        for part, (names, run) in ARMS.items():
            for arm in names if part in parts else ():
                yield {"part": part, "arm": arm, "seed": seed}, partial(run, arm, seed)


def main(parts, seeds, seconds: float, steps: int, clips: int, dry: bool) -> None:
    if (steps, clips) != (STEPS, CLIPS) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, clips=clips)
    resume("sound_codes", KEY, jobs(parts, seeds), ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, ("tuning", *ARMS), {"steps": STEPS, "clips": CLIPS}).parse_args()))
