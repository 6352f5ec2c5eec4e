"""The record of chapter 18: masking ratios, targets, tricks and breakages around masked image modelling.

    uv run python benchmarks/masked.py                       # all arms that the record does not have yet
    uv run python benchmarks/masked.py --arms "ratio 0.75" --seeds 0

Every arm trains the small vision transformer for a fixed number of steps with its own loss and is probed like the loss
families.  An arm in the record is not run again; one killed on the way goes on from its last checkpoint.
"""

import argparse
import inspect
import json
import tempfile
import time
from pathlib import Path

import torch
from _record import RESULTS, merge
from _world import measure, splits
from torch import nn
from torch.nn import functional as F

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.losses.masked import data2vec
from ssl_lessons.methods import SimCLR, Supervised
from ssl_lessons.methods.base import momentum_copy
from ssl_lessons.methods.beit import BEiT
from ssl_lessons.methods.data2vec import Data2Vec
from ssl_lessons.methods.mae import MAE
from ssl_lessons.methods.masked import MaskedMethod
from ssl_lessons.models import build_encoder, patchify, take
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import normalize
from ssl_lessons.views.masks import block_mask, random_mask, uniform_mask, visible

VIT = {}  # the package's own: 16 patches of 8 x 8 px, width 96, four blocks
STEPS = 250
KEY = ("arm", "seed")
WORK = Path(tempfile.gettempdir()) / "ssl_lessons_masked"  # checkpoints of the arm under way
TRAINING = {"optimizer": "adamw", "lr": 3e-3, "weight_decay": 0.05, "warmup": 0.1, "batch_size": 128}


# ---- variants ----------------------------------------------------------------------------------------------


class Autoencoder(MaskedMethod):
    """No mask: give back all pixels, from the image itself or from a noisy copy (a denoising autoencoder)."""

    def __init__(self, encoder, noise: float = 0.0):
        super().__init__(encoder)
        self.noise = noise
        self.paint = nn.Linear(encoder.dim, 3 * encoder.patch**2)

    def forward(self, views, labels=None):
        x = views[0]
        noisy = x + self.noise * torch.randn_like(x)
        return F.mse_loss(self.paint(self.encoder.patches(noisy)), patchify(x, self.encoder.patch))


class UniformMAE(MAE):
    """One visible patch per 2 x 2 cell (Li et al. 2022, UM-MAE, without its secondary masking)."""

    def draw_mask(self, n):
        return uniform_mask(n, self.encoder.n_tokens)


class BlockMAE(MAE):
    def draw_mask(self, n):
        return block_mask(n, self.encoder.n_tokens, self.mask_ratio)


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


# ---- arms --------------------------------------------------------------------------------------------------


def vit(**options):
    return build_encoder("vit", **VIT | options)


def trained(arm: str, seed: int = 0) -> nn.Module:
    """The encoder that an arm left behind; it is trained first where nothing was left."""
    path, encoder = WORK / f"{arm} {seed}.pt", vit()
    if not path.exists():
        run(arm, seed, STEPS)
    encoder.load_state_dict(torch.load(path, weights_only=True))
    return encoder


def dbot(stage: int) -> Data2Vec:
    """dBOT (Liu et al. 2022): a fixed teacher; from stage 2 on it is the student of the stage before."""
    method = Data2Vec(vit(), momentum=1.0)
    if stage > 1:
        method.teacher.load_state_dict(trained(f"dbot {stage - 1}").state_dict())
    return method


ARMS = {
    "mae": lambda: MAE(vit()),
    "simclr": lambda: SimCLR(vit(), temperature=0.1),
    **{f"ratio {r}": (lambda r=r: MAE(vit(), mask_ratio=r)) for r in (0.25, 0.5, 0.875)},
    "all patches": lambda: MAE(vit(), masked_only=False),
    "normalised": lambda: MAE(vit(), norm_targets=True),
    "autoencoder": lambda: Autoencoder(vit()),
    "denoising": lambda: Autoencoder(vit(), noise=1.0),
    "uniform": lambda: UniformMAE(vit()),
    "blocks": lambda: BlockMAE(vit()),
    "frozen patches": lambda: MAE(vit(freeze_patches=True)),
    "selfie": lambda: Selfie(vit()),
    "mean colour": lambda: MeanColour(vit()),
    "beit_v2": lambda: BEiTv2(vit(), trained("simclr")),
    "data2vec 2": lambda: Data2Vec2(vit()),
    "dbot 1": lambda: dbot(1),
    "dbot 2": lambda: dbot(2),
}


# ---- measures ----------------------------------------------------------------------------------------------


@torch.no_grad()
def all_tokens(encoder, images):
    """Every output token side by side, [n, T dim]: what the mean over the tokens cannot keep is where things are."""
    encoder.eval()
    return torch.cat([encoder.patches(normalize(batch)).flatten(1) for batch in images.split(500)])


def tokens_probe(encoder, train, test) -> float:
    """A linear probe with 100 labels on all tokens, mean of five draws."""
    h, h_test = (all_tokens(encoder, s.images) for s in (train, test))
    rows = evaluation.label_efficiency(h, train.labels, h_test, test.labels, per_class=(10,), draws=5)
    return rows[0]["mean"]


def finetuned(encoder, train, test, seed: int) -> float:
    """Test accuracy after training encoder and classifier together on 1,000 labels."""
    torch.manual_seed(seed)
    method = Supervised(encoder, len(train.classes))
    policy = get_recipe("quick").policy.replace(crop_scale=(0.5, 1.0))
    settings = TRAINING | {"lr": 1e-3}
    pretrain(
        method, train.images[:1000], (policy,), steps=200, seed=seed, labels=train.labels[:1000], progress=False,
        **settings,
    )  # fmt: skip
    with torch.no_grad():
        scores = torch.cat([method.embed(normalize(batch)) for batch in test.images.split(500)])
    return float((scores.argmax(1) == test.labels).float().mean())


def masked_errors(method, images) -> dict:
    """MSE of the normalised pixels behind masks of several sizes, for methods that paint pixels."""
    x, tokens, found = normalize(images), method.encoder.n_tokens, {}
    for hidden in range(2, tokens, 2):
        mask = random_mask(len(x), tokens, hidden / tokens, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            painted = method.reconstruct(x, mask)
        found[str(hidden)] = float((painted - patchify(x, method.encoder.patch))[mask].square().mean())
    return found


def run(arm: str, seed: int, steps: int) -> dict:
    unlabeled, train, test = splits(seed, world=1)
    torch.manual_seed(seed)
    row = {"arm": arm, "seed": seed, "steps": 0}
    if arm.startswith("untrained"):
        encoder = vit()
    else:
        method = ARMS[arm]()
        policies = method.views(get_recipe("quick").policy)
        history = pretrain(
            method, unlabeled.images, policies, steps=steps, seed=seed, progress=False, out=WORK / f"{arm} {seed}",
            resume=True, checkpoint_every=50, **TRAINING,
        )  # fmt: skip
        encoder = method.encoder
        torch.save(encoder.state_dict(), WORK / f"{arm} {seed}.pt")
        losses = [r["loss"] for r in history]
        row |= {
            "steps": steps, "seconds": history[-1]["seconds"],
            "first_loss": losses[0], "loss": sum(losses[-20:]) / 20,
            "verdict": diagnostics.diagnose(evaluation.extract_features(encoder, test.images)).verdict,
        }  # fmt: skip
        if isinstance(method, MAE) and not isinstance(method, Selfie) and not method.norm_targets:
            row["masked_mse"] = masked_errors(method, test.images[:500])
    row |= measure(MaskedMethod(encoder), train, test)
    row["tokens"] = tokens_probe(encoder, train, test)
    return row


def main(arms: list[str], seeds: list[int], steps: int) -> None:
    WORK.mkdir(exist_ok=True)
    path = RESULTS / "masked.json"
    for seed in seeds:
        for arm in arms:
            known = json.loads(path.read_text())["rows"] if path.exists() else []
            if any((row["arm"], row["seed"]) == (arm, seed) for row in known):
                continue
            if arm.startswith("fine-tune "):
                row = finetune_row(arm, seed)
            elif arm == "speed":
                row = speed_row(arm, seed)
            else:
                row = run(arm, seed, steps)
            merge("masked", [row], KEY)
            print(
                {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items() if k != "factors"},
                flush=True,
            )


def finetune_row(arm: str, seed: int) -> dict:
    _, train, test = splits(seed, world=1)
    start = arm.removeprefix("fine-tune ")
    torch.manual_seed(seed)
    encoder = vit() if start == "untrained" else trained(start, seed)
    return {"arm": arm, "seed": seed, "steps": 200, "accuracy": finetuned(encoder, train, test, seed)}


def speed_row(arm: str, seed: int) -> dict:
    """Milliseconds of a forward and backward pass of 64 images, all patches and a quarter of them, by geometry."""
    row = {"arm": arm, "seed": seed, "threads": torch.get_num_threads()}
    for patch, dim in ((8, 96), (4, 96), (2, 96)):
        encoder = build_encoder("vit", patch=patch, dim=dim)
        x = torch.randn(64, 3, 32, 32)
        quarter = torch.rand(64, encoder.n_tokens).argsort(1)[:, : encoder.n_tokens // 4]
        for name, keep in (("all", None), ("quarter", quarter)):
            spent = []
            for _ in range(5):
                start = time.process_time()
                encoder.patches(x, keep).square().mean().backward()
                spent.append(time.process_time() - start)
            row[f"{encoder.n_tokens} tokens, {name}"] = 1000 * min(spent)
    return row


STARTS = ("untrained", "mae", "simclr")
ORDER = ["untrained", "speed", "mae", "simclr", *(f"fine-tune {start}" for start in STARTS)]
ORDER += [arm for arm in ARMS if arm not in ORDER]  # the teachers before their students


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=ORDER)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    main(**vars(parser.parse_args()))
