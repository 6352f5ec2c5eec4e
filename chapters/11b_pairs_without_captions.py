# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11b · What do two halves of one moment teach, without a word?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/11b_pairs_without_captions.ipynb)
#
# **After this chapter you can**
#
# - say what a pair will teach from what its two halves share, and compute the lowest loss it allows;
# - train an eye by sounds, by the channels of its own picture, and by places; and search programs by their descriptions;
# - find out, by silence, that a network tells pairs by the recorder and not by the thing.
#
# **You need** [chapter 11](11_several_senses.ipynb) (two towers) and [chapter 13](13_from_nce_to_nt_xent.ipynb)
# (InfoNCE).
# **Time**: 21 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("11b")

# %% [markdown]
# ## The puzzle: whose sound is it?
#
# Things that are struck ring: the kind of a thing sets the timbre, its size the pitch. Four pictures, four sounds in
# another order.

# %%
import math
from statistics import fmean as mean

import torch
import torch.nn.functional as F

from ssl_lessons import evaluation, losses, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch11b
from ssl_lessons.book.widgets import two_views
from ssl_lessons.data.image_set import Factor
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.pairs import encoders, programs, sounds, wordless, world
from ssl_lessons.training import fit

train, test = world.scenes("train", 3000), world.scenes("test", 1000)
heard, rooms = sounds.sounds(train)
_, rooms_test = sounds.sounds(test, seed=1000)

# %% tags=["hide-input"]
kind, size = train.factors["kind"], train.factors["size"]
chosen = [
    int(((kind == k) & (size == s)).nonzero()[0])
    for k, s in ((0, 0), (0, 1), (3, 0), (3, 1))
]
order = [2, 0, 3, 1]
fig, axes = plots.new_figure(7.6, 4.0, 2, 4)
for ax, i in zip(axes[0], chosen):
    ax.imshow(train.pictures[i].permute(1, 2, 0).numpy())
    ax.set_axis_off()
for ax, k, letter in zip(axes[1], order, "ABCD"):
    ax.imshow(heard[chosen[k], 0].numpy(), origin="lower", aspect="auto")
    ax.set(title=f"sound {letter}", xlabel="time", ylabel="band")
    ax.set_xticks([])
    ax.set_yticks([])
plots.show(
    fig,
    "Four pictures: a small and a large disc, a small and a large cross. Below, four "
    "spectrograms in another order, with lines of energy at several bands.",
)

# %% [markdown]
# The broad band is the hum of one of four rooms; it belongs to no thing. Large things ring low. A disc has hardly more
# than its lowest line, a cross has six of about equal strength. So A is the third picture, and B the first. You found
# that out from pairs, and no word was said.
#
# > **Predict before you go on.** (1) An eye learns to find the sound that belongs to its picture, and nothing else. A
# > sound says nothing of colour. Will colour be easier or harder to read from the eye than before training (chance: one
# > in two)? (2) Recordings come from four rooms, each with a hum and a camera of its own. A network says of a picture
# > and a sound whether they belong together. Then you silence the thing and leave only the room. How often is it right
# > (chance: one in two)? (3) Who finds a function by its description more often: somebody who counts common words, or a
# > network trained on 4,000 pairs (chance: one in two)?
#
# ## What a sound teaches
#
# The recipe is that of chapter 11, with an ear in the place of the reader. For a batch of $N$ scenes let
# $u_i \in \mathbb{R}^D$ be the vector of picture $i$ and $v_j$ that of sound $j$, both divided by their lengths, and
# $s_{ij} = a\, u_i \cdot v_j$ with a scale $a > 0$. The loss is InfoNCE both ways; one way it is
#
# $$L = -\frac{1}{N} \sum_i \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}} .$$
#
# How low can it get? Say all that a picture and a sound share is a value that takes $K$ values equally often: here kind
# and size, $K = 12$. Scenes with the same value cannot be told apart, so the best rule spreads its bet evenly over
# them. Let $M$ of the $N - 1$ other scenes have the value of yours. Then the best loss is
#
# $$L^* = \mathbb{E}\,[\log(1 + M)], \qquad M \sim \text{Binomial}(N - 1,\, 1/K) .$$

# %%
N, K = 128, 12
others = torch.distributions.Binomial(N - 1, torch.tensor(1 / K))
lowest = float(others.sample((20000,)).log1p().mean())
print(f"nothing known: {math.log(N):.2f} nats; kind and size known: {lowest:.2f}")


# %%
def train_by_sound(scenes, sound, steps=300, seed=0):
    torch.manual_seed(seed)
    eye, ear = encoders.PictureNet().to(device), sounds.EarNet().to(device)
    heads = torch.nn.ModuleList([torch.nn.Linear(net.dim, 32) for net in (eye, ear)])
    heads.to(device)

    def one_batch(generator):
        rows = torch.randint(len(scenes), (N,), generator=generator)
        u = heads[0](eye(scenes.pictures[rows].to(device)))
        v = heads[1](ear(sound[rows].to(device)))
        return losses.clip(u, v)

    everything = torch.nn.ModuleList([eye, ear, heads])
    return eye, fit(everything, one_batch, steps, lr=4e-3, seed=seed)


torch.manual_seed(0)
untrained = encoders.PictureNet().to(device)
eye, history = train_by_sound(train, heard)
print(f"loss {history[0]:.2f} at first, {sum(history[-20:]) / 20:.2f} at the end")

# %% [markdown]
# On pairs it has seen often, a network can get below $L^*$ by heart (the record's contrast, below, does). On fresh ones
# it cannot, on average.


# %%
def factors(scenes):
    return {k: Factor(v, "categorical") for k, v in scenes.factors.items()}


def kept(eye, scenes=train[:1500], others=test):
    """What a linear readout finds: 0 chance, 1 always right."""
    x, y = (encoders.apply(eye, s.pictures, eye) for s in (scenes, others))
    return evaluation.factor_probe(x, factors(scenes), y, factors(others))


live = {"untrained": kept(untrained), "by sounds": kept(eye)}

# %% tags=["hide-input"]
plots.table(
    [{"eye": n} | {k: 100 * v for k, v in r.items()} for n, r in live.items()],
    "What a linear readout finds (0 chance, 100 always right), one run",
    {"eye": "eye"} | {k: k for k in world.FACTORS},
    floatfmt=".0f",
)
assert live["by sounds"]["kind"] > live["untrained"]["kind"] + 0.2
assert live["by sounds"]["colour"] < live["untrained"]["colour"]
assert live["by sounds"]["ground"] < live["untrained"]["ground"] - 0.2

# %% [markdown]
# That is (1), in this run: **harder**. The kind can be read now, and colour, ground and stripes less well than before.
# No sound ever said that colours do not matter. They are of no help in finding the sound; that can be enough. (The
# place is no help either, and can be read; perhaps an eye must find a thing before it can name it.)
#
# ## Four questions about the same pairs
#
# - **Correspondence** (AVC): one picture, one sound: do they belong together? Half of the pairs are true.
# - **Contrast**, as above: which of $N$ sounds is it?
# - **Ambient sound**: cluster statistics of the sounds once; the picture must tell the cluster.
# - **XDC**: cluster the ear's *features*, the eye learns those; cluster the eye's, the ear learns those; from time to time
#   anew. Its baseline: each sense learns clusters of its own features.
#
# The record has three seeds, 600 steps, and for each arm the best of three learning rates, by the mean of all six
# readouts in a world of its own. *Surely*, below: the 90 % interval over seeds lies on one side of 0, and the mean
# differs by two points or more; in some fifty comparisons a few are chance.

# %%
record, origin = book.recorded("other_pairs")


def of(part: str, arm: str, key: str) -> list:
    """One value per seed."""
    return book.per_seed(record, key, part=part, arm=arm)


def factor(arm: str, name: str, part: str = "eyes") -> list[float]:
    return [f[name] for f in of(part, arm, "factors")]


# %% tags=["hide-input"]
def spread(values) -> str:
    low, high = 100 * min(values), 100 * max(values)
    return f"{100 * mean(values):.0f} ({low:.0f} to {high:.0f})"


def show(arms, title: str) -> None:
    plots.table(
        [{"arm": "chance"} | {k: "0" for k in world.FACTORS}]
        + [{"arm": a} | {k: spread(factor(a, k)) for k in world.FACTORS} for a in arms],
        title,
        {"arm": "trained by"} | {k: k for k in world.FACTORS},
    )
    print(origin)


# %% tags=["hide-input"]
def changes(arm: str, floor: str) -> None:
    """Print which factors are surely better or worse to read than before training."""
    found = {
        k: evidence.compare(factor(arm, k), factor(floor, k), learns="none")
        for k in world.FACTORS
        if factor(arm, k) != factor(floor, k)
    }
    up = [k for k, v in found.items() if v.word == evidence.HOLDS]
    down = [k for k, v in found.items() if v.high < 0 and v.estimate <= -0.02]
    print(f"{arm}: surely better at {', '.join(up) or 'none'};")
    print(f"{'':>6}surely worse at {', '.join(down) or 'none'}")


# %%
SOUNDS = (
    "contrast with sounds",
    "correspondence",
    "clusters of sounds",
    "XDC",
    "own clusters",
)
show(
    ("pixels", "untrained", *SOUNDS),
    "What a linear readout finds (0 chance, 100 always right), mean and range",
)
for arm in SOUNDS:
    changes(arm, "untrained")

# %% tags=["hide-input"]
for name in ("kind", "size"):
    for arm in SOUNDS[:4]:
        assert min(factor(arm, name)) > max(factor("untrained", name)) + 0.1
for name in ("ground", "stripes"):
    for arm in SOUNDS[:4]:
        assert max(factor(arm, name)) < min(factor("untrained", name))
assert max(of("eyes", "contrast with sounds", "loss")) < lowest
for arm in ("correspondence", "XDC"):
    assert max(factor(arm, "colour")) < min(factor("untrained", "colour"))

# %% [markdown]
# All four whose goal comes from sounds find kind and size and lose the stripes, and the ground is read less well in
# every seed. Colour, question (1) again: correspondence and XDC lose it; for contrast and clusters three seeds cannot
# tell. The questions differ in how much they ask: *do they belong together* needs no more than the size in half of the
# false pairs; *which of 128* needs both. Whether that shows in the kind, and whether the other sense's clusters beat
# one's own, are claims below.
#
# ## One picture, two views
#
# You need no microphone. **Contrastive multiview coding** (CMC) splits a picture into lightness and colour, gives an
# eye to each, and asks for the same loss: which colours belong to this gray picture? Any other split will do, and the
# loss can be lowered by *whatever both views tell*.


# %%
def train_by_split(split, scenes=train, steps=150, seed=0):
    torch.manual_seed(seed)
    both = wordless.TwoEyes(split=split).to(device)
    heads = torch.nn.ModuleList([torch.nn.Linear(64, 32) for _ in range(2)]).to(device)

    def one_batch(generator):
        rows = torch.randint(len(scenes), (N,), generator=generator)
        first, second = both.views(scenes.pictures[rows].to(device))
        u, v = heads[0](both.eyes[0](first)), heads[1](both.eyes[1](second))
        return losses.clip(u, v)

    learner = torch.nn.ModuleList([both, heads])
    return both, fit(learner, one_batch, steps, lr=4e-3, seed=seed)


both, history = train_by_split("lightness, colour")
print(f"loss {history[0]:.2f} at first, {sum(history[-20:]) / 20:.2f} at the end")
torch.manual_seed(0)
start = kept(wordless.TwoEyes(split="lightness, colour").to(device))
for name, value in kept(both).items():
    was = 100 * start[name]
    print(f"{name:>8}: {100 * value:.0f}, untrained {was:.0f} (0 is chance)")


# %% [markdown]
# Two more splits, at either end. Even against odd *rows* of pixels: nearly everything is shared, and hardly anything
# must be understood to match them. Left against right *third*: no thing reaches into both, so its colour cannot help.

# %%
CMC = tuple(f"CMC, {split}" for split in wordless.SPLITS)
floors = [f"untrained, {split}" for split in wordless.SPLITS]
arms = [a for pair in zip(floors, CMC) for a in pair]
show(
    (*arms, "untrained", "AMDIM"),
    "What a linear readout finds (0 chance, 100 always right), mean and range",
)
for arm, floor in (*zip(CMC, floors), ("AMDIM", "untrained")):
    changes(arm, floor)

# %% tags=["hide-input"]
rows = factor("CMC, rows", "stripes")
assert sum(v < 0.05 for v in rows) == 2
assert min(factor("CMC, thirds", "kind")) > max(factor("untrained, thirds", "kind"))
lost = factor("CMC, lightness, colour", "stripes")
assert max(lost) < min(factor("untrained, lightness, colour", "stripes"))
blurred = factor("CMC, thirds", "colour")
assert mean(blurred) < mean(factor("untrained, thirds", "colour"))

# %% [markdown]
# Stripes are in the lightness only, and lightness against colour loses them. But the ground is there only, too, and it
# stays; and both rows tell the stripes, and two seeds of three lose them. What is not shared *may* be lost. The widget
# below puts the views side by side. *What makes good views* is then a question of what you want to read later: they
# should share that, and little else. For the kind it is a claim below; but in the thirds only one view tells the kind,
# and it rises, too: not all that rises is shared.
#
# **AMDIM** pairs the *whole* of one augmented view with every *place* of another: the vector of all must find the 3 × 3
# vectors of the last map among those of other pictures (here at one size of places; the paper has several). What is in
# every place is asked for nine times, what is in one place once. Here, in 600 steps, nothing is surely better than
# before training.
#
# ## What goes wrong: the room answers
#
# Now the rooms hum twice as loud, and three of the cameras have a tint. A false pair takes the sound of any
# other scene. Three times in four that is one from another room.


# %%
def tell_pairs(same_room: bool, steps=200, seed=0):
    torch.manual_seed(seed)
    nets = encoders.PictureNet(), sounds.EarNet()
    partner = rooms if same_room else None
    task = wordless.Correspond(*nets, sounds.tinted(train, rooms), loud, rooms=partner)
    fit(task.to(device), task, steps, lr=4e-3, seed=seed)
    return task


loud = sounds.sounds(train, hum=0.3)[0]
filmed = sounds.tinted(test, rooms_test)
loud_test, silent = (
    sounds.sounds(test, seed=1000, hum=0.3, silent=quiet)[0] for quiet in (False, True)
)
fooled, careful = (tell_pairs(same_room=s) for s in (False, True))
for name, task in (("any room", fooled), ("one room", careful)):
    print(f"false pairs of {name}:")
    print(f"  right on pairs like these: {task.right(filmed, loud_test):.0%}", end=",")
    print(f" without the thing's sound: {task.right(filmed, silent):.0%}", end=",")
    print(f" within a room: {task.right(filmed, loud_test, rooms_test):.0%}")

# %% tags=["hide-input"]
arms = list(dict.fromkeys(r["arm"] for r in record if r["part"] == "rooms"))
plots.table(
    [{"arm": "chance", "right": "50", "silent": "50", "one room": "50", "kind": "0"}]
    + [
        {"arm": a, "kind": spread(factor(a, "kind", "rooms"))}
        | {k: spread(of("rooms", a, k)) for k in ("right", "silent", "one room")}
        for a in arms
    ],
    "Right answers (%), and the readout of the kind, mean and range",
    {"arm": "trained on", "right": "any room", "silent": "any room, thing silent"}
    | {"one room": "one room", "kind": "kind (0 to 100)"},
)
print(origin)

# %% tags=["hide-input"]
plain, tinted = "cameras alike", "a tint for each room"
fixed = "a tint for each room, false pairs of one room"
told_by_room = of("rooms", tinted, "silent")
assert min(told_by_room) > 0.7 and max(of("rooms", plain, "silent")) < 0.6
assert mean(of("rooms", tinted, "one room")) < mean(of("rooms", tinted, "right")) - 0.1

# %%
print(f"(2) thing silent, room left: right in {mean(told_by_room):.0%}")
print(f"    at best, by the room alone: {1 - (1 / 4) / 2:.1%}")
print(f"    false pairs of one room:    {mean(of('rooms', fixed, 'silent')):.0%}")

# %% [markdown]
# That is (2). Whoever looked only at the first number would call it hearing. **Take out what should matter, and ask
# again**: right answers that survive silence come from the room. The cure is in the false pairs. They should differ
# from true ones in the subject and in nothing else; a partner from the same room makes hum and tint useless. The
# authors of AVC tell of a shortcut that lay in how their data had been prepared, as a warning.
#
# ## Words for programs
#
# A function and its docstring are a pair that programmers have written for you. Python's standard library holds some
# thousands. Descriptions of *other* modules than those of training look for their function among 500, and the score is
# the mean of 1 / place, **MRR** (as in CodeSearchNet). The simplest rule that could win counts common words: TF-IDF.

# %%
shown, asked = programs.programs("train"), programs.programs("test")
pick = torch.randperm(len(asked), generator=torch.Generator().manual_seed(0))[:500]
texts, codes = (
    [programs.words(some[i]) for i in pick] for some in (asked.texts, asked.codes)
)
print(len(shown), "functions to learn from;", len(asked), "to be found, for instance")
print(asked.names[pick[0]], "|", asked.texts[pick[0]][:60])
cut = [[programs.words(t) for t in some] for some in (shown.texts, shown.codes)]
numbers = programs.Numbers(cut[0] + cut[1])
text, code = (numbers.ids(some) for some in cut)


# %%
def readers(shared: bool, steps: int, seed=0):
    torch.manual_seed(seed)
    first = encoders.BagOfWords(96, len(numbers)).to(device)
    second = first if shared else encoders.BagOfWords(96, len(numbers)).to(device)

    def one_batch(generator):
        rows = torch.randint(len(text), (128,), generator=generator)
        u, v = first(text[rows].to(device)), second(code[rows].to(device))
        return losses.clip(u, v, 14.0)

    if steps:
        both = torch.nn.ModuleList([first, second])
        fit(both, one_batch, steps, lr=1e-2, seed=seed)
    return first, second


@torch.no_grad()
def found(pair, texts, codes) -> float:
    u, v = (net(numbers.ids(t).to(device)) for net, t in zip(pair, (texts, codes)))
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    return programs.reciprocal_rank(u @ v.T)


# %%
bare = programs.unshared(texts, codes)
print("asked:", " ".join(texts[0]), "| not in its code:", " ".join(bare[0]))
for shared in (False, True):
    for steps in (0, 150):
        pair = readers(shared, steps)
        name = f"{'one reader' if shared else 'two readers'}, {steps} steps"
        print(f"{name:>24}: MRR {found(pair, texts, codes):.2f}", end=", ")
        print(f"without shared words {found(pair, bare, codes):.3f}")

# %% [markdown]
# Look at *one reader, 0 steps*: one reader for both sides finds a good part *before* any training. Its words are random
# vectors, nearly orthogonal, and a word that stands on both sides adds to the cosine. **It counts.** So a shared reader
# must be compared with itself before training, and the test that counting of whole words cannot pass is to delete from
# each query the words that stand in its function.

# %% tags=["hide-input"]
arms = list(dict.fromkeys(r["arm"] for r in record if r["part"] == "programs"))
chance = mean([1 / k for k in range(1, 501)])
plots.table(
    [
        {
            "arm": "chance",
            "found": f"{100 * chance:.1f}",
            "unshared": f"{100 * chance:.1f}",
        }
    ]
    + [
        {"arm": a, "found": spread(of("programs", a, "found"))}
        | {"unshared": spread(of("programs", a, "unshared"))}
        for a in arms
    ],
    "Mean reciprocal rank among 500 (100 is best), mean and range",
    {"arm": "score", "found": "the query", "unshared": "without shared words"},
)
print(origin)

# %% tags=["hide-input"]
tfidf, two, one = (
    of("programs", a, "found") for a in ("TF-IDF", "two readers", "one reader")
)
bare_two = of("programs", "two readers", "unshared")
assert min(tfidf) > max(two) and min(tfidf) > max(one)
assert min(two) > 0.05 and min(bare_two) > 1.5 * chance
assert max(of("programs", "TF-IDF", "unshared")) < chance < min(bare_two)
assert min(of("programs", "TF-IDF, first 3 letters", "unshared")) > max(bare_two)

# %% [markdown]
# That is (3): counting wins, by far, perhaps because who wrote the description also named the variables. (The
# function's name stays in the code.) But delete the shared words, and whole words have nothing left: worse than chance,
# for the right function is the only one that surely shares none. Beginnings of words still find a few, for *files*
# finds *file*. Two readers that never saw these modules find more than chance, and part of that may be no more than
# such beginnings: they find fewer. Keyword search beats several networks from before BERT on CodeSearchNet's millions,
# too.
#
# ## Play: what do both views tell?
#
# Bars: what a linear readout of an untrained eye finds in either view alone. Diamonds: after CMC on both. **In which
# split do both views tell colours, but never the colour of the same scene? What does CMC do to the colour there, and to
# the place?**

# %%
widgets.explore(
    two_views.render,
    two_views.CONTROLS,
    static=[{"split": split} for split in wordless.SPLITS],
    captions=list(wordless.SPLITS),
    alt=two_views.describe,
    brief=two_views.brief,
    columns=1,
)
either = [view["colour"] for view in two_views.told("thirds")]
print(f"left third: colour {either[0]:.0%}; right third: {either[1]:.0%}")
assert 0.1 < min(either) and max(either) < 0.5

# %% [markdown]
# The thirds: each sees the thing in about half of the scenes, and then the other does not. The bars speak of one view
# at a time; what the loss can use is what both tell *of the same scene*. A thing that is not here is over there: the
# place is used, and the colour fades. And to be shared is not enough to be kept: see the stripes of *rows*.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · The best anybody can do (••, 8 minutes)
# A picture and its sound share one value, drawn with probabilities `p`, a float tensor `[K]`; nothing else. Half of the
# pairs are true, half have the sound of an independent scene. Return how often the best possible answer is right.
#
# <details><summary>Hint</summary>True pairs always agree. How often do false ones?</details>


# %%
def best_right(p: torch.Tensor) -> float:
    return NOT_ATTEMPTED


ch11b.check_best_right(best_right)

# %% [markdown]
# ### 2 · The lowest loss (•••, 10 minutes)
# Above, $L^*$ was sampled. Return it exactly, in nats, for a batch of `n` pairs that share one of `k` equally likely
# values (both int).
#
# <details><summary>Hint</summary>Sum over M; `math.comb` gives the binomial coefficients.</details>


# %%
def lowest_loss(n: int, k: int) -> float:
    return NOT_ATTEMPTED


ch11b.check_lowest_loss(lowest_loss)

# %% [markdown]
# ### 3 · At which place? (•, 5 minutes)
# `score`, a float tensor `[N, N]`: rows are queries, columns functions, the right one on the diagonal. No two scores of
# a row are equal. Return the mean reciprocal rank.
#
# <details><summary>Hint</summary>The place is 1 more than the number of better scores.</details>


# %%
def mean_reciprocal_rank(score: torch.Tensor) -> float:
    return NOT_ATTEMPTED


ch11b.check_reciprocal_rank(mean_reciprocal_rank)

# %% [markdown]
# ### 4 · Half of the sounds are wrong (••, 5 minutes on paper)
# Give half of the scenes the sound of another one and train by contrast as above. By how many points does the readout
# of the kind change (negative: it falls)? Say it before you run; within 10 points counts as right.
#
# <details><summary>Hint</summary>With random partners the wrong pairs pull in no common direction.</details>


# %%
def measured() -> float:
    spoiled, _ = sounds.sounds(train, wrong=0.5)
    noisy, _ = train_by_sound(train, spoiled)
    return 100 * (kept(noisy)["kind"] - live["by sounds"]["kind"])


forecast = NOT_ATTEMPTED
ch11b.judge_forecast(forecast, measured, near=10.0)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv).

# %%
asleep = factor("untrained", "kind")
split = {a: factor(f"CMC, {a}", "kind") for a in ("lightness, colour", "rows")}
before = factor("untrained, lightness, colour", "kind")
book.claim("C-340", drawn=Runs(*split.values(), floor=before))
judged, many = (factor(a, "kind") for a in ("correspondence", "contrast with sounds"))
book.claim("C-341", drawn=Runs(judged, asleep))
book.claim("C-342", drawn=Runs(many, judged, floor=asleep))
theirs, ours = (factor(a, "kind") for a in ("XDC", "own clusters"))
book.claim("C-343", drawn=Runs(theirs, ours, floor=asleep))

# %%
blank = of("programs", "untrained, two readers", "found")
book.claim("C-344", drawn=Runs(tfidf, two, floor=blank))
cued, cured = (factor(a, "kind", "rooms") for a in (tinted, fixed))
blind = factor("untrained", "kind", "rooms")
book.claim("C-345", drawn=Runs(cued, cured, floor=blind))

# %% [markdown]
# ## Where it comes from, where it went
#
# Sounds: [ambient sound](http://andrewowens.com/ambient/index.html), [Look, Listen and
# Learn](https://arxiv.org/abs/1705.08168), whose successor [Objects that Sound](https://arxiv.org/abs/1712.06651) finds
# where in the picture it sounds, and warns of shortcuts; many at once: [AVID](https://arxiv.org/abs/2004.12943);
# clusters of the other sense: [XDC](https://arxiv.org/abs/1911.12667). Views: [CMC](https://arxiv.org/abs/1906.05849),
# which finds more views better; how much they should share: [Tian et al. (2020)](https://arxiv.org/abs/2005.10243).
# Whole and places: [AMDIM](https://arxiv.org/abs/1906.00910). Programs:
# [CodeSearchNet](https://arxiv.org/abs/1909.09436), and [bags of words against
# it](https://aclanthology.org/2021.nlp4prog-1.10).
#
# ## Two questions
#
# **1.** The videos of a collection were made with a few cameras and microphones. You train by correspondence, with
# false pairs across videos, and get 95 %. What do you ask for?
# <details><summary>Answer</summary>The same number with the sounding thing cut out of the sound: what then stays above one
# half was the recorder. And false pairs of other videos by the same recorder. (Within one video the subject is the
# same, too: there even good ears fail.)</details>
#
# **2.** You want to sort photographs by colour. Somebody offers an eye trained on pictures and their sounds. What do
# you expect, and what is cheap to try?
# <details><summary>Answer</summary>Sounds hardly depend on colours, so expect less than from the untrained network or from
# pixels. Try a split whose views both have colour, or plain pixels first.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# forecast = ...  # your own number, before the run
#
#
# def best_right(p):
#     # true pairs agree always, false ones with probability sum p^2; of pairs that agree most are true
#     return 1 - (p**2).sum() / 2
#
#
# def lowest_loss(n, k):
#     total = 0.0
#     for m in range(n):
#         chance = math.comb(n - 1, m) * (1 / k) ** m * (1 - 1 / k) ** (n - 1 - m)
#         total += chance * math.log(1 + m)
#     return total
#
#
# def mean_reciprocal_rank(score):
#     place = 1 + (score > score.diagonal()[:, None]).sum(dim=1)
#     return (1 / place).mean()
# ```
