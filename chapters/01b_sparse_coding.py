# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01b · Sparse coding: does a dictionary of patches have to be learned?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/01b_sparse_coding.ipynb)
#
# **After this chapter you can** write sparse coding in six lines and derive them; tell a dictionary that is bad from one
# that is merely silent; and choose the control that a "learned" feature has to beat.
#
# **You need** [chapter 01](01_energy_and_reconstruction.ipynb), of which this is an optional companion.
# **Time**: 15 minutes to read, half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("01b")

# %% [markdown]
# ## The puzzle: four dictionaries
#
# A dictionary is a list of small pictures, its *atoms*. A patch is described by saying which atoms, and how much of
# each, add up to it. Here are four dictionaries of 64 atoms of 8×8 pixels, twenty atoms of each. One was learned from
# patches of the drawn world. One was learned from two photographs, a temple and a flower. One is a handful of patches of
# the drawn world, taken as they came. One is noise.

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch01b
from ssl_lessons.evaluation.evidence import interval
from ssl_lessons.models.generative import autoencoders, patches

ATOMS, PENALTY = 64, 0.15
few = data.shapes("unlabeled", n=1000).images
fresh = data.shapes("test", n=100).images
generator = torch.Generator().manual_seed(0)
photographs = patches.crops(widgets.photographs(256), 1000, 32, generator)
x = {"same world": patches.cut(few), "photographs": patches.cut(photographs)}
x = {name: v.flatten(0, 1) for name, v in x.items()}  # [16000, 192], mean taken out
new = patches.cut(fresh).flatten(0, 1)  # [1600, 192]

# %%
learn = partial(
    autoencoders.learn_dictionary,
    atoms=ATOMS,
    penalty=PENALTY,
    rounds=15,
    batch_size=1500,
)
dictionaries = {
    "learned, same world": learn(x["same world"]),
    "learned, photographs": learn(x["photographs"]),
    "random patches": patches.sample(x["same world"], ATOMS, generator),
    "noise": F.normalize(torch.randn(ATOMS, 192, generator=generator), dim=1),
}

# %% tags=["hide-input"]
shown = torch.cat([B[:20].view(-1, 3, 8, 8) for B in dictionaries.values()])
shown = shown / shown.abs().amax(dim=(1, 2, 3), keepdim=True) / 2 + 0.5
plots.show(
    plots.image_grid(
        shown,
        columns=20,
        titles=[name if i == 9 else "" for name in dictionaries for i in range(20)],
        title="Twenty atoms each of four dictionaries",
    ),
    alt="Four rows of twenty 8 by 8 colour patches: atoms learned from the drawn "
    "world, atoms learned from photographs, patches taken as they came, and noise. "
    "Those from pictures show edges, stripes and blobs.",
)

# %% [markdown]
# > **Predict before you go on.** Describe the pictures by their codes in each dictionary, and ask a linear classifier with
# > 100 labels for the ten kinds of objects. Rank the four dictionaries (one guess in 24 gets all right). And: by how much
# > does learning the atoms beat taking patches as they come: 0, 5 or 20 points?
#
# ## The idea: few atoms for every patch
#
# Let a patch be a row $x \in \mathbb{R}^P$ and the dictionary $B \in \mathbb{R}^{K\times P}$, its rows atoms of length 1.
# The code $s \in \mathbb{R}^K$ says how much of each atom is in the patch. **Sparse coding** ([Olshausen and Field,
# 1996](https://doi.org/10.1038/381607a0); in this form [Raina et al., 2007](https://doi.org/10.1145/1273496.1273592))
# wants the sum to be right *and* most entries of the code to be zero:
#
# $$\min_{s}\ \tfrac12\lVert x - sB\rVert^2 + \lambda \lVert s\rVert_1, \qquad \lVert s\rVert_1 = \sum_k |s_k|.$$
#
# $\lambda$ is the price of using an atom. With $B$ fixed the problem is convex, and the algorithm is two moves, again and
# again (**ISTA**; [Beck and Teboulle, 2009](https://doi.org/10.1137/080716542), tell its history):
#
# 1. *Downhill in the squared error*: $s \leftarrow s + \eta\,(x - sB)B^\top$, with a step $\eta$ of one over the largest
#    eigenvalue of $BB^\top$.
# 2. *Pay the price.* Near the new point $u$ solve $\min_s \tfrac{1}{2\eta}(s - u)^2 + \lambda|s|$ for each entry alone. For
#    $s > 0$ the derivative is $(s - u)/\eta + \lambda = 0$, so $s = u - \eta\lambda$, as long as that is positive; for $s <
#    0$ the mirror image; otherwise $s = 0$. Every entry is *shrunk* towards zero by $\eta\lambda$, and small ones vanish.


# %%
def ista(x, B, penalty, steps):
    """Codes s [N, K] of patches x [N, P] in atoms B [K, P]"""
    step = 1 / torch.linalg.eigvalsh(B @ B.T)[-1]
    s = torch.zeros(len(x), len(B), dtype=x.dtype)
    for _ in range(steps):
        s = s + step * (x - s @ B) @ B.T
        s = s.sign() * (s.abs() - step * penalty).clamp(min=0)
    return s


def objective(x, B, s, penalty):
    """[N]"""
    return (x - s @ B).square().sum(dim=1) / 2 + penalty * s.abs().sum(dim=1)


# %% [markdown]
# Test it by what must be true at the minimum. An atom in use pays exactly its price, $b_k^\top(x - sB) = \lambda\,
# \mathrm{sign}(s_k)$; an atom not in use is not worth it, $|b_k^\top(x - sB)| \le \lambda$.

# %%
B = dictionaries["learned, same world"].double()
some = new[:50].double()
s = ista(some, B, PENALTY, 3000)
worth = (some - s @ B) @ B.T  # [50, 64]
assert torch.allclose(worth[s != 0], PENALTY * s[s != 0].sign(), atol=1e-3)
assert (worth[s == 0].abs() <= PENALTY + 1e-3).all()
assert torch.allclose(
    ista(some, B, 0.2, 40), autoencoders.sparse_codes(some, B, 0.2, 40)
)
path = torch.stack(
    [objective(some, B, ista(some, B, PENALTY, k), PENALTY) for k in range(9)]
)
assert (path.diff(dim=0) < 1e-9).all()  # no step makes it worse

# %% [markdown]
# *Learning* $B$ alternates: codes for a batch of patches with $B$ fixed, then $B$ half-way to least squares with codes
# fixed, atoms back to length 1. `learn_dictionary` starts from random patches, drawn like those of the third
# dictionary.
#
# ## First measurement: what the dictionaries do to a patch
#
# Code new patches of the drawn world in each of the four, at the same price.

# %%
sizes = {}
for name, B in dictionaries.items():
    s = autoencoders.sparse_codes(new, B, PENALTY, steps=20)
    sizes[name] = {
        "error": ((new - s @ B).square().sum() / new.square().sum()).item(),
        "on": (s != 0).float().mean().item(),
        "empty": (s == 0).all(dim=1).float().mean().item(),
    }

# %% tags=["hide-input"]
plots.table(
    [{"dictionary": name} | row for name, row in sizes.items()],
    f"1,600 new patches, 64 atoms, price {PENALTY}",
    {
        "dictionary": "dictionary",
        "error": "unexplained share of the patch",
        "on": "atoms in use",
        "empty": "patches that use none",
    },
    ".1%",
)
assert sizes["noise"]["on"] < 0.05 and sizes["noise"]["empty"] > 0.2
assert sizes["learned, same world"]["error"] < sizes["random patches"]["error"]
assert max(row["empty"] for name, row in sizes.items() if name != "noise") < 0.1

# %% [markdown]
# The learned atoms explain patches best; random patches use nearly twice as many, and leave more. Noise says next to
# nothing, and *that is not yet a verdict on noise*: a random direction in 192 dimensions has so little in common with
# any patch that it is hardly ever worth its price, and for many patches no atom is. A table that compares a learned
# dictionary with this one compares a description with silence. A fair control speaks as much: lower the price for noise
# until it uses as many atoms.
#
# So there are two controls. **Noise, with its own price**, asks whether the atoms have to look like patches at all.
# **Random patches** ask whether they have to be learned.
#
# ## The run: codes as features
#
# Describe a picture by its codes: cut it into 16 patches, code each, split every code into its positive and its negative
# part, average over each quarter of the picture: $4 \cdot 2 \cdot 64$ numbers. Then the probe with 100 labels. (Three
# seeds, each with its own drawn world; five draws of the labels each.)
#
# One more rival, from the paper that asked this question in earnest. [Coates and Ng (ICML
# 2011)](https://andrewng.org/publications/the-importance-of-encoding-versus-training-with-sparse-coding-and-vector-quantization) separated *training* a dictionary from *encoding* with it, and
# tried the cheapest encoder there is, one matrix product and a **soft threshold**, $\max(0, \pm xB^\top - \lambda)$.
# You know it: it is one step of ISTA from zero, with step size 1.

# %%
B = dictionaries["random patches"].double()
once = patches.threshold(some, B, PENALTY)
by_hand = torch.cat(
    [(some @ B.T - PENALTY).clamp(0), (-some @ B.T - PENALTY).clamp(0)], 1
)
assert torch.allclose(once, by_hand)
record, origin = book.recorded("early_methods", world=2)


def recorded(arm: str, key: str) -> dict[int, float]:
    """A number for each seed; a probe is averaged over its draws of labels."""
    rows = [row for row in record if row["arm"] == arm]
    mean = (lambda v: sum(v) / len(v)) if key == "probe" else float
    return {row["seed"]: mean(row[key]) for row in rows}


# %% tags=["hide-input"]
def pm(values, form=".1%"):
    values = list(values.values())
    mean = sum(values) / len(values)
    return f"{mean:{form}} ({min(values):{form}} to {max(values):{form}})"


NAMES = {
    "learned": "learned, same world",
    "learned elsewhere": "learned, photographs",
    "patches": "random patches, same world",
    "patches elsewhere": "random patches, photographs",
    "noise, matched": "noise, price lowered",
    "noise": "noise, same price",
    "learned, threshold": "learned, same world; soft threshold",
    "patches, threshold": "random patches, same world; soft threshold",
    "noise, threshold": "noise; soft threshold",
}
rows = [{"code": "chance", "probe": "10.0%", "knn": "10.0%"}]
for arm, name in (
    ("pixels", "pixels, mean taken out"),
    ("untrained", "untrained conv net"),
):
    rows.append({"code": name} | {k: pm(recorded(arm, k)) for k in ("probe", "knn")})
for arm, name in NAMES.items():
    row = {k: pm(recorded(f"dictionary: {arm}", k)) for k in ("probe", "knn")}
    on = list(recorded(f"dictionary: {arm}", "on").values())
    rows.append({"code": name, "on": f"{sum(on) / len(on):.0%}"} | row)
plots.table(
    rows,
    f"Drawn world, {len(recorded('untrained', 'knn'))} seeds: mean (lowest to highest)",
    {
        "code": "codes in atoms that are ...",
        "on": "atoms in use",
        "probe": "probe, 100 labels",
        "knn": "kNN, 2,000 labels",
    },
)
print(origin)


# %% [markdown]
# Which of these differences are more than luck? Compare seed by seed, and give each difference a 90 % interval.


# %%
def gain(arm: str, control: str) -> tuple[float, float, float]:
    """Points of probe accuracy of `arm` over `control`: mean, 90 % interval."""
    ours, theirs = recorded(f"dictionary: {arm}", "probe"), recorded(control, "probe")
    return interval([100 * (ours[seed] - theirs[seed]) for seed in sorted(ours)])


# %%
QUESTIONS = {
    "learned against pixels": ("learned", "pixels"),
    "learned against random patches": ("learned", "dictionary: patches"),
    "the same, photographs": ("learned elsewhere", "dictionary: patches elsewhere"),
    "the same, soft threshold": (
        "learned, threshold",
        "dictionary: patches, threshold",
    ),
    "learned against noise that uses as many atoms": (
        "learned",
        "dictionary: noise, matched",
    ),
    "photographs against the same world, both learned": (
        "learned elsewhere",
        "dictionary: learned",
    ),
    "sparse codes against soft threshold, both learned": (
        "learned",
        "dictionary: learned, threshold",
    ),
}
gains = {name: gain(*arms) for name, arms in QUESTIONS.items()}
for name, (mean, low, high) in gains.items():
    print(f"{name}: {mean:+.1f} points [{low:+.1f}, {high:+.1f}]")

# %%
probes = {arm: recorded(f"dictionary: {arm}", "probe") for arm in NAMES}
assert all(probes["learned elsewhere"][s] > p for s, p in probes["learned"].items())
mean_gain = {name: row[0] for name, row in gains.items()}
assert -2 < mean_gain["learned against random patches"] < 3
assert mean_gain["the same, photographs"] > 2
assert mean_gain["the same, soft threshold"] > 1.5
votes = {a: recorded(f"dictionary: {a}", "knn") for a in ("learned", "patches")}
assert all(votes["patches"][s] > v for s, v in votes["learned"].items())
assert mean_gain["learned against noise that uses as many atoms"] > 1.5
assert mean_gain["sparse codes against soft threshold, both learned"] < 1
assert mean_gain["learned against pixels"] < 3
threshold_vote = recorded("dictionary: patches, threshold", "knn")
assert all(votes["patches"][s] > v + 0.02 for s, v in threshold_vote.items())
best_vote = max(max(recorded(f"dictionary: {a}", "knn").values()) for a in NAMES)
assert best_vote < min(recorded("pixels", "knn").values()) - 0.15

# %% [markdown]
# Pixels first: with 2,000 labels they win by far, and with 100 labels most codes are about level with them; only atoms
# learned on photographs, or learned and coded by the soft threshold, gain several points. Then the controls. By the
# probe, noise that speaks as much is a few points behind the learned atoms and no better than pixels; by kNN it is
# level with them. So these learned atoms beat noise a little, by one measure of two. Do the atoms have to be learned?
# With ISTA on patches of the drawn world learning is worth next to nothing (by kNN it even costs something); by the
# probe, with the soft threshold or on photographs, it is worth several. And with learned atoms the cheap encoder loses
# nothing to ISTA (with random patches it loses several points by kNN). Coates and Ng found, on CIFAR, NORB and Caltech
# 101, that randomly chosen exemplars serve "just as well": here that holds only for ISTA in the drawn world.
#
# What this does not show: many more atoms and overlapping patches, which matter as much as the algorithm, says the AISTATS
# paper below.
#
# ## Self-taught learning
#
# Does it matter *whose* patches are learned? [Raina et al.
# (2007)](https://doi.org/10.1145/1273496.1273592) called it **self-taught learning**: unlabelled data that need share
# neither classes nor distribution with the task, such as pictures from the internet at large. Here the unlabelled data
# are two photographs, and the task is a world in which nothing was ever photographed.
#
# The table answers: atoms learned on the photographs do *better* than those learned on the world itself, in every seed. A guess
# at the reason: photographs hold textures and soft edges of many orientations, while the drawn world is made of large
# flat areas, and its dictionary spends atoms on their shades (compare the first two rows of the figure). (Their atoms are also used more often, 20 % against 16 % or so, and no control was matched for that.) It would be rash to
# read more into it: two photographs, one world, three seeds, 64 atoms.
#
# ## Exercises
#
# ### 1 · The price of silence (••, 8 minutes)
# For every patch there is a price above which it uses no atom at all. Return it for each patch: `x` is a float tensor
# `[N, P]`, `B` `[K, P]` with rows of length 1; a tensor `[N]`. Then compute it for the noise of the puzzle, and say how
# many patches are silent at 0.15 without running ISTA.
#
# <details><summary>Hint 1</summary>When is $s = 0$ the minimum? Use the condition that was tested above.</details>
# <details><summary>Hint 2</summary>At $s = 0$ the rest is the patch itself, and atoms may enter with either
# sign.</details>


# %%
def silent_price(x: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01b.check_silent_price(silent_price)

# %% [markdown]
# ### 2 · A slip in the shrinking (••, 8 minutes)
# This ISTA converges, its codes are sparse, and they do not minimise the objective. Find out what it does wrong (it has
# two slips) and return codes `[N, K]` that do, for `x` `[N, P]`, `B` `[K, P]`, `penalty` a float, `steps` an int, starting
# from zero.
#
# ```python
# def found(x, B, penalty, steps):
#     step = 1 / torch.linalg.eigvalsh(B @ B.T)[-1]
#     s = torch.zeros(len(x), len(B), dtype=x.dtype)
#     for _ in range(steps):
#         s = s + step * (x - s @ B) @ B.T
#         s = (s - penalty).clamp(min=0)
#     return s
# ```
#
# <details><summary>Hint</summary>Go back to move 2: by how much is an entry shrunk, and what happens to negative
# ones?</details>


# %%
def repaired(x, B, penalty: float, steps: int) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01b.check_repaired_ista(repaired)

# %% [markdown]
# ## Where it comes from, where it went
#
# Olshausen and Field asked what code would make the receptive fields of the visual cortex the best choice, and sparseness
# was the answer. In recognition, sparse codes replaced the visual words that had been found by clustering, until the
# authors of [Coates, Ng and Lee (AISTATS 2011)](https://proceedings.mlr.press/v15/coates11a.html) showed that the number
# of features and how densely they are extracted may matter as much as the algorithm that learns them, with k-means ahead; the
# comparison of dictionaries and encoders above is the sequel, the ICML paper. The lesson outlived the method: **put a
# control without learning beside every learned feature.** In this book it is the untrained network.
#
# ## A question
#
# A paper reports: "our learned dictionary beats a random one by 17 points, at the same sparsity penalty." What do you ask?
# <details><summary>Answer</summary>Random *what*, and how many of its codes are not zero? At the same penalty, noise may
# describe nothing. Ask for random patches, and for the share of codes in use.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def silent_price(x, B):
#     # s = 0 is the minimum as long as no atom is worth its price: |b_k . x| <= penalty.
#     # (silent_price(new, dictionaries["noise"]) < 0.15).float().mean() is the share of silent
#     # patches.
#     return (x @ B.T).abs().max(dim=1).values
#
#
# def repaired(x, B, penalty, steps):
#     # The shrinking is step * penalty, on both sides of zero.
#     step = 1 / torch.linalg.eigvalsh(B @ B.T)[-1]
#     s = torch.zeros(len(x), len(B), dtype=x.dtype)
#     for _ in range(steps):
#         s = F.softshrink(s + step * (x - s @ B) @ B.T, float(step * penalty))
#     return s
# ```
