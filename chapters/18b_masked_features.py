# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 18b · What should stand behind the mask: pixels, codes, or features?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/18b_masked_features.ipynb)
#
# **After this chapter you can**
#
# - sort masked methods by one question, *what is predicted?*, and write the losses of BEiT, data2vec, I-JEPA and SALT;
# - say which targets can collapse, and see it in a run without a probe;
# - price a loss: what would an answer cost that knows nothing about the picture?
# - say which relatives left the floor on one small transformer, which did not, and which were never run.
#
# **You need** [chapter 18](18_masked_images.ipynb) (MAE, the mask) and [chapter 15](15_self_distillation.ipynb)
# (stop-gradient, a teacher that follows). This is a companion of chapter 18.
# **Time**: 26 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.

# %% tags=["hide-input"]
try:
    import ssl_lessons
except ImportError:  # on Colab
    import re
    import subprocess
    import sys

    print("Installing, about half a minute")
    place = "git+https://github.com/ssl-lessons/ssl-lessons"
    pip = [sys.executable, "-m", "pip", "install", "-q", place]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        found = re.search("fatal: .*|ERROR: .*|Error: .*", done.stderr)
        reason = found[0] if found else done.stderr.strip()
        causes = {
            "unable to access": "there is no network, or it is blocked",
            "fatal: ": "the address does not exist, or needs a login",
            "": "pip failed",
        }
        cause = next(cause for sign, cause in causes.items() if sign in reason)
        message = f"{place} could not be installed: {cause} ({reason})"
        raise RuntimeError(message) from None
from ssl_lessons import book

device = book.setup("18b")

# %% [markdown]
# ## The puzzle: one hole, three answer sheets
#
# Hide the middle of a picture and let a network say what was there. In [chapter 18](18_masked_images.ipynb) the answer
# sheet was the pixels themselves. It could be something else: the name of the patch in a small vocabulary of patches,
# or the features that another network gives to the patch.

# %%
import math

import torch
import torch.nn.functional as F

from ssl_lessons import data, diagnostics, evaluation, plots, views
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch18b
from ssl_lessons.book.widgets import masking
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import HOLDS, Runs
from ssl_lessons.losses import masked as losses
from ssl_lessons.methods.beit import BEiT
from ssl_lessons.methods.ijepa import IJEPA
from ssl_lessons.methods.salt import SALT
from ssl_lessons.models import build_encoder, patchify, unpatchify
from ssl_lessons.training import pretrain, recipes
from ssl_lessons.views.masks import (
    block_mask,
    context_and_targets,
    random_mask,
    uniform_mask,
)

# %%
PATCH, T = 8, 16  # 32 x 32 pixels are 4 x 4 patches of 8 x 8
unlabeled = data.shapes("unlabeled", n=4096, world=2)
pictures = views.normalize(data.shapes("train", n=512, world=2).images)

# %%
torch.manual_seed(0)
speller = BEiT(build_encoder("vit"))  # its vocabulary: k-means of patches, 128 words
speller.refresh(
    lambda module: evaluation.extract_features(module, unlabeled.images[:1024])
)
stranger = build_encoder("vit").eval()  # a network that was never trained
with torch.no_grad():
    sheets = {
        "pixels": patchify(pictures, PATCH),  # [N, T, 192]
        "codes": speller.codebook[speller.tokenize(pictures)],  # a word, as its pixels
        "features": stranger.patches(pictures),  # [N, T, 96]
    }

# %% tags=["hide-input"]
centre = torch.zeros(T, dtype=torch.bool)
centre[[5, 6, 9, 10]] = True
hole = masking.hidden_pixels(centre.expand(len(pictures), T), PATCH)
flat = sheets["features"] - sheets["features"].mean(dim=0)
_, _, axes = torch.pca_lowrank(flat.flatten(0, 1), q=3)
colours = flat @ axes
colours = colours / colours.abs().amax(dim=(0, 1))
drawn = colours.repeat_interleave(PATCH**2, dim=2)
chosen = [3, 9, 17, 22, 30, 41, 50]
rows = (
    pictures,
    torch.where(hole, torch.zeros_like(pictures), pictures),
    unpatchify(sheets["codes"], PATCH),
    2 * unpatchify(drawn, PATCH),
)
plots.show(
    plots.image_grid(
        views.denormalize(torch.cat([r[chosen] for r in rows])).clamp(0, 1),
        columns=len(chosen),
        title="Picture, hole, answers in 128 words, answers as features (3 directions)",
    ),
    alt="Four rows of seven drawings: the pictures; the same with the middle four "
    "patches hidden; every patch replaced by the nearest of 128 words, blocky but "
    "recognisable in colour; and one flat false colour per patch for its features.",
)

# %% [markdown]
# > **Predict before you go on.** (1) Take away from each answer sheet what the *mean colour* of the patch tells. Which
# > sheet has most left: pixels, codes, or the features of an untrained network? (One in three by luck.) (2) The same
# > transformer, the same steps: pixels, codes, features of a teacher that follows the student, features of a teacher
# > that stands still. Which target teaches most? (One in four.) (3) Let the gradient flow into the target too. Will
# > the loss end lower or higher than with the gradient stopped? (A coin.)
#
# The first is least squares: predict the sheet, at every place, from the three numbers of the mean colour.


# %%
def left_over(target: torch.Tensor) -> float:
    """Share of a target's variance [N, T, D] that the patch's mean colour leaves."""
    colour = patchify(pictures, PATCH).unflatten(2, (3, -1)).mean(dim=3)  # [N, T, 3]
    known = F.pad(colour, (0, 1), value=1.0).transpose(0, 1)  # [T, N, 4]
    wanted = (target - target.mean(dim=0)).transpose(0, 1)  # [T, N, D]
    rest = wanted - known @ torch.linalg.lstsq(known, wanted).solution
    return (rest.square().sum() / wanted.square().sum()).item()


left = {name: left_over(target) for name, target in sheets.items()}
for name, share in left.items():
    print(f"{name}: {share:.0%} is not mean colour")
assert left["features"] > left["pixels"] > left["codes"] and left["codes"] < 0.5

# %% [markdown]
# (1) The features of a network that knows nothing have most left, then the pixels, then the codes (the three numbers
# above). One reason: they mix in what stands at *other* places (a token has looked at all the others). But "not
# colour" is not yet "about the object": a target can be rich and useless. Which one teaches is a question for runs.
# First the family.
#
# ## One family, one question
#
# | method | the encoder sees | target of a hidden patch | distance | can the target move? |
# |---|---|---|---|---|
# | [MAE](https://arxiv.org/abs/2111.06377) | visible tokens | pixels | squared | no |
# | [SimMIM](https://arxiv.org/abs/2111.09886) | all, mask tokens in the holes | pixels | absolute | no |
# | [BEiT](https://arxiv.org/abs/2106.08254) | all, mask tokens | the patch's code, one of $K$ words | cross-entropy | no |
# | [data2vec](https://arxiv.org/abs/2202.03555) | all, mask tokens | mean of the last layers of a momentum teacher | smooth L1 | yes |
# | [I-JEPA](https://arxiv.org/abs/2301.08243) | one context block | last layer of a momentum teacher, whole blocks | squared | yes |
# | [SALT](https://arxiv.org/abs/2509.24317) | what V-JEPA's blocks leave (here: one context block) | last layer of a *frozen* teacher | absolute | no |
#
# Write $M$ for the hidden places, $c_i$ for the code of patch $i$, $s_i \in \mathbb{R}^D$ for the teacher's token,
# $h^l_i$ for the output of its layer $l$ of $L$, and a hat for what the network says. Averaged over $i \in M$:
#
# $$\text{BEiT: } -\log \hat p(c_i), \qquad
# \text{data2vec: } \mathrm{smooth}_{L1}\Big(\hat y_i,\ \tfrac1k\sum_{l=L-k+1}^{L}\mathrm{norm}(h^l_i)\Big), \qquad
# \text{I-JEPA: } \tfrac1D\lVert \hat s_i - s_i\rVert_2^2, \qquad
# \text{SALT: } \tfrac1D\lVert \hat s_i - s_i\rVert_1 .$$
#
# $\hat p$ is a softmax over the $K$ words; $k$ is the number of layers averaged; norm gives a token mean 0 and variance
# 1 over its $D$ numbers, and $s_i$ is normalised the same way; smooth L1 of a difference $d$ is $d^2/2\beta$ for
# $|d|<\beta$ and $|d|-\beta/2$ beyond, averaged over $D$. (I-JEPA's published code takes a smooth L1 for the square.)
#
# BEiT *classifies*: code 17 is no nearer to 18 than to 400, and the answer is a distribution over words. The others
# regress: where two things are possible, they say the mean or the median of both.


# %%
# fmt: off
def beit_loss(logits, codes, mask):                    # [N, T, K], [N, T], bool [N, T]
    log_p = logits.log_softmax(dim=2).gather(2, codes[:, :, None])[:, :, 0]
    return -log_p[mask].mean()


def data2vec_loss(prediction, target, mask, beta):     # [N, T, D] twice, bool [N, T]
    gap = (prediction - target)[mask].abs()
    return torch.where(gap < beta, gap**2 / (2 * beta), gap - beta / 2).mean()


def ijepa_loss(prediction, target):                    # [N, blocks, places, D] twice
    return (prediction - target).square().mean()


def salt_loss(prediction, target):
    return (prediction - target).abs().mean()
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
draw = torch.Generator().manual_seed(0)
a, b = torch.randn(2, 5, T, 12, generator=draw)
codes = torch.randint(12, (5, T), generator=draw)
mask = random_mask(5, T, 0.5, generator=draw)
for name, mine, theirs in (
    ("beit", beit_loss(a, codes, mask), losses.beit(a, codes, mask)),
    ("data2vec", data2vec_loss(a, b, mask, 0.5), losses.data2vec(a, b, mask, 0.5)),
    ("ijepa", ijepa_loss(a[None], b[None]), losses.ijepa(a[None], b[None])),
    ("salt", salt_loss(a[None], b[None]), losses.salt(a[None], b[None])),
):
    print(f"{name} agrees with the package:", torch.allclose(mine, theirs, atol=1e-5))

# %% [markdown]
# ## Codes: spell the picture
#
# BEiT's vocabulary of 8,192 words is the tokenizer of DALL-E ([Ramesh et al., 2021](https://arxiv.org/abs/2102.12092)).
# Ours has 128 and comes from k-means; you saw it in the third row above. Most of it is spent on colour, because colour
# is most of the variance of a patch. **BEiT v2** ([Peng et al., 2022](https://arxiv.org/abs/2208.06366)) answers this
# kind of worry: quantise the *features of a trained teacher*, so that a word means what the teacher means. **PeCo**
# ([Dong et al., 2021](https://arxiv.org/abs/2111.12710)) asks for the same with a perceptual loss.
#
# BEiT also hides in *blocks*. Its published generator lays down rectangles, each of an area between 16 patches and
# what is still to be hidden, and stops when ten tries find none that fits. So it leaves no spray of single patches,
# and it may hide *fewer* than the 75 of 196 it aims at.


# %%
def beit_blocks(side=14, aim=75, smallest=16, seed=0) -> torch.Tensor:
    """A mask, bool [side, side], by BEiT's rule."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.zeros(side, side, dtype=torch.bool)
    tries = 10
    while tries and mask.sum() < aim:
        room = aim - int(mask.sum())
        u = torch.rand(4, generator=g).tolist()
        area = smallest + u[0] * (room - smallest)
        aspect = math.exp((2 * u[1] - 1) * math.log(1 / 0.3))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        tries -= 1
        if h < side and w < side:
            top, at = int(u[2] * (side - h + 1)), int(u[3] * (side - w + 1))
            tried = mask.clone()
            tried[top : top + h, at : at + w] = True
            if 0 < tried.sum() - mask.sum() <= room:
                mask, tries = tried, 10
    return mask


# %% tags=["hide-input"]
GRID = 14
draw = torch.Generator().manual_seed(5)
ours = block_mask(1, GRID**2, 0.4, generator=draw).view(GRID, GRID)
context, blocks = context_and_targets(1, GRID**2, generator=draw)
jepa = torch.zeros(GRID**2)
jepa[context[0]] = 1.0
for block, gray in zip(blocks[0], (0.25, 0.4, 0.55, 0.7), strict=True):
    jepa[block] = gray
maps = [1 - 0.6 * beit_blocks(seed=7).float(), 1 - 0.6 * ours.float()]
maps = torch.stack([*maps, jepa.view(GRID, GRID)])[:, None]
maps = maps.expand(-1, 3, -1, -1).repeat_interleave(16, 2).repeat_interleave(16, 3)
plots.show(
    plots.image_grid(
        maps,
        columns=3,
        titles=["BEiT's rule", "this package's blocks", "I-JEPA"],
        title="White: seen, gray: asked, black: unused",
    ),
    alt="Three masks on a grid of 14 by 14: one solid shape made of overlapping "
    "rectangles; rectangles of which the last is cut to a spray of patches; a white "
    "context out of which four rectangles in four grays are cut, some overlapping.",
)

# %% tags=["hide-input"]
masks = torch.stack([beit_blocks(seed=s) for s in range(60)])
counts = [int(m.sum()) for m in masks]
alone = F.conv2d(
    masks[:, None].float(),
    torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None], padding=1,
)[:, 0]  # fmt: skip
print(f"hidden of 196, over 60 masks: {min(counts)} to {max(counts)} (aim 75)")
assert min(counts) < 75 >= max(counts) and (alone[masks] == 0).float().mean() < 0.01
assert GRID**2 * 0.4 > 75 and int(ours.sum()) == round(0.4 * GRID**2)

# %% [markdown]
# The package's own `block_mask` cuts its last rectangle at random places, so that every image hides the same number
# (the middle panel): methods that drop hidden tokens need that. BEiT keeps all tokens and does not.
#
# ## What goes wrong: a target that can move
#
# With pixels or codes a loss has a yardstick: an answer that does not look at the picture pays the variance of the
# pixels, or the entropy of the codes. With features the teacher decides what the answers are worth. Let $\bar s_t$ be
# the mean of the teacher's tokens at place $t$ over all pictures. A student that knows nothing but the place says
# $\bar s_t$ and pays
#
# $$\text{price} = \mathbb{E}\,\tfrac1D\lVert s_t - \bar s_t\rVert_2^2$$
#
# (for SALT: the median and the absolute value). Pixels have a fixed price. A frozen teacher has a fixed price. A
# teacher that moves *can lower the price*, down to zero, where all pictures get the same tokens; then a loss of zero
# is no achievement. If the gradient reaches the target, lowering the price is one of the two ways to lower the loss,
# and nothing holds it back. Run all four.


# %%
@torch.no_grad()
def price(method) -> float:
    """What it costs to know only the place, on 512 pictures."""
    frozen = isinstance(method, SALT)
    kept = getattr(method, "stop_gradient", True)
    teacher = method.frozen if frozen else method.teacher if kept else method.encoder
    s = teacher.eval().patches(pictures)  # [N, T, D]
    s = F.layer_norm(s, s.shape[-1:])
    gap = s - (s.median(0).values if frozen else s.mean(0))
    return float(gap.abs().mean() if frozen else gap.square().mean())


# %%
def short_run(kind, steps=50, **options) -> dict:
    torch.manual_seed(0)
    method = kind(build_encoder("vit", depth=2), **options)
    policy = recipes.get_recipe("quick").policy
    start = price(method)
    history = pretrain(
        method, unlabeled.images, method.views(policy), steps=steps, batch_size=64,
        lr=3e-3, weight_decay=0.05, seed=0, progress=False,
    )  # fmt: skip
    h = method.encoder.eval()(pictures).detach()
    return {
        "first": history[0]["loss"], "loss": history[-1]["loss"], "start": start,
        "price": price(method), "rank": float(diagnostics.rank_me(h)),
        "verdict": diagnostics.diagnose(h).verdict,
    }  # fmt: skip


# %%
still = build_encoder("vit", depth=2)
live = {
    "frozen teacher, never trained (SALT)": short_run(SALT, teacher=still),
    "teacher follows, momentum 0.99 (I-JEPA)": short_run(IJEPA),
    "teacher = student, gradient stopped": short_run(IJEPA, momentum=0.0),
    "gradient into the target": short_run(IJEPA, stop_gradient=False),
}

# %% tags=["hide-input"]
plots.table(
    [{"version": name} | row for name, row in live.items()],
    "Features as targets, 50 steps, two blocks: loss, and price of knowing nothing",
    {"version": "version", "first": "first loss", "loss": "last loss",
     "start": "price before", "price": "price after", "rank": "RankMe",
     "verdict": "diagnosis"},
    {"first": ".2f", "loss": ".3f", "start": ".3f", "price": ".3f", "rank": ".0f"},
)  # fmt: skip
fixed, follows, same, moving = live.values()
assert fixed["price"] == fixed["start"]
assert moving["loss"] < min(follows["loss"], same["loss"])
assert moving["price"] < 0.1 * moving["start"] and moving["verdict"] != "healthy"
stands = [row["price"] / row["start"] for row in (follows, same, moving)]
assert min(stands[:2]) > 5 * stands[2]
print("price that stands: {:.0%} follows, {:.0%} same, {:.0%} moving".format(*stands))
print(f"loss at the end: {same['loss']:.3f} stopped, {moving['loss']:.3f} not stopped")

# %% [markdown]
# The first row counts absolute errors, the others squares: compare a loss with the price in its own row.
#
# (3) Lower: without the stop the loss ends below that of the same run with it, and its price has gone to nothing (the
# numbers above). *It has learned to ask easy questions.* With the stop, with or without momentum, the whole price
# stands after these 50 steps (printed): nobody *pushes* it down. (It may still drift; [chapter
# 15](15_self_distillation.ipynb) takes that apart.) And the frozen teacher's price cannot change at all.
#
# *How to see it*: print the price beside the loss. A price that falls towards zero says that the target is dying. Loss
# / price is the share *not* explained; one minus it is what the student knows beyond the place (roughly: the price is
# taken on whole pictures, the loss on crops). In the first three rows more than half is left unexplained;
# in the last the loss, tiny as it is, is no smaller than the price.
#
# ## Does a teacher have to follow?
#
# SALT ([Li et al., 2025](https://arxiv.org/abs/2509.24317)) says no. Train a teacher by painting hidden pixels, freeze
# it, and train a new student on its features: no momentum, no collapse to prevent, and a loss that means something. The
# authors report, for video, students above V-JEPA 2's encoders, better accuracy than V-JEPA at matched compute, and
# good students of small, poor teachers. **dBOT** ([Liu et al., 2022](https://arxiv.org/abs/2209.03917)) went further
# before: begin with a *random* frozen teacher, make the student the next teacher, start a new student; with the same
# data and architecture, they find, the choice of the first teacher hardly matters in the end (one trained on more data
# still helps). dBOT is described, not run here. In code SALT's step is one `no_grad`:


# %%
def salt_step(method: SALT, x: torch.Tensor) -> torch.Tensor:
    context, blocks = context_and_targets(len(x), T, 2)  # places [N, K], [N, 2, B]
    with torch.no_grad():
        s = method.frozen.patches(x)  # the whole picture; nothing here ever changes
        s = F.layer_norm(s, s.shape[-1:])
        s = s[torch.arange(len(x))[:, None, None], blocks]  # [N, 2, B, D]
    seen = method.encoder.patches(x, context)  # the student sees the context only
    return salt_loss(method.predict(seen, context, blocks), s)


student = SALT(build_encoder("vit"), teacher=stranger)
torch.manual_seed(1)
by_hand = salt_step(student, pictures[:8])
torch.manual_seed(1)
assert torch.allclose(by_hand, student([pictures[:8]]), atol=1e-6)
by_hand.backward()
assert all(p.grad is None for p in student.frozen.parameters())

# %% [markdown]
# ## All of them, on one small transformer
#
# Same start, same pictures, 800 steps of 128 (SimCLR 300: its steps cost up to four times as much). One learning rate for
# all, 3e-3: it lies between two at which MAE does about equally well on held-out train images; **nothing else was
# tuned** ([`benchmarks/masked.py`](https://github.com/ssl-lessons/ssl-lessons/blob/main/benchmarks/masked.py)). So every comparison with MAE leans towards MAE, and "below MAE" means "below MAE at
# MAE's rate". Seconds are not equal either: a method that drops hidden tokens is cheaper, one with a teacher pays for
# it, and SALT stands on another run of 800 steps, MAE's, whose price comes on top. In the table, beside those you know:
#
# - **Selfie** ([Trinh et al., 2019](https://arxiv.org/abs/1906.02940)): which of the patches of this picture belongs
#   into this hole? Contrastive, and the earliest here: `cross_entropy(asked @ describe(patches).mT, arange(K))`.
# - **CrossMAE** ([Fu et al., 2024](https://arxiv.org/abs/2401.14391)): MAE whose hidden patches ask the visible ones
#   and never each other; each answer is the same whoever else is asked.
#
# **Described, not run here:**
#
# - **iGPT** ([Chen et al., 2020](https://proceedings.mlr.press/v119/chen20s.html)) trains its transformer on sequences
#   of pixels in two ways, one pixel after the other, or with BERT's objective: hide some, maximise the probability of
#   each hidden colour given the visible ones. The second is an early form of what this chapter does.
# - **ViT** ([Dosovitskiy et al., 2021](https://arxiv.org/abs/2010.11929)), appendix: classify the mean colour of a
#   hidden patch, 3 bits per channel, 512 classes.
# - **Frozen patch projection**, from MoCo v3 ([Chen et al., 2021](https://arxiv.org/abs/2104.02057)), where it made
#   training more stable: `build_encoder("vit", freeze_patches=True)`.
# - **iBOT** ([Zhou et al., 2022](https://arxiv.org/abs/2111.07832)): [chapter 15b](15b_centre_and_sharpen.ipynb) has
#   its two terms.
# - **data2vec 2.0** ([Baevski et al., 2023](https://arxiv.org/abs/2212.07525)): visible tokens only, a convolutional
#   decoder, several masks per teacher pass.
# - **BEiT v2** and **dBOT** (above). **CAPI** clusters hidden patches: [chapter
#   17b](17b_relatives_and_the_long_tail.ipynb).

# %% tags=["hide-input"]
record, origin = book.recorded("masked", world=2)
main = [r for r in record if r["part"] == "main"]


def of(arm: str, key: str = "tokens") -> list[float]:
    """One value per seed."""
    return book.per_seed(main, key, arm=arm)


def against(a: str, b: str, key: str = "tokens") -> evidence.Verdict:
    """Is a higher than b, by two points?  Not tested where neither has learned."""
    return evidence.compare(
        of(a, key), of(b, key), floor=of("untrained", key), learns="either"
    )


# %% tags=["hide-input"]
LINES = {  # what stands in the table: method, target
    "pixels": ("raw pixels", "-"), "untrained": ("the same start, untrained", "-"),
    "autoencoder": ("no mask", "pixels"), "simclr": ("SimCLR", "another view"),
    "mae": ("MAE", "pixels"), "all patches": ("MAE, loss on all", "pixels"),
    "blocks": ("MAE, block masks", "pixels"), "simmim": ("SimMIM", "pixels"),
    "crossmae": ("CrossMAE", "pixels"), "selfie": ("Selfie", "which patch"),
    "beit": ("BEiT", "128 words"), "data2vec": ("data2vec", "moving teacher"),
    "ijepa": ("I-JEPA", "moving teacher"),
    "ijepa pixels": ("I-JEPA with pixels", "pixels"),
    "salt": ("SALT", "frozen MAE"),
}  # fmt: skip
FLOORS = ("pixels", "untrained")
TRAINED = [arm for arm in LINES if arm not in FLOORS]
assert all(len(of(arm)) == 3 for arm in LINES)


# %% tags=["hide-input"]
def mean(arm: str, key: str = "tokens") -> float:
    return sum(of(arm, key)) / len(of(arm, key))


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    middle = 100 * sum(values) / len(values)
    return f"{middle:.1f} ({100 * min(values):.0f} to {100 * max(values):.0f})"


def gained(arm: str) -> str:
    """Does it beat the untrained start by two points?  Read as it was trained."""
    key = "probe" if arm == "simclr" else "tokens"  # it compares whole pictures
    return evidence.compare(of(arm, key), of("untrained", key), learns="none").word


# %% tags=["hide-input"]
left_floor = {arm for arm in TRAINED if gained(arm) == HOLDS}
lines = [{"what": "chance", "mean": "10.0", "tokens": "10.0", "knn": "10.0"}]
for arm in LINES:
    line = dict(zip(("what", "target"), LINES[arm], strict=True))
    line |= {"mean": spread(of(arm, "probe")), "tokens": spread(of(arm))}
    line |= {"knn": spread(of(arm, "knn")), "steps": max(of(arm, "steps"))}
    if arm in TRAINED:
        line["learned"] = "yes" if arm in left_floor else gained(arm)
        line["seconds"] = f"{min(of(arm, 'seconds')):.0f}"
    lines.append(line)
plots.table(
    lines,
    "Probe with 100 labels and kNN with 2,000 (%): mean and range over three seeds",
    {"what": "method", "target": "target", "mean": "mean token",
     "tokens": "all tokens", "knn": "kNN, mean token", "learned": "left the floor",
     "steps": "steps", "seconds": "fastest run, s"},
)  # fmt: skip
print(origin)

# %%
READINGS = {"tokens": "all tokens", "probe": "mean token", "knn": "kNN"}
for key, words in READINGS.items():
    top = max(LINES, key=lambda arm: mean(arm, key))
    print(f"best by {words}: {LINES[top][0]}, {spread(of(top, key))} %")
for key in ("tokens", "probe"):
    print(f"\nminus MAE, {READINGS[key]}:")
    for arm in TRAINED:
        if arm != "mae":
            print(f"  {LINES[arm][0]:>26}: {against(arm, 'mae', key)}")

# %% tags=["hide-input"]
assert min(of("pixels", "knn")) > 0.1 + max(max(of(a, "knn")) for a in TRAINED)
shown = {"mae", "all patches", "blocks", "crossmae", "selfie", "salt", "simclr"}
assert left_floor == shown
excluded = {arm for arm in TRAINED if gained(arm) == evidence.FAILS}
assert excluded == {"autoencoder", "beit", "simmim"}
line = mean("untrained") + 0.02
assert {a for a in TRAINED if mean(a) > line} == shown | {"ijepa", "ijepa pixels"}
by_mean = sorted(TRAINED, key=lambda arm: mean(arm, "probe"))
assert set(by_mean[-2:]) == {"simclr", "selfie"}
assert mean("mae", "probe") < mean("pixels", "probe") + 0.02
assert mean("mae") > mean("pixels") + 0.05 and mean("mae") > mean("simclr")
slower = max(mean("ijepa"), mean("beit"))
assert min(mean("mae"), mean("salt")) > slower

# %% [markdown]
# First the baseline: **nearest neighbours of raw pixels beat every method**, by more than ten points. No row
# of the table is a good encoder yet.
#
# Then the floor, on all tokens. MAE and its variants, CrossMAE, Selfie, SALT and SimCLR left it: more than two points
# above the untrained start in the mean, and three seeds show it. (SimCLR, which trains the mean token, is judged by
# that.) I-JEPA, with features or with pixels, is above that line in the mean, but the seeds scatter too much to show it. SimMIM,
# BEiT, data2vec and the run without a mask are not above it. In 800 steps at MAE's rate a gain of two points is
# excluded for no mask, BEiT and SimMIM (column); for the others the seeds scatter too much.
#
# The readings disagree. On the mean token MAE is no better than a linear probe of raw pixels (within two points), and
# SimCLR and Selfie, the two contrastive rows, stand highest (against MAE only Selfie's lead is shown). On all tokens
# MAE is more than five points above the pixels and has the highest mean. Sixteen times as many numbers help everybody:
# the untrained start gains about five points. MAE gains twice that, so part of what it learned is lost in the mean.
#
# (2) Of the four targets' rows, pixels (MAE) and the teacher that stands still (SALT) read highest on all tokens, above
# the teacher that follows (I-JEPA) and the codes (BEiT). But the question was too simple: pixels are also the target of
# SimMIM, of I-JEPA with pixels and of the run without a mask. **One target spans some ten points, so what is hidden, what
# the encoder sees and how well the one rate fits can matter as much as the target**; only the pairs below compare
# targets.
#
# Each line below the table judges one statement: *two points above MAE*. "Does not hold" excludes that; where the whole
# interval is negative (on all tokens: no mask, loss on all, SimMIM, CrossMAE, BEiT, data2vec, I-JEPA) the row is below
# MAE at MAE's rate.
#
# What the table does not show: larger networks, natural pictures, equal seconds, any rate but 3e-3, and more than three
# seeds.
#
# ### The fair pairs
#
# Two rows that differ in many things prove little about one. One pair changes the target and nothing else: *I-JEPA and
# I-JEPA with pixels* have the same masks, encoder and predictor; it is the ablation of the paper itself. *BEiT and
# SimMIM* come close: the same tokens through the same encoder, but blocks against single patches, 40 % against 60 %
# hidden, and cross-entropy against absolute error. *SALT and I-JEPA* differ in the teacher, and in the absolute value
# for the square. *SALT and MAE* are student and teacher.

# %%
for a, b in (
    ("beit", "simmim"), ("ijepa", "ijepa pixels"), ("salt", "ijepa"), ("salt", "mae"),
    ("crossmae", "mae"),
):  # fmt: skip
    print(f"{LINES[a][0]} minus {LINES[b][0]}, all tokens: {against(a, b)}")
assert mean("salt") > mean("ijepa") and mean("salt") < mean("mae") + 0.01
assert mean("ijepa pixels") > mean("ijepa") - 0.01
below = {a for a in TRAINED if a != "mae" and against(a, "mae").high < 0}
assert below == {
    "autoencoder", "all patches", "simmim", "crossmae", "beit", "data2vec", "ijepa"
}  # fmt: skip

# %% [markdown]
# SALT's student ends above I-JEPA's, whose teacher follows: the one pair in which a gain is shown. Mind what it is: the
# frozen teacher is a trained MAE, so 1,600 steps stand against 800, and I-JEPA has not clearly left the floor at MAE's
# rate. It shows that a teacher *need not* follow, not that following hurts. Against its own teacher, MAE, the student
# is lower in the mean; the line cannot tell. I-JEPA's pair is not tested: neither arm has clearly left the floor. (In
# the mean pixels read higher; the paper finds the opposite.) Nor is BEiT's against SimMIM, for the same reason.
#
# ### Uniform masks: a matter of counting
#
# Pyramid transformers (Swin, PVT) use operators within local windows. A window without a visible patch has nothing to
# attend to, so their hidden tokens cannot simply be dropped under a random mask. **UM-MAE** ([Li et al.,
# 2022](https://arxiv.org/abs/2205.10063)) keeps one visible patch in every cell of 2 x 2, so that all windows hold
# equally many, and then hides some of the kept from the encoder with mask tokens (`uniform_mask` leaves that out). How
# often is a cell empty otherwise?

# %%
draw = torch.Generator().manual_seed(0)
empty = {}
for name, masks in (
    ("random", random_mask(500, T, 0.75, generator=draw)),
    ("uniform", uniform_mask(500, T, generator=draw)),
):
    cells = masks.view(-1, 2, 2, 2, 2)  # [N, row, y, column, x]
    empty[name] = cells.all(dim=4).all(dim=2).float().mean().item()
    print(f"{name}: {empty[name]:.1%} of the 2 x 2 cells have no visible patch")
exact = math.comb(12, 8) / math.comb(16, 12)  # exercise 3
assert abs(empty["random"] - exact) < 0.03 and empty["uniform"] == 0

# %% [markdown]
# More than a quarter of the cells, and never. Whether a windowed encoder then learns as well, this package cannot say:
# it has none. (On our transformer, which attends everywhere, the uniform mask has no such job; not run.)
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · The yardstick (••, 8 minutes)
# `target` is a float tensor `[N, D]`: the features of N hidden patches. An answer that knows nothing is one vector of D
# numbers for all N. Return two numbers: the smallest mean absolute error such an answer can have, and the smallest mean
# squared error (each with its own best vector; means over N and D).
#
# <details><summary>Hint</summary>Which number has as many values below it as above it?</details>


# %%
def constant_costs(target: torch.Tensor) -> tuple[float, float]:
    return NOT_ATTEMPTED


ch18b.check_constant_costs(constant_costs)

# %% [markdown]
# ### 2 · What data2vec predicts (••, 8 minutes)
# `layers` is a float tensor `[L, N, T, D]`, the outputs of all layers of the teacher; `top_k` an int. Return
# `[N, T, D]`: normalise each token of each of the last `top_k` layers over its D numbers (mean 0, variance 1, 1e-5
# added to the variance), then average the layers.
#
# <details><summary>Hint</summary>The layers of a pre-norm transformer grow with depth. Which order of the two steps
# keeps the last one from deciding alone?</details>


# %%
def teacher_targets(layers: torch.Tensor, top_k: int) -> torch.Tensor:
    return NOT_ATTEMPTED


ch18b.check_teacher_targets(teacher_targets)

# %% [markdown]
# ### 3 · Blind windows (••, 10 minutes)
# `hidden` of `tokens` patches are hidden at random, without replacement (all ints). Return the probability, a float,
# that a given window of `window` patches has no visible one (0.0 where it cannot happen). Then decide: a window of 7 x
# 7 on a grid of 14 x 14, 75 % hidden; do you need uniform masks *for that reason*?
#
# <details><summary>Hint</summary>Count masks. If the window is hidden entirely, where are the other hidden
# patches?</details>


# %%
def blind_window(tokens: int, hidden: int, window: int) -> float:
    return NOT_ATTEMPTED


ch18b.check_blind_window(blind_window)

# %% tags=["hide-input"]
seven = blind_window(196, 147, 49)
done = seven is not NOT_ATTEMPTED
print("7 x 7 of 14 x 14:", f"{seven:.1e}" if done else "not attempted")

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv).


# %% tags=["hide-input"]
ablation = Runs(of("ijepa"), of("ijepa pixels"), floor=of("untrained"))

# %%
book.claim("C-94", drawn=None)
book.claim("C-95", drawn=ablation)
book.claim("C-97", drawn=None)
book.claim("C-99", drawn=None)

# %% [markdown]
# C-94 compares fine-tuned networks, as the paper does; neither BEiT nor SimMIM was shown to leave the floor
# in 800 steps, so fine-tuning them would compare two beginners. C-95 reads all tokens, which both arms train. C-97 is
# not tested: iBOT's step, two views and a teacher, was too dear to run to the end here, and no row of it is in the
# record. C-99 needs an encoder that this package has not.
#
# ## Where it comes from, where it went
#
# At scale: [EVA (2022)](https://arxiv.org/abs/2211.07636) regresses CLIP's features behind the mask,
# [BEiT-3 (2022)](https://arxiv.org/abs/2208.10442) masks images, texts and pairs with one network, and
# [DINOv2 (2023)](https://arxiv.org/abs/2304.07193) joins iBOT's patch term with self-distillation of whole images.
# With little data, [SplitMask (2021)](https://arxiv.org/abs/2112.10740) pretrains on the small target set itself.
# [MST (2021)](https://arxiv.org/abs/2106.05656) lets a teacher's attention choose what to hide. [Wei et al.
# (2022)](https://arxiv.org/abs/2205.14141) distil a contrastive model's features and find that it then fine-tunes as
# well as a masked one: a hint that the form of the target was part of the difference.
#
# ## Two questions
#
# **1.** A colleague trains on teacher features; the loss falls from 0.6 to 0.02 in a minute. What do you ask for?
# <details><summary>Answer</summary>The price: what an answer that knows only the place would pay *now*. If it fell
# with the loss, the target is dying, and the gradient probably flows into it. If it stands, the student predicts
# something real. Whether that is more than colour, ask a probe.</details>
#
# **2.** Why does SALT need neither momentum nor stop-gradient tricks, and what does it pay instead?
# <details><summary>Answer</summary>Its target is a constant of the training: nothing the student does changes the
# question, so no answer is cheap for everybody. It pays for the teacher, a run of its own (once for many students),
# and a student can only be asked what that teacher represents.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def constant_costs(target):
#     absolute = (target - target.median(dim=0).values).abs().mean()
#     return absolute, (target - target.mean(dim=0)).square().mean()
#
#
# def teacher_targets(layers, top_k):
#     return F.layer_norm(layers[-top_k:], layers.shape[-1:]).mean(dim=0)
#
#
# def blind_window(tokens, hidden, window):
#     # 7 x 7 of 14 x 14, 147 hidden: about 6e-8. Not for that reason (but for equal counts, perhaps).
#     if hidden < window:
#         return 0.0
#     return math.comb(tokens - window, hidden - window) / math.comb(tokens, hidden)
# ```
