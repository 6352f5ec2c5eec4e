# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · One step ahead: does a model that predicts its data well also understand it?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/03_one_step_ahead.ipynb)
#
# **After this chapter you can**
#
# - compute the likelihood of a hidden Markov model (HMM) without summing over its paths, and fit one by Baum-Welch;
# - write any distribution as a product of one-step predictions, and train that product four ways: by counting, with a
#   recurrent network, with masked convolutions, with a causal transformer;
# - derive the mask of PixelCNN, see its blind spot, and repair it;
# - prove by enumeration that a model is normalised and never looks ahead, and recognise the bug when it does;
# - say why a good likelihood and a good representation are two different things, and measure both.
#
# **You need** probability (Bayes' rule, the chain rule), convolutions, and the idea of attention. Chapter 02 helps.
# **Time**: 59 minutes to read, about 55 seconds to run on two CPU cores. Nothing is downloaded.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("03")

# %% [markdown]
# ## The puzzle: two drawers for twenty-seven letters
#
# Here is Python's own manual as a stream of letters and spaces. A machine reads it, one symbol at a time. It has two
# drawers. At every step it is in one of the two; it moves to the other, or stays, by the throw of a coin that depends
# only on where it is; and each drawer holds letters in its own proportions. The machine may choose the coins and the
# proportions so that the text becomes as likely as possible. Nobody tells it anything about language.

# %%
import itertools
import math
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

from ssl_lessons import data, diagnostics, evaluation, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch03
from ssl_lessons.book.widgets import receptive_field as field_widget
from ssl_lessons.modalities.words import corpora
from ssl_lessons.models.generative import autoregressive as ar
from ssl_lessons.models.generative import hmm as hidden_markov
from ssl_lessons.models.generative.hmm import HMM

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"
sentences = [" ".join(line) for line in corpora.python_documentation()]
train_text = " ".join(line for i, line in enumerate(sentences) if i % 10)
test_text = " ".join(line for i, line in enumerate(sentences) if i % 10 == 0)


def as_numbers(text: str) -> torch.Tensor:
    return torch.tensor([SYMBOLS.index(c) for c in text])


def windows(text: str, length: int, n: int) -> torch.Tensor:
    """The text cut into n pieces [n, length], spread over its whole length."""
    x = as_numbers(text)
    starts = torch.linspace(0, len(x) - length, n).long()
    return x[starts[:, None] + torch.arange(length)]


print(f"{len(train_text):,} symbols to learn from, {len(test_text):,} to be tested on\n")
print(train_text[5000:5300])

# %% [markdown]
# > **Predict before you go on.** What will end up in the two drawers? (1) frequent letters and rare letters; (2) vowels
# > and consonants; (3) the beginning and the end of the alphabet; (4) nothing you could name.

# %%
letters = windows(train_text, 40, 600)


def fit_hmm(states: int, x: torch.Tensor, iterations: int, seeds: tuple[int, ...]) -> tuple[HMM, list[float]]:
    """The best of several random starts: the likelihood has local maxima."""
    runs = []
    for seed in seeds:
        start = hidden_markov.random_hmm(states, len(SYMBOLS), torch.Generator().manual_seed(seed))
        runs.append(hidden_markov.baum_welch(start, x, iterations))
    return max(runs, key=lambda run: run[1][-1])


drawers, climb = fit_hmm(2, letters, 50, seeds=(0, 1))
visits = hidden_markov.posterior(drawers, letters).flatten(0, 1)  # [N T, 2]: which drawer, at every step
share = torch.zeros(len(SYMBOLS), 2).double().index_add_(0, letters.flatten(), visits)
share = share[:, 1] / share.sum(dim=1)  # how often a letter comes from the second drawer
VOWELS = "aeiou"
if share[[SYMBOLS.index(v) for v in VOWELS]].mean() < 0.5:
    share = 1 - share  # the names of the drawers are arbitrary
for name, inside in (("drawer one:", share > 0.5), ("drawer two:", share <= 0.5)):
    print(name, " ".join(c if c != " " else "(space)" for c, here in zip(SYMBOLS, inside) if here))
right = [(s > 0.5) == (c in VOWELS) for c, s in zip(SYMBOLS[1:], share[1:].tolist())]
print(f"{sum(right)} of 26 letters are where a child would put them")
assert sum(right) >= 20

# %% [markdown]
# Vowels (with the space) in one drawer, consonants in the other: the letters differ most in *what follows them*, and
# that is the only thing the machine could use. Predicting one step ahead has turned up a fact about language that was
# not in the question. This is the hope of the chapter. Its second half will test how far the hope carries.

# %% [markdown]
# ## The idea, step 1: hidden states, and a sum that nobody writes out
#
# A hidden Markov model ([Baum and Petrie, 1966](https://doi.org/10.1214/aoms/1177699147)) has $S$ states. With
# $\pi_i = p(z_1 = i)$, $A_{ij} = p(z_t = j\mid z_{t-1} = i)$ and $B_{iv} = p(x_t = v\mid z_t = i)$ the probability of a
# text $x_1\dots x_T$ is a sum over all paths of the hidden states,
#
# $$p(x) = \sum_{z_1,\dots,z_T}\ \pi_{z_1}B_{z_1x_1}\prod_{t=2}^{T}A_{z_{t-1}z_t}B_{z_tx_t},$$
#
# with $S^T$ terms. The **forward recursion** needs $T S^2$ steps. Let $\alpha_t(j) = p(x_1\dots x_t, z_t = j)$. Whatever
# happened before, it can only matter through $z_{t-1}$, so
#
# $$\alpha_1(j) = \pi_jB_{jx_1},\qquad \alpha_t(j) = \Big(\sum_i\alpha_{t-1}(i)A_{ij}\Big)B_{jx_t},\qquad p(x) = \sum_j\alpha_T(j).$$
#
# Backwards goes the same way: $\beta_t(i) = p(x_{t+1}\dots x_T\mid z_t = i)$, $\beta_T = 1$. Together they say how
# probable a state is *given the whole text*, $\gamma_t(i) = \alpha_t(i)\beta_t(i)/p(x)$. **Baum-Welch** ([Baum et al.,
# 1970](https://doi.org/10.1214/aoms/1177697196); the standard tutorial is [Rabiner,
# 1989](https://doi.org/10.1109/5.18626)) alternates two steps: compute the expected number of starts, moves and
# emissions under the present model; then set every probability to its expected share. Why can the likelihood never
# fall? For any distribution $q$ over paths, by Jensen's inequality,
#
# $$\log p_\theta(x) = \log\sum_z q(z)\frac{p_\theta(x, z)}{q(z)} \ \ge\ \sum_z q(z)\log p_\theta(x, z) - \sum_z q(z)\log q(z),$$
#
# with equality when $q$ is the posterior of the present $\theta$. The first step makes the bound touch; the second
# moves $\theta$ to the top of the bound, and $\log p_\theta(x)$ lies above it.

# %%


# fmt: off
def forward(model: HMM, x: torch.Tensor) -> torch.Tensor:
    """log p(x) of one text x [T]."""
    alpha = model.start * model.emission[:, x[0]]
    for symbol in x[1:]:
        alpha = (alpha @ model.transition) * model.emission[:, symbol]
    return alpha.sum().log()


def all_paths(model: HMM, x: torch.Tensor) -> torch.Tensor:
    """The same by the definition: a sum over S^T paths."""
    total = 0.0
    for z in itertools.product(range(len(model.start)), repeat=len(x)):
        p = model.start[z[0]] * model.emission[z[0], x[0]]
        for t in range(1, len(x)):
            p = p * model.transition[z[t - 1], z[t]] * model.emission[z[t], x[t]]
        total = total + p
    return total.log()


def baum_welch_step(model: HMM, x: torch.Tensor) -> HMM:
    """x [N, T]. The scaled recursions come from the package; the sums are the ones above."""
    m = hidden_markov.messages(model, x)
    gamma = m.filtered * m.backward                                               # [N, T, S]
    after = model.emission.T[x][:, 1:] * m.backward[:, 1:] / m.scale[:, 1:, None]
    moves = torch.einsum("nti,ij,ntj->ij", m.filtered[:, :-1], model.transition, after)
    emitted = torch.einsum("nts,ntv->sv", gamma, F.one_hot(x, model.emission.shape[1]).double())
    return HMM(*(c / c.sum(dim=-1, keepdim=True) for c in (gamma[:, 0].sum(dim=0), moves, emitted)))
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
tiny = hidden_markov.random_hmm(3, 4, torch.Generator().manual_seed(0))
x = torch.tensor([0, 3, 1, 1, 2, 0])
print("forward equals the sum over 729 paths:", torch.allclose(forward(tiny, x), all_paths(tiny, x)))
print(
    "and the package's scaled version:",
    torch.allclose(forward(tiny, x), hidden_markov.log_likelihood(tiny, x[None])[0]),
)
mine, theirs = baum_welch_step(tiny, x[None]), hidden_markov.baum_welch_step(tiny, x[None])[0]
print("one step of Baum-Welch agrees:", all(torch.allclose(a, b) for a, b in zip(mine, theirs)))
print("the likelihood never fell:", all(b >= a - 1e-9 for a, b in zip(climb, climb[1:])))

# %% [markdown]
# Look again at what the recursion gives you on the way: $p(x_t\mid x_1\dots x_{t-1}) = \sum_j\alpha_t(j)/\sum_j\alpha_{t-1}(j)$.
# A model of whole texts is, step by step, a prediction of the next symbol. That is true of every model.

# %% [markdown]
# ## Step 2: the chain rule, and a unit of measure
#
# For any distribution over sequences, without any assumption,
#
# $$p(x_1,\dots,x_T) = \prod_{t=1}^{T}p(x_t\mid x_1,\dots,x_{t-1}).$$
#
# A model that has a formula for each factor is called **autoregressive**. Two things come for free. It is normalised
# if each factor is (a softmax is), so its likelihood is exact: no partition function as in chapter 01. And it trains by
# ordinary classification: the label of every position is the next symbol. The loss in bits per symbol,
# $-\frac1T\sum_t\log_2p(x_t\mid x_{<t})$, is what a perfect compressor would need. A uniform guess over 27 symbols costs
# $\log_2 27\approx 4.75$ bits; [Shannon (1951)](https://doi.org/10.1002/j.1538-7305.1951.tb01366.x) estimated by letting people
# guess that English has roughly one.
#
# The oldest such model counts: an **$n$-gram** model predicts from the last $n$ symbols by how often each symbol
# followed them. Long histories are rare, so the counts are mixed with those of the next shorter history,
# $p_n(c\mid h) = \frac{\#(hc) + m\,p_{n-1}(c\mid h')}{\#(h) + m}$, where $h'$ is $h$ without its first symbol and $m$ is how many
# observations the shorter history is worth.

# %%
LENGTH, CONTEXT, LONGEST = 64, 16, 5
probe_train, probe_test = windows(train_text, LENGTH, 500), windows(test_text, LENGTH, 250)


def ngram_bits(train: str, x: torch.Tensor, longest: int = LONGEST, m: float = 5.0) -> list[float]:
    """Bits per symbol on x [N, T] for histories of 0, 1, ..., `longest` symbols, after the first CONTEXT symbols."""
    counts = [Counter(train[i : i + n] for i in range(len(train) - n + 1)) for n in range(longest + 2)]
    bits = torch.zeros(longest + 1, dtype=torch.float64)
    for row in x.tolist():
        text = "".join(SYMBOLS[i] for i in row)
        for t in range(CONTEXT, len(text)):
            p = 1 / len(SYMBOLS)
            for n in range(longest + 1):
                history = text[t - n : t]
                p = (counts[n + 1][history + text[t]] + m * p) / (counts[n][history] + m)
                bits[n] -= math.log2(p)
    return (bits / (len(x) * (x.shape[1] - CONTEXT))).tolist()


by_counting = ngram_bits(train_text, probe_test[:100])
wide, _ = fit_hmm(12, letters, 40, seeds=(0,))


def hmm_bits(model: HMM, x: torch.Tensor) -> float:
    return float(-hidden_markov.messages(model, x).scale[:, CONTEXT:].log2().mean())


text_bits = {f"{n + 1}-gram (history of {n})": b for n, b in enumerate(by_counting)}
text_bits |= {"HMM, 2 states": hmm_bits(drawers, probe_test), "HMM, 12 states": hmm_bits(wide, probe_test)}

# %% [markdown]
# ## Step 3: a state that is learned
#
# An HMM remembers the past in one of $S$ drawers. A **recurrent network** ([Rumelhart, Hinton and Williams,
# 1986](https://doi.org/10.1038/323533a0)) remembers it in a vector: $h_t = f(h_{t-1}, x_{t-1})$, $p(x_t\mid x_{<t}) = \mathrm{softmax}(W h_t)$,
# trained by unrolling it and propagating errors back through time. Ours uses gated units (GRU, [Cho et al.,
# 2014](https://arxiv.org/abs/1406.1078), a simpler relative of the LSTM of [Hochreiter and Schmidhuber,
# 1997](https://doi.org/10.1162/neco.1997.9.8.1735)), so that gradients survive more than a few steps.
#
# A **causal transformer** (GPT, [Radford et al.,
# 2018](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)) keeps no state. At
# every position it looks back at all earlier positions and decides, by attention, which to use:
#
# $$\mathrm{out}_t = \sum_{s\le t}a_{ts}\,v_s,\qquad a_{ts} = \frac{e^{q_t^\top k_s/\sqrt d}}{\sum_{r\le t}e^{q_t^\top k_r/\sqrt d}},$$
#
# with queries, keys and values $q, k, v$ [T, d] linear in the layer's input. The whole difference to an ordinary
# transformer is the range of the sum, $s\le t$: put $-\infty$ where $s > t$ before the softmax. All positions are
# trained at once; no loop over time. The input is shifted by one place, so row $t$ has seen $x_{<t}$ only.

# %%


# fmt: off
def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """q, k, v [T, d] -> [T, d]; row t is a mean of v_1 .. v_t."""
    later = torch.ones(len(q), len(q), dtype=torch.bool).triu(1)
    scores = (q @ k.T / math.sqrt(q.shape[1])).masked_fill(later, -math.inf)
    return scores.softmax(dim=1) @ v
# fmt: on


class CharRNN(nn.Module):
    """int64 [N, T] -> logits [N, 27, T]; the state behind logit t has read x_1 .. x_t-1."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.embed, self.start = nn.Embedding(len(SYMBOLS), 32), nn.Parameter(torch.zeros(32))
        self.rnn, self.out = nn.GRU(32, width, batch_first=True), nn.Linear(width, len(SYMBOLS))

    def hidden(self, x: torch.Tensor) -> list[torch.Tensor]:
        shifted = torch.cat([self.start.expand(len(x), 1, -1), self.embed(x)[:, :-1]], dim=1)
        return [shifted, self.rnn(shifted)[0]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.hidden(x)[-1]).mT


# %%
# NBVAL_CHECK_OUTPUT
g = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 7, 4, generator=g)
print(
    "agrees with PyTorch's causal attention:",
    torch.allclose(
        causal_attention(q, k, v),
        F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0],
        atol=1e-6,
    ),
)

# %%
stream = as_numbers(train_text)


def text_batch(generator, n: int = 32) -> torch.Tensor:
    start = torch.randint(len(stream) - LENGTH, (n, 1), generator=generator)
    return stream[start + torch.arange(LENGTH)]


def fit(model: nn.Module, draw, steps: int, lr: float = 3e-3, watch=None, loss=None) -> list[dict]:
    """Adam with a linearly falling rate on -log p(batch); `watch(model)` is called six times."""
    loss = loss or (lambda model, x: -ar.log_prob(model, x).mean() / x[0].numel())
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    history = []
    for step in range(1, steps + 1):
        value = loss(model, draw(generator))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if watch and (step % (steps // 5) == 0 or step == 1):
            history.append({"step": step, "bits": value.item() / math.log(2), **watch(model)})
    return history


def seeded(build):
    torch.manual_seed(0)
    return build()


rnn = seeded(CharRNN)
fit(rnn, text_batch, 110, lr=1e-2)
gpt = seeded(lambda: ar.GPT(len(SYMBOLS), LENGTH, dim=48, depth=2))
fit(gpt, text_batch, 110, lr=5e-3)


@torch.no_grad()
def network_bits(model: nn.Module, x: torch.Tensor) -> float:
    nats = F.cross_entropy(model(x), x, reduction="none")
    return float(nats[:, CONTEXT:].mean() / math.log(2))


text_bits |= {
    "recurrent network (GRU)": network_bits(rnn, probe_test),
    "GPT, 2 blocks": network_bits(gpt, probe_test),
}
fig = plots.bars(
    {f"uniform over {len(SYMBOLS)}": math.log2(len(SYMBOLS)), **text_bits},
    "Bits per symbol on unseen text: counting is hard to beat",
    xlabel="bits per symbol (lower is better)",
    fmt=".2f",
)
plots.show(
    fig,
    alt="Horizontal bars of bits per symbol. The uniform guess costs 4.75 bits; longer histories cost fewer; the two "
    "hidden Markov models lie among the short histories; the networks are close to the better n-gram models.",
)

# %% [markdown]
# Each of them has learned something about the manual, whose phrases come back again and again: the long n-grams know them
# by heart. The transformer starts without any notion of nearness; a hundred-odd steps barely take it past pairs of
# letters, where the recurrent network gets much further. Does anything *inside*
# these models know more than the next letter?
#
# ### A probe: how long will this word be?
#
# Stop after the third letter of a word and ask: is it a short word (3 or 4 letters), a middle one (5 to 7) or a long
# one? The model is frozen; a linear probe reads its state. The baselines: the most common answer, the three letters
# themselves (the "pixels" of a text), and the same networks untrained.

# %%


def word_positions(x: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row, place after the third letter, class of length, of n words of three or more letters in windows x."""
    rows, places, classes = [], [], []
    for i, row in enumerate(x.tolist()):
        text = "".join(SYMBOLS[c] for c in row)
        for start in range(1, LENGTH - 16):
            word = text[start:].split(" ")[0]
            if text[start - 1] == " " and len(word) >= 3:
                rows.append(i), places.append(start + 3), classes.append((len(word) > 4) + (len(word) > 7))
    pick = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n]
    return tuple(torch.tensor(values)[pick] for values in (rows, places, classes))


words = {
    "train": (probe_train, *word_positions(probe_train, 1200)),
    "test": (probe_test, *word_positions(probe_test, 800)),
}
TEXT_FEATURES = {
    "three letters": lambda x, i, t: (
        F.one_hot(x[i[:, None], t[:, None] - torch.arange(1, 4)], len(SYMBOLS)).flatten(1).float()
    ),
    "HMM, 12 states": lambda x, i, t: hidden_markov.messages(wide, x).filtered[i, t - 1].float(),
    "GRU, untrained": lambda x, i, t: seeded(CharRNN).hidden(x)[-1][i, t],
    "GRU": lambda x, i, t: rnn.hidden(x)[-1][i, t],
    "GPT, untrained": lambda x, i, t: seeded(lambda: ar.GPT(len(SYMBOLS), LENGTH, 48, 2)).hidden(x)[-1][i, t],
    "GPT, block 1": lambda x, i, t: gpt.hidden(x)[1][i, t],
    "GPT, block 2": lambda x, i, t: gpt.hidden(x)[2][i, t],
}


@torch.no_grad()
def probe_words(features) -> float:
    parts = [part for x, i, t, y in words.values() for part in (features(x, i, t), y)]
    return evaluation.linear_probe(*parts).accuracy


text_probe = {name: probe_words(features) for name, features in TEXT_FEATURES.items()}
word_chance = float(torch.bincount(words["test"][3]).max() / len(words["test"][3]))
fig = plots.bars(
    {name: 100 * value for name, value in text_probe.items()},
    "After three letters: is the word short, middle or long?",
    chance=100 * word_chance,
)
plots.show(
    fig,
    alt="Horizontal bars of probe accuracy for three letters, a hidden Markov model, and recurrent network and GPT "
    "trained and untrained, with chance marked.",
)

# %% [markdown]
# ## Step 4: pictures are sequences too
#
# Read a picture row by row, left to right, and it is a sequence of pixels. The first neural network to do so was
# **NADE**, the neural autoregressive distribution estimator ([Larochelle and Murray,
# 2011](https://proceedings.mlr.press/v15/larochelle11a.html)), which began as an approximation of the RBM of chapter 01.
# For binary pixels $x_1\dots x_D$,
#
# $$h_d = \sigma\Big(c + \sum_{k<d}x_kW_k\Big),\qquad p(x_d = 1\mid x_{<d}) = \sigma(b_d + V_d\cdot h_d),$$
#
# with $W, V$ [D, H], $b$ [D], $c$ [H]. Every conditional is a small network with a hidden layer, and they share $W$: the sum for
# $d + 1$ is the sum for $d$ plus one term. All $D$ conditionals together cost no more than one autoencoder.

# %%


# fmt: off
def nade(x: torch.Tensor, W, V, b, c) -> torch.Tensor:
    """x [N, D] of zeros and ones -> log p(x) [N]."""
    total, log_p = c.expand(len(x), -1), 0.0
    for d in range(x.shape[1]):
        logit = b[d] + torch.sigmoid(total) @ V[d]
        log_p = log_p + F.logsigmoid(torch.where(x[:, d] > 0, logit, -logit))
        total = total + x[:, d, None] * W[d]           # one term more for the next pixel
    return log_p
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
toy = ar.NADE(4, 3).double()
for p in toy.parameters():
    p.data.normal_(generator=g)
sixteen = torch.tensor(list(itertools.product((0, 1), repeat=4)))
by_hand = nade(sixteen, toy.W, toy.V, toy.b, toy.c)
print(
    "agrees with ssl_lessons.models.generative.autoregressive.NADE:",
    torch.allclose(by_hand, ar.log_prob(toy, sixteen)),
)
print(
    "the probabilities of all sixteen pictures of four pixels sum to one:",
    abs(by_hand.exp().sum().item() - 1) < 1e-9,
)

# %% [markdown]
# ### A convolution that cannot look ahead
#
# NADE knows nothing of neighbourhoods. **PixelCNN** ([van den Oord et al.,
# 2016a](https://arxiv.org/abs/1601.06759)) uses convolutions: one network computes all conditionals at once, with the
# same weights everywhere. For that to be a product of conditionals, the output at a pixel must not depend on the pixel
# itself or on later ones. Derive it for one layer. Output $(r, s)$ of a $k\times k$ convolution is
# $\sum_{i,j}w_{ij}\,x_{r+i,\,s+j}$ with $i, j$ from $-\lfloor k/2\rfloor$ to $\lfloor k/2\rfloor$. The pixel $(r+i, s+j)$ is earlier than $(r, s)$ in
# raster order if $i < 0$, or if $i = 0$ and $j < 0$. So
#
# $$w_{ij} = 0\quad\text{unless}\quad i < 0\ \text{ or }\ (i = 0\ \text{and}\ j < 0)\qquad\text{(mask A).}$$
#
# In the second layer, the value at the centre is already a function of *earlier* pixels only. It may be used: **mask B**
# also lets $i = j = 0$ through. By induction over the layers the output depends on earlier pixels alone.

# %%


# fmt: off
def raster_mask(kernel: int, kind: str) -> torch.Tensor:
    """[kernel, kernel]: 1 where the weight may be used."""
    i = torch.arange(kernel)[:, None] - kernel // 2
    j = torch.arange(kernel)[None] - kernel // 2
    earlier = (i < 0) | ((i == 0) & (j < 0))
    return (earlier | ((i == 0) & (j == 0) & (kind == "B"))).float()
# fmt: on


# %%
# NBVAL_CHECK_OUTPUT
print(raster_mask(3, "A").int().tolist(), raster_mask(3, "B").int().tolist())
print(
    "agree with the package:",
    all(torch.equal(raster_mask(k, m), ar.MaskedConv2d(1, 1, k, m).mask) for k in (3, 5) for m in "AB"),
)


def enumerated(model: nn.Module) -> float:
    """The probabilities of all 16 binary pictures of 2 x 2 pixels, added up."""
    with torch.no_grad():
        return float(ar.log_prob(model.double(), sixteen.view(16, 2, 2)).exp().sum())


IMAGE_MODELS = {
    "PixelCNN": lambda: ar.PixelCNN(width=32, depth=4),
    "gated PixelCNN": lambda: ar.GatedPixelCNN(width=24, depth=4),
    "row LSTM": lambda: ar.RowLSTM(width=24, depth=2),
    "GPT on pixels": lambda: ar.GPT(2, 64, dim=48, depth=2),
}
print(
    "sums over all 2 x 2 pictures:",
    {name: round(enumerated(seeded(build)), 9) for name, build in IMAGE_MODELS.items()},
)

# %% [markdown]
# ### The blind spot
#
# It cannot look ahead. But does it see everything *behind*? Ask the network itself: at which input pixels is the
# gradient of one output not zero?
#
# > **Predict.** Stack twelve layers of masked $3\times 3$ convolutions. Which of the earlier pixels does the output at
# > the star depend on: all of them?

# %%
SIDE, ROW, COLUMN = 13, 9, 6
fields = {
    "PixelCNN, 12 layers": ar.receptive_field(
        seeded(lambda: ar.PixelCNN(width=4, depth=12)), SIDE, ROW, COLUMN
    ),
    "two stacks, 12 layers": ar.receptive_field(
        seeded(lambda: ar.GatedPixelCNN(width=4, depth=12)), SIDE, ROW, COLUMN
    ),
    "row LSTM, 2 layers": ar.receptive_field(seeded(lambda: ar.RowLSTM(width=4, depth=2)), SIDE, ROW, COLUMN),
}
fig, axes = plots.new_figure(8.4, 3.0, 1, 3)
for ax, (name, seen) in zip(axes, fields.items()):
    ax.imshow(seen.float(), cmap="Blues", vmin=0, vmax=1.6)
    ax.plot(COLUMN, ROW, "*", color=plots.COLORS[1], markersize=11)
    ax.set_xticks(range(0, SIDE, 4)), ax.set_yticks(range(0, SIDE, 4))
    ax.set(
        title=f"{name}: {int(seen.sum())} of {ROW * SIDE + COLUMN}",
        xlabel="column (pixels)",
        ylabel="row (pixels)",
    )
fig.suptitle("One stack of masked convolutions never sees the upper right corner (star: the predicted pixel)")
plots.show(
    fig,
    alt="Three maps of which pixels influence the starred one. For PixelCNN a wedge to the upper right of the star is "
    "missing; with two stacks all earlier pixels are covered; the row LSTM covers a triangle that widens upwards.",
)
blind = ROW * SIDE + COLUMN - int(fields["PixelCNN, 12 layers"].sum())
assert blind > 10 and int(fields["two stacks, 12 layers"].sum()) == ROW * SIDE + COLUMN

# %% [markdown]
# No depth helps. A path through the layers is a chain of allowed offsets, and an allowed offset goes to the right only
# when it also goes up: at most one pixel to the right per row. So $(r - a, s + b)$ is out of reach for ever when
# $b > a$. The pixel just above and two to the right, though it comes earlier, has no influence.
#
# **Two stacks** repair it ([van den Oord et al., 2016b](https://arxiv.org/abs/1606.05328)). A *vertical* stack reads
# all rows above, left *and* right, with unmasked kernels shifted up; a *horizontal* stack reads its own row to the left;
# each layer of the horizontal stack also gets the vertical stack's value. The vertical stack must not get the
# horizontal one's, or it would leak. The same paper replaces the nonlinearity by a gate, $\tanh(a)\odot\sigma(b)$.
# **PixelRNN** (2016a) came first: its *row LSTM* treats a whole row as one step of an LSTM whose recurrence is a
# convolution along the row. Its state reaches as far as the picture is high, but its context is a triangle, for the
# same reason as above.

# %% [markdown]
# ## The run: five models of the same digits
#
# Scikit-learn's 8 x 8 handwritten digits, each pixel black or white. Five autoregressive models, the same fitting
# function, the same data. During training we watch the bits per pixel, and two things the loss does not ask for: how
# well nearest neighbours in the model's features tell the digits apart (kNN), and the features' effective rank (RankMe).

# %%
digits_train, digits_test = data.digits("train"), data.digits("test")


def binarise(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, 8, 8] -> int64 [N, 8, 8] of zeros and ones."""
    return (images[:, 0] > 127).long()


ink, ink_test = binarise(digits_train.images), binarise(digits_test.images)


def digit_batch(generator, n: int = 48) -> torch.Tensor:
    return ink[torch.randint(len(ink), (n,), generator=generator)]


class NADEPictures(ar.NADE):
    """NADE that takes and returns pictures."""

    def forward(self, x):
        return super().forward(x.flatten(1)).view(len(x), 2, *x.shape[1:])


def quarters(h: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> [N, 4 C]: the mean of each quarter of the picture."""
    return F.adaptive_avg_pool2d(h, 2).flatten(1)


def pooled(model: nn.Module, h: torch.Tensor, side: int = 8) -> torch.Tensor:
    """The mean of a layer's activations over each quarter of the picture; GPT has a row [T, D] per picture."""
    return quarters(h.mT.unflatten(2, (side, side)) if isinstance(model, ar.GPT) else h)


@torch.no_grad()
def features(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a model knows after reading a picture [N, H, W]: NADE's last state, or its last layer by quarters."""
    if isinstance(model, ar.NADE):
        return model.states(x.flatten(1))[:, -1]
    return pooled(model, model.hidden(x)[-1])


def watch_digits(model) -> dict:
    a, b = features(model, ink[:400]), features(model, ink_test[:200])
    knn = evaluation.knn_accuracy(a, digits_train.labels[:400], b, digits_test.labels[:200])
    return {
        "test bits": ar.bits_per_symbol(model, ink_test[:100]),
        "knn": knn,
        "rank": diagnostics.rank_me(b),
    }


DIGIT_STEPS = 95
LEAK_STEPS = 50
BUILD = {"NADE": lambda: NADEPictures(64, 64), **IMAGE_MODELS}
models, histories = {}, {}
for name, build in BUILD.items():
    models[name] = seeded(build)
    histories[name] = fit(
        models[name], digit_batch, DIGIT_STEPS, lr=1e-2 if name == "NADE" else 4e-3, watch=watch_digits
    )

# %%
fig, (left, middle, right) = plots.new_figure(9.6, 2.9, 1, 3)
for (name, rows), color in zip(histories.items(), plots.COLORS):
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["test bits"] for row in rows], "o-", markersize=3, color=color, label=name)
    middle.plot(steps, [100 * row["knn"] for row in rows], "o-", markersize=3, color=color)
    right.plot(steps, [row["rank"] for row in rows], "o-", markersize=3, color=color)
left.set(title="The loss falls for all", xlabel="step", ylabel="bits per pixel (test)", ylim=(0, 1.5))
middle.axhline(10, color=plots.GRAY, linestyle=":")
middle.set(
    title="Quality does its own thing (dotted: chance)",
    xlabel="step",
    ylabel="kNN accuracy (%)",
    ylim=(0, 100),
)
right.set(title="Collapse? no", xlabel="step", ylabel="RankMe (dimensions)", ylim=(0, None))
fig.legend(loc="outside lower center", ncols=5)
plots.show(
    fig,
    alt="Three panels against training steps for five models of digits: bits per pixel fall for all, kNN accuracy moves "
    "little or differently, the effective rank stays above one.",
)

# %%
generator = torch.Generator().manual_seed(0)
rows = [ink_test[:14]]
for model in models.values():
    rows.append(ar.sample_images(model, 14, 8, generator))
lines = [
    torch.cat([F.pad(picture.float(), (1, 1, 1, 1), value=0.2) for picture in row], dim=1) for row in rows
]
fig, ax = plots.new_figure(7.6, 3.6)
ax.imshow(torch.cat(lines), cmap="gray_r", vmin=0, vmax=1)
ax.set_yticks([10 * i + 4.5 for i in range(len(rows))], ["real digits", *models])
ax.set_xticks([])
ax.set(
    title="Drawn one pixel at a time, from nothing: 64 predictions per picture",
    xlabel="fourteen pictures each",
)
plots.show(
    fig,
    alt="Six rows of small black and white pictures: real digits, and samples of five models that resemble digits.",
)

# %% [markdown]
# Now the question of the chapter. Freeze each model and give a linear probe 100 labels. Beside each stands its
# untrained twin, and on top the raw pixels.

# %%
DRAWS = 3


def probe_row(a: torch.Tensor, b: torch.Tensor, train, test, draws: int = DRAWS) -> dict:
    """Mean and spread (std) of the probe's accuracy over draws of 100 labels."""
    return evaluation.label_efficiency(a, train.labels, b, test.labels, per_class=(10,), draws=draws)[0]


def probe(a: torch.Tensor, b: torch.Tensor, train, test) -> float:
    return probe_row(a, b, train, test)["mean"]


def digit_probe(model: nn.Module) -> float:
    return probe(features(model, ink), features(model, ink_test), digits_train, digits_test)


p_ink = ink.float().mean(dim=0)
independent = -(
    ink_test * p_ink.clamp(1e-3, 1 - 1e-3).log2() + (1 - ink_test) * (1 - p_ink.clamp(1e-3, 1 - 1e-3)).log2()
)
table = [
    {"name": "chance", "probe": 0.1, "bits": 1.0},
    {
        "name": "raw pixels (each on its own)",
        "bits": float(independent.mean()),
        "probe": probe(ink.flatten(1).float(), ink_test.flatten(1).float(), digits_train, digits_test),
    },
]
for name, model in models.items():
    a = features(model, ink_test)
    table.append(
        {
            "name": name,
            "bits": ar.bits_per_symbol(model, ink_test),
            "probe": digit_probe(model),
            "untrained": digit_probe(seeded(BUILD[name])),
            "knn": evaluation.knn_accuracy(features(model, ink), digits_train.labels, a, digits_test.labels),
            "rank": diagnostics.rank_me(a),
        }
    )
plots.table(
    table,
    f"Handwritten digits: likelihood and representation ({DRAWS} draws of 100 labels)",
    {
        "name": "model",
        "bits": "bits per pixel (test)",
        "probe": "probe, 100 labels",
        "untrained": "probe, untrained twin",
        "knn": "kNN, all labels",
        "rank": "RankMe",
    },
    {"bits": ".3f", "probe": ".1%", "untrained": ".1%", "knn": ".1%", "rank": ".1f"},
)
scores = {row["name"]: row for row in table}
order_by_bits = sorted(models, key=lambda name: scores[name]["bits"])
order_by_probe = sorted(models, key=lambda name: -scores[name]["probe"])
print("best likelihood first:", ", ".join(order_by_bits))
print("best probe first:     ", ", ".join(order_by_probe))
assert all(scores[name]["bits"] < scores["raw pixels (each on its own)"]["bits"] for name in models)

# %% [markdown]
# Compare the two orders, and each model with the pixels and with its twin. The likelihood of all models is far better
# than that of independent pixels; that says little about their place in the second list. There is a reason. The loss
# pays for every pixel alike, and most of its bits lie in *local* questions: does this stroke go on for one more pixel?
# Which digit it is matters for a few pixels only. A model can gain most of the likelihood without ever deciding which
# digit it draws, and one that knows the digit gains little. [Theis et al.
# (2016)](https://arxiv.org/abs/1511.01844) show how far likelihood, sample quality and usefulness can come apart.
#
# Where, then, do the bits go?

# %%


@torch.no_grad()
def bits_per_pixel(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """[H, W]: the mean cost of each pixel."""
    return F.cross_entropy(model(x), x, reduction="none").mean(dim=0) / math.log(2)


fig, axes = plots.new_figure(8.4, 2.6, 1, 3)
panels = {
    "each pixel on its own": independent.mean(dim=0),
    "NADE": bits_per_pixel(models["NADE"], ink_test),
    "gated PixelCNN": bits_per_pixel(models["gated PixelCNN"], ink_test),
}
for ax, (name, values) in zip(axes, panels.items()):
    image = ax.imshow(values, vmin=0, vmax=1)
    ax.set(title=f"{name}: {float(values.mean()):.2f} bits", xlabel="column (pixels)", ylabel="row (pixels)")
fig.colorbar(image, ax=list(axes), label="bits per pixel")
fig.suptitle("What is left to pay: the first strokes, where nothing is known yet, and edges")
plots.show(
    fig,
    alt="Three maps of the cost per pixel. Independent pixels are expensive in the whole middle; for the two models the "
    "cost falls, most of all in the lower half, where the upper half tells what to expect.",
)

# %% [markdown]
# ## Image GPT: which layer would you use?
#
# **Image GPT** ([Chen et al., 2020](https://proceedings.mlr.press/v119/chen20s.html)) takes a GPT, feeds it pixels of a
# small palette in raster order, and probes it *layer by layer*. Their finding: the best features lie in the middle. The
# first layers have not yet understood, and the last ones have to say the next pixel.
#
# A miniature: the embedded world at 8 x 8 pixels in eight levels of grey, three blocks. Chance is 10%.

# %%
LEVELS = 8
unlabeled = data.shapes("unlabeled", 32, n=3000, seed=0, world=1)
train, test = data.shapes("train", 32, n=1000, seed=0, world=1), data.shapes("test", 32, n=600, seed=0, world=1)


def grey(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, 32, 32] -> mean grey values [N, 8, 8]."""
    return F.avg_pool2d(images.float().mean(dim=1, keepdim=True), 4)[:, 0]


palette = grey(unlabeled.images).flatten().quantile(torch.arange(1, LEVELS) / LEVELS)


def to_levels(images: torch.Tensor) -> torch.Tensor:
    return torch.bucketize(grey(images), palette)


tiny_images, tiny_train, tiny_test = (to_levels(part.images) for part in (unlabeled, train, test))


def world_batch(generator, n: int = 32) -> torch.Tensor:
    return tiny_images[torch.randint(len(tiny_images), (n,), generator=generator)]


def build_igpt() -> ar.GPT:
    return ar.GPT(LEVELS, 64, dim=48, depth=3)


igpt = seeded(build_igpt)
fit(igpt, world_batch, 100, lr=4e-3)
fresh = seeded(build_igpt)


@torch.no_grad()
def layer_curve(model: ar.GPT, fit_on, score_on, draws: int = DRAWS) -> list[dict]:
    """A probe after every block; fit_on, score_on: pictures in levels, and the set they belong to."""
    layers = [[pooled(model, h) for h in model.hidden(x)] for x, _ in (fit_on, score_on)]
    return [probe_row(a, b, fit_on[1], score_on[1], draws) for a, b in zip(*layers)]


gpts = {"image GPT": igpt, "untrained": fresh}
halves = (tiny_train[:500], train[:500]), (tiny_train[500:], train[500:])
best = {}  # the block to use, chosen inside the train split
for name, model in gpts.items():
    held_out = [row["mean"] for row in layer_curve(model, *halves, draws=1)]
    best[name] = held_out.index(max(held_out))
probed = {name: layer_curve(m, (tiny_train, train), (tiny_test, test)) for name, m in gpts.items()}
curves = {name: [row["mean"] for row in rows] for name, rows in probed.items()}
probe_spread = sum(row["std"] for row in probed["image GPT"]) / len(probed["image GPT"])
pixels_8 = probe(tiny_train.flatten(1).float(), tiny_test.flatten(1).float(), train, test)
pixels_32 = probe(evaluation.pixels(train.images), evaluation.pixels(test.images), train, test)
igpt_bits = ar.bits_per_symbol(igpt, tiny_test)

# %%
fig, ax = plots.new_figure(6.4, 3.0)
for (name, values), color in zip(curves.items(), plots.COLORS):
    ax.plot(range(len(values)), [100 * v for v in values], "o-", color=color, label=name)
ax.axhline(100 * pixels_8, color=plots.COLORS[2], linestyle="--", label="the same 8 x 8 pixels")
ax.axhline(10, color=plots.GRAY, linestyle=":", label="chance")
ax.set(
    xticks=range(len(curves["image GPT"])),
    xlabel="after block (0: the embedded pixels)",
    ylabel="probe, 100 labels (%)",
    ylim=(0, None),
    title=f"{igpt_bits:.2f} bits per pixel (uniform: {math.log2(LEVELS):.0f}), and this is what a probe finds inside",
)
ax.legend(ncols=2)
plots.show(
    fig,
    alt="Probe accuracy after each block of the trained image GPT and of an untrained one, with the accuracy of the raw "
    "pixels and of chance as horizontal lines.",
)
chosen = {name: curves[name][block] for name, block in best.items()}
plots.table(
    [
        {"name": "chance", "probe": 0.1},
        {"name": "raw pixels, 32 x 32 in colour", "probe": pixels_32},
        {"name": "raw pixels, 8 x 8 in grey", "probe": pixels_8},
        {"name": f"untrained GPT, block {best['untrained']}", "probe": chosen["untrained"]},
        {"name": f"image GPT, block {best['image GPT']}", "probe": chosen["image GPT"]},
        {"name": "image GPT, last block", "probe": curves["image GPT"][-1]},
    ],
    f"The embedded world, {DRAWS} draws of 100 labels; the block to use is chosen on held-out train images",
    {"name": "representation", "probe": "probe"},
    ".1%",
)
gained = chosen["image GPT"] - chosen["untrained"]
print(f"training gained {math.log2(LEVELS) - igpt_bits:.2f} bits per pixel over a uniform guess,")
print(
    f"and {100 * gained:+.1f} points of probe over the untrained network (spread over draws: {100 * probe_spread:.1f})"
)
assert igpt_bits < math.log2(LEVELS) - 0.5

# %% [markdown]
# A short training run at eight pixels cannot repeat a result that took ImageNet and a large cluster. What it can show
# is the recipe, and how far from free it is: the likelihood has improved a great deal, and the two printed lines tell
# you what that was worth to a probe. A minute of SimCLR on the same world (chapter 13) reaches far more than any row of
# this table.

# %% [markdown]
# ## Any order: what the future knows
#
# Left to right has a price: the feature of a word has not seen what follows it. "The ___ found his crown": the answer
# stands on the right. BERT looks at both sides but gives up the product of conditionals. **XLNet** ([Yang et al.,
# 2019](https://arxiv.org/abs/1906.08237)) keeps the product and gives up the *order*: for every permutation $\pi$,
#
# $$\log p(x) = \sum_{t}\log p\big(x_{\pi_t}\mid x_{\pi_1},\dots,x_{\pi_{t-1}}\big),$$
#
# and one network is trained on random permutations. The words stay where they are; only the attention mask changes. One
# difficulty: to predict $x_{\pi_t}$ the network must know *which place* it predicts, but not the word there. Hence two
# streams: a *content* stream that has seen its own word, and a *query* stream that knows only its place and looks at
# the content of words earlier in the order (section 2.3 of the paper). NADE had an order-free version before ([Uria et
# al., 2014](https://arxiv.org/abs/1310.1757)).
#
# The little language of chapter 02 has sentences in which the second word, a person, is revealed only later.

# %%
people = [line for line in corpora.little_language(9000) if line[-1] in ("himself", "herself")]
vocabulary = sorted({word for line in people for word in line})
coded = torch.tensor([[vocabulary.index(word) for word in line] for line in people])
told, asked = coded[:-400], coded[-400:]
persons = torch.tensor([vocabulary.index(word) for pair in corpora.PEOPLE for word in pair])
SIZE = coded.shape[1]
print("the _____ " + " ".join(people[-1][2:]), f"  ({len(people):,} sentences, {len(vocabulary)} words)")


def sentence_batch(generator, n: int = 96) -> torch.Tensor:
    return told[torch.randint(len(told), (n,), generator=generator)]


def any_order_loss(model, x):
    return F.cross_entropy(model(x, torch.randperm(SIZE)), x)


left_to_right = seeded(lambda: ar.GPT(len(vocabulary), SIZE, dim=48, depth=2))
fit(left_to_right, sentence_batch, 130, lr=5e-3)
any_order = seeded(lambda: ar.AnyOrderLM(len(vocabulary), SIZE, dim=48, depth=2))
fit(any_order, sentence_batch, 250, lr=4e-3, loss=any_order_loss)

# %%
last = torch.tensor([i for i in range(SIZE) if i != 1] + [1])  # the second word at the end of the order


@torch.no_grad()
def person_accuracy(logits: torch.Tensor) -> float:
    """Share of the sentences whose person, among the twenty, gets the highest logit: logits [N, V]."""
    return float((persons[logits[:, persons].argmax(dim=1)] == asked[:, 1]).float().mean())


@torch.no_grad()
def by_bayes(model) -> float:
    """Put each of the twenty persons into the gap and compare the probabilities of the whole sentence."""
    candidates = asked[:, None].repeat(1, len(persons), 1)
    candidates[:, :, 1] = persons
    log_p = ar.log_prob(model, candidates.flatten(0, 1)).view(len(asked), len(persons))
    return float((persons[log_p.argmax(dim=1)] == asked[:, 1]).float().mean())


with torch.no_grad():
    gap = {
        "chance": 1 / len(persons),
        "left to right, read off at the gap": person_accuracy(left_to_right(asked)[:, :, 1]),
        "left to right, by Bayes' rule (20 readings)": by_bayes(left_to_right),
        "any order, left to right": person_accuracy(any_order(asked)[:, :, 1]),
        "any order, the gap last": person_accuracy(any_order(asked, last)[:, :, 1]),
    }
    orders = {"left to right": None, "the gap last": last, "right to left": torch.arange(SIZE - 1, -1, -1)}
    order_bits = {
        name: float(F.cross_entropy(any_order(asked, o), asked) / math.log(2)) for name, o in orders.items()
    }
plots.table(
    [{"name": name, "accuracy": value} for name, value in gap.items()],
    "Who stands in the gap? One of twenty persons",
    {"name": "model", "accuracy": "right"},
    ".1%",
)
print("bits per word of the any-order model:", ", ".join(f"{name} {b:.2f}" for name, b in order_bits.items()))
assert gap["any order, the gap last"] > 2 * gap["left to right, read off at the gap"]

# %% [markdown]
# At the gap the left-to-right model knows nothing, as it must: no word before it tells. Note the third row, though. By
# Bayes' rule the same model *does* know the answer: fill in each of the twenty and compare. The knowledge is in the
# product of conditionals, in the likelihood, and nowhere in one vector you could hand to a probe. That is the gap
# between a likelihood and a representation in one example. The any-order model has the answer in one reading, in a
# vector. And its orders should cost the same number of bits, since they are factorisations of one distribution; how
# far they differ shows how far training still is from that.

# %% [markdown]
# ## What goes wrong: a loss too good to be true
#
# The most common bug in this family is one character long: mask B in the first layer. The model may then see the pixel
# that it predicts. Provoke it.

# %%
leaky = seeded(lambda: ar.PixelCNN(width=32, depth=4))
leaky.first.mask.copy_(raster_mask(3, "B"))
leak_history = fit(leaky, digit_batch, LEAK_STEPS, lr=4e-3, watch=watch_digits)


@torch.no_grad()
def sees_itself(model: nn.Module) -> bool:
    """Flip one pixel at a time: does the prediction of that same pixel, or of an earlier one, change?"""
    x = ink_test[:1]
    before = model(x).flatten(2)
    for t in range(64):
        changed = x.flatten(1).clone()
        changed[:, t] = 1 - changed[:, t]
        if not torch.allclose(
            before[..., : t + 1], model(changed.view(1, 8, 8)).flatten(2)[..., : t + 1], atol=1e-5
        ):
            return True
    return False


drawn = {
    name: float(ar.sample_images(m, 50, 8, torch.Generator().manual_seed(0)).float().mean())
    for name, m in (("A", models["PixelCNN"]), ("B", leaky))
}
plots.table(
    [
        {
            "name": f"mask A, {DIGIT_STEPS} steps",
            "bits": scores["PixelCNN"]["bits"],
            "leak": sees_itself(models["PixelCNN"]),
            "sum": enumerated(seeded(IMAGE_MODELS["PixelCNN"])),
            "ink": drawn["A"],
        },
        {
            "name": f"mask B, {LEAK_STEPS} steps",
            "bits": leak_history[-1]["test bits"],
            "leak": sees_itself(leaky),
            "sum": enumerated(leaky),
            "ink": drawn["B"],
        },
    ],
    "One wrong mask",
    {
        "name": "first layer",
        "bits": "bits per pixel (test)",
        "leak": "sees itself",
        "sum": "sum of p over all 2 x 2 pictures",
        "ink": f"ink in its drawings (digits: {float(ink_test.float().mean()):.2f})",
    },
    ".3f",
)
assert sees_itself(leaky) and not sees_itself(models["PixelCNN"])

# %% [markdown]
# The bits beat every honest model within seconds; that alone should stop you. And what does the model draw? When it is
# asked for a pixel it looks at that pixel, finds the zero that stands there before anything is drawn, and copies it:
# white paper. Two checks catch the bug. *Flip a pixel*: no
# output at or before it may change. *Enumerate*: on 2 x 2 pictures the probabilities must sum to one, and those of the
# leaky model do not, so its "bits" are no code length at all. Keep both as tests beside every autoregressive model you
# write; in language models the same bug is a forgotten shift of the input.

# %% [markdown]
# ## Play: what does this pixel see?
#
# Add layers one at a time, with a kernel of 3 or 5, for one stack and for two. When does the last grey pixel vanish?
# What happens to the orange ones?

# %%
widgets.explore(
    field_widget.render,
    field_widget.controls(),
    static=[
        {"depth": depth, "stacks": stacks} for stacks in ("one stack", "two stacks") for depth in (1, 3, 8)
    ],
    alt=field_widget.describe,
    columns=3,
)

# %% [markdown]
# > **Try.** (1) Take the kernel 5 and one stack. Is the blind spot smaller? Derive its new edge from the allowed offsets.
# > (2) With two stacks, how many layers does it take to see the whole image, and why that many?

# %% [markdown]
# ## Exercises
#
# Replace `return NOT_ATTEMPTED` and run the cell; the checker answers. Nothing below depends on your answers.
#
# ### 1 · The forward recursion (••, 8 minutes)
#
# The log-likelihood of one short sequence under an HMM.
#
# <details><summary>Hint 1</summary>alpha is a vector over states; start it with start * emission[:, x[0]].</details>
# <details><summary>Hint 2</summary>Row i of the transition matrix says where state i goes: alpha @ transition.</details>
# <details><summary>Hint 3</summary>At the end sum over the states, then take the logarithm.</details>

# %%


def my_forward(start, transition, emission, x) -> torch.Tensor:
    """start [S], transition [S, S], emission [S, V], x [T] -> log p(x)."""
    return NOT_ATTEMPTED


ch03.check_forward(my_forward)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_forward(start, transition, emission, x):
#     alpha = start * emission[:, x[0]]
#     for symbol in x[1:]:
#         alpha = (alpha @ transition) * emission[:, symbol]
#     return alpha.sum().log()
# ```
# </details>
#
# ### 2 · The mask (•, 5 minutes)
#
# Zeros and ones for a masked convolution with an odd kernel; `include_centre` is 0 for kind A and 1 for kind B.
#
# <details><summary>Hint 1</summary>Flatten the kernel: raster order is the order of the flat index.</details>
# <details><summary>Hint 2</summary>The centre is number kernel * kernel // 2.</details>

# %%


def my_mask(kernel: int, include_centre: int) -> torch.Tensor:
    """-> [kernel, kernel]"""
    return NOT_ATTEMPTED


ch03.check_mask(my_mask)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_mask(kernel, include_centre):
#     mask = torch.zeros(kernel * kernel)
#     mask[: kernel * kernel // 2 + include_centre] = 1
#     return mask.view(kernel, kernel)
# ```
# </details>
#
# ### 3 · NADE without a loop (••, 10 minutes)
#
# All conditionals of one binary vector at once.
#
# <details><summary>Hint 1</summary>`cumsum` adds up x_k W_k from the first dimension on.</details>
# <details><summary>Hint 2</summary>The sum for x_d must stop before d: subtract the last term again, or shift by one row.</details>
# <details><summary>Hint 3</summary>Row-wise dot products: (V * h).sum(dim=1).</details>

# %%


def my_nade(x, W, V, b, c) -> torch.Tensor:
    """x [D], W and V [D, H], b [D], c [H] -> p(x_d = 1 | x_<d) [D]."""
    return NOT_ATTEMPTED


ch03.check_nade(my_nade)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_nade(x, W, V, b, c):
#     terms = x[:, None] * W
#     h = torch.sigmoid(c + terms.cumsum(dim=0) - terms)
#     return torch.sigmoid(b + (V * h).sum(dim=1))
# ```
# </details>
#
# ### 4 · Bits per symbol (•, 4 minutes)
#
# From logits [N, V, T] and symbols [N, T].
#
# <details><summary>Hint 1</summary>`F.cross_entropy` takes the symbols in dimension 1, and answers in nats.</details>
# <details><summary>Hint 2</summary>One nat is 1 / log 2 bits.</details>

# %%


def my_bits(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """-> the mean of -log2 p over all symbols."""
    return NOT_ATTEMPTED


ch03.check_bits(my_bits)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def my_bits(logits, x):
#     return F.cross_entropy(logits, x) / math.log(2)
# ```
# </details>

# %% [markdown]
# ## Claims put to the test

# %%
curve = curves["image GPT"]
rises, gain = all(b > a for a, b in zip(curve, curve[1:])), curve[-1] - curve[0]
book.claim(
    "C-110",
    "Later layers probe better than earlier ones.",
    # a difference smaller than the spread over draws of labels is none
    "reproduced"
    if rises and gain > probe_spread
    else "mixed"
    if gain > probe_spread
    else "not reproduced here",
    {f"image GPT, after block {i}": value for i, value in enumerate(curve)}
    | {
        "spread over draws": probe_spread,
        "raw 8 x 8 pixels": pixels_8,
        f"untrained, block {best['untrained']}": chosen["untrained"],
    },
    "chen2020generative",
)

# %% [markdown]
# Two statements you may read elsewhere need no measurement. PixelRNN is sometimes listed among the descendants of
# generative adversarial networks; it has no adversary, it is the row LSTM you have just trained by maximum likelihood.
# And the E in NADE stands for *estimator*, of a distribution.

# %% [markdown]
# ## Where it comes from, where it went
#
# Markov counted letters of *Eugene Onegin* in 1913, and [Shannon
# (1951)](https://doi.org/10.1002/j.1538-7305.1951.tb01366.x) made the bits of the next letter a measure of language. HMMs
# ([1966](https://doi.org/10.1214/aoms/1177699147)) carried speech recognition for thirty years. Recurrent networks
# ([1986](https://doi.org/10.1038/323533a0)) made the state a vector, and NADE
# ([2011](https://proceedings.mlr.press/v15/larochelle11a.html)) brought the chain rule to vectors without time; MADE ([Germain
# et al., 2015](https://arxiv.org/abs/1502.03509)) got the same from masked weights in an autoencoder. PixelRNN and PixelCNN
# ([2016a](https://arxiv.org/abs/1601.06759), [2016b](https://arxiv.org/abs/1606.05328)) made it sharp on photographs;
# [Salimans et al. (2017)](https://arxiv.org/abs/1701.05517) made it better. Then came the transformer
# ([2017](https://arxiv.org/abs/1706.03762)), GPT
# ([2018](https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf)), GPT-2
# ([2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)) and GPT-3
# ([2020](https://arxiv.org/abs/2005.14165)): the same loss as in this chapter, more of everything, and a surprise, that
# predicting the next word well enough *does* require understanding a great deal. On images the raw pixel gave way to
# tokens: VQ-VAE (chapter 07), and Parti ([Yu et al., 2022](https://arxiv.org/abs/2206.10789)), which writes a picture
# from a sentence, token by token. XLNet ([2019](https://arxiv.org/abs/1906.08237)) kept the likelihood and freed the
# order; BERT and the masked image models (chapter 18) freed the order and gave up the likelihood, for the sake of the
# representation.
#
# **Further reading.** [Rabiner (1989)](https://doi.org/10.1109/5.18626) on HMMs; [Uria et al.
# (2016)](https://arxiv.org/abs/1605.02226) on all of NADE; [Theis et al. (2016)](https://arxiv.org/abs/1511.01844) on what
# likelihood does not tell; [Chen et al. (2020)](https://proceedings.mlr.press/v119/chen20s.html) on probing generative
# models of pixels.
#
# ### Quiz
#
# **1.** Why does Baum-Welch never lower the likelihood, although it never computes a gradient?
#
# <details><summary>Answer</summary>Each step maximises a lower bound that touches the log-likelihood at the present parameters. The new parameters raise the bound, and the likelihood lies above the bound.</details>
#
# **2.** You replace mask B by mask A in all layers of PixelCNN. Is the model still correct? What does it lose?
#
# <details><summary>Answer</summary>It is correct: fewer weights are used and no later pixel is seen. It loses context: without the centre (and without skip connections) every layer must move at least one pixel back, so with two layers the nearest pixel to the left, one step away, can no longer be reached at all.</details>
#
# **3.** Two models of the same images cost 0.42 and 0.40 bits per pixel. Which has the better representation?
#
# <details><summary>Answer</summary>You cannot tell. The difference can lie in edges and textures that matter for no label. Probe both, beside raw pixels and an untrained twin.</details>
