# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 20b · What does the projector take, and what does it give?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/20b_projector.ipynb)
#
# **After this chapter you can**
#
# - decide for a given task whether to read features before the projector, behind it, or to train without one;
# - compute which directions of the features a projector cannot see;
# - test a claim about a *difference of differences*.
#
# **You need** [chapter 20](20_collapse.ipynb), whose companion this is.
# **Time**: 16 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("20b")

# %% [markdown]
# ## The puzzle: is the projector worth its place?
#
# SimCLR puts a small network, the **projector** $g$, between the features $h = f(x)$ that you keep and the embedding
# $z = g(h)$ that the loss compares. After training, $g$ is thrown away. The SimCLR paper reports, on ImageNet, that $h$
# probes better than $z$ by more than ten points, and that training without any projector costs more than ten points
# ([Chen et al. 2020](https://arxiv.org/abs/2002.05709), section 4.2). Train both here: the same encoder, once without
# projector ($z = h$), once with an MLP of two layers as wide as the features.
#
# **Predict.** Three probes for the kind of object, on ten labels per class: (a) $h$ without projector, (b) $h$ with
# projector, (c) $z$ with projector. In which order do they come, best first? A guess among the six orders is right once
# in six times.

# %%
from statistics import fmean as mean

import torch
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch20
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.models import projection_head, settle
from ssl_lessons.training import pretrain, recipes

STEPS = 150
recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=8192)
train, test = data.shapes("train", n=2000), data.shapes("test", n=2000)


# %%
def simclr(layers, seed=0):
    """SimCLR whose projector has `layers` layers (0: none), all as wide as h."""
    method = recipe.build(seed)
    d = method.encoder.dim
    torch.manual_seed(seed)
    method.projector = projection_head(d, d, d, layers) if layers else nn.Identity()
    return method


methods = {"untrained": settle(simclr(2), unlabeled.images[:2048])}
for name, layers in (("no projector", 0), ("MLP", 2)):
    methods[name] = simclr(layers)
    pretrain(
        methods[name],
        unlabeled.images,
        (recipe.policy,) * 2,
        steps=STEPS,
        seed=0,
        **recipe.training(),
    )

# %% [markdown]
# ## The idea: what the loss can reach
#
# By the chain rule, with $J = \partial g / \partial h$ the Jacobian of the projector at $h$, $[\dim z, \dim h]$,
#
# $$\frac{\partial L}{\partial h} = J^\top \frac{\partial L}{\partial z}.$$
#
# The gradient lies in the row space of $J$. A direction $v$ of $h$ with $Jv = 0$ changes nothing in $z$; the loss
# neither sees it nor moves it directly. So a projector is a *shield*: what the loss wants to destroy can be destroyed in
# $g$ and survive in $h$. And it is a *toll*: $h$ is shaped only through what $g$ lets pass.
#
# When is a shield worth a toll? When your task needs what the loss destroys. Views of a picture differ in their
# colours, so the loss asks for the hue to be forgotten. In the drawn world the *kind* of an object is exactly what the
# augmentation leaves alone: there is nothing to shield. To see the other side, make a **control label** that needs
# both: the kind *and* the third of the colour circle in which the object's hue lies, 30 classes.


# %%
def with_hue(images):
    """The kind, and the third of the colour circle of the object's hue: 0 to 29."""
    turn = images.factors["object_hue"].values.remainder(2 * torch.pi) / (2 * torch.pi)
    return 3 * images.labels + (3 * turn).long().clamp(max=2)


@torch.no_grad()
def features(method):
    """{"h": (train, test), "z": (train, test)}, in evaluation mode."""
    method.eval()
    sets = (train.images, test.images)
    h = [evaluation.extract_features(method.encoder, images) for images in sets]
    return {"h": h, "z": [method.projector(x) for x in h]}


def probe(pair, label):
    """Ten labels per class, five draws: mean accuracy."""
    y, y_test = label(train), label(test)
    x, x_test = pair
    return evaluation.label_efficiency(x, y, x_test, y_test, (10,), draws=5)[0]["mean"]


def kind(images):
    return images.labels


# %%
read = {
    f"{name}, {layer}": pair
    for name, method in methods.items()
    for layer, pair in features(method).items()
    if (name, layer) != ("no projector", "z")  # the same as h
}
read["raw pixels"] = [evaluation.pixels(s.images) for s in (train, test)]
scores = {name: (probe(p, kind), probe(p, with_hue)) for name, p in read.items()}

# %% tags=["hide-input"]
lines = [{"read": "chance", "kind": 0.1, "hue": 1 / 30}]
for name, (by_kind, by_both) in scores.items():
    line = {"read": name, "kind": by_kind, "hue": by_both}
    if name != "raw pixels":
        found = diagnostics.diagnose(read[name][1]).evidence
        line |= {"rank": found["effective_rank"] / 256, "spread": found["spread"]}
    lines.append(line)
plots.table(
    lines,
    f"SimCLR, {STEPS} steps, one seed: what a probe reads from h and from z",
    {
        "read": "read from",
        "kind": "kind (10 classes)",
        "hue": "kind and hue (30 classes)",
        "rank": "effective rank / width",
        "spread": "spread",
    },
    {"kind": ".1%", "hue": ".1%", "rank": ".2f", "spread": ".2f"},
)
order = sorted(["no projector, h", "MLP, h", "MLP, z"], key=lambda n: -scores[n][0])
print("Best first, by the kind:", "; ".join(order))

# %%
floor, by_pixels = scores["untrained, h"], scores["raw pixels"]
bare, before, behind = (scores[n] for n in ("no projector, h", "MLP, h", "MLP, z"))
assert bare[0] > max(before[0], behind[0]) > max(floor[0], by_pixels[0]) + 0.05
assert by_pixels[1] > max(before[1], behind[1], floor[1])

# %% [markdown]
# For the kind, training *without* a projector comes first: not what the paper reports, and no contradiction. A label
# that is just what the augmentation leaves alone should have little to gain from a shield. For the second
# label raw pixels beat both $h$ and $z$ of the network with a projector: they still hold the hue, which the jitter asks
# a network to forget. One seed, short runs; three seeds of twice as many steps follow.
#
# Can you see the shield directly? Count the directions of $h$ that $z$ hardly sees, by the singular values of $J$.

# %%
heads = {name: methods[name].eval().projector for name in ("untrained", "MLP")}
for name, head in heads.items():
    head.requires_grad_(False)
    values = []
    for h in read[f"{name}, h"][1][:20]:
        j = torch.autograd.functional.jacobian(lambda x, g=head: g(x[None])[0], h)
        values.append(torch.linalg.svdvals(j))
    values = torch.stack(values)  # [20, 256]
    faint = (values < 0.01 * values[:, :1]).sum(dim=1).float().mean()
    print(
        f"{name}: {faint:.0f} of 256 directions pass with less than 1% of the strongest"
    )
    assert faint > 50

# %% [markdown]
# A ReLU that is off passes nothing on, so that even an untrained projector shields part of $h$, at every picture another
# part. Training may change *which* part; the count does not show it.
#
# ## The record: four heads, three seeds
#
# [`benchmarks/collapse_heads.py`](https://github.com/ssl-lessons/ssl-lessons/blob/main/benchmarks/collapse_heads.py) trains SimCLR for 300 steps with four heads: none, one linear layer, MLPs of two and of
# three layers.

# %%
record, origin = book.recorded("collapse_heads", world=2)
drawn, _ = book.recorded("embedded_world", world=2)


def head(name, key, factor=None):
    """One number per seed."""
    values = book.per_seed(record, key, head=name)
    return [v[factor] for v in values] if factor else values


start = head("untrained", "probe_h")
assert len(start) >= 3 and mean(head("none", "probe_h")) > mean(start) + 0.05

# %% tags=["hide-input"]
HEADS = {
    "untrained": "untrained",
    "none": "no projector",
    "linear": "linear",
    "mlp": "MLP, 2 layers",
    "mlp3": "MLP, 3 layers",
}


def pm(values, form=".1%"):
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


chance = {"head": "chance", "kind_h": "10.0%", "hue_h": "3.3%"}
baseline = {"head": "raw pixels (hue: the seed above)"}
baseline["kind_h"] = pm([r["probe"] for r in drawn if r["arm"] == "pixels"])
baseline["hue_h"] = f"{by_pixels[1]:.1%}"
lines = [chance, baseline]
for name, label in HEADS.items():
    same = name == "none"  # h is z
    line = {"head": label}
    for layer in "h" if same else "hz":
        line[f"kind_{layer}"] = pm(head(name, f"probe_{layer}"))
        line[f"hue_{layer}"] = pm(head(name, f"hue_probe_{layer}"))
        shares = zip(
            head(name, f"effective_rank_{layer}"), head(name, f"width_{layer}")
        )
        line[f"rank_{layer}"] = mean([rank / width for rank, width in shares])
    lines.append(line)
plots.table(
    lines,
    "SimCLR, one head per row: means of three seeds (lowest to highest)",
    {
        "head": "head",
        "kind_h": "kind from h",
        "kind_z": "from z",
        "hue_h": "kind and hue from h",
        "hue_z": "from z",
        "rank_h": "effective rank of h / width",
        "rank_z": "of z / width",
    },
    ".2f",
)
print(origin)

# %%
by_kind = mean(head("none", "probe_h")) - mean(head("mlp", "probe_h"))
by_both = mean(head("none", "hue_probe_h")) - mean(head("mlp", "hue_probe_h"))
lost = {
    key: mean(head("mlp", f"{key}_h")) - mean(head("mlp", f"{key}_z"))
    for key in ("probe", "hue_probe")
}
print(f"no projector less MLP, read from h: kind {100 * by_kind:+.1f} points,")
print(f"   kind and hue {100 * by_both:+.1f} points")
print(f"lost from h to z behind the MLP: kind {100 * lost['probe']:+.1f} points,")
print(f"   kind and hue {100 * lost['hue_probe']:+.1f} points")
assert by_kind > 0.03 and by_both > 0 > max(lost.values())
assert max(head("mlp", "object_hue_mlp_h")) < 0.05

# %% [markdown]
# The puzzle's answer, with three seeds: training *without* a projector gives the best features for the kind, and behind
# the MLP $z$ reads the kind better than $h$ does. The control label does not turn the order round: it gains nothing from
# the shield either. Why not? Because the hue of the object is gone from $h$ as well, to the last bit that a probe with a
# hidden layer could find. A shield saves only what has not been destroyed on the way to it. The next figure shows what is
# left, factor by factor.

# %% tags=["hide-input"]
FACTORS = ("kind", "x", "y", "background_hue", "object_hue")
shown = {
    "untrained, h": ("untrained", "h"),
    "no projector, h": ("none", "h"),
    "MLP, h": ("mlp", "h"),
    "MLP, z": ("mlp", "z"),
}
bars = {
    label: {f: mean(head(name, f"factors_{layer}", f)) for f in FACTORS}
    for label, (name, layer) in shown.items()
}
plots.show(
    plots.factor_bars(
        bars, title="What a linear probe reads before and behind the head"
    ),
    alt="Grouped bars of how well five factors can be read from four representations. "
    + " ".join(
        f"{name}: " + ", ".join(f"{k} {v:.2f}" for k, v in row.items()) + "."
        for name, row in bars.items()
    ),
)

# %% [markdown]
# 0 is no better than chance, 1 is perfect. The figure says what is *readable* by a linear probe; a factor that needs a
# curve to be read looks lost here. For the hues the record therefore also holds the $R^2$ of a probe with one hidden
# layer. By it $h$ still knows the hue of the *background*, and $z$ knows less of it: there the shield works, and claim C-12
# takes it.
#
# ## And photographs?
#
# There the label is not what the augmentation leaves alone: colour and texture help to tell what a thing is. So a
# shield should pay. (Tiny ImageNet, 20 kinds with labels, 4,000 steps; the best of three learning rates for each head,
# at an edge of the three for MLP and linear.)

# %% tags=["hide-input"]
photos, photo_origin = book.recorded("photographs")
READ = {"accuracy_10": "10 labels per class", "accuracy_25": "25", "knn": "kNN, 110"}


def photo(arm, key, group="projector"):
    return book.per_seed(photos, key, group=group, arm=arm)


arms = dict.fromkeys(r["arm"] for r in photos if r["group"] == "projector")
lines = [{"read": "chance"} | dict.fromkeys(READ, "5.0%")]
for arm, group in [("pixels", "labels"), ("untrained", "labels")] + [
    (arm, "projector") for arm in arms
]:
    lines.append(
        {"read": arm} | {key: pm(photo(arm, key, group)) for key in READ}
    )
plots.table(
    lines,
    "Photographs: what is read from h and from z (lowest to highest seed)",
    {"read": "read from"} | READ,
)
print(photo_origin)


# %%
def points(arm, other, key):
    """Mean difference of two arms on photographs, in points."""
    return 100 * (mean(photo(arm, key)) - mean(photo(other, key)))


for other in ("MLP, z", "none, h = z"):
    found = ", ".join(f"{n} {points('MLP, h', other, k):+.1f}" for k, n in READ.items())
    print(f"MLP, h less {other}: {found}")
assert abs(points("MLP, h", "none, h = z", "accuracy_10")) < 2
assert abs(points("MLP, z", "MLP, h", "accuracy_10")) < 1
assert points("linear, z", "linear, h", "accuracy_10") > 1
assert points("MLP, h", "MLP, z", "knn") > 2
assert points("MLP, h", "none, h = z", "knn") > 4

# %% [markdown]
# By a probe with ten labels per class it hardly does: no head at all comes close, and $z$ equals $h$ or, behind the
# linear head, beats it by over a point. The vote of neighbours sees the shield: $h$ comes before $z$, and no head last,
# over four points behind $h$ of the MLP. A probe weighs directions anew and can mend what the loss did to distances; a
# vote takes them as they are. What a projector is worth depends on the label *and* on who reads. (A small network; the
# vote has 110 labels per class, the paper's probes have all of ImageNet's.)
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end of the notebook.
#
# ### 1 · Directions that nobody sees (••, 10 minutes)
# `projector` maps one vector `h` (float64 `[d]`) to one vector. How many independent directions of `h` change nothing in
# the output, to first order, at this `h`? Return an int.
#
# <details><summary>Hint</summary>`torch.autograd.functional.jacobian`, and the rank of a matrix.</details>


# %%
def blind_directions(projector, h):
    return NOT_ATTEMPTED


ch20.check_blind_directions(blind_directions)

# %% [markdown]
# ### 2 · A difference of differences (••, 10 minutes)
# "The oracle helps more without a projector than with one." You get four float tensors `[S]` of accuracies, column $s$
# of all from the same training seed: without projector, the same with oracle, with MLP, the same with oracle. Return
# (mean, low, high) of the interaction with its 90 % interval, as `evaluation.evidence.interval` gives it.
#
# <details><summary>Hint</summary>First a gain per seed and head, then one difference per seed.</details>


# %%
def interaction(none, oracle_none, mlp, oracle_mlp):
    return NOT_ATTEMPTED


ch20.check_interaction(interaction)

# %% [markdown]
# ### 3 · DirectCLR (•, 5 minutes)
# Write its loss: NT-Xent (`ssl_lessons.losses.nt_xent(z1, z2, temperature)`) of the first `d0` channels of the features
# `h1`, `h2` `[N, d]` of two views. Return a scalar tensor. Mind the order of the two steps: what must not influence the
# loss at all?
#
# <details><summary>Hint</summary>`nt_xent` normalises its rows itself.</details>


# %%
def direct_clr(h1, h2, d0, temperature):
    return NOT_ATTEMPTED


ch20.check_direct_clr(direct_clr)

# %% [markdown]
# ## Claims, tested
#
# Statement, source and rule come from the table of claims.


# %%
def on_photographs(treatment, control):
    return book.on_photographs(("projector", treatment), ("projector", control))


def probes(treatment, control):
    """Probes of h of two heads, with the floor."""
    return Runs(head(treatment, "probe_h"), head(control, "probe_h"), start)


h_and_z = Runs(head("mlp", "probe_h"), head("mlp", "probe_z"), start)
book.claim("C-1", drawn=h_and_z, photographs=on_photographs("MLP, h", "MLP, z"))
with_and_without = on_photographs("MLP, h", "none, h = z")
book.claim("C-2", drawn=probes("mlp", "none"), photographs=with_and_without)
deep_and_linear = on_photographs("MLP, h", "linear, h")
book.claim("C-2b", drawn=probes("mlp", "linear"), photographs=deep_and_linear)
book.claim("C-10", drawn=probes("mlp3", "mlp"))

# %% [markdown]
# The next ones are about collapse, by the measures of chapter 20; the probes say whether the arms have learned. (SimCLR
# has negatives, which alone forbid the point; a method without negatives and without projector is not in the record.)


# %%
def share(name, layer):
    """Effective rank as a share of the width, one per seed."""
    ranks, widths = head(name, f"effective_rank_{layer}"), head(name, f"width_{layer}")
    return [rank / width for rank, width in zip(ranks, widths)]


learned = {name: head(name, "probe_h") for name in ("none", "mlp")}
both = (learned["none"], learned["mlp"])
spreads = head("none", "spread_z"), head("mlp", "spread_z")
book.claim("C-3", drawn=Runs(*spreads, start, learned=both))
twice = (learned["mlp"], learned["mlp"])
shares = share("mlp", "h"), share("mlp", "z")
book.claim("C-4", drawn=Runs(*shares, start, learned=twice))
shares, both = (
    (share("mlp", "h"), share("none", "h")),
    (learned["mlp"], learned["none"]),
)
book.claim("C-4b", drawn=Runs(*shares, start, learned=both))

# %% [markdown]
# Last, what the projector takes: the hue of the background, read by a probe with a hidden layer. (The table named the hue of
# the object first, and, should $h$ have lost it, a factor that $h$ keeps.)

# %%
hues = head("mlp", "background_hue_mlp_h"), head("mlp", "background_hue_mlp_z")
assert all(h > z for h, z in zip(*hues))
book.claim("C-12", drawn=Runs(*hues, start, learned=twice))
before_training = head("untrained", "background_hue_mlp_h")
print(f"hue of the background before training: R2 {mean(before_training):.2f} from h,")
print(f"   after training: {mean(hues[0]):.2f} from h, {mean(hues[1]):.2f} from z")
for name in ("none", "mlp"):
    print(f"{name}: probe {mean(head(name, 'probe_h')):.1%} (floor {mean(start):.1%})")

# %% [markdown]
# One claim of the literature is not tested here, that **DirectCLR** (no projector: the loss sees the first channels of
# $h$ only, and the others go free) beats a linear projector: by its own account the free part gets its meaning through
# the residual connections of the last block ([Jing et al. 2022](https://arxiv.org/abs/2110.09348)), and our small network
# has none. Another stands in the benchmark and waits for its run: an **oracle filter**, a supervised network that drops
# every pair of views in which it sees two different kinds, and that should help more without a projector ([Balestriero
# et al. 2023](https://arxiv.org/abs/2304.12210)).
#
# ## Where it comes from
#
# [SimCLR (2020)](https://arxiv.org/abs/2002.05709) made the projector famous. [Jing et al.
# (2022)](https://arxiv.org/abs/2110.09348) explain it by the dimensional collapse that it keeps away from $h$; [Bordes et
# al. (2023)](https://arxiv.org/abs/2206.13378) call the trick *guillotine regularisation*, find that the best layer to
# cut at changes with training, data and task, and that aligning the training task with the later one reduces the need
# for a projector: the drawn world is that case taken to its end.
#
# ### Quiz
#
# **1.** You will sort pictures by what stands in them, and your augmentation leaves exactly that alone. $h$ or $z$?
#
# <details><summary>Answer</summary>Measure both: here $z$ has nothing to lose that you need, and may be the cleaner of
# the two. That $h$ is better is a rule for labels that the augmentation disturbs.</details>
#
# **2.** A network without projector has a lower effective rank of $h$ and a better probe. A contradiction?
#
# <details><summary>Answer</summary>No. A label with ten classes needs few directions. Rank measures how much differs,
# not whether it is what you need.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def blind_directions(projector, h):
#     j = torch.autograd.functional.jacobian(projector, h)
#     return len(h) - int(torch.linalg.matrix_rank(j))
#
#
# def interaction(none, oracle_none, mlp, oracle_mlp):
#     return evaluation.evidence.interval((oracle_none - none) - (oracle_mlp - mlp))
#
#
# def direct_clr(h1, h2, d0, temperature):
#     from ssl_lessons.losses import nt_xent
#
#     # Cut first: were the rows normalised before, the free channels would still move the loss through the length.
#     return nt_xent(h1[:, :d0], h2[:, :d0], temperature)
# ```
