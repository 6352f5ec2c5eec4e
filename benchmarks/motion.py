"""The measurements of chapter 10b: what motion, captions and codes of films teach.

    uv run python benchmarks/motion.py                             # all rows that the record does not have yet
    uv run python benchmarks/motion.py --share 20 --dry               # everything once, a twentieth, nothing recorded

tuning    the learning rate of each arm, on worlds of their own (seed 100), from the same list, by held-out train films.
masks     a network that sees one frame learns masks from motion: frame differences with several gaps, the known flow,
          Overlap with the exact masks of still pictures, and the overlap of its teacher.
resting   one kind of thing moves in no film, in a quarter, in all: is it found in still pictures?
pairs     two things that go apart, or always together: asked about one, how much of the other is answered?
features  kind, colour and background of a patch, from 200 labels: after masks, after tracked patches, before training.
captions  clips and captions that overlap in time: exact or loose pairs, retrieved negatives, one frame alone.
codes     bits per code of a film's codes: counts, convolutions, a transformer, and one of films whose order is mixed.
"""

import base64
import time
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume

from ssl_lessons import evaluation
from ssl_lessons.data.image_set import Factor
from ssl_lessons.modalities.video import narrated, scenes, stills, views, world
from ssl_lessons.models.generative import clip_codes, vq
from ssl_lessons.models.generative.autoregressive import GPT
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
SEEDS, TUNING_SEED, RATES, RATE = (0, 1, 2), 100, (4e-3, 1e-2), 6e-3
STEPS = {"masks": 800, "pairs": 800, "tracks": 500, "captions": 600, "vq": 600, "codes": 600}
FILMS, LONG, TEST, LABELS, CODES = 1200, 600, 400, 200, 64
SHARE = {"of": 1}  # every size is divided by it: for trials
CUTS = [round(0.1 * k, 1) for k in range(1, 10)]  # of the network's probability, where a thing begins
RESTING = world.KINDS.index("triangle")


def steps(part: str) -> int:
    return max(2, STEPS[part] // SHARE["of"])


@lru_cache(maxsize=4)
def drawn(split: str, seed: int, **options) -> scenes.Scenes:
    n = FILMS if split == "train" else TEST
    return scenes.scenes(split, max(40, n // SHARE["of"]), seed, **options)


def trained(task, part: str, lr: float, seed: int, **options) -> dict:
    """`part` of STEPS; tuning takes half as many."""
    start, n = time.process_time(), steps(part) // (2 if seed == TUNING_SEED else 1)
    history = fit(task, task, n, lr=lr, seed=seed, **options)
    last = history[-20:]
    return {
        "steps": n, "lr": lr, "loss": sum(last) / len(last), "loss_first": history[0],
        "seconds": time.process_time() - start,
    }  # fmt: skip


def halves(part, **options) -> tuple:
    """For tuning: train films of a world of its own, and as many others of the same."""
    films = drawn("train", TUNING_SEED, **options)
    return films[: len(films) * 3 // 4], films[len(films) * 3 // 4 :]


def best_rate(arm: str) -> float:
    rows = [r for r in recorded("motion") if r["part"] == "tuning" and r["of"] == arm]
    return max(rows, key=lambda r: r["score"])["lr"] if rows else RATE


# ---- masks from motion, and still pictures --------------------------------------------------------------------------

GAPS = (2, 4, 6)
TEACHERS = (*(f"difference, gap {g}" for g in GAPS), "known flow")


def masks_of(films: scenes.Scenes, teacher: str) -> tuple[torch.Tensor, tuple[int, ...]]:
    """bool [N, K, S, S] and the K moments."""
    last = films.frames.shape[1]
    if teacher.startswith("difference"):
        gap = int(teacher.split()[-1])
        times = tuple(range(last - gap))
        found = [scenes.differs(films.frames, t, gap) for t in times]
    else:
        times = tuple(range(last))
        found = [scenes.flow_masks(films, t) for t in times]
    return torch.stack(found, dim=1), times


def learn_masks(films: scenes.Scenes, teacher: str, lr: float, seed: int) -> tuple[stills.ThingNet, dict]:
    torch.manual_seed(seed)
    net, (masks, times) = stills.ThingNet(), masks_of(films, teacher)
    row = trained(stills.WhatMoves(net, films.frames, masks, times), "masks", lr, seed)
    return net, row | {"teacher": stills.overlap(masks, films.masks[:, list(times)] > 0)}


def still(films: scenes.Scenes) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle frames, and everything that is a thing in them."""
    t = films.frames.shape[1] // 2
    return films.frames[:, t], films.masks[:, t] > 0


def found_in(net: stills.ThingNet, films: scenes.Scenes) -> dict:
    pictures, truth = still(films)
    p = stills.answers(net, pictures)
    return {"iou": stills.overlap(p > 0.5, truth), "iou_at": [stills.overlap(p > cut, truth) for cut in CUTS]}


def run_masks(teacher: str, seed: int) -> dict:
    films, test = drawn("train", seed), drawn("test", seed)
    net, row = learn_masks(films, teacher, best_rate("masks"), seed)
    row |= found_in(net, test)
    if seed == 0:  # what the widget shows
        p = stills.answers(net, still(test)[0][:4])
        row["answers"] = base64.b64encode((255 * p).round().byte().numpy().tobytes()).decode()
    if teacher in FEATURES:
        row |= read(net, seed)
    return row


def rule(name: str, seed: int) -> dict:
    """The best threshold of a rule on the train pictures (with their labels), on the test pictures."""
    (x, truth), (y, test) = still(drawn("train", seed)), still(drawn("test", seed))
    if name == "everything":
        return {"steps": 0, "iou": stills.overlap(torch.ones_like(test), test)}
    a, b = stills.salience(name, x), stills.salience(name, y)
    cut = max((i / 50 for i in range(50)), key=lambda c: stills.overlap(a > c, truth))
    return {"steps": 0, "iou": stills.overlap(b > cut, test)}


RULES = ("everything", "edges", "saturation", "far from the median colour")


# ---- what rests, and what moves together ----------------------------------------------------------------------------

SHARES = {"never": 0.0, "in a quarter": 0.25, "always": 1.0}


def run_resting(name: str, seed: int) -> dict:
    films = drawn("train", seed, resting=RESTING, moving_share=SHARES[name])
    test = drawn("test", seed)  # the same still pictures for all
    net, row = learn_masks(films, "known flow", best_rate("masks"), seed)
    pictures, _ = still(test)
    p, masks = stills.answers(net, pictures), test.masks[:, 4].long()
    kind = (
        torch.cat([torch.full((len(test), 1), -1), test.kind], dim=1)
        .gather(1, masks.flatten(1))
        .view(masks.shape)
    )
    resting, others = kind == RESTING, (kind >= 0) & (kind != RESTING)
    row |= {"probability": float(p[resting].mean()), "others": float(p[others].mean())}
    share = {f"found_at_{cut}": float((p[resting] > cut).float().mean()) for cut in (0.1, 0.3, 0.5)}
    return row | share | {"others_found": float((p[others] > 0.5).float().mean())}


def run_pairs(motion: str, seed: int) -> dict:
    """One thing is pointed at: `own`, how much of it is answered; `other`, how much of its neighbour."""
    torch.manual_seed(seed)
    net, row = stills.ThingNet(), {"steps": 0}
    if motion != "untrained":
        films = drawn("train", seed, near=True, motion=motion)
        row = trained(stills.WhatMovesWith(net, films), "pairs", best_rate("pairs"), seed)
    return row | asked(net, drawn("test", seed, near=True), seed)


def asked(net: stills.ThingNet, test: scenes.Scenes, seed: int) -> dict:
    thing = torch.arange(len(test)) % 2
    point, _, seen = scenes.ask(test, 4, thing, torch.Generator().manual_seed(seed))
    p = stills.answers(net, test.frames[:, 4], point) > 0.5
    own = (test.masks[:, 4] == 1 + thing[:, None, None]) & seen[:, None, None]
    other = (test.masks[:, 4] == 2 - thing[:, None, None]) & seen[:, None, None]
    p &= seen[:, None, None]
    return {
        "own": float((p & own).sum() / own.sum()), "other": float((p & other).sum() / other.sum()),
        "iou_one": stills.overlap(p, own), "iou_both": stills.overlap(p, own | other),
    }  # fmt: skip


FEATURES = ("difference, gap 6", "known flow")
TRACKS = {
    "tracks, random negatives": {}, "tracks, hard negatives": {"negatives": "hard"},
    "same moment, hard negatives": {"tracked": False, "negatives": "hard"},
}  # fmt: skip


def exam(films: scenes.Scenes, seed: int) -> tuple[torch.Tensor, dict[str, Factor]]:
    middle = torch.full((len(films),), 4)
    x = scenes.patches(films, middle, torch.Generator().manual_seed(seed), jitter=1)
    values = {"kind": films.kind[:, 0], "colour": films.colour[:, 0], "background": films.background}
    return x, {name: Factor(v, "categorical") for name, v in values.items()}


def scores(features, train: scenes.Scenes, test: scenes.Scenes, seed: int) -> dict:
    (x, a), (y, b) = exam(train, seed), exam(test, seed + 1)
    return evaluation.factor_probe(features(x), a, features(y), b)


def read(net: stills.ThingNet, seed: int) -> dict:
    with torch.no_grad():
        return scores(net.eval().features, drawn("train", seed)[:LABELS], drawn("test", seed), seed)


def run_tracks(name: str, seed: int) -> dict:
    torch.manual_seed(seed)
    net = stills.ThingNet()
    if name == "untrained":
        return {"steps": 0} | read(net, seed)
    if name in ("pixels", "mean colour"):
        small = (
            (lambda x: F.avg_pool2d(x.float(), 2).flatten(1))
            if name == "pixels"
            else (lambda x: x.float().mean((2, 3)))
        )
        return {"steps": 0} | scores(small, drawn("train", seed)[:LABELS], drawn("test", seed), seed)
    task = stills.Tracks(net, drawn("train", seed), **TRACKS[name])
    return trained(task, "tracks", best_rate(name), seed) | read(net, seed)


# ---- captions -------------------------------------------------------------------------------------------------------

TALKS = {
    "exact pairs": ("exact", False, False), "overlapping pairs": ("overlapped", False, False),
    "overlapping pairs, retrieved": ("overlapped", True, False),
    "overlapping pairs, one frame": ("overlapped", False, True), "true pairs": ("true", False, False),
}  # fmt: skip


@lru_cache(maxsize=2)
def told(split: str, seed: int) -> narrated.Narrated:
    return narrated.films(split, max(40, (LONG if split == "train" else TEST // 2) // SHARE["of"]), seed)


def talk(name: str, long: narrated.Narrated, lr: float, seed: int) -> tuple[narrated.Matcher, dict]:
    pairs, retrieved, one_frame = TALKS[name]
    torch.manual_seed(seed)
    net = narrated.Matcher(one_frame)
    task = narrated.VideoText(net, long, pairs, retrieved)
    every = max(1, steps("captions") // 4)
    after = (lambda step: task.retrieve() if step % every == 0 else None) if retrieved else None
    return net, trained(task, "captions", lr, seed, after=after)


def run_captions(name: str, seed: int) -> dict:
    if name == "untrained":
        torch.manual_seed(seed)
        net, row = narrated.Matcher(), {"steps": 0}
    else:
        net, row = talk(name, told("train", seed), best_rate(name), seed)
    return row | narrated.ranked(net, *narrated.events(told("test", seed)))


@lru_cache(maxsize=1)
def coded(seed: int) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """The codes of train and test films [N, 4, 6, 6], one thing over gray, and how well they give the films back."""
    n = max(60, FILMS // SHARE["of"])
    films = [world.clips(split, m, seed) for split, m in (("train", n), ("test", max(40, n // 3)))]
    x, y = (
        views.to_float(torch.where(f.masks[:, :, None] > 0, f.frames, 128)).transpose(1, 2) for f in films
    )
    torch.manual_seed(seed)
    net = clip_codes.ClipVQ(CODES)

    def loss(generator):
        part = x[torch.randint(len(x), (32,), generator=generator)]
        back, extra, _ = net(part)
        return F.mse_loss(back, part) + extra

    def after(step):
        if step % 20 == 0 and step < 0.7 * steps("vq"):
            g = torch.Generator().manual_seed(step)
            with torch.no_grad():
                net.quantizer.restart_unused(net.encoder(x[torch.randint(len(x), (32,), generator=g)]), g)

    start = time.process_time()
    fit(net, loss, steps("vq"), lr=RATE, seed=seed, after=after)
    with torch.no_grad():
        codes = [torch.cat([net.encode(p) for p in z.split(200)]) for z in (x, y)]
        error = F.mse_loss(net(y)[0], y) / (y - y.mean(dim=(2, 3, 4), keepdim=True)).square().mean()
    row = {
        "error": float(error),
        "perplexity": vq.perplexity(codes[1], CODES),
        "vq_seconds": time.process_time() - start,
    }
    return (*codes, row)


PRIORS = ("convolutions", "transformer", "transformer, order mixed")


def prior(name: str, codes: torch.Tensor, lr: float, seed: int) -> tuple[torch.nn.Module, dict]:
    torch.manual_seed(seed)
    size = codes[0].numel()
    net = clip_codes.CausalConvs(CODES) if name == "convolutions" else GPT(CODES, size, 48, 2, 4)

    def loss(generator):
        part = codes[torch.randint(len(codes), (16,), generator=generator)]
        part = clip_codes.mixed(part, generator) if name.endswith("mixed") else part
        return F.cross_entropy(net(part), part)

    task = torch.nn.Module()
    task.net, task.forward = net, loss
    return net, trained(task, "codes", lr, seed)


def run_codes(name: str, seed: int) -> dict:
    train, test, row = coded(seed)
    if name.startswith("counts"):
        tables = {
            s: clip_codes.CountTable(train[: len(train) // 2], CODES, name.split()[-1], s)
            for s in (2.0, 8.0, 32.0)
        }
        best = min(tables, key=lambda s: float(tables[s].bits(train[len(train) // 2 :]).mean()))
        bits = clip_codes.CountTable(train, CODES, name.split()[-1], best).bits(test)
        return row | {"steps": 0} | summary(bits)
    net, more = prior(name, train, best_rate(name), seed)
    test = clip_codes.mixed(test, torch.Generator().manual_seed(seed)) if name.endswith("mixed") else test
    return row | more | summary(clip_codes.bits_of(net, test))


def summary(bits: torch.Tensor) -> dict:
    by = bits.mean(dim=(0, 2, 3)).tolist()
    return {"bits": float(bits.mean()), "first": by[0], "later": sum(by[1:]) / len(by[1:])}


COUNTS = tuple(f"counts, {look}" for look in clip_codes.CountTable.LOOKS)


# ---- tuning, and all of it ------------------------------------------------------------------------------------------


def tune(name: str, lr: float, seed: int = TUNING_SEED) -> dict:
    """Nothing is chosen on test films: a quarter of the train films of another world is held out."""
    if name in ("masks", "pairs", *TRACKS):
        a, b = halves(name, near=name == "pairs")
        if name == "masks":
            net, row = learn_masks(a, "difference, gap 6", lr, seed)
            return row | {"of": name, "score": found_in(net, b)["iou"]}
        torch.manual_seed(seed)
        net = stills.ThingNet()
        if name == "pairs":
            row = trained(stills.WhatMovesWith(net, a), "pairs", lr, seed)
            return row | {"of": name, "score": asked(net, b, seed)["iou_one"]}
        row = trained(stills.Tracks(net, a, **TRACKS[name]), "tracks", lr, seed)
        with torch.no_grad():
            found = scores(net.eval().features, a[:LABELS], b, seed)
        return row | {"of": name, "score": sum(found.values()) / len(found)}
    if name in TALKS:
        long = told("train", seed)
        cut = len(long) * 3 // 4
        a, b = (
            narrated.Narrated(long.frames[s], {k: v[s] for k, v in long.factors.items()}, long.begins[s])
            for s in (slice(0, cut), slice(cut, None))
        )
        net, row = talk(name, a, lr, seed)
        return row | {"of": name, "score": narrated.ranked(net, *narrated.events(b))["same colour"]}
    train, _, _ = coded(seed)
    a, b = train[: len(train) * 3 // 4], train[len(train) * 3 // 4 :]
    net, row = prior(name, a, lr, seed)
    b = clip_codes.mixed(b, torch.Generator().manual_seed(seed)) if name.endswith("mixed") else b
    return row | {"of": name, "score": -float(clip_codes.bits_of(net, b).mean())}


TUNED = ("masks", "pairs", *TRACKS, *TALKS, *PRIORS)
ARMS = {
    "masks": ((*RULES,), rule, TEACHERS, run_masks),
    "resting": ((), None, SHARES, run_resting),
    "pairs": (("untrained",), run_pairs, scenes.MOTIONS, run_pairs),
    "features": (("untrained", "pixels", "mean colour"), run_tracks, TRACKS, run_tracks),
    "captions": (("untrained",), run_captions, TALKS, run_captions),
    "codes": (COUNTS, run_codes, PRIORS, run_codes),
}
PARTS = ("tuning", *ARMS)


def rows_of(part: str):
    if part == "tuning":
        yield from ((f"{n}, lr {lr:g}", TUNING_SEED, partial(tune, n, lr)) for n in TUNED for lr in RATES)
        return
    floors, floor, names, run = ARMS[part]
    for seed in SEEDS:
        yield from ((name, seed, partial(floor, name, seed)) for name in floors)
        yield from ((name, seed, partial(run, name, seed)) for name in names)


def main(parts, seeds, seconds: float, share: int, dry: bool) -> None:
    if share != 1 and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SHARE["of"] = share
    jobs = (
        ({"part": part, "arm": arm, "seed": seed}, run)
        for part in parts
        for arm, seed, run in rows_of(part)
        if not seeds or seed in seeds
    )
    resume("motion", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, PARTS, {"share": 1}).parse_args()))
