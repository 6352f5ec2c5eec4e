# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · What do words teach an eye?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/11_several_senses.ipynb)
#
# **After this chapter you can**
#
# - write CLIP, its sigmoid sister SigLIP and MIL-NCE, and ask a trained pair of towers for classes it never had labels of;
# - say beforehand what an eye will keep and what it will forget, from what the captions speak of;
# - find out whether two towers understand a sentence, or only its words.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (InfoNCE) and [chapter 02](02_words_from_neighbours.ipynb)
# (words as vectors).
# **Time**: 28 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.
# The companion [11b](11b_pairs_without_captions.ipynb) has pairs without a word.

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

device = book.setup("11")

# %% [markdown]
# ## The puzzle: captions instead of labels
#
# Eight pictures with what somebody wrote under them. Nobody was asked to write the same things.

# %%
import math
from statistics import fmean as mean

import torch
import torch.nn.functional as F

from ssl_lessons import evaluation, losses, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch11
from ssl_lessons.book.widgets import caption
from ssl_lessons.data.image_set import Factor
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.pairs import captions, encoders, exams, objectives, world
from ssl_lessons.training import fit

train, test = world.scenes("train", 3000), world.scenes("test", 1000)

# %% tags=["hide-input"]
fig, axes = plots.new_figure(9.0, 4.6, 2, 4)
for ax, i in zip(axes.flat, range(8)):
    ax.imshow(train.pictures[i].permute(1, 2, 0).numpy())
    ax.set_xticks([])
    ax.set_yticks([])
    spoken = train.texts[i].split()
    lines = [" ".join(spoken[k : k + 4]) for k in range(0, len(spoken), 4)]
    ax.set_xlabel("\n".join(lines), fontsize=8)
plots.show(fig, "Eight drawn scenes with captions: " + "; ".join(train.texts[:8]) + ".")

# %% [markdown]
# One thing of six kinds and six colours, small or large, in one of four corners, on a dark or a light ground. A caption
# always names the kind and each of the rest with probability 0.7, in one of four styles. The ground is striped in one of
# four directions. **No caption ever speaks of stripes.**
#
# > **Predict before you go on.** (1) A network sees 3,000 such pairs, no label and no augmentation. Then you ask: disc,
# > square, triangle, cross, ring or dart? How often is it right (chance: one in six)? (2) Another network sees captions
# > that name the kind and nothing else. Does its eye know *colours* better or worse than an untrained eye? (3) Two
# > things in one picture. How often is it nearer to "a red disc left of a blue cross" than to "a blue disc left of a red
# > cross", if the reader averages the words' vectors (chance: one in two)?
#
# ## Two towers
#
# An eye and a reader, each ending in a linear map to $\mathbb{R}^D$. For a batch of $N$ pairs let $u_i$ be picture $i$'s
# vector divided by its length, $v_j$ that of caption $j$, and $s_{ij} = a\, u_i \cdot v_j$. The scale $a > 0$ is
# learned; $1/a$ is the temperature. **CLIP** is InfoNCE both ways:
#
# $$L = -\frac{1}{2N} \sum_i \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}} \;-\; \frac{1}{2N} \sum_j \log
# \frac{e^{s_{jj}}}{\sum_i e^{s_{ij}}} .$$
#
# Pictures look for their caption, captions for their picture. (ConVIRT, for X-rays and reports, came first and weights
# the two 3 : 1.)


# %%
def clip_loss(image, text, scale):
    u, v = F.normalize(image, dim=1), F.normalize(text, dim=1)
    score = scale * u @ v.T  # [N, N]
    own = torch.arange(len(u), device=u.device)
    return (F.cross_entropy(score, own) + F.cross_entropy(score.T, own)) / 2


a, b = torch.randn(8, 4), torch.randn(8, 4)
assert torch.allclose(clip_loss(a, b, 10.0), losses.clip(a, b, 10.0))


# %%
def train_pair(scenes, loss=clip_loss, steps=250, batch=128, seed=0):
    towers = encoders.towers(seed, encoders.BagOfWords).to(device)

    def one_batch(generator):
        rows = torch.randint(len(scenes), (batch,), generator=generator)
        u = towers.picture(scenes.pictures[rows].to(device))
        v = towers.text(scenes.ids[rows].to(device))
        return loss(u, v, towers.scale)

    history = fit(towers, one_batch, steps, lr=4e-3, seed=seed)
    return towers, history


untrained = encoders.towers(0, encoders.BagOfWords).to(device)
clip, history = train_pair(train)
print(f"loss {history[0]:.2f} at first, {sum(history[-20:]) / 20:.2f} at the end")

# %% [markdown]
# The eye: three convolutions. The reader: the mean of the words' vectors, nothing more. No picture was augmented.
#
# ## Classes without labels
#
# Write a sentence for each class, embed it, take the nearest: **zero-shot** classification.


# %%
def name_it(towers, pictures, texts):
    u = exams.see(towers, pictures)  # unit vectors [N, D]
    v = exams.read(towers, texts)  # [classes, D]
    return (u @ v.T).argmax(dim=1)


kinds = ["a " + word for word in captions.SAID["kind"]]
right = {
    name: (name_it(t, test.pictures, kinds) == test.factors["kind"]).float().mean()
    for name, t in (("untrained", untrained), ("CLIP", clip))
}
for name, correct in right.items():
    print(f"{name:>9}: {correct:.0%} of 1,000 kinds right, chance 17 %")
assert right["CLIP"] > 0.35 > right["untrained"]

# %% [markdown]
# That is (1). Whether a sentence works depends on its wording: the reader knows only how captions sounded. Some templates
# below hold words that no caption of training had; their vectors are still random.

# %%
by_prompt = {p: exams.zero_shot(clip, test, "kind", (p,)) for p in captions.PROMPTS}
for template, correct in by_prompt.items():
    print(f"{template.format('...'):>30}: {correct:.1%}")
together = exams.zero_shot(clip, test, "kind", captions.PROMPTS)
print(f"the mean of these eight: {sum(by_prompt.values()) / 8:.1%}")
print(f"the mean of the eight vectors of each class: {together:.1%}")
spread_of_prompts = max(by_prompt.values()) - min(by_prompt.values())
print(f"best and worst single prompt are {100 * spread_of_prompts:.0f} points apart")

# %% [markdown]
# You would have to choose a template without labels. The ensemble averages the classes' unit vectors over templates. Compare
# it with the *mean* of the single ones, not with the best, which you know only now. Here the difference is too small to
# tell (C-302, below). This reader averages words, so a word that all
# classes share shifts all of them alike, and nearly cancels; for a transformer it need not.
#
# ## What is said is kept
#
# Now the eye alone: a linear readout of every factor. Zero is chance, 100 always right.


# %%
def kept(eye, scenes=train, others=test):
    def factors(s):
        return {k: Factor(v, "categorical") for k, v in s.factors.items()}

    x, y = (encoders.apply(eye, s.pictures, eye) for s in (scenes[:1000], others))
    return evaluation.factor_probe(x, factors(scenes[:1000]), y, factors(others))


only_kinds, _ = train_pair(world.scenes("train", 3000, say=("kind",)))
eyes = {
    "untrained": untrained,
    "captions say all": clip,
    "captions say kinds": only_kinds,
}
readout = {name: kept(towers.eye) for name, towers in eyes.items()}

# %% tags=["hide-input"]
plots.table(
    [{"eye": n} | {k: 100 * v for k, v in r.items()} for n, r in readout.items()],
    "What a linear readout finds (0 chance, 100 always right), one run",
    {"eye": "eye"} | {k: k for k in world.FACTORS},
    floatfmt=".0f",
)

# %%
silent, before = (readout[n] for n in ("captions say kinds", "untrained"))
for name in ("colour", "ground"):
    print(
        f"{name}: {100 * silent[name]:.0f} after captions of kinds, "
        f"{100 * before[name]:.0f} before (0 is chance)"
    )
    assert silent[name] < before[name]
assert silent["kind"] > before["kind"] + 0.2

# %% [markdown]
# That is (2): worse. Two pictures that would get the same captions, equally often, are the same picture for the best
# solution of this loss. The words do what the augmentation does in SimCLR: they say which differences matter. What they
# leave out may go, or stay. Here is the record: three seeds, 400 steps instead of 250 and tuned rates, so its numbers are
# higher.

# %%
record, origin = book.recorded("pairs")


def of(part: str, arm: str, key: str) -> list:
    """One value per seed."""
    return book.per_seed(record, key, part=part, arm=arm)


# %% tags=["hide-input"]
def spread(values) -> str:
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * mean(values):.0f} ({low:.0f} to {high:.0f})"


def arms_of(part: str) -> list[str]:
    return list(dict.fromkeys(r["arm"] for r in record if r["part"] == part))


def factor(part: str, arm: str, name: str) -> list[float]:
    return [f[name] for f in of(part, arm, "factors")]


# %% tags=["hide-input"]
plots.table(
    [
        {"arm": a} | {k: spread(factor(p, a, k)) for k in world.FACTORS}
        for p, a in [("methods", "untrained")] + [("said", a) for a in arms_of("said")]
    ],
    "What a linear readout finds, by what the captions say, mean and range",
    {"arm": "captions say"} | {k: k for k in world.FACTORS},
)
print(origin)

# %%
floor = {k: factor("methods", "untrained", k) for k in world.FACTORS}
for arm in arms_of("said"):
    values = {k: factor("said", arm, k) for k in floor}
    change = {
        k: evidence.compare(v, floor[k], learns="none")
        for k, v in values.items()
        if v != floor[k]
    }
    up = [k for k, v in change.items() if v.word == evidence.HOLDS]
    down = [k for k, v in change.items() if v.high < 0]
    print(
        f"captions say {arm}: better than before training at {', '.join(up) or 'none'};"
    )
    print(f"{'':>6}worse at {', '.join(down) or 'none'}")

# %%
ground, place = (factor("said", "the kind", k) for k in ("ground", "place"))
assert max(ground) < 0.5 < 0.9 < min(floor["ground"])
assert min(place) > 0.85
assert min(factor("said", "the kind", "size")) > max(floor["size"]) + 0.2

# %% [markdown]
# An eye that was told kinds alone has lost most of the ground, dark or light, which every untrained eye sees. Places it
# keeps, and sizes it gains, though nobody named them: perhaps they help to see a shape. Text anchors the eye, and it can blind it: what you want to read later must be in the
# captions, or the eye needs another reason to keep it.
#
# ## One question instead of a crowd: SigLIP
#
# A softmax needs all $N$ scores of a row before it can say anything. The **sigmoid loss** asks of each of the $N^2$ pairs
# on its own whether it belongs together. With $y_{ij} = 1$ for $i = j$ and $-1$ otherwise, and a learned bias $b$,
#
# $$L = -\frac{1}{N} \sum_{i,j} \log \sigma\big(y_{ij} (a\, u_i \cdot v_j + b)\big) , \qquad \sigma(x) = \frac{1}{1 + e^{-x}} .$$
#
# Of $N^2$ answers $N$ are yes. While all cosines are near 0, the bias alone answers, and it should say "no" just often enough.
# The paper, with large batches, starts at $b = -10$. Exercise 1 asks for the best start; here are both, in one short run.


# %%
def siglip_loss(image, text, scale, bias):
    u, v = F.normalize(image, dim=1), F.normalize(text, dim=1)
    yes = 2 * torch.eye(len(u), device=u.device) - 1
    return -F.logsigmoid(yes * (scale * u @ v.T + bias)).sum() / len(u)


assert torch.allclose(siglip_loss(a, b, 10.0, -10.0), losses.siglip(a, b, 10.0, -10.0))


# %%
sigmoid_right = {}
for start in (-10.0, -math.log(127)):
    towers = encoders.towers(0, encoders.BagOfWords, bias=start).to(device)
    task = objectives.Captioned(towers, train, "siglip", batch=128)
    fit(task, task, 250, lr=4e-3)
    sigmoid_right[start] = exams.zero_shot(towers, test, "kind")
    print(f"bias from {start:.1f} to {towers.bias.item():.1f}:", end=" ")
    print(f"{sigmoid_right[start]:.0%} of the kinds right")
assert min(sigmoid_right.values()) > 0.25

# %% tags=["hide-input"]
plots.table(
    [
        {"arm": a} | {k: spread(of("batch", a, k)) for k in ("kind", "pairs", "recall")}
        for a in arms_of("batch")
    ],
    "Small batches, equal steps (%), mean and range",
    {
        "arm": "loss",
        "kind": "kind",
        "pairs": "kind and colour",
        "recall": "recall@5 of 1,000",
    },
)
print(origin)

# %%
small = {a: mean(of("batch", a, "pairs")) for a in arms_of("batch")}
assert all(
    small[f"SigLIP, batch {b}"] < small[f"CLIP, batch {b}"] + 0.02 for b in (8, 32)
)
starts = [mean(of("methods", f"SigLIP{x}", "kind")) for x in ("", ", bias from -10")]
assert abs(starts[0] - starts[1]) < 0.05

# %% [markdown]
# *recall@5*: a picture looks for its caption (all five facts said) among 1,000, and finds it among the first five. Equal
# captions of other pictures count as wrong; exercise 4 mends that. The rate is half of what was tuned for batches of 128,
# the steps are twice as many. The sigmoid is not ahead in any of the rows, and where its bias starts does not matter
# either (the table of all methods, below).
#
# ## Wrong captions, and bags of them
#
# Captions from the web are often of something else. **ALIGN** takes more than a billion of them, hardly cleaned: noise in pairs costs
# something, and more pairs pay for it. Is that so here?

# %% tags=["hide-input"]
plots.table(
    [
        {"arm": a, "scale": f"{mean(of('noise', a, 'scale')):.0f}"}
        | {"loss": f"{mean(of('noise', a, 'loss')):.2f}"}
        | {k: spread(of("noise", a, k)) for k in ("kind", "pairs", "recall")}
        for a in arms_of("noise")
    ],
    "CLIP with wrong captions, equal steps (%), mean and range",
    {
        "arm": "pairs",
        "kind": "kind",
        "pairs": "kind and colour",
        "recall": "recall@5 of 1,000",
    }
    | {"scale": "learned scale", "loss": "loss"},
)
print(origin)

# %%
scale = {a: mean(of("noise", a, "scale")) for a in arms_of("noise")}
assert scale["3000 pairs, 40% wrong"] < 0.7 * scale["3000 pairs, 0% wrong"]
assert scale["750 pairs, 40% wrong"] > 0.9 * scale["750 pairs, 0% wrong"]
loss_of = {a: mean(of("noise", a, "loss")) for a in arms_of("noise")}
assert loss_of["750 pairs, 80% wrong"] < 1.2 * loss_of["750 pairs, 0% wrong"]
few, many = "750 pairs, 0% wrong", "3000 pairs, 40% wrong"
assert abs(mean(of("noise", few, "kind")) - mean(of("noise", many, "kind"))) < 0.03
assert min(of("noise", few, "recall")) > max(of("noise", many, "recall")) + 0.1

# %% [markdown]
# Noise costs a lot. Four times as many pairs pay for two wrong ones in five where kinds are asked, not in recall. Look at
# the learned scale, which began at 10: with 3,000 pairs it rises less if some are wrong. 750 pairs are learned by heart,
# wrong ones too: neither the scale nor the loss betrays them.
#
# A narrator says the right thing, but a little early or late. So take several candidates: a **bag** $B_i$ of captions, one
# of picture $i$ (here with three of other pictures, always the same). **MIL-NCE** adds the candidates up *inside* the logarithm,
#
# $$L = -\frac{1}{N} \sum_i \log \frac{P_i}{P_i + \text{negatives}_i} , \qquad P_i = \sum_{k \in B_i} e^{s_{ik}} ,$$
#
# where negatives$_i$ sums $e^s$ over picture $i$ with the other bags' captions, and over the other pictures with bag $i$'s. One
# candidate that fits makes $P_i$ large; then those that do not fit pull little.

# %%
bags = objectives.Bags(
    encoders.towers(0, encoders.BagOfWords).to(device), train, size=4
)
fit(bags, bags, 200, lr=4e-3)
first = exams.read(bags.towers, train.ids[bags.candidates[:500].flatten()])
u = exams.see(bags.towers, train.pictures[:500])
chosen = (first.view(500, 4, -1) * u[:, None]).sum(2).argmax(1)
print(f"zero-shot, kinds: {exams.zero_shot(bags.towers, test, 'kind'):.0%}")
print(
    f"the best-fitting candidate is the right one in {(chosen == 0).float().mean():.0%}"
)
assert (chosen == 0).float().mean() > 0.4  # chance: 25 %

# %% tags=["hide-input"]
plots.table(
    [
        {"arm": a} | {k: spread(of("bags", a, k)) for k in ("kind", "pairs", "recall")}
        for a in arms_of("bags")
    ],
    "Four captions to a picture, one of them right (%), mean and range",
    {
        "arm": "loss",
        "kind": "kind",
        "pairs": "kind and colour",
        "recall": "recall@5 of 1,000",
    },
)
print(origin)

# %%
by_bag = {a: of("bags", a, "kind") for a in arms_of("bags")}
assert min(by_bag["mil-nce"]) > max(by_bag["all of the bag"]) > 0.4
assert max(by_bag["one of the bag"]) < min(by_bag["all of the bag"])
best, rest = (
    [mean(of("bags", a, k)) for k in ("kind", "recall")]
    for a in ("the right one", "mil-nce")
)
assert 0.05 < best[0] - rest[0] < 0.15 and best[1] - rest[1] < 0.04

# %% [markdown]
# With the sum inside the logarithm, one right candidate in four is nearly as good as the right one alone in recall, ten
# points worse in kinds. Pulling the picture to all four, or to one by lot, is far worse.
#
# ## With and without words
#
# All of it in one table. *Two views*: SimCLR on the same pictures, no captions. **SLIP**: both losses on one eye. **LiT**:
# the eye of two views, locked, and only the reader learns; below it, the same start unlocked. The floors: an untrained
# eye; pixels, with the true kind and colour of the nearest training picture (labels!); and ridge regression from pixels to
# the words of the caption, without a network. *Augmented*: in views of which the caption stays true (no mirror, no change
# of hue, at least 70 % of the area). LiT and its rival have twice the steps in all.

# %% tags=["hide-input"]
READ = ("kind", "colour", "stripes")


def cell(arm: str, key: str) -> str:
    has = any(key in r for r in record if (r["part"], r["arm"]) == ("methods", arm))
    return spread(of("methods", arm, key)) if has else "-"


# %% tags=["hide-input"]
plots.table(
    [
        {"arm": "chance", "kind": "17", "pairs": "3", "recall": "0.5"}
        | {f"read {k}": "0" for k in READ}
    ]
    + [
        {"arm": a}
        | {k: cell(a, k) for k in ("kind", "pairs", "recall")}
        | {
            f"read {k}": spread(factor("methods", a, k)) if a != "ridge" else "-"
            for k in READ
        }
        for a in arms_of("methods")
    ],
    "Zero-shot and retrieval (%); linear readouts (0 to 100), mean and range",
    {
        "arm": "trained with",
        "kind": "kind",
        "pairs": "kind and colour",
        "recall": "recall@5",
    }
    | {f"read {k}": f"readout: {k}" for k in READ},
)
print(origin)

# %%
names = [a for a in arms_of("methods") if a not in ("untrained", "pixels", "ridge")]
gain = {
    a: evidence.compare(factor("methods", a, "kind"), floor["kind"], learns="none")
    for a in names
}
print("kinds read better than from an untrained eye by:")
print("; ".join(a for a in names if gain[a].word == evidence.HOLDS))
print(
    "not surely:",
    "; ".join(a for a in names if gain[a].word != evidence.HOLDS) or "none",
)

# %%
eye = {a: factor("methods", a, "kind") for a in ("CLIP", "CLIP, augmented", "LiT")}
assert max(eye["CLIP, augmented"]) < min(eye["CLIP"]) and max(eye["LiT"]) < 0.15
named = ("CLIP, augmented", "pixels", "LiT")
best, pixels, locked = (mean(of("methods", a, "kind")) for a in named)
assert best > pixels > locked

# %% [markdown]
# Augmented pictures do not help here at equal steps: kinds are read a little worse. Two augmented views alone teach no kinds
# in so short a run; the nearest pixels name more of them than LiT does. So **a locked eye can be read out only**: what it
# does not tell apart, no reader finds again.
#
# Never shown together: six of the 36 combinations of colour and kind were kept out of training.

# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance", "seen": "3", "unseen": "3"}]
    + [
        {
            "arm": a,
            "seen": spread(of("unseen", a, "seen")),
            "unseen": spread(of("unseen", a, "unseen")),
        }
        for a in arms_of("unseen")
    ],
    "Kind and colour named right, among all 36 (%), mean and range",
    {"arm": "reader", "seen": "seen combinations", "unseen": "unseen ones"},
)
print(origin)

# %% [markdown]
# A classifier with 30 outputs could not even say the other six. Sentences do, less well than what they know. (Two
# classifiers, one of kinds and one of colours, could say all 36, too.)
#
# ## The gap between the senses
#
# Do pictures and captions lie among each other now? Measure the distance of the two means.

# %%
full = world.scenes("test", 500, said=1.0)
for name, towers in (("untrained", untrained), ("CLIP", clip)):
    u, v = exams.see(towers, full.pictures), exams.read(towers, full.ids)
    moved = exams.closed(u, v)
    rows = torch.arange(500)
    before, after = (
        evaluation.recall_at_k(*z[:1], rows, 5, z[1], rows) for z in ((u, v), moved)
    )
    print(f"{name:>9}: gap {exams.gap(u, v):.2f}; recall@5 {before:.0%};", end=" ")
    print(f"moved together: gap {exams.gap(*moved):.2f}, recall@5 {after:.0%}")

# %% tags=["hide-input"]
plots.table(
    [
        {
            "arm": a,
            "before": f"{mean(of('gap', a, 'before')):.2f}",
            "gap": f"{mean(of('gap', a, 'gap')):.2f}",
        }
        | {k: spread(of("gap", a, k)) for k in ("kind", "recall", "recall closed")}
        for a in arms_of("gap")
    ],
    "The gap, and what closing it does, mean (and range)",
    {
        "arm": "scale of the loss",
        "before": "gap before",
        "gap": "gap after",
        "kind": "kind (%)",
    }
    | {"recall": "recall@5 (%)", "recall closed": "recall@5 when closed (%)"},
)
print(origin)

# %%
gap_of = {a: of("gap", a, "gap") for a in arms_of("gap")}
assert min(gap_of["scale 100"]) > 1 > 0.5 > max(gap_of["learned"])
shifted, found = (of("gap", "scale 100", k) for k in ("recall closed", "recall"))
assert max(shifted) < min(found) - 0.1

# %% [markdown]
# A large scale keeps the gap of the start, and then the two clouds are no longer shifted copies of each other: to move them
# together does harm.
#
# Why is there a gap at all? Before training each network maps its inputs into a cone of its own (here a narrow one of the
# eye, a wide one of the reader). And half of the loss does not mind: add one vector to all $v_j$, and in a picture's row **all scores rise by the same, which cancels in a softmax**.
# Only lengths, and the other direction, object. Whether the scale sets how far the gap closes is a claim below.
#
# ## What goes wrong: the words without the sentence
#
# Two things now, side by side, with kinds and colours that differ. The swapped caption has *exactly the same words*.

# %%
pairs, others = world.two_things("train", 3000), world.two_things("test", 500)
swap = captions.decode(captions.swapped(others.ids[:3]))
for true, false in zip(others.texts[:3], swap):
    print(f"{true}   /   {false}")
only_words, _ = train_pair(pairs, steps=200)
u, v = exams.see(only_words, others.pictures), exams.read(only_words, others.ids)
recall = evaluation.recall_at_k(u, torch.arange(500), 5, v, torch.arange(500))
print(f"recall@5 among 500 captions: {recall:.0%} (chance 1 %)")
own = exams.prefers_own(only_words, others)
print(f"nearer to its caption than to the swapped one: {own:.0%}")
assert recall > 0.15 and own == 0.5

# %% [markdown]
# That is (3), and no training can change it: a mean does not know the order of what it was made of. The retrieval score does
# not show it. **The test is the swap: same words, other meaning.**
#
# A reader that sees the order, a transformer, *can* tell. Where captions say who stands left, it does (the table below).
# Now let them say "and", in either order. Two kinds and two colours make two scenes; only where both are in the batch does
# the loss ask whose colour is whose.

# %%
scenes = math.comb(6, 2) * math.comb(6, 2) * 2
for size in (16, 128):
    meets = 1 - (1 - 1 / scenes) ** (size - 1)
    print(f"batch {size}: a scene meets its swap in {meets:.0%}")

# %% [markdown]
# Where they meet, not knowing costs at least $\log 2$; everywhere else it is free. Negatives with swapped captions ask in every row.
# The last row below does so on a corpus with only *one* of each two scenes; the columns show either half. All readers but
# the first are transformers.

# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance", "own": "50", "absent": "50", "recall absent": "0.5"}]
    + [
        {"arm": a}
        | {k: spread(of("binding", a, k)) for k in ("own", "absent", "recall absent")}
        for a in arms_of("binding")
    ],
    "Nearer to its caption than to the swapped one (%), mean and range",
    {
        "arm": "reader and corpus",
        "own": "one half of the scenes",
        "absent": "the other half",
    }
    | {"recall absent": "recall@5, the other half"},
)
print(origin)

# %%
last = "and, one of each two, swapped negatives"
asked = of("binding", last, "own"), of("binding", last, "absent")
assert abs(mean(asked[0]) - mean(asked[1])) < 0.05 and min(asked[1]) > 0.7
assert min(of("binding", "and", "own")) > 0.65

# %% [markdown]
# Read the last row with care: a swapped caption is *never* true there, and a reader could reject it without a look at the
# picture. Then it would fail on the other half. It does not. (Every kind comes in every colour here. In photographs, with
# few blue bananas, rejecting is easier.) The row "and", without such negatives, is far above a coin, too; whether they help
# more than the rows that ask anyway, three seeds cannot tell (C-304).
#
# ## Play: say it in words
#
# Choose words; "(unsaid)" leaves one out. Pictures come in the order of their similarity. **Find a size and a kind for
# which some of the first eight are wrong. Which of the two words is not true of them?**

# %%
ranking = caption.Ranking(
    test, exams.see(clip, test.pictures), lambda t: exams.read(clip, t)
)
widgets.explore(
    ranking.render,
    caption.CONTROLS,
    static=[
        {"kind": "ring", "colour": "green"},
        {"kind": "dart", "colour": caption.UNSAID, "place": "bottom left"},
        {"kind": "square", "colour": caption.UNSAID, "size": "small"},
    ],
    captions=["a colour and a kind", "a kind and a place", "a size and a kind"],
    alt=ranking.describe,
    columns=1,
)

# %%
unsaid = dict.fromkeys(caption.CONTROLS, caption.UNSAID)
true_of = {
    f"{size} {kind}": int(
        ranking.first(**unsaid | {"kind": kind, "size": size})[1].sum()
    )
    for kind in captions.SAID["kind"]
    for size in captions.SAID["size"]
}
worst = min(true_of, key=true_of.get)
print(f"a {worst}: true of {true_of[worst]} of the first eight;", end=" ")
size, kind = worst.split()
first, _ = ranking.first(**unsaid | {"kind": kind, "size": size})
for name, word in (("size", size), ("kind", kind)):
    wrong = test.factors[name][first] != captions.SAID[name].index(word)
    print(f"wrong {name}: {int(wrong.sum())}", end=" ")

# %% [markdown]
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · Where should the bias begin? (••, 8 minutes)
# Before training all cosines are about 0. Return the bias (a number) at which the sigmoid loss of a batch of `n` (int)
# pairs is then lowest. What does the paper's -10 suit?
#
# <details><summary>Hint</summary>N answers are yes, N² - N are no. At the best bias the predicted share of yes is the true
# one.</details>


# %%
def best_bias(n: int) -> float:
    return NOT_ATTEMPTED


ch11.check_best_bias(best_bias)

# %% [markdown]
# ### 2 · One vector per class (•, 5 minutes)
# `texts`, a float tensor `[T, K, D]`, holds the vectors of `T` templates for `K` classes; their lengths differ. Return
# a tensor `[K, D]`, the ensemble: every prompt counts the same, and every class has length 1.
#
# <details><summary>Hint</summary>Divide by the length twice.</details>


# %%
def class_vectors(texts: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch11.check_class_vectors(class_vectors)

# %% [markdown]
# ### 3 · A bag in one line (••, 8 minutes)
# `score[i, j, k]`, a float tensor `[N, N, K]`, is the score of picture i and candidate k of bag j. Return MIL-NCE in which
# pictures look for their bags only (one direction): a scalar.
#
# <details><summary>Hint</summary>`logsumexp` over the candidates first.</details>


# %%
def bag_loss(score: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch11.check_bag_loss(bag_loss)

# %% [markdown]
# ### 4 · Who found whom? (••, 8 minutes)
# A caption can stand under several pictures. `score` is a float tensor `[N, M]`; `wanted` `[N]` and `shown` `[M]` are the
# captions' numbers (int). Return the share of queries that have their caption among the `k` (int) most similar.
#
# <details><summary>Hint</summary>`topk`, then compare numbers of captions, not places.</details>


# %%
def recall_at(
    score: torch.Tensor, wanted: torch.Tensor, shown: torch.Tensor, k: int
) -> float:
    return NOT_ATTEMPTED


ch11.check_recall(recall_at)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv).


# %%
def said(arm: str) -> list[float]:
    rows = of("methods", arm, "factors")
    return [mean([f[k] for k in captions.SAID]) for f in rows]


kind = {a: factor("methods", a, "kind") for a in ("SLIP", "CLIP")}
book.claim(
    "C-156", drawn=Runs(said("CLIP"), said("CLIP, augmented"), floor=said("untrained"))
)
book.claim("C-157", drawn=Runs(kind["SLIP"], kind["CLIP"], floor=floor["kind"]))
composed, ridge, none = (
    of("unseen", a, "unseen") for a in ("bag of words", "ridge", "untrained")
)
book.claim("C-158", drawn=Runs(composed, ridge, floor=none))

# %%
low = {k: of("methods", "untrained", k) for k in ("kind", "pairs")}
bag, one = (of("bags", a, "kind") for a in ("mil-nce", "one of the bag"))
book.claim("C-159", drawn=Runs(bag, one, floor=low["kind"]))
yes, softmax = (of("batch", f"{a}, batch 8", "pairs") for a in ("SigLIP", "CLIP"))
book.claim("C-300", drawn=Runs(yes, softmax, floor=low["pairs"]))
many, few = (
    of("noise", a, "kind") for a in ("3000 pairs, 40% wrong", "750 pairs, 0% wrong")
)
book.claim("C-301", drawn=Runs(many, few, floor=low["kind"]))

# %%
single = [mean(p) for p in of("methods", "CLIP", "prompts")]
book.claim(
    "C-302", drawn=Runs(of("methods", "CLIP", "ensemble"), single, floor=low["kind"])
)
locked = ("LiT", "same start, unlocked")
lit, free = (of("methods", a, "kind") for a in locked)
knew = factor("methods", "two views", "kind"), factor("methods", locked[1], "kind")
book.claim("C-303", drawn=Runs(lit, free, floor["kind"], learned=knew))
asked, plain = (
    [mean(z) for z in zip(of("binding", a, "own"), of("binding", a, "absent"))]
    for a in ("and, swapped negatives", "and")
)
coin = [mean([0, 1]) for _ in plain]
book.claim("C-304", drawn=Runs(asked, plain, floor=coin))
wide, near = (of("gap", f"scale {a}", "gap") for a in ("100", "3"))
book.claim("C-305", drawn=Runs(wide, near))

# %% [markdown]
# C-303 asks for an eye that knew kinds before it was locked; ours did not. C-157 is judged under the same handicap: the
# views that SLIP adds teach no kinds here by themselves.
#
# ## Where it comes from, where it went
#
# [ConVIRT](https://arxiv.org/abs/2010.00747) and [CLIP](https://arxiv.org/abs/2103.00020), whose section 3.1.4 is about prompts;
# noise and size: [ALIGN](https://arxiv.org/abs/2102.05918); the sigmoid: [SigLIP](https://arxiv.org/abs/2303.15343); narrated
# films: [MIL-NCE](https://arxiv.org/abs/1912.06430); a locked eye: [LiT](https://arxiv.org/abs/2111.07991); words and
# views: [SLIP](https://arxiv.org/abs/2112.12750). That text stands in for augmentation:
# [the cookbook](https://arxiv.org/abs/2304.12210), section 4.2. The gap: [Liang et al. (2022)](https://arxiv.org/abs/2203.02053).
# Bags of words: [Yuksekgonul et al. (2023)](https://arxiv.org/abs/2210.01936); that each tower knows better whose attribute is
# whose than their scores show: [Koishigarina et al. (2025)](https://arxiv.org/abs/2502.03566).
#
# ## Two questions
#
# **1.** A shop trains CLIP on pictures and product names. Later it wants to sort pictures by the colour of the wall behind.
# What do you expect, and what do you change?
# <details><summary>Answer</summary>Names say nothing about walls, so the eye has no reason to keep them. Put walls into
# captions, add a loss between views that keeps them (SLIP), or read an earlier layer.</details>
#
# **2.** A model finds the right caption among thousands, nearly always. Does it know who bites whom in "the dog bites the
# man"?
# <details><summary>Answer</summary>You cannot tell from that number: the words alone may have sufficed. Ask the swap, with
# scenes that the corpus may lack.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def best_bias(n):
#     # sigmoid(b) = n / n^2 = 1/n; -10 suits n = 22,000: the paper's batches, not ours.
#     return -math.log(n - 1)
#
#
# def class_vectors(texts):
#     return F.normalize(F.normalize(texts, dim=2).mean(dim=0), dim=1)
#
#
# def bag_loss(score):
#     return -score.logsumexp(dim=2).log_softmax(dim=1).diagonal().mean()
#
#
# def recall_at(score, wanted, shown, k):
#     first = score.topk(k, dim=1).indices
#     return (shown[first] == wanted[:, None]).any(dim=1).float().mean()
# ```
