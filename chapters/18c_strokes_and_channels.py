# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 18c · What else is a mask good for: painting in strokes, and convolutions with holes
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/18c_strokes_and_channels.ipynb)
#
# **After this chapter you can**
#
# - draw pictures with a masked model of codes, in one round or in several, and say why the rounds matter;
# - carry a mask through a convolutional network so that holes stay holes;
# - write global response normalisation, and say what it does to channels and to the view of a place.
#
# **You need** [chapter 18](18_masked_images.ipynb) (the mask) and [chapter
# 18b](18b_masked_features.ipynb) (codes as targets). This is a companion of chapter 18.
# **Time**: 16 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("18c")

# %% [markdown]
# ## The puzzle: everything at once
#
# A masked model of *codes* answers every hole with a distribution over words. You can draw from it. Hide the whole
# picture, draw a word for each of the 64 places, and you have a picture that never was. Here is a world of two
# pictures: all black, or all white, each half of the time. The model is perfect: every place is black with probability
# one half.
#
# > **Predict.** You draw all 64 places at once. How often do you get one of the two pictures of this world? And if you
# > draw one place first, show it to the model, and then draw the other 63 at once?

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, plots, views
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch18c
from ssl_lessons.losses import kmeans
from ssl_lessons.losses import masked as losses
from ssl_lessons.models import (
    patchify,
    sincos_positions,
    transformer_blocks,
    unpatchify,
)

at_once = 2 * 0.5**64
g = torch.Generator().manual_seed(0)
first = torch.randint(2, (1000, 1), generator=g)  # one place; then the model is sure
in_two = (first.expand(-1, 64).float().std(dim=1) == 0).float().mean().item()
print(f"at once: {at_once:.1e}; one place first: {in_two:.0%}")
assert in_two == 1

# %% [markdown]
# Right once in about $10^{19}$ draws at once ($2 \cdot 0.5^{64}$), and always if one place goes first. Each
# distribution is right, and the picture is wrong: drawn at once, the places do not know of each other. One stroke that
# is looked at before the next repairs it all. **MaskGIT** ([Chang et al., 2022](https://arxiv.org/abs/2202.04200))
# makes a painter of this.
#
# ## MaskGIT: keep what you are surest of
#
# *Training*: hide a random share of the codes, from almost none to all, and classify the hidden ones (BEiT's loss).
# *Drawing*: begin with everything hidden. In each round draw all hidden places; keep the draws with the highest
# probability, hide the others again. After round $r$ of $R$, $\lfloor n \cos(\tfrac{\pi}{2}\tfrac{r}{R}) \rfloor$ of
# the $n$ places stay hidden: few are kept in the first rounds, many in the last. Noise on the log-probabilities, strong
# in the first of eight (a standard deviation of 5 nats) and none in the last, keeps the painter from always beginning
# with the dullest place; only towards the end does it really keep what it is surest of.
#
# Codes here are 48 words for patches of 4 x 4 pixels, by k-means: 64 places.

# %%
WORDS, CELLS = 48, 64
unlabeled = data.shapes("unlabeled", n=2048, world=2)
cells = patchify(views.normalize(unlabeled.images), 4)  # [2048, 64, 48]
torch.manual_seed(0)
some = cells.flatten(0, 1)[torch.randperm(2048 * CELLS)[:8000]]
_, centers = kmeans(some, WORDS)
spelled = torch.cat([torch.cdist(c, centers).argmin(dim=2) for c in cells.split(256)])


class CodeModel(nn.Module):
    """Codes [N, 64], where WORDS stands for "hidden" -> logits [N, 64, WORDS]."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.words = nn.Embedding(WORDS + 1, width)
        nn.init.normal_(self.words.weight, std=0.3)
        self.register_buffer("positions", sincos_positions(8, width))
        self.blocks = transformer_blocks(width, 2, 4)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, WORDS))

    def forward(self, codes):
        h = self.words(codes) + self.positions
        for block in self.blocks:
            h = block(h)
        return self.out(h)


# %%
def learn_codes(steps: int = 150) -> CodeModel:
    model = CodeModel()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        cooling = (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 15) * cooling
        y = spelled[torch.randint(len(spelled), (64,))]
        hidden = (torch.cos(torch.rand(64, 1) * math.pi / 2) * CELLS).ceil()
        mask = torch.rand(64, CELLS).argsort(dim=1).argsort(dim=1) < hidden
        loss = losses.beit(model(torch.where(mask, WORDS, y)), y, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


# %%
NOISE = 4.5  # times 1 - r / R: the "choice temperature" of published code


@torch.no_grad()
def draw_codes(model, n: int, rounds: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    codes = torch.full((n, CELLS), WORDS)
    for r in range(1, rounds + 1):
        p = model(codes).softmax(dim=2)
        drawn = torch.multinomial(p.flatten(0, 1), 1, generator=g).view(n, CELLS)
        new = torch.where(codes == WORDS, drawn, codes)
        noise = -(-torch.rand(n, CELLS, generator=g).log()).log()  # Gumbel
        sure = p.gather(2, new[:, :, None])[:, :, 0].log()
        sure = sure + NOISE * (1 - r / rounds) * noise
        sure = sure.masked_fill(codes != WORDS, math.inf)  # kept is kept
        stay = math.floor(CELLS * math.cos(math.pi / 2 * r / rounds) + 1e-6)
        codes = torch.where(sure.argsort(1).argsort(1) < stay, WORDS, new)
    return codes


torch.manual_seed(0)
code_model = learn_codes()

# %% [markdown]
# Do the strokes fit together? Count how often each pair of words stands side by side in real pictures, and take the
# mean log-probability of the pairs in drawn ones (the pictures that were counted also trained the model). Three rows
# put the numbers in place: real pictures, the same words with their places shuffled within each picture, and one word
# everywhere.

# %%
grid = spelled.view(-1, 8, 8)
pairs = torch.full((WORDS, WORDS), 0.5)
side_by_side = (grid[:, :, :-1].flatten(), grid[:, :, 1:].flatten())
pairs.index_put_(side_by_side, torch.ones(()), accumulate=True)
log_pair = (pairs / pairs.sum()).log()


def fit(codes: torch.Tensor) -> float:
    """Mean log-probability, among real pictures, of words side by side (nats)."""
    g = codes.view(-1, 8, 8)
    return float(log_pair[g[:, :, :-1], g[:, :, 1:]].mean())


ROUNDS = (1, 2, 4, 8)
fits = {r: fit(draw_codes(code_model, 128, r)) for r in ROUNDS}
real = spelled[:500]
mixed = real.gather(1, torch.rand(real.shape).argsort(dim=1))
blank = real.mode(dim=1, keepdim=True).values.expand_as(real)  # its commonest word
fits |= {"shuffled": fit(mixed), "real": fit(real), "blank": fit(blank)}

# %% tags=["hide-input"]
names = {r: f"drawn in {r} round{'s' * (r > 1)}" for r in ROUNDS}
names |= {"shuffled": "real words, shuffled places", "real": "real pictures"}
names |= {"blank": "one word everywhere, the picture's commonest"}
plots.table(
    [{"what": names[k], "fit": v} for k, v in fits.items()],
    "Do words side by side go together? (log-probability of a pair, nats)",
    {"what": "128 drawn pictures, or 500 real ones", "fit": "mean"},
    ".2f",
)
assert fits[1] < fits[2] < fits[4] < fits[8] < fits["real"] < fits["blank"]
assert fits[1] < fits["shuffled"] < fits[8]
samples = torch.cat([draw_codes(code_model, 8, r) for r in (1, 8)] + [spelled[:8]])
plots.show(
    plots.image_grid(
        views.denormalize(unpatchify(centers[samples], 4)),
        columns=8,
        title="Drawn in one round, drawn in eight, and real pictures in the same words",
    ),
    alt="Three rows of eight small pictures: drawn in one round, mosaics of unrelated "
    "patches; drawn in eight rounds, mostly a ground of one colour with a cluster of "
    "other patches in the middle and no outline; real pictures spelled in words.",
)

# %% [markdown]
# The same network, the same training: only the number of rounds differs. In one round the neighbours go together
# *less* than the shuffled words of real pictures do, for these at least share their colours; in eight rounds more.
# Look at the second row: a ground, and something on it in the middle, where this world puts its objects. You could not
# name one: outlines take more than 150 steps and 48 words. And mind the measure. The last line of the table scores
# best of all: pictures of one word. The fit punishes confetti; it does not ask for objects, and the real ones are not
# its optimum. **Muse** ([Chang et al., 2023](https://arxiv.org/abs/2301.00704)) paints this way from text.
#
# ## A convolution cannot drop a token
#
# A transformer takes a *set* of tokens, and hidden ones may simply be missing. A convolution slides over a grid, and
# something must stand in the hole. Put zeros there, and every layer carries the neighbours one ring further in:
# features are computed for places that show nothing, and after a few layers nobody knows where the hole was. (What
# stands *beside* a hole misses its neighbours either way.) **FCMAE**, the pretraining of ConvNeXt V2 ([Woo et al.,
# 2023](https://arxiv.org/abs/2301.00808)), uses *sparse* convolutions, which compute at visible places only. The same
# by hand: multiply by the mask before every spatial convolution and after every block.


# %%
class ConvBlock(nn.Module):
    """A small ConvNeXt block; visible [N, 1, H, W]: 1 where the picture is seen."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.wide = nn.Conv2d(channels, 4 * channels, 1)
        self.narrow = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x, visible):
        h = self.spatial(x * visible)
        return x + self.narrow(F.gelu(self.wide(h))) * visible


# %%
torch.manual_seed(0)
blocks = nn.ModuleList(ConvBlock() for _ in range(3))
visible = torch.ones(1, 1, 16, 16)
visible[:, :, 5:11, 5:11] = 0  # a hole of 6 x 6
ones, hole = torch.ones_like(visible), visible[0, 0] == 0


# %%
@torch.no_grad()
def reached(mask) -> list[float]:
    """After each block: share of the hole that changes when the visible part does."""
    one, other = torch.randn(2, 1, 16, 16, 16) * visible  # alike in the hole: zeros
    shares = []
    for block in blocks:
        one, other = block(one, mask), block(other, mask)
        changed = (one - other).abs().amax(dim=1)[0] > 0
        shares.append(changed[hole].float().mean().item())
    return shares


filled = {
    "zeros in the picture": reached(ones),
    "mask at every layer": reached(visible),
}
for name, shares in filled.items():
    print(f"{name}: {', '.join(f'{s:.0%}' for s in shares)} of the hole is reached")
closing = torch.tensor([20, 32, 36]) / 36  # one ring of the hole after the other
assert torch.allclose(torch.tensor(filled["zeros in the picture"]), closing)
assert filled["mask at every layer"] == [0.0, 0.0, 0.0]

# %% [markdown]
# Three layers of 3 x 3, and nothing is left of a hole of 6 x 6; with the mask carried along it stays. After pretraining
# the mask is all ones, and the same weights are an ordinary convolution. In this block nothing else has to change; a
# layer that sums over the map (the next one) then sums over all of it instead of the visible part.
#
# ## A layer against lazy channels
#
# With the blocks of ConvNeXt V1 the authors found masked pretraining subpar: in the wide layer of a block many channels
# were dead or saturated, and others repeated each other. ConvNeXt V2 adds a layer against that, **global response
# normalisation (GRN)** (and drops LayerScale). For a map $X \in \mathbb{R}^{H\times W\times C}$ with channels $X_c$,
# learned $\gamma_c, \beta_c$ (both start at 0), and $G_c = \lVert X_c\rVert_2$ over all places,
#
# $$\mathrm{GRN}(X)_c = \gamma_c\, X_c\,\frac{G_c}{\frac1C\sum_{k} G_k} + \beta_c + X_c .$$


# %%
class GRN(nn.Module):
    """[N, H, W, C] -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        strength = x.norm(dim=(1, 2), keepdim=True)  # G, [N, 1, 1, C]
        share = strength / (strength.mean(dim=3, keepdim=True) + 1e-6)
        return self.gamma * x * share + self.beta + x


# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
layer, x = GRN(4), torch.randn(1, 8, 8, 4)
print("at the start it does nothing:", torch.equal(layer(x), x))
nn.init.ones_(layer.gamma)
even = x / x.norm(dim=(1, 2), keepdim=True)  # all channels equally loud
print(
    "equal channels keep their ratio:", torch.allclose(layer(even), 2 * even, atol=1e-5)
)
loud = even * torch.tensor([3.0, 1.0, 1.0, 1.0])
gain = (layer(loud) / loud)[0, 0, 0]
print("one of four three times as loud, gains:", [round(g, 2) for g in gain.tolist()])
x.requires_grad_()
(g,) = torch.autograd.grad(layer(x)[0, 0, 0].sum(), x)
print("corner to corner:", bool(g[0, 7, 7].abs().max() > 0))
assert torch.allclose(gain, 1 + torch.tensor([3.0, 1, 1, 1]) / 1.5, atol=1e-4)

# %% [markdown]
# Read the gains: the loud channel is multiplied by more than the quiet ones. Loud grows against quiet: channels
# compete. And the last line is a side effect that is easily missed: the strength sums over the *whole* map, so with
# GRN every place hears from every other, which small convolutions alone would need many layers for.
#
# The authors measure the variety of the channels by the mean cosine distance of pairs, $\frac1{C^2}\sum_{ij}\frac{1 -
# \cos(X_i, X_j)}{2}$: 0 if all say the same. They see it fall in networks far larger and longer trained than ours.
# Whether GRN raises it in a network of this book's size is **not tested** here: in runs of seconds channels have no
# time to become lazy, and a cure cannot be judged on the healthy.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · Careful first (•, 6 minutes)
# Return a list of `rounds` numbers: how many of the `n` codes each round of MaskGIT keeps that were hidden before it
# (both are ints). What does the last of eight rounds have to decide at once?
#
# <details><summary>Hint</summary>Before the first round all n are hidden; after the last, none.</details>


# %%
def newly_kept(n: int, rounds: int) -> list[int]:
    return NOT_ATTEMPTED


ch18c.check_newly_kept(newly_kept)

# %% [markdown]
# ### 2 · How varied are the channels? (••, 8 minutes)
# `x` is a float tensor `[N, H, W, C]`. Return a scalar: the distance of the formula above over all C squared pairs of
# channels of a picture, averaged over the pictures.
#
# <details><summary>Hint</summary>A channel is a vector of H W numbers; of length 1, if you divide it by its
# length.</details>


# %%
def variety(x: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch18c.check_variety(variety)

# %% [markdown]
# ## Two questions
#
# **1.** Why does MaskGIT train with random shares hidden, and not with 75 % as MAE does?
# <details><summary>Answer</summary>It is asked at all shares: everything hidden in the first round, a few places in the
# last. A model that has met only 75 % would be asked questions it never practised.</details>
#
# **2.** You pretrain a convolutional network with zeros in the holes and no mask in the layers. The loss is fine. What
# do you fear?
# <details><summary>Answer</summary>Not a leak: hidden pixels do not enter. But the holes fill with features of nothing,
# the mask is lost with depth, and capacity goes into places that on a whole picture hold real content.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def newly_kept(n, rounds):
#     # (64, 8): 2, 3, 6, 8, 10, 11, 12, 12: nearly a fifth of the picture is drawn blind in the last round.
#     hidden = [math.floor(n * math.cos(math.pi / 2 * r / rounds) + 1e-6) for r in range(rounds + 1)]
#     return [before - after for before, after in zip(hidden, hidden[1:])]
#
#
# def variety(x):
#     u = F.normalize(x.flatten(1, 2), dim=1)  # [N, H W, C]
#     return ((1 - u.mT @ u) / 2).mean()
# ```
