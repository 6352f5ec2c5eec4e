# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01c · Stacks and priors: what did pretraining buy in 2006, and what does a noisy code cost?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/01c_stacks_and_priors.ipynb)
#
# **After this chapter you can** pretrain a deep network layer by layer, and say which of its two effects you see, on
# optimisation or on generalisation; derive the evidence lower bound (ELBO) of the variational autoencoder (VAE); and measure
# how loose it is.
#
# **You need** [chapter 01](01_energy_and_reconstruction.ipynb), of which this is an optional companion.
# **Time**: 17 minutes to read, half a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("01c")

# %% [markdown]
# ## The puzzle: why did it not learn?
#
# A network of 2006: four hidden layers of 64 sigmoid units, 100 labelled digits, gradient descent with momentum. Its loss
# hangs at chance for a long time. Three remedies are on the table: **pretrain** the layers without labels (on all 1,297
# digits), use **another optimiser** (Adam, of 2014), or simply **wait**.
#
# > **Predict before you go on.** Which of the three brings the training loss down? Which of them brings the *test*
# > accuracy up? (For each remedy a coin: all six right once in 64.)

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, evaluation, plots
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch01c
from ssl_lessons.data import label_subset
from ssl_lessons.models.generative import autoencoders, rbm

digits = {split: data.digits(split) for split in ("train", "test")}
ink, new = ((digits[s].images[:, 0].flatten(1) > 127).float() for s in digits)
labels, truth = (digits[s].labels for s in digits)
WIDTHS = (64, 64, 64, 64)

# %% [markdown]
# ## Stacks: one layer at a time
#
# The hidden units of an RBM are themselves nearly binary data. So train a second RBM on them, a third on those of the
# second: greedily, without labels. [Hinton, Osindero and Teh (2006)](https://doi.org/10.1162/neco.2006.18.7.1527) showed
# that an added layer, started right, improves a lower bound of the log-likelihood, and called the result a **deep belief
# net**: an undirected RBM on top, directed layers below. The field took notice of the second use ([Hinton and Salakhutdinov,
# 2006](https://doi.org/10.1126/science.1127647); [Bengio et al.,
# 2007](https://papers.nips.cc/paper/2006/hash/5da713a690c067105aeb2fae32403405-Abstract.html)): forget the probabilities,
# keep the weights, put a classifier on top, and fine-tune with labels. Autoencoders can be stacked the same way, denoising
# ones too ([Vincent et al., 2010](https://jmlr.org/papers/v11/vincent10a.html)).


# %%
def autoencoder_stack(x: torch.Tensor, steps: int = 200) -> list[nn.Linear]:
    """Greedy sigmoid autoencoders: each rebuilds the output of the one below."""
    layers = []
    for width in WIDTHS:
        enter, leave = nn.Linear(x.shape[1], width), nn.Linear(width, x.shape[1])
        both = [*enter.parameters(), *leave.parameters()]
        optimizer = torch.optim.Adam(both, lr=1e-2)
        for _ in range(steps):
            batch = x[torch.randint(len(x), (100,))]
            logits = leave(torch.sigmoid(enter(batch)))
            loss = F.binary_cross_entropy_with_logits(logits, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        layers.append(enter)
        x = torch.sigmoid(enter(x)).detach()
    return layers


def pretrained(kind: str, seed: int) -> list[tuple]:
    """Weights [out, in] and biases of the four layers."""
    torch.manual_seed(seed)
    if kind == "RBMs":
        stack = rbm.train_stack(ink, WIDTHS, steps=250, lr=0.1, seed=10 * seed)
        return [(layer.W.T, layer.b) for layer in stack]
    return [(layer.weight, layer.bias) for layer in autoencoder_stack(ink)]


# %%
def deep_net(weights: list[tuple], seed: int, relu: bool = False) -> nn.Sequential:
    """64 pixels, four layers of 64 units, ten classes."""
    torch.manual_seed(seed)
    layers = []
    for i, (n_in, n_out) in enumerate(zip((64, *WIDTHS), WIDTHS)):
        layer = nn.Linear(n_in, n_out)
        with torch.no_grad():
            if weights:
                layer.weight.copy_(weights[i][0]), layer.bias.copy_(weights[i][1])
            elif relu:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU() if relu else nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 10))


# %%
def fine_tune(net, chosen, steps: int, adam: bool, relu: bool) -> list[float]:
    """Full-batch training on the chosen digits: all losses."""
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.01 if relu else 0.1, momentum=0.9
    )
    if adam:
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(net(ink[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %%
SHORT, LONG, SEEDS = 150, 3000, 3
STARTS = {
    "scratch": {},
    "scratch, much longer": {"steps": LONG},
    "scratch, Adam": {"adam": True},
    "scratch, ReLU": {"relu": True},
    "RBMs": {"pretrain": "RBMs"},
    "autoencoders": {"pretrain": "autoencoders"},
}


def try_start(seed: int, pretrain="", steps=SHORT, adam=False, relu=False) -> dict:
    chosen = label_subset(labels, 10, seed=seed)
    weights = pretrained(pretrain, seed) if pretrain else []
    net = deep_net(weights, seed, relu)
    F.cross_entropy(net(ink[chosen]), labels[chosen]).backward()
    slopes = [m.weight.grad.norm().item() for m in net if isinstance(m, nn.Linear)]
    losses = fine_tune(net, chosen, steps, adam, relu)
    right = (net(new).argmax(dim=1) == truth).float().mean().item()
    return {"slopes": slopes, "losses": losses, "train": losses[-1], "test": right}


trials = {n: [try_start(s, **kw) for s in range(SEEDS)] for n, kw in STARTS.items()}
chosen = [label_subset(labels, 10, seed=s) for s in range(SEEDS)]
logistic = [
    evaluation.linear_probe(ink[c], labels[c], new, truth).accuracy for c in chosen
]


# %% tags=["hide-input"]
def pm(values, form=".0%"):
    mean = sum(values) / len(values)
    return f"{mean:{form}} ({min(values):{form}} to {max(values):{form}})"


def column(name, key):
    return [t[key] for t in trials[name]]


fig, (left, right) = plots.new_figure(9.2, 3.0, 1, 2)
CURVES = ("scratch", "RBMs", "autoencoders", "scratch, Adam")
for name, dash in zip(CURVES, ("-", "--", "-.", ":")):
    curves = torch.tensor([t["losses"][:SHORT] for t in trials[name]]).mean(dim=0)
    left.plot(curves, linestyle=dash, label=name)
    slopes = torch.tensor([t["slopes"] for t in trials[name]]).mean(dim=0)
    if name != "scratch, Adam":
        right.plot(range(1, 6), slopes, linestyle=dash, marker="o", markersize=4)
left.axhline(math.log(10), color=plots.GRAY, linestyle=":")
left.set(
    title="From scratch: still at chance", xlabel="step", ylabel="training loss (nats)"
)
left.legend()
right.set(yscale="log", title="The first gradient fades towards the pixels")
right.set(xlabel="layer (1 = nearest to the pixels)", ylabel="norm of the gradient")
right.set_xticks(range(1, 6))
plots.show(
    fig,
    alt="Left: training loss of a deep sigmoid network from scratch stays at "
    "chance; from stacked RBMs, from stacked autoencoders and with Adam it falls. "
    "Right: gradient norms of the first step by layer; from scratch they fade.",
)
plots.table(
    [{"start": "chance", "train": f"{math.log(10):.2f}", "test": "10%"}]
    + [{"start": "logistic regression on pixels", "test": pm(logistic)}]
    + [
        {"start": name, "train": pm(column(name, "train"), ".2f"),
         "test": pm(column(name, "test")),
         "steps": len(trials[name][0]["losses"])}
        for name in STARTS
    ],
    "Four hidden layers, 100 labelled digits; three seeds, mean (lowest to highest)",
    {"start": "weights and optimiser", "steps": "steps",
     "train": "training loss (nats)", "test": "test accuracy"},
)  # fmt: skip

# %%
waited = "scratch, much longer"
assert min(column("scratch", "train")) > 2.2
assert max(column("RBMs", "train") + column("autoencoders", "train")) < 1.5
faded = [t["slopes"][0] / t["slopes"][-1] for t in trials["scratch"]]
assert max(faded) < 0.1
stacks = column("RBMs", "test") + column("autoencoders", "test")
assert max(stacks) < sum(logistic) / SEEDS + 0.08
assert max(column(waited, "train")) < 0.5 and max(column(waited, "test")) < 0.55
assert max(column("scratch, Adam", "train")) < 1.5
assert max(column("scratch, Adam", "test")) + 0.08 < min(stacks)

# %% [markdown]
# Look at the baseline first: **logistic regression on the pixels** reaches what the pretrained networks reach. Then the
# puzzle. *Waiting* brings the training loss down to nearly zero, and most test digits are still wrong: the deep network
# can learn, it does not *generalise*. *Adam* soon gets it off the plateau, and helps the test less than pretraining
# does. *Pretraining* does both, and so, nearly, does ReLU without unlabelled digits. It can be two things: a help for
# optimisation (simpler cures came later), and a prior learned from unlabelled data. [Erhan et al.
# (2010)](https://jmlr.org/papers/v11/erhan10a.html) ask which of the two it is, and find mostly the second, a kind of
# regularisation.
#
# The right panel shows where the plateau comes from: a sigmoid's slope is at most 1/4, and small random weights shrink the
# signal further, so the gradient fades from layer to layer ([Glorot and Bengio,
# 2010](https://proceedings.mlr.press/v9/glorot10a.html)). Pretrained layers pass it on. Not shown: larger sets of labels, where
# pretraining has less to add.
#
# ## Priors: the variational autoencoder
#
# The last of chapter 01's hindrances is a **noisy code**. [Kingma and Welling (2014)](https://arxiv.org/abs/1312.6114) and
# [Rezende et al. (2014)](https://arxiv.org/abs/1401.4082) joined the two roads of that chapter: a decoder that *is* a
# probability, $p(x\mid z)$, with codes $z \sim p(z) = \mathcal N(0, I)$. Then $p(x) = \int p(x\mid z)\,p(z)\,dz$ says what is
# data and what is not, and the integral is as intractable as $Z$ was. Take any density $q(z\mid x)$, and two lines:
#
# $$\log p(x) = \mathbb{E}_q \log\frac{p(x, z)}{p(z\mid x)} = \mathbb{E}_q\log\frac{p(x, z)}{q(z\mid x)} + \mathbb{E}_q\log\frac{q(z\mid x)}{p(z\mid x)}$$
#
# (the first step is Bayes' rule, true for every $z$; the second multiplies and divides by $q$). The last term is a
# Kullback-Leibler divergence (KL), never negative, so
#
# $$\boxed{\;\log p(x) \;\ge\; \mathbb{E}_q\big[\log p(x\mid z)\big] - \mathrm{KL}\big(q(z\mid x)\,\Vert\,p(z)\big) = \text{ELBO}, \qquad\text{gap} = \mathrm{KL}\big(q(z\mid x)\,\Vert\,p(z\mid x)\big)\;}$$
#
# Read it as an autoencoder: $q$ encodes (a network gives mean $\mu(x)$ and deviation $\varsigma(x)$ of a Gaussian),
# $p(x\mid z)$ decodes, the first term is the reconstruction, the second the price of information in the code:
#
# $$\mathrm{KL} = \tfrac12\sum_d \big(\mu_d^2 + \varsigma_d^2 - \log\varsigma_d^2 - 1\big).$$
#
# One trick makes it trainable: draw $\epsilon\sim\mathcal N(0, I)$ and set $z = \mu + \varsigma\epsilon$. The randomness is
# an input, and the gradient flows through $\mu$ and $\varsigma$. With two latent dimensions you can see everything.


# %%
def price(mu, log_var):
    """KL to the prior: mu, log_var [N, D] -> [N] nats"""
    return 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum(dim=1)


def elbo(model, x, beta=1.0):
    """x [N, V] binary -> [N] nats; beta scales the price"""
    mu, log_var = model.encode(x)
    z = mu + (log_var / 2).exp() * torch.randn_like(mu)
    logits = model.decode(z)
    log_p = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)
    return log_p - beta * price(mu, log_var)


# %%
def train_vae(beta: float, steps: int = 800) -> autoencoders.VAE:
    torch.manual_seed(0)
    model = autoencoders.VAE(64, 2, hidden=128)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = -elbo(model, ink[torch.randint(len(ink), (128,))], beta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


BETAS = (0.0, 1.0, 20.0)
vaes = {beta: train_vae(beta) for beta in BETAS}
vae = vaes[1.0]
mu, log_var = vae.encode(new)
assert torch.allclose(
    price(mu, log_var), autoencoders.kl_to_standard_normal(mu, log_var)
)

# %% tags=["hide-input"]
fig, (left, right) = plots.new_figure(9.4, 4.2, 1, 2)
for (u, v), label in zip(mu[:300].tolist(), truth[:300].tolist()):
    left.text(u, v, str(label), fontsize=8, color=plots.COLORS[label % 7], ha="center")
left.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xlabel="z1", ylabel="z2")
left.set_title("Where 300 new digits land")
side = torch.linspace(-2.4, 2.4, 13)
sheet = torch.sigmoid(vae.decode(torch.cartesian_prod(side.flip(0), side).flip(1)))
sheet = (
    F.pad(sheet.view(13, 13, 8, 8), (1, 1, 1, 1)).permute(0, 2, 1, 3).reshape(130, 130)
)
right.imshow(sheet, cmap="gray", extent=(-2.6, 2.6, -2.6, 2.6))
right.set(title="What the decoder draws there", xlabel="z1", ylabel="z2")
plots.show(
    fig,
    alt="Left: numerals placed at the two-dimensional codes of test digits. Right: a "
    "sheet of decoded digits over that plane, changing smoothly from digit to digit.",
)

# %% [markdown]
# The codes fill the plane as the prior asks, and the decoder has something to draw everywhere: neighbours in the plane are
# digits that look alike. Nothing here says that two numbers are enough; some digits share their place.
#
# ### How loose is the bound?
#
# In two dimensions the integral over $z$ can be done on a fine grid, so $\log p(x)$ is known. Between it and the ELBO
# lies a ladder ([Burda et al., 2016](https://arxiv.org/abs/1509.00519)): average $K$ weights *inside* the logarithm,
#
# $$L_K = \mathbb{E}\,\log\frac1K\sum_{k=1}^K \frac{p(x, z_k)}{q(z_k\mid x)}, \qquad \text{ELBO} = L_1 \le L_K \to \log p(x).$$

# %%
ticks = torch.linspace(-5, 5, 101)
grid = torch.cartesian_prod(ticks, ticks)  # [10201, 2]
cell = float(ticks[1] - ticks[0]) ** 2
log_prior = autoencoders.normal_log_density(grid, torch.zeros(2), torch.zeros(2))
some, logits = new[:100], vae.decode(grid)
log_given = some @ F.logsigmoid(logits).T + (1 - some) @ F.logsigmoid(-logits).T
exact = (log_given + log_prior).logsumexp(dim=1) + math.log(cell)  # log p(x), [100]
torch.manual_seed(0)
DRAWS, RUNGS = 1000, (1, 3, 10, 30, 100, 300, 1000)
m, v = (t.expand(DRAWS, *t.shape) for t in vae.encode(some))
z = autoencoders.reparameterize(m, v)
joint = autoencoders.bernoulli_log_likelihood(some, vae.decode(z))
joint = joint + autoencoders.normal_log_density(z, torch.zeros(2), torch.zeros(2))
weight = joint - autoencoders.normal_log_density(z, m, v)  # log p(x, z) / q(z | x)
ladder = {  # each rung uses all draws: 1000 / K groups of K
    k: (
        weight[: DRAWS // k * k].view(-1, k, len(some)).logsumexp(1) - math.log(k)
    ).mean()
    for k in RUNGS
}
ladder = {k: value.item() for k, value in ladder.items()}
gap = exact.mean().item() - ladder[1]

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.0, 2.8)
ax.plot(list(ladder), list(ladder.values()), "o-", label="importance bound")
ax.axhline(exact.mean().item(), color=plots.GRAY, label="log p(x), on a grid")
ax.set(xscale="log", xlabel="draws K", ylabel="mean over 100 digits (nats)")
ax.set_title("From the ELBO (K = 1) up to the truth")
ax.legend()
plots.show(
    fig,
    alt=f"The importance bound climbs from the ELBO, {ladder[1]:.1f} nats, to the "
    f"exact log-likelihood, {exact.mean():.1f} nats.",
)
print(f"ELBO {ladder[1]:.2f}, exact {exact.mean():.2f}: a gap of {gap:.2f} nats")
values = list(ladder.values())
assert all(low < high + 0.02 for low, high in zip(values, values[1:]))
assert 0.2 < gap and abs(values[-1] - exact.mean().item()) < 0.2

# %% [markdown]
# The ladder climbs to the truth from below. What the ELBO misses is the difference between the Gaussian $q$ and the true
# posterior, and it is a few percent of the whole here; with a worse encoder it would be more, and nothing in the ELBO would
# say which part is missing.
#
# ## What goes wrong: too cheap and too dear
#
# Put a factor $\beta$ before the price ([Higgins et al., 2017](https://openreview.net/forum?id=Sy2fzU9gl)). At $\beta = 0$
# nothing keeps the codes near the prior: a plain autoencoder, and $z\sim\mathcal N(0, I)$ falls where no code ever was. At
# large $\beta$ the cheapest code is *no* code: $q(z\mid x) = p(z)$ for every picture, price zero, and the decoder draws the
# average of everything. That is **posterior collapse** ([Bowman et al., 2016](https://arxiv.org/abs/1511.06349), met it in
# sentences), the collapse of this family; [chapter 20](20_collapse.ipynb) meets its cousins.

# %%
prices = {}
for beta, model in vaes.items():
    known, asked = (model.encode(v) for v in (ink, new))
    vote = evaluation.knn_accuracy(known[0], labels, asked[0], truth)
    prices[beta] = {
        "beta": f"{beta:g}",
        "kl": price(*asked).mean().item(),
        "pixels": elbo(model, new, 0.0).mean().item(),
        "knn": vote,
    }

# %% tags=["hide-input"]
z = torch.randn(14, 2, generator=torch.Generator().manual_seed(0))
drawn = [torch.sigmoid(vaes[beta].decode(z)) for beta in BETAS]
plots.show(
    plots.image_grid(
        torch.cat(drawn).view(-1, 1, 8, 8),
        columns=14,
        titles=[f"beta {b:g}" if i == 7 else "" for b in BETAS for i in range(14)],
        title="Drawn from the prior",
    ),
    alt="Three rows of fourteen pictures drawn from the prior with beta 0, 1, 20: "
    "odd shapes, digits, and fourteen times the same blurred average.",
)
pixel_vote = evaluation.knn_accuracy(ink, labels, new, truth)
plots.table(
    [{"beta": "chance", "knn": 0.1}, {"beta": "pixels, 64 numbers", "knn": pixel_vote}]
    + list(prices.values()),
    "The price of information (digits, two latent dimensions, one seed)",
    {"beta": "beta", "kl": "KL per image (nats)", "pixels": "log p(x|z) (nats)",
     "knn": "kNN of the mean, 1,297 labels"},
    {"kl": ".2f", "pixels": ".1f", "knn": ".0%"},
)  # fmt: skip
assert prices[20.0]["kl"] < 0.5 < prices[1.0]["kl"] < prices[0.0]["kl"]
assert prices[1.0]["knn"] < pixel_vote
same = torch.stack([d.std(dim=0).mean() for d in drawn])
assert same[2] < 0.05 < same[1]

# %% [markdown]
# Pixels win the last column: two numbers are few. Read the first two columns against each other: information costs nats, and
# buys pixels. At $\beta = 20$ the code is free, and empty: all drawings are the same. (The neighbours still beat chance, since
# the cosine ignores how tiny the differences between the means have become. The decoder does not.) *How to see a collapse*: the KL per image. The ELBO cannot tell you: a model that pays for its code and a
# model without one may have the same.
#
# ## Exercises
#
# ### 1 · A tighter bound (•••, 10 minutes)
# `log_joint[k, i]` is $\log p(x_i, z_k)$ and `log_q[k, i]` is $\log q(z_k\mid x_i)$ for the $k$-th draw, float tensors
# `[K, N]`. Return $L_K$ for each picture, `[N]`. It has to work for pictures whose log-likelihood is −2,000.
#
# <details><summary>Hint 1</summary>The mean is inside the logarithm; never leave the logarithm.</details>
# <details><summary>Hint 2</summary>A sum of K terms is not their mean.</details>


# %%
def importance_bound(log_joint: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01c.check_importance_bound(importance_bound)

# %% [markdown]
# ### 2 · A prior that is not standard (••, 10 minutes)
# Let the prior be $\mathcal N(0, \text{width}^2 I)$, `width` a float above 0. What does a code cost now? `mu` and
# `log_var` are float tensors `[N, D]`; return `[N]` nats. Then find the width at which the codes of all pictures together
# are cheapest.
#
# <details><summary>Hint</summary>The price is 0 where the code *is* the prior: $\mu = 0$, $\varsigma =$ width. Dividing
# $z$ by the width changes no KL.</details>


# %%
def price_with_width(mu, log_var, width: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch01c.check_price_with_width(price_with_width)

# %% [markdown]
# ## Where it comes from, where it went
#
# Stacked, RBMs and autoencoders opened the decade of deep learning. By 2012 labels, rectified linear units ([Glorot et al.,
# 2011](https://proceedings.mlr.press/v15/glorot11a.html)) and dropout ([Hinton et al.,
# 2012](https://arxiv.org/abs/1207.0580): silence random units, so that none can rely on the others) did without them.
# Hiding parts of a *network* to learn robust features is close kin to hiding parts of the *input*. The VAE's price of
# information became the discrete codes that [chapter 07](07_generate_to_understand.ipynb) and [chapter
# 18](18_masked_images.ipynb) meet.
#
# ## A question
#
# Two VAEs have the same ELBO. One spends 20 nats on the code, the other none. Which one can be useful for recognition?
# <details><summary>Answer</summary>Only the first: the second has q(z|x) = p(z), its code does not depend on the picture.
# The ELBO cannot tell them apart; the KL term can.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def importance_bound(log_joint, log_q):
#     return (log_joint - log_q).logsumexp(dim=0) - math.log(len(log_q))
#
#
# def price_with_width(mu, log_var, width):
#     # Divide z by the width: mean mu / width, variance exp(log_var) / width^2, standard prior.
#     # Cheapest for all: width^2 = the mean of mu^2 + exp(log_var) over pictures and dimensions.
#     ratio = log_var - 2 * math.log(width)
#     return 0.5 * ((mu / width).square() + ratio.exp() - ratio - 1).sum(dim=1)
# ```
