# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14b · Which negatives do the work, and which are wrong?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/14b_which_negatives_help.ipynb)
#
# **After this chapter you can**
#
# - measure who is pushed by a contrastive loss, and how much of the push falls on the wrong ones;
# - write the debiased, hard, mixed and decoupled losses in a few lines each, and say what each assumes;
# - test "contrastive learning needs large batches" fairly: equal pictures, equal steps, tuned rates.
#
# **You need** [chapter 14](14_negatives.ipynb), and the softmax shares of [chapter 13](13_from_nce_to_nt_xent.ipynb).
# **Time**: 23 minutes to read, about half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("14b")

# %% [markdown]
# ## The puzzle: how many of the hardest negatives are wrong?
#
# Train a SimCLR for 240 steps. Then take 500 pictures as anchors, and as negatives one view of each of the other 1,999
# labelled pictures. A negative of the anchor's own kind is a **false negative**: the loss pushes it away although a
# probe will be asked to put it in the same class. With ten kinds, a tenth of all negatives is false.
#
# > **Predict before you go on.** Sort the negatives of an anchor by similarity. (1) What share of the *most similar
# > hundredth* is false (chance: 10 %)? (2) What share of the whole push does that hundredth get (an even share: 1 %)?

# %%
import math
from functools import partial

import torch
import torch.nn.functional as F

from ssl_lessons import data, evaluation, plots, views
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch14
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import contrastive
from ssl_lessons.methods.mochi import MoCHi
from ssl_lessons.models import build_encoder
from ssl_lessons.training import pretrain, recipes

TAU, STEPS, ANCHORS = 0.1, 240, 500
recipe = recipes.get_recipe("quick")
unlabeled, train = data.shapes("unlabeled", n=8192), data.shapes("train", n=2000)
chance = 1 / len(train.classes)

simclr = recipe.build(seed=0)
policies = simclr.views(recipe.policy)
settings = {"steps": STEPS, "seed": 0, "progress": False} | recipe.training()
_ = pretrain(simclr, unlabeled.images, policies, **settings)


# %%
@torch.no_grad()
def embeddings(method, x: torch.Tensor) -> torch.Tensor:
    """Unit-length z of views x, in evaluation mode."""
    parts = [method.eval().embed(part) for part in x.split(500)]
    return F.normalize(torch.cat(parts), dim=1)


pair = views.make_views(train.images, policies, torch.Generator().manual_seed(1))
zq, zk = (embeddings(simclr, v) for v in pair)
anchors = torch.arange(ANCHORS)
cosine = zq[:ANCHORS] @ zk.T
own = torch.arange(len(train))[None] == anchors[:, None]
crowd = cosine[~own].view(ANCHORS, -1)  # [500, 1999] negatives
same = (train.labels[None] == train.labels[anchors][:, None])[~own].view(ANCHORS, -1)
push = (crowd / TAU).softmax(dim=1)  # each negative's share of the push
order = crowd.argsort(dim=1, descending=True)

# %% tags=["hide-input"]
PARTS = {
    "most similar 1 %": (0, 20),
    "1 to 5 %": (20, 100),
    "5 to 10 %": (100, 200),
    "10 to 50 %": (200, 1000),
    "other half": (1000, 1999),
}


def parts_of(values: torch.Tensor) -> torch.Tensor:
    """[500, 1999] sorted by similarity, to [500, 5]: the sum in each part."""
    ordered = values.double().gather(1, order)
    return torch.stack([ordered[:, a:b].sum(dim=1) for a, b in PARTS.values()], dim=1)


sizes = torch.tensor([b - a for a, b in PARTS.values()])
pushed = parts_of(push).mean(dim=0)
false = parts_of(same).mean(dim=0) / sizes
fig, ax = plots.new_figure(7.4, 3.2)
x = torch.arange(len(PARTS))
for shift, values, name, color in (
    (-0.27, sizes / 1999, "share of the negatives", plots.GRAY),
    (0.0, pushed, "share of the push", plots.COLORS[0]),
    (0.27, false, "of these, false", plots.COLORS[1]),
):
    ax.bar(x + shift, 100 * values, width=0.25, color=color, label=name)
ax.axhline(100 * chance, color="black", linestyle=":", linewidth=1)
ax.set_xticks(x, list(PARTS))
ax.set(title="The hardest negatives get the push, and are most often wrong", ylabel="%")
ax.legend()
plots.show(
    fig,
    alt="Bars for five groups of negatives, from the most similar to the least. "
    + "; ".join(
        f"{name}: {p:.0%} of the push, {f:.0%} false"
        for name, p, f in zip(PARTS, pushed, false, strict=True)
    ),
)
wasted = (push * same).sum(dim=1).mean().item()
even = same.double().mean().item()
print(f"hardest hundredth: {false[0]:.0%} false, {pushed[0]:.0%} of the push")
print(f"of the whole push, {wasted:.0%} falls on the anchor's own kind")

# %%
assert false[0] > 0.25 and pushed[0] > 0.08 and wasted > 1.5 * even
assert false[0] > false[1] > false[2] > false[4] and pushed[4] < 0.25

# %% [markdown]
# The printed lines answer the puzzle. Nobody selects anything: the exponential mines hard negatives by itself, the easier
# half gets less than its share, and the hardest are several times as often wrong as chance. How bad that is for the features, this
# picture does not say. Every method below is a way to handle it, so each is followed by a number.
#
# All runs of the record use one encoder, 240 steps of 256 pictures (61,440 pairs of views) unless a row says otherwise,
# and a probe on 100 labels.

# %%
record, origin = book.recorded("negatives", world=2)


def recorded(group: str, arm: str, key: str = "probe") -> list[float]:
    """One value per seed that every arm of the group has, in the order of the seeds."""
    arms = {}
    for row in record:
        if row["group"] == group:
            arms.setdefault(row["arm"], {})[row["seed"]] = row[key]
    seeds = set.intersection(*(set(values) for values in arms.values()))
    return [arms[arm][seed] for seed in sorted(seeds)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


# %% tags=["hide-input"]
FLOORS = {"pixels": ("floor", "pixels"), "untrained": ("floor", "untrained")}


def show(arms: dict[str, tuple[str, str]], title: str) -> None:
    """The named arms above the floors: probe with its range over seeds, and kNN."""
    rows = [
        {"run": "chance", "probe": chance, "spread": "", "knn": chance, "seeds": ""}
    ]
    for name, where in (FLOORS | arms).items():
        p = recorded(*where)
        spread = f"{min(p):.1%} to {max(p):.1%}"
        knn = mean(recorded(*where, "knn"))
        rows.append({"run": name, "probe": mean(p), "spread": spread, "knn": knn})
        rows[-1]["seeds"] = len(p)
    heads = {"run": "run", "probe": "probe, 100 labels", "spread": "over seeds"}
    heads |= {"knn": "kNN", "seeds": "seeds"}
    plots.table(rows, title, heads, {"probe": ".1%", "knn": ".1%"})
    print(origin)


# %% [markdown]
# ## Step 1: what an oracle would do
#
# If you knew the labels, you could leave the false negatives out of the denominator, and *only* that: no new positives.
# Or you could use them fully, as **SupCon** does ([Khosla et al., 2020](https://arxiv.org/abs/2004.11362), equation 2),
# where all views of an anchor's class are positives,
#
# $$L = -\frac{1}{2N}\sum_i \frac{1}{|P(i)|}\sum_{p\in P(i)} \log\frac{\exp(z_i^\top z_p/\tau)}{\sum_{a\ne i}\exp(z_i^\top z_a/\tau)} ,$$
#
# $P(i)$: the other views with the label of $i$; $N$: pictures in the batch; $z$: unit length.


# %%
def scores_of(z1, z2, tau):
    """Logits [2N, 2N] without the diagonal, and everyone's partner [2N]."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    partner = torch.arange(len(z)).roll(len(z1))
    return (z @ z.T / tau).fill_diagonal_(-math.inf), partner


def sup_con(z1, z2, labels, tau):
    logits, _ = scores_of(z1, z2, tau)
    y = labels.repeat(2)
    positives = (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool)
    log_p = logits.log_softmax(dim=1).where(positives, 0.0)
    return -(log_p.sum(dim=1) / positives.sum(dim=1)).mean()


def oracle(z1, z2, labels, tau):
    logits, partner = scores_of(z1, z2, tau)
    y = labels.repeat(2)
    left_out = y[:, None] == y  # all of my class ...
    left_out[torch.arange(len(y)), partner] = False  # ... but not my partner
    return F.cross_entropy(logits.masked_fill(left_out, -math.inf), partner)


generator = torch.Generator().manual_seed(0)
z1, z2 = torch.randn(2, 12, 16, generator=generator).double()
labels, nt_xent = torch.arange(12) % 4, contrastive.nt_xent(z1, z2, 0.2)
theirs = contrastive.supcon(z1, z2, labels, 0.2)
assert torch.allclose(sup_con(z1, z2, labels, 0.2), theirs)
for loss in (sup_con, oracle):  # labels that all differ give NT-Xent
    assert torch.allclose(loss(z1, z2, torch.arange(12), 0.2), nt_xent)

# %% tags=["hide-input"]
ORACLE = {
    "all negatives": ("oracle", "all negatives"),
    "false negatives left out": ("oracle", "oracle"),
    "SupCon, 8,192 labels": ("oracle", "SupCon"),
}
show(ORACLE, "What labels did buy: the same pictures, the same 240 steps")

# %% [markdown]
# The difference between the first two trained rows is the price of false negatives in this world and at this length:
# what perfect knowledge of them is worth. Claim C-38a puts a verdict on it. Debiasing (step 2) aims at that; whoever
# also changes the weights of the true ones may gain more, or less. SupCon uses the same 8,192 labels as positives too,
# and gains nothing by them in its probe, at one temperature and so few steps. (Labels exist for the train split only,
# so these three runs share other pictures than the rest of the record, and the probe's pictures are among them, for all
# three alike.)
#
# ## Step 2: debiased, and hard on purpose
#
# Let a share $\tau_+$ of the negatives be false. What you draw is a mixture,
# $p(x) = \tau_+\,p_+(x) + (1-\tau_+)\,p_-(x)$, so for any function $g$
#
# $$\mathbb{E}_{p_-}[g] = \frac{\mathbb{E}_p[g] - \tau_+\,\mathbb{E}_{p_+}[g]}{1-\tau_+}.$$
#
# Everything on the right can be sampled: the batch for $p$, the one positive you have for $p_+$. Put $g = e^{s/\tau}$, $s$ the
# cosine with the anchor, and you have the **debiased** loss ([Chuang et al., 2020](https://arxiv.org/abs/2007.00224)).
# **HCL** ([Robinson et al., 2021](https://arxiv.org/abs/2010.04592)) adds that the negatives you *want* are hard ones:
# weight them by $w_j \propto e^{\beta s_j/\tau}$, with mean 1 over the $K$ negatives of an anchor,
#
# $$L = -\log\frac{e^{s_+/\tau}}{e^{s_+/\tau} + K G},\qquad G = \frac{\frac1K\sum_j w_j e^{s_j/\tau} - \tau_+ e^{s_+/\tau}}{1-\tau_+},$$
#
# with $s_+$ the cosine of the positive and $G$ kept above its smallest possible value $e^{-1/\tau}$. With $\beta = 0$ this
# is the debiased loss; with $\tau_+ = 0$ as well, NT-Xent.


# %%
def hcl(z1, z2, tau, beta, tau_plus):
    logits, partner = scores_of(z1, z2, tau)
    negatives = logits.scatter(1, partner[:, None], -math.inf)
    s_pos, k = logits.gather(1, partner[:, None])[:, 0], len(logits) - 2
    w = (beta * negatives.nan_to_num(neginf=-1e4)).softmax(dim=1) if beta else None
    plain = negatives.exp().sum(dim=1) / k
    g = (w * negatives.exp()).sum(dim=1) if beta else plain
    g = (g - tau_plus * s_pos.exp()) / (1 - tau_plus)
    g = g.clamp(min=math.exp(-1 / tau))
    return -(s_pos.exp() / (s_pos.exp() + k * g)).log().mean()


for beta, tau_plus in ((0.0, 0.0), (0.0, 0.1), (1.0, 0.1), (2.0, 0.0)):
    theirs = contrastive.hard_negative(z1, z2, 0.5, beta, tau_plus)
    assert torch.allclose(hcl(z1, z2, 0.5, beta, tau_plus), theirs)

# %% [markdown]
# Since $w_j e^{s_j/\tau} \propto e^{(1+\beta)s_j/\tau}$, you can read that $\beta$ is a lower temperature,
# $\tau/(1+\beta)$. It would be, if the weights were held fixed. They are not: they carry gradient, in the authors' code as
# here. Differentiate $\log\sum_j w_je^{s_j/\tau} = \log\sum_j e^{(1+\beta)s_j/\tau} - \log\sum_j e^{\beta s_j/\tau}
# + \text{const}$: with $r^{(c)} = \mathrm{softmax}(c\,s/\tau)$, the share of the push on negative $j$ is
#
# $$(1+\beta)\,r_j^{(1+\beta)} - \beta\,r_j^{(\beta)},$$
#
# which is **negative** for the easier ones. They are pulled. Ask autograd, with the crowd you have:

# %%
BETA, SOFT = 1.0, 0.5
s = crowd[:1].double().requires_grad_()
weights = (BETA * s / SOFT).softmax(dim=1)
(gradient,) = torch.autograd.grad((weights * (s / SOFT).exp()).sum().log(), s)
r = {c: (c * s / SOFT).softmax(dim=1).detach() for c in (BETA, 1 + BETA)}
shares = (1 + BETA) * r[1 + BETA] - BETA * r[BETA]
assert torch.allclose(SOFT * gradient, shares)
pulled = ((1 + BETA) * (2 * crowd / SOFT).softmax(1)) < (crowd / SOFT).softmax(1)
pulled = pulled.double().mean().item()
print(f"HCL, beta 1, temperature 0.5: {pulled:.0%} of the negatives are pulled closer")
assert 0.1 < pulled < 0.9

# %% tags=["hide-input"]
HARD = {
    "NT-Xent, temperature 0.5": ("hard", "t 0.5, beta 0, tau+ 0"),
    "debiased, 0.5": ("hard", "t 0.5, beta 0, tau+ 0.1"),
    "HCL, beta 1, 0.5": ("hard", "t 0.5, beta 1, tau+ 0.1"),
    "NT-Xent, temperature 0.1": ("plain", "NT-Xent"),
    "HCL, beta 1, 0.1": ("hard", "t 0.1, beta 1, tau+ 0.1"),
}
show(HARD, "Debiased and hard negatives (tau+ = 0.1)")

# %% [markdown]
# Compare within a temperature: the authors' 0.5 in the first three rows, ours in the last two. The change from 0.5 to 0.1
# by itself sharpens the softmax, which is half of what HCL sets out to do. At 0.5 HCL gains, at 0.1, where the softmax is
# sharp already, it loses: what it is worth depends on the temperature. Claim C-35 keeps to the authors' setting, fixed
# before the runs.
#
# ## Step 3: harder than real, and no easy ones
#
# **MoCHi** ([Kalantidis et al., 2020](https://arxiv.org/abs/2010.01028)) *makes* negatives for MoCo. Take the hardest few
# of the queue; put new ones between two of them, $h \propto a\,n_i + (1-a)\,n_j$ with $a \sim U(0,1)$, or between the
# query and one of them, $h' \propto b\,q + (1-b)\,n_j$ with $b\sim U(0, \tfrac12)$, both at unit length. How hard are they?

# %%
torch.manual_seed(0)
convnet = build_encoder("convnet", **recipe.encoder_options)
chi = MoCHi(convnet, queue_size=len(train))
chi.queue.rows = zk.clone()
made = chi.mix(zq[:ANCHORS], cosine.masked_fill(own, -1))
made = (made @ zq[:ANCHORS, :, None])[:, :, 0]
hardness = {
    "the positive key": cosine[own],
    "all negatives": crowd,
    f"the {chi.hardest} hardest": crowd.topk(chi.hardest, dim=1).values,
    "h, between two of those": made[:, : chi.mixed],
    "h', between query and one of those": made[:, chi.mixed :],
}
hardness = {name: values.mean().item() for name, values in hardness.items()}

# %% tags=["hide-input"]
plots.table(
    [{"candidate": name, "cosine": value} for name, value in hardness.items()],
    "How hard are MoCHi's negatives?",
    {"candidate": "candidate", "cosine": "mean cosine with the query"},
    {"cosine": ".2f"},
)
values = list(hardness.values())
assert values[1] < values[2] < values[3] < values[4] and values[0] < values[2]
OTHERS = {
    "MoCo v2, momentum 0.99": ("momentum", "0.99"),
    "MoCHi": ("hard", "MoCHi"),
    "NT-Xent": ("plain", "NT-Xent"),
    "NT-Xent, the hardest half only": ("hard", "hardest half"),
    "NT-Xent, the easiest 95 % only": ("hard", "easiest 95 %"),
    "simple loss: all pushed alike": ("hard", "simple loss"),
}
show(OTHERS, "Made-up negatives, and negatives left out, at equal steps")
without = mean(recorded("hard", "easiest 95 %")) - mean(recorded("plain", "NT-Xent"))
saved = mean(recorded("oracle", "oracle")) - mean(recorded("oracle", "all negatives"))
print(
    f"without the hardest twentieth {without:+.1%}; the oracle of step 1 {saved:+.1%}"
)
assert without > saved > 0.005 and without > 0.02

# %% [markdown]
# The 64 hardest negatives are closer to the query than its own positive, on average; MoCHi makes them harder still.
# MoCHi is compared with MoCo at equal steps, with the same queue and momentum. The last three rows leave something out
# of SimCLR's crowd: the easier half; the hardest twentieth; and, in the *simple loss* (minus the positive cosine plus
# the mean of the negative ones, [Wang and Liu, 2021](https://arxiv.org/abs/2012.09740)), every difference between
# negatives. Its weight on the negatives is 1, not tuned. The claims C-35b, C-36b, C-37 and C-37b say what each costs or
# brings. One row stands out: leaving out the *hardest twentieth*, the part most often false, helps, on average by more
# than the oracle of step 1.
#
# ## Step 4: does the batch have to be large?
#
# Look at the gradient of NT-Xent: all of an anchor's, pull and push, carries the factor $1 - p_+$, with $p_+$ the
# softmax share of its positive. With few negatives the game is easy, $p_+$ is near 1, and the anchor stops learning.
# [Yeh et al. (2022)](https://arxiv.org/abs/2110.06848) call it *negative-positive coupling*, and take the positive out of
# the denominator (**DCL**, decoupled contrastive learning):
#
# $$L_\text{DCL} = -\frac{s_+}{\tau} + \log\sum_{j\in\text{negatives}} e^{s_j/\tau},\qquad
# \frac{\partial L_\text{DCL}}{\partial s_+} = -\frac1\tau .$$
#
# That more negatives can only lower $p_+$ is arithmetic. How much, your network says:


# %%
def dcl(z1, z2, tau):
    logits, partner = scores_of(z1, z2, tau)
    positive = logits.gather(1, partner[:, None])[:, 0]
    negatives = logits.scatter(1, partner[:, None], -math.inf)
    return (negatives.logsumexp(dim=1) - positive).mean()


def coupling(batch: int) -> float:
    """Mean of 1 - p+ over batches of `batch` pictures."""
    found = []
    for a, b in zip(zq[:1536].split(batch), zk[:1536].split(batch), strict=True):
        logits, partner = scores_of(a, b, TAU)
        found.append(1 - logits.softmax(dim=1).gather(1, partner[:, None]).mean())
    return torch.stack(found).mean().item()


assert torch.allclose(dcl(z1, z2, 0.2), contrastive.dcl(z1, z2, 0.2))
factor = {batch: coupling(batch) for batch in (4, 8, 32, 256, 512)}
print({batch: round(f, 2) for batch, f in factor.items()})
assert list(factor.values()) == sorted(factor.values()) and factor[4] < 0.6

# %% [markdown]
# A muted gradient is not the end of the world. If the factor is the same for all anchors, a larger learning rate undoes
# it, and Adam undoes it by itself. So the question must be put carefully: equal pictures or equal steps, and the learning
# rate tuned for each batch with the same effort, on held-out *train* images. Three rates each: the recipe's, and what the
# linear and the square-root rule make of it.

# %% tags=["hide-input"]
RULES = ("linear", "square root", "the same")
BATCH = {
    f"batch {b}, {rule}": ("batch", f"nt_xent, {b}, {rule}")
    for b in (32, 512)
    for rule in RULES
}
MORE = {
    "batch 256": ("plain", "NT-Xent"),
    "batch 32, 240 steps (an eighth of the pictures)": (
        "batch",
        "nt_xent, 32, square root, 240 steps",
    ),
    "batch 32, linear, a quarter of the pictures": (
        "batch",
        "nt_xent, 32, linear, 480 steps",
    ),
    "batch 512, linear, a quarter of the pictures": (
        "batch",
        "nt_xent, 512, linear, 30 steps",
    ),
}
SMALL = {
    f"batch {b}, {name}": ("batch", f"{loss}, {b}, square root{end}")
    for b, end in ((4, ", 1920 steps"), (8, ", 1920 steps"), (32, ""))
    for name, loss in (("NT-Xent", "nt_xent"), ("DCL", "dcl"))
}
show(BATCH | MORE, "NT-Xent, 61,440 pairs unless said otherwise, learning rate by rule")
show(SMALL, "DCL at small batches: 1,920 steps each, square-root rule")


# %%
def tuned(batch: int) -> list[float]:
    """For each seed, the test probe of the rate that is best on held-out images."""
    arms = [f"nt_xent, {batch}, {rule}" for rule in RULES]
    held = [recorded("batch", arm, "held_out") for arm in arms]
    probe = [recorded("batch", arm) for arm in arms]
    best = torch.tensor(held).argmax(dim=0).tolist()
    return [probe[k][seed] for seed, k in enumerate(best)]


small, large, plain = tuned(32), tuned(512), recorded("plain", "NT-Xent")
equal_steps = recorded("batch", "nt_xent, 32, square root, 240 steps")
print(f"tuned: batch 32 {mean(small):.1%}, batch 512 {mean(large):.1%}")
assert min(small) > max(large) + 0.05 and mean(equal_steps) < min(plain) - 0.1

# %% [markdown]
# At 61,440 pairs, each with the best of its three rates, batch 32 wins clearly: it takes sixteen times as many steps.
# (The best rate is mostly the largest tried, so a wider sweep might move both.) With a quarter of the pairs and the
# linear rule the large batch is ahead (how many seeds say so, the table tells). At equal *steps*, 240, batch 256 wins
# by far, since it has seen eight times as many pictures. All of that is true, and "needs large batches" is none of it.
# On an idle GPU small steps cost time, so the price is paid elsewhere.
#
# DCL is made for the batches where $1 - p_+$ is small. At 32 pictures the factor printed above is
# close to 1 already; at 4 and 8 there is more to repair. Both losses get the same rate there, by the square-root rule, without a sweep. Claim
# C-29 reads batch 8, fixed before the runs.
#
# ### A queue for a small crowd, and two temperatures
#
# MoCo's answer is to let the queue supply the negatives. [Zhang et al. (2022)](https://arxiv.org/abs/2203.17248) split the
# two jobs of the temperature instead. Inside an anchor it shares the push among the negatives; between anchors it decides,
# through $1-p_+$, who still learns. Give each job its own, $\tau_a$ (low) and $\tau_b$ (high). With
# $W_\tau = 1 - p_+^{(\tau)}$ and $\mathrm{sg}$ for "no gradient",
#
# $$L = -\,\mathrm{sg}\!\left[W_{\tau_b}/W_{\tau_a}\right]\log p_+^{(\tau_a)} :$$
#
# the gradient of $-\log p_+^{(\tau_a)}$ carries $W_{\tau_a}$; the fraction takes it out and puts $W_{\tau_b}$ in.

# %% tags=["hide-input"]
QUEUES = {
    f"{name}, queue {k}": ("momentum", "0.99")
    if (name, k) == ("InfoNCE", 2048)
    else ("queue", f"{name}, {k}")
    for name in ("InfoNCE", "DCL", "dual temperature")
    for k in (256, 2048)
}
show(QUEUES, "MoCo v2 with short and long queues, 240 steps of 256")
middle = [mean(recorded(*where)) for where in QUEUES.values()]
assert max(middle) - min(middle) < 0.06 and max(middle) + 0.05 < mean(plain)

# %% [markdown]
# All six rows stand close together compared with what SimCLR's fresh negatives reach in the same steps, and early in a
# run that goes on rising in five times the steps ([chapter 14](14_negatives.ipynb)). So C-33 and C-40, whether a short
# queue is enough, are asked where hardly any queue matters yet: if InfoNCE loses nothing with 256 keys, DCL has nothing to
# repair.
#
# ## Relatives, a sentence each
#
# **NNCLR** ([Dwibedi et al., 2021](https://arxiv.org/abs/2104.14548)) uses the queue for *positives*: a view is replaced
# by its nearest neighbour there. If the neighbour is of the same kind, the network learns what no augmentation could tell
# it. How often is it?

# %%
nearest_same = same.gather(1, order)[:, 0].double().mean().item()
print(f"the nearest of 1,999 other pictures is of the same kind: {nearest_same:.0%}")
neighbours = recorded("relatives", "nnclr")
print(
    f"240 steps: NNCLR {mean(neighbours):.1%}, SimCLR v2 "
    f"{mean(recorded('relatives', 'simclr_v2')):.1%}, SimCLR {mean(plain):.1%}"
)
assert nearest_same > 2.5 * chance and mean(neighbours) < mean(plain) - 0.05

# %% [markdown]
# Often enough to be useful, far from always; at equal steps (the second line) NNCLR is far behind SimCLR here.
#
# | method | what it changes | what for |
# |---|---|---|
# | ReLIC ([Mitrovic et al., 2021](https://arxiv.org/abs/2010.07922)) | adds a divergence between the softmax of one view and that of the other | the whole prediction, not only the positive, should not depend on the augmentation (ReLICv2, [Tomasev et al., 2022](https://arxiv.org/abs/2201.05119), adds multi-crop and masks backgrounds out) |
# | SSCD ([Pizzi et al., 2022](https://arxiv.org/abs/2202.10261)) | adds an entropy term that pushes everyone from the nearest neighbour | finding copies: there two different boats *should* be far apart |
# | SimCLR v2 ([Chen et al., 2020](https://arxiv.org/abs/2006.10029)) | a deeper head; then fine-tune and distil with few labels | a large network as teacher when labels are rare |
# | DIET ([Ibrahim et al., 2024](https://arxiv.org/abs/2406.10743)) | a plain classifier with one class per picture, no pairs at all | the simplest baseline: [chapter 06b](06b_labels_that_are_equations.ipynb) trains it |
#
# ReLIC's loss is `losses.contrastive.relic`, SSCD's term `losses.distillation.koleo`; of the four only SimCLR v2 was run
# here.
#
# ## Exercises
#
# Solutions stand at the end of the notebook; skipping one breaks nothing.
#
# ### 1 · Take the false ones out (•, 5 minutes)
# All arguments are floats: `all_mean`, the mean of $e^{s/\tau}$ over all negatives; `same_mean`, over pictures of the
# anchor's own kind; `share`, how many of the negatives are false. Return the mean over the true negatives. Then: for which
# values does it become negative, and what does the loss do then?
#
# <details><summary>Hint</summary>The mixture of step 2, solved for one of its parts.</details>


# %%
def debiased_mean(all_mean: float, same_mean: float, share: float) -> float:
    return NOT_ATTEMPTED


ch14.check_debiased_mean(debiased_mean)

# %% [markdown]
# ### 2 · Whom does HCL pull? (•••, 12 minutes)
# Step 2 found that some negatives are pulled. Which? `similarities` is a float tensor of cosines `[N, K]`, `temperature` and
# `beta` are floats above 0. Return for every anchor the cosine `[N]` at which the share of the push changes its sign.
#
# <details><summary>Hint 1</summary>Set the printed share to zero. Both softmaxes are exponentials of the same s.</details>
# <details><summary>Hint 2</summary>`logsumexp` gives you the logarithm of a normaliser.</details>


# %%
def pull_threshold(similarities, temperature: float, beta: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch14.check_pull_threshold(pull_threshold)

# %% [markdown]
# ### 3 · An oracle with gaps (••, 12 minutes)
# You have labels for some pictures only; the others say -1. Which candidates must be left out of an anchor's
# denominator, if everything that is *known* to be false shall go, and nothing else? `labels` is an int64 tensor `[N]`; views
# are ordered as `torch.cat([z1, z2])`; return a bool tensor `[2N, 2N]`, True where column j is left out for row i, the anchor
# itself included.
#
# <details><summary>Hint</summary>The partner has the anchor's label too. It must stay. And -1 equals -1.</details>


# %%
def left_out(labels: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch14.check_false_negative_mask(left_out)

# %% [markdown]
# ## Claims, tested
#
# Recorded seeds, compared pair by pair, by rules in [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv). A gap between batches counts only where both of
# its runs have learned.

# %%
floor = recorded("floor", "untrained")


def runs(treatment: list[float], control: list[float], *more) -> Runs:
    """Above the untrained encoder; seeds 0, 1, ... as far as the shorter one goes."""
    n = min(len(treatment), len(control))
    return Runs(treatment[:n], control[:n], floor[:n], *more)


def differ(group, treatment, control, other=None) -> Runs:
    return runs(recorded(group, treatment), recorded(other or group, control))


def gap(more: list[float], less: list[float]) -> list[float]:
    return [a - b for a, b in zip(more, less, strict=True)]


def weaker(*arms: list[float]) -> list[float]:
    return [min(values) for values in zip(*arms, strict=True)]


long = [recorded("batch", f"nt_xent, {b}, linear") for b in (512, 32)]
ends = ((512, 30), (32, 480))
short = [recorded("batch", f"nt_xent, {b}, linear, {t} steps") for b, t in ends]
book.claim("C-27a", drawn=runs(*long))
learned = (weaker(*long), weaker(*short))
book.claim("C-27b", drawn=runs(gap(*long), gap(*short), learned))
on_photographs = book.on_photographs(("batch", "64"), ("batch", "1024"))
book.claim("C-28", drawn=runs(small, large), photographs=on_photographs)
few = "8, square root, 1920 steps"
book.claim("C-29", drawn=differ("batch", f"dcl, {few}", f"nt_xent, {few}"))

# %%
book.claim("C-33", drawn=differ("queue", "DCL, 256", "DCL, 2048"))
dual = [recorded("queue", f"dual temperature, {k}") for k in (2048, 256)]
one = [recorded("momentum", "0.99"), recorded("queue", "InfoNCE, 256")]
learned = (weaker(*dual), weaker(*one))
book.claim("C-40", drawn=runs(gap(*dual), gap(*one), learned))
hcl_arm, soft = "t 0.5, beta 1, tau+ 0.1", "t 0.5, beta 0, tau+ 0"
book.claim("C-35", drawn=differ("hard", hcl_arm, soft))
book.claim("C-35b", drawn=differ("hard", "MoCHi", "0.99", "momentum"))
book.claim("C-36b", drawn=runs(plain, recorded("hard", "simple loss")))
book.claim("C-37", drawn=differ("hard", "hardest half", "NT-Xent", "plain"))
book.claim("C-37b", drawn=differ("hard", "easiest 95 %", "NT-Xent", "plain"))
book.claim("C-38a", drawn=differ("oracle", "oracle", "all negatives"))
book.claim("C-39", drawn=None)
world, _ = book.recorded("embedded_world", world=2)
no_tint = [r["probe"] for r in world if r["arm"] == "no colour"]
print(f"SimCLR without tint {mean(no_tint):.1%}, untrained {mean(floor):.1%}")
assert mean(no_tint) < mean(floor) + 0.05

# %% [markdown]
# C-39 stays untested on purpose: without tint SimCLR stays near the untrained encoder in this world ([chapter
# 00](00_start_here.ipynb)), so a share lost would measure the floor. Of C-27a and C-28, the first keeps the paper's
# linear rule and the second tunes; both see equal pictures (on photographs 64 against 1,024). The world is small and
# the runs are short; where a claim inverts, ask which of its conditions is missing.
#
# In other fields the question of this chapter has answers of its own. Frames of the *same* video a little later are hard
# negatives for free (time-contrastive networks, [Sermanet et al., 2018](https://arxiv.org/abs/1704.06888)), and so are
# sentences of one document; a slide of tissue has patches that are nearly alike and not independent (histopathology,
# [Ciga et al., 2022](https://arxiv.org/abs/2011.13971)); time series can be mixed, and the mixing proportion predicted
# ([Wickstrøm et al., 2022](https://arxiv.org/abs/2203.09270)).
#
# **Further reading.** [Arora et al. (2019)](https://arxiv.org/abs/1902.09229) prove that class collisions limit what
# negatives can do. [Garrido et al. (2023)](https://arxiv.org/abs/2206.02574) retune SimCLR's projector before they
# compare it, and find most of its distance to newer methods gone. [Wang and Liu
# (2021)](https://arxiv.org/abs/2012.09740) call the conflict of the first figure the uniformity-tolerance dilemma. [Cai
# et al. (2020)](https://arxiv.org/abs/2010.06682) ask whether all negatives are equal.
#
# ## A question
#
# You raise $\beta$ of HCL at a temperature of 0.1, and the probe falls. Name two explanations that the first figure suggests.
# <details><summary>Answer</summary>The hardest negatives are most often false, so more weight on them pushes the anchor's
# own kind. And the temperature was low already: the softmax mined them before you did.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def debiased_mean(all_mean, same_mean, share):
#     # Negative where share * same_mean > all_mean: the loss clamps it at exp(-1 / tau).
#     return (all_mean - share * same_mean) / (1 - share)
#
#
# def pull_threshold(similarities, temperature, beta):
#     # (1 + beta) exp((1 + beta) x) / Z1 = beta exp(beta x) / Z0, with x = s / temperature
#     x = similarities / temperature
#     ratio = ((1 + beta) * x).logsumexp(dim=1) - (beta * x).logsumexp(dim=1)
#     return temperature * (ratio + math.log(beta / (1 + beta)))
#
#
# def left_out(labels):
#     y = labels.repeat(2)
#     mask = (y[:, None] == y) & (y >= 0)  # -1 is nobody's class
#     views = torch.arange(len(y))
#     mask[views, views.roll(len(labels))] = False
#     return mask.fill_diagonal_(True)
# ```
