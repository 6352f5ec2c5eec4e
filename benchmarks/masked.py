"""Masked images: the runs of chapters 18 and 18b on one small transformer (16 patches of 8 px, width 96, four blocks).

Over 400 lines: all arms of one record, so that what made a row can be read in one place.

    uv run python benchmarks/masked.py --tune                # MAE at two learning rates, in a world of its own
    uv run python benchmarks/masked.py                       # the core of all seeds, then the relatives of all seeds
    uv run python benchmarks/masked.py --long                # a few runs of thousands of steps
    uv run python benchmarks/masked.py --arms mae simmim --seeds 0 --seconds 600

An arm sees STEPS batches of 128 pictures, all at one learning rate between two that MAE does about equally well with
on held-out train images of seed 9 (--tune); no other arm was tuned.  SimCLR, whose step costs three times as much, sees
fewer batches.  All arms of a seed start from one encoder.  Features are read three ways: the mean of the tokens, all
tokens side by side, and nearest neighbours of the mean.  What is in the record is not run again; a run that was killed
goes on from its last checkpoint.
"""

import argparse
import inspect
import math
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from _record import merge, recorded
from _world import WORLD, measure, probe, splits
from torch import nn
from torch.nn import functional as F

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.book.widgets import masking
from ssl_lessons.losses.masked import data2vec, ijepa
from ssl_lessons.methods import SimCLR
from ssl_lessons.methods.base import momentum_copy
from ssl_lessons.methods.beit import BEiT
from ssl_lessons.methods.data2vec import Data2Vec
from ssl_lessons.methods.ibot import IBOT
from ssl_lessons.methods.ijepa import IJEPA
from ssl_lessons.methods.mae import MAE
from ssl_lessons.methods.masked import MaskedMethod
from ssl_lessons.methods.simmim import SimMIM
from ssl_lessons.models import build_encoder, patchify, take
from ssl_lessons.training import Monitor, pretrain
from ssl_lessons.training.optimizers import build_optimizer
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize
from ssl_lessons.views.masks import block_mask, context_and_targets, random_mask, uniform_mask, visible

STEPS, TUNING_SEED = 800, 9
STEPS_OF = {
    "simclr": 300,
    "ibot": 200,
    "ibot without class token": 200,
}  # dear ones: two views, and twice two views
LONG, LONG_MAE, LOOKS = 1_500, 3_000, 5
RATE, TRIED = 3e-3, (2e-3, 4e-3)
KEY = ("world", "part", "arm", "seed")
WORK = (
    Path(tempfile.gettempdir()) / "ssl_lessons_masked"
)  # checkpoints, and the encoders that later arms start from
TRAINING = {"optimizer": "adamw", "weight_decay": 0.05, "warmup": 0.1, "batch_size": 128, "lr": RATE}
POLICY = get_recipe("quick").policy
GENTLE = POLICY.replace(crop_scale=(0.5, 1.0), jitter_p=0.0, grayscale_p=0.0, blur_p=0.0, solarize_p=0.0)
HIDDEN = range(2, 16, 2)
SHAPES = {"random": random_mask, "blocks": block_mask}


# ---- methods that only this comparison needs ------------------------------------------------------------------


class Autoencoder(MaskedMethod):
    """SimMIM without a mask: give back all pixels, from the image itself or from a noisy copy."""

    def __init__(self, encoder, noise: float = 0.0):
        super().__init__(encoder)
        self.noise = noise
        self.paint = nn.Linear(encoder.dim, 3 * encoder.patch**2)

    def forward(self, views, labels=None):
        x = views[0]
        noisy = x + self.noise * torch.randn_like(x)
        return F.l1_loss(self.paint(self.encoder.patches(noisy)), patchify(x, self.encoder.patch))


class UniformMAE(MAE):
    """One visible patch per 2 x 2 cell (Li et al. 2022, UM-MAE, without its secondary masking)."""

    def draw_mask(self, n):
        return uniform_mask(n, self.encoder.n_tokens)


class BlockMAE(MAE):
    def draw_mask(self, n):
        return block_mask(n, self.encoder.n_tokens, self.mask_ratio)


class TokensInside(MAE):
    """MAE whose encoder sees a mask token in every hole, as wide as the others: the arm without the saving."""

    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        self.hole = nn.Parameter(0.02 * torch.randn(encoder.dim))

    def reconstruct(self, x, mask):
        tokens = self.narrow(self.encoder.patches(x, mask=mask, mask_token=self.hole)) + self.positions
        for block in self.decoder:
            tokens = block(tokens)
        return self.paint(tokens)


class PixelIJEPA(IJEPA):
    """I-JEPA with the pixels of the target blocks as targets (Assran et al. 2023, table 7); the rest as it is."""

    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        self.widen[1] = nn.Linear(self.widen[1].in_features, 3 * encoder.patch**2)

    def forward(self, views, labels=None):
        x = views[0]
        context, blocks = context_and_targets(len(x), self.encoder.n_tokens, self.n_targets)
        target = take(patchify(x, self.encoder.patch), blocks.flatten(1)).view(*blocks.shape, -1)
        return ijepa(self.predict(self.encoder.patches(x, context), context, blocks), target)


class BEiTv2(BEiT):
    """Codes of a trained teacher's features instead of pixels (Peng et al. 2022; k-means for their VQ-KD)."""

    def __init__(self, encoder, teacher, **options):
        super().__init__(encoder, **options)
        self.teacher = momentum_copy(teacher)
        self.register_buffer("codebook", torch.zeros(len(self.codebook), teacher.dim))

    def describe(self, x):
        return self.teacher.patches(x)


class MeanColour(BEiT):
    """The mean colour of a hidden patch, 3 bits a channel, 512 classes (Dosovitskiy et al. 2021, appendix B.1.2)."""

    refresh_every = 0

    def __init__(self, encoder):
        super().__init__(encoder, codes=512, mask_ratio=0.5)

    def draw_mask(self, n):
        return random_mask(n, self.encoder.n_tokens, self.mask_ratio)

    def tokenize(self, x):
        colour = patchify(x, self.encoder.patch).unflatten(2, (3, -1)).mean(dim=3)  # [N, T, 3], -2 to 2
        level = ((colour + 2) * 2).long().clamp(0, 7)
        return (level * torch.tensor([64, 8, 1], device=x.device)).sum(dim=2)


class Selfie(MAE):
    """Which of the hidden patches belongs in this hole? (Trinh et al. 2019)"""

    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        width = 3 * encoder.patch**2
        self.describe = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def scores(self, x):
        """[N, K, K]: hole against candidate, the right ones on the diagonal."""
        mask = self.draw_mask(len(x)).to(x.device)
        holes = visible(~mask)
        asked = take(self.reconstruct(x, mask), holes)
        candidates = self.describe(take(patchify(x, self.encoder.patch), holes))
        return asked @ candidates.mT / asked.shape[2] ** 0.5

    def forward(self, views, labels=None):
        scores = self.scores(views[0])
        target = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape[:2])
        return F.cross_entropy(scores.flatten(0, 1), target.flatten())


class Data2Vec2(Data2Vec):
    """data2vec 2.0 (Baevski et al. 2023): visible tokens only, a convolutional decoder, several masks per target."""

    def __init__(self, encoder, masks: int = 2, **options):
        super().__init__(encoder, **options)
        self.masks = masks
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.dim, encoder.dim, 3, padding=1, groups=4), nn.GELU(),
            nn.Conv2d(encoder.dim, encoder.dim, 3, padding=1, groups=4), nn.GELU(),
        )  # fmt: skip

    def forward(self, views, labels=None):
        x, total = views[0], 0.0
        target = self.targets(x)  # once for all masks
        for _ in range(self.masks):
            mask = self.draw_mask(len(x)).to(x.device)
            keep = visible(mask)
            seen = self.encoder.patches(x, keep)
            grid = self.mask_token.expand(*mask.shape, -1).scatter(1, keep[:, :, None].expand_as(seen), seen)
            grid = grid.mT.unflatten(2, (self.encoder.side, -1))
            prediction = self.predictor((grid + self.decoder(grid)).flatten(2).mT)
            total = total + data2vec(prediction, target, mask, self.beta) / self.masks
        return total


# ---- the arms: seed -> method ---------------------------------------------------------------------------------


def vit(**options):
    return build_encoder("vit", **options)


def trained(arm: str, seed: int) -> nn.Module:
    """The encoder that an arm left behind; it is trained first where nothing was left."""
    path, encoder = WORK / f"{arm} {seed}.pt", vit()
    if not path.exists():
        learn(arm, seed, splits(seed))
    encoder.load_state_dict(torch.load(path, weights_only=True))
    return encoder


def dbot(stage: int, seed: int) -> Data2Vec:
    """dBOT (Liu et al. 2022): a fixed teacher; from stage 2 on it is the student of the stage before."""
    method = Data2Vec(vit(), momentum=1.0)
    if stage > 1:
        method.teacher.load_state_dict(trained(f"dbot {stage - 1}", seed).state_dict())
    return method


def crossmae(seed: int):
    from ssl_lessons.methods.crossmae import CrossMAE

    return CrossMAE(vit())


def salt(seed: int):
    from ssl_lessons.methods.salt import SALT

    encoder = vit()
    return SALT(encoder, trained("mae", seed))


CORE = {
    "mae": lambda s: MAE(vit()),
    "simmim": lambda s: SimMIM(vit()),
    "beit": lambda s: BEiT(vit()),
    "autoencoder": lambda s: Autoencoder(vit()),
    "simclr": lambda s: SimCLR(vit(), temperature=0.1),
    "ratio 0.25": lambda s: MAE(vit(), mask_ratio=0.25),
    "all patches": lambda s: MAE(vit(), masked_only=False),
    "ijepa": lambda s: IJEPA(vit()),
    "ijepa pixels": lambda s: PixelIJEPA(vit()),
    "data2vec": lambda s: Data2Vec(vit()),
    "ratio 0.5": lambda s: MAE(vit(), mask_ratio=0.5),
    "ratio 0.875": lambda s: MAE(vit(), mask_ratio=0.875),
    "blocks": lambda s: BlockMAE(vit()),
    "normalised": lambda s: MAE(vit(), norm_targets=True),
}
RELATIVES = {  # teachers before their students
    "salt": salt,
    "crossmae": crossmae,
    "ibot": lambda s: IBOT(vit()),
    "ibot without class token": lambda s: IBOT(vit(), mask_weight=1e4),  # AdamW does not mind the scale
    "selfie": lambda s: Selfie(vit()),
    "beit_v2": lambda s: BEiTv2(vit(), trained("simclr", s)),
    "uniform": lambda s: UniformMAE(vit()),
    "frozen patches": lambda s: MAE(vit(freeze_patches=True)),
    "mean colour": lambda s: MeanColour(vit()),
    "data2vec 2": lambda s: Data2Vec2(vit()),
    "dbot 1": lambda s: dbot(1, s),
    "dbot 2": lambda s: dbot(2, s),
    "denoising": lambda s: Autoencoder(vit(), noise=1.0),
}
ARMS = CORE | RELATIVES
FLOORS = ("untrained", "pixels")
STARTS = ("untrained", "mae", "simmim", "beit", "simclr")
LONG_RUNS = [("mae", 0), ("simmim", 0), ("ijepa", 0), ("beit", 0), ("data2vec", 0), ("mae", 1), ("mae", 2)]


# ---- measures -------------------------------------------------------------------------------------------------


@torch.no_grad()
def all_tokens(encoder, images):
    """Every output token side by side, [n, T dim]: what the mean over the tokens cannot keep is where things are."""
    encoder.eval()
    return torch.cat([encoder.patches(normalize(batch)).flatten(1) for batch in images.split(500)])


def tokens_probe(encoder, train, test) -> float:
    return probe(*(all_tokens(encoder, s.images) for s in (train, test)), train, test)


def mask_of(images, tokens: int, hidden: int, shape: str):
    """The masks of the contest, the same for every competitor."""
    return SHAPES[shape](
        len(images), tokens, hidden / tokens, generator=torch.Generator().manual_seed(hidden)
    )


@torch.no_grad()
def painted_errors(method, images) -> dict:
    """Mean squared error of the hidden (normalised) pixels, by shape of the mask and number of hidden patches."""
    x, encoder = normalize(images), method.encoder
    patches, found = patchify(x, encoder.patch), {}
    for shape in SHAPES:
        for hidden in HIDDEN:
            mask = mask_of(x, encoder.n_tokens, hidden, shape)
            found[f"{shape} {hidden}"] = float((method.reconstruct(x, mask) - patches)[mask].square().mean())
    return found


def paints(method) -> bool:
    return (
        hasattr(method, "reconstruct")
        and not isinstance(method, Selfie)
        and not getattr(method, "norm_targets", False)
    )


class Looks(Monitor):
    """Also a probe on all tokens and one on their mean: 100 labels, held-out train images against train images."""

    def __call__(self, method, history=(), batch_size=None):
        row = super().__call__(method, history, batch_size)
        sets = (self.bank, self.query)
        row["tokens"] = tokens_probe(method.encoder, *sets)
        row["mean"] = probe(*(evaluation.extract_features(method.encoder, s.images) for s in sets), *sets)
        if paints(method):
            row["painted"] = painted_errors(method, self.query.images[:500])["random 12"]
        method.train()
        return row


def of_encoder(encoder, train, test) -> dict:
    row = measure(MaskedMethod(encoder), train, test) | {"tokens": tokens_probe(encoder, train, test)}
    row["verdict"] = diagnostics.diagnose(evaluation.extract_features(encoder, test.images)).verdict
    return row


# ---- parts ----------------------------------------------------------------------------------------------------


def train(arm: str, seed: int, sets, steps: int, name: str, monitor=None, **changed):
    """A method after `steps` steps, and its history."""
    torch.manual_seed(seed)
    method = ARMS[arm](seed)  # draws the encoder first: it is the same for all arms of a seed
    history = pretrain(
        method, sets[0].images, method.views(POLICY), steps=steps, seed=seed, progress=False, out=WORK / name,
        resume=True, checkpoint_every=100, monitor=monitor, **TRAINING | changed,
    )  # fmt: skip
    return method.eval(), history


def learn(arm: str, seed: int, sets) -> dict:
    """One arm of the main part."""
    _, labelled, test = sets
    if arm == "pixels":
        h, h_test = (evaluation.pixels(s.images) for s in (labelled, test))
        knn = evaluation.knn_accuracy(h, labelled.labels, h_test, test.labels)
        score = probe(h, h_test, labelled, test)
        return {"steps": 0, "probe": score, "tokens": score, "knn": knn}
    if arm == "untrained":
        torch.manual_seed(seed)
        return {"steps": 0} | of_encoder(vit(), labelled, test)
    steps = STEPS_OF.get(arm, STEPS)
    method, history = train(arm, seed, sets, steps, f"{arm} {seed} {steps}")
    torch.save(method.encoder.state_dict(), WORK / f"{arm} {seed}.pt")
    losses = [r["loss"] for r in history]
    row = {"steps": steps, "seconds": history[-1]["seconds"], "first_loss": losses[0]}
    row |= {"loss": sum(losses[-20:]) / len(losses[-20:])} | of_encoder(method.encoder, labelled, test)
    return row | ({"masked_mse": painted_errors(method, test.images[:500])} if paints(method) else {})


def tune(arm: str, lr: float, sets) -> dict:
    """A run on another seed's pictures, judged on held-out train images."""
    method, history = train(arm, TUNING_SEED, sets, STEPS, f"tune {arm} {lr} {STEPS}", lr=lr)
    bank, query = sets[1][:1000], sets[1][1000:]
    loss = sum(r["loss"] for r in history[-20:]) / 20
    return {"of": arm, "lr": lr, "steps": STEPS, "loss": loss, "seconds": history[-1]["seconds"]} | {
        "held_out": tokens_probe(method.encoder, bank, query)
    }


def long_run(arm: str, seed: int, sets) -> dict:
    steps = LONG_MAE if arm == "mae" else LONG
    looks = Looks(sets[1][:1000], sets[1][1000:], every=steps // LOOKS)
    method, history = train(arm, seed, sets, steps, f"long {arm} {seed} {steps}", looks)
    seen = [r for r in history if "tokens" in r]
    kept = [k for k in ("step", "loss", "knn", "tokens", "mean", "painted", "verdict") if k in seen[0]]
    row = {"steps": steps, "seconds": history[-1]["seconds"]}
    row |= {"loss": sum(r["loss"] for r in history[-20:]) / 20} | of_encoder(method.encoder, *sets[1:])
    row["trace"] = {k: [r[k] for r in seen] for k in kept}
    return row | ({"masked_mse": painted_errors(method, sets[2].images[:500])} if paints(method) else {})


def fine_tuned(start: str, seed: int, sets) -> dict:
    """The whole network trained on 10 labels per class; the rate is chosen on other train images."""
    _, labelled, test = sets
    torch.manual_seed(seed)
    encoder = vit() if start == "untrained" else trained(start, seed)
    order = torch.arange(len(labelled))
    chosen = torch.cat([order[labelled.labels == c][:10] for c in range(len(labelled.classes))])
    few, rest = labelled[chosen], labelled[order[~torch.isin(order, chosen)]]
    tries = []
    for lr in (5e-4, 2e-3):
        found = evaluation.fine_tune(
            encoder, few.images, few.labels, rest.images, rest.labels, policy=GENTLE, steps=80, lr=lr,
            weight_decay=TRAINING["weight_decay"], seed=seed,
        )  # fmt: skip
        tries.append((found.accuracy, lr, found))
    held_out, lr, found = max(tries, key=lambda t: t[0])
    with torch.no_grad():
        answer = found.head(evaluation.extract_features(found.encoder, test.images)).argmax(1)
    return {
        "steps": 80,
        "lr": lr,
        "held_out": held_out,
        "tuned": float((answer == test.labels).float().mean()),
    }


def fills(seed: int, sets) -> dict:
    """What filling costs without a network, on the pictures and masks of `painted_errors`.

    linear: fitted for each shape and number of hidden patches.  linear, 12 random: fitted once, on masks as MAE's.
    """
    patch, x, test = 8, normalize(sets[0].images), normalize(sets[2].images[:500])
    everywhere, row = patchify(x, patch).mean(0), {}
    once = masking.fit_linear_fill(x, mask_of(x, 16, 12, "random"), patch)
    patches = patchify(test, patch)
    for shape in SHAPES:
        for hidden in HIDDEN:
            mask = mask_of(test, 16, hidden, shape)
            pixels = masking.hidden_pixels(mask, patch)
            own = masking.fit_linear_fill(x, mask_of(x, 16, hidden, shape), patch)
            known = (~pixels).float()
            mean = (test * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
            answers = {
                "dataset mean": everywhere.expand_as(patches),
                "visible mean": patchify(mean.expand_as(test), patch),
                "smooth": patchify(masking.smooth_fill(test, pixels, rounds=100), patch),
                "linear": masking.linear_fill(own, test, mask, patch),
                "linear, 12 random": masking.linear_fill(once, test, mask, patch),
            }
            for name, answer in answers.items():
                error = float((answer - patches)[mask].square().mean())
                row.setdefault(name, {})[f"{shape} {hidden}"] = error
    return row


def speed(seed: int, sets=None) -> dict:
    """Processor milliseconds of a whole training step (forward, backward, optimiser) on 64 images: the hidden tokens
    left out of the encoder, or inside it as mask tokens; the decoder in both."""
    row = {"threads": torch.get_num_threads()}
    for patch in (8, 4):
        spent = {}
        for name, kind in (("left out", MAE), ("inside", TokensInside)):
            torch.manual_seed(seed)
            method, x = kind(vit(patch=patch)), torch.randn(64, 3, 32, 32)
            optimizer = build_optimizer(method, "adamw", 1e-4, 0.05)
            for _ in range(7):
                start = time.process_time()
                loss = method([x])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                spent.setdefault(name, []).append(time.process_time() - start)
        tokens = method.encoder.n_tokens
        row |= {f"{tokens} tokens, {name}": 1000 * min(t) for name, t in spent.items()}
        row[f"{tokens} tokens, saved"] = 1 - min(spent["left out"]) / min(spent["inside"])
    return row


def jobs(options) -> list[tuple[str, str, int, object]]:
    """(part, arm, seed, function of the splits), in the order in which they are run."""
    if options.tune:
        return [("tune", f"mae, {lr:g}", TUNING_SEED, partial(tune, "mae", lr)) for lr in TRIED]
    if options.long:
        runs = LONG_RUNS if options.seeds is None else [(a, s) for a, s in LONG_RUNS if s in options.seeds]
        runs = [(a, s) for a, s in runs if not options.arms or a in options.arms]
        return [("long", a, s, partial(long_run, a, s)) for a, s in runs]
    seeds = [0, 1, 2] if options.seeds is None else options.seeds
    found = []
    for arms in (FLOORS + tuple(CORE), tuple(RELATIVES)):
        for s in seeds:
            if arms[0] == FLOORS[0]:
                found += [("fills", "fills", s, partial(fills, s)), ("speed", "speed", s, partial(speed, s))]
            found += [("main", a, s, partial(learn, a, s)) for a in arms]
            if arms[0] == FLOORS[0]:
                found += [("fine-tune", a, s, partial(fine_tuned, a, s)) for a in STARTS]
    return [j for j in found if not options.arms or j[1] in options.arms]


def main(options) -> None:
    WORK.mkdir(exist_ok=True)
    end = time.perf_counter() + options.seconds
    drawn = {}
    for part, arm, seed, job in jobs(options):
        done = {tuple(row.get(k) for k in KEY) for row in recorded("masked")}
        if (WORLD, part, arm, seed) in done or (options.parts and part not in options.parts):
            continue
        if time.perf_counter() > end:
            return
        if seed not in drawn:
            drawn = {seed: splits(seed)}
        start = time.perf_counter()
        row = {"world": WORLD, "part": part, "arm": arm, "seed": seed} | job(drawn[seed])
        if not options.trial:
            merge("masked", [row], KEY)
        short = {
            k: round(v, 3) if isinstance(v, float) else v for k, v in row.items() if not isinstance(v, dict)
        }
        print(short, f"{time.perf_counter() - start:.0f} s in all", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--arms", nargs="+", default=[])
    parser.add_argument("--parts", nargs="+", default=[], help="main, fine-tune, fills, speed")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no further run after that")
    parser.add_argument("--trial", action="store_true", help="record nothing")
    main(parser.parse_args())
