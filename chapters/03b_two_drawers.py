# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03b · Two drawers for twenty-seven letters: what does a machine find that only predicts the next symbol?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/03b_two_drawers.ipynb)
#
# **After this chapter you can** compute the likelihood of a hidden Markov model (HMM) without summing over its paths, fit
# one by Baum-Welch and say why its likelihood never falls, and compare it in bits with counting, a recurrent network
# and a small GPT.
#
# **You need** [chapter 03](03_one_step_ahead.ipynb), of which this is an optional companion.
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

device = book.setup("03b")

# %% [markdown]
# ## The puzzle: what goes into the drawers?
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

from ssl_lessons import evaluation, plots
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch03
from ssl_lessons.modalities.words import corpora
from ssl_lessons.models.generative import autoregressive as ar
from ssl_lessons.models.generative import hmm as hidden_markov
from ssl_lessons.models.generative.hmm import HMM

SYMBOLS = " abcdefghijklmnopqrstuvwxyz"
sentences = [" ".join(line) for line in corpora.python_documentation()]
train_text = " ".join(line for i, line in enumerate(sentences) if i % 10)
test_text = " ".join(line for i, line in enumerate(sentences) if i % 10 == 0)


def windows(text: str, length: int, n: int) -> torch.Tensor:
    """The text cut into n pieces [n, length], spread over its whole length."""
    x = torch.tensor([SYMBOLS.index(c) for c in text])
    starts = torch.linspace(0, len(x) - length, n).long()
    return x[starts[:, None] + torch.arange(length)]


print(f"{len(train_text):,} symbols to learn from, {len(test_text):,} for the test\n")
print(train_text[5000:5300])

# %% [markdown]
# > **Predict before you go on.** What will end up in the two drawers? (1) frequent letters and rare letters; (2) vowels
# > and consonants; (3) the beginning and the end of the alphabet; (4) nothing you could name. A guess is right once in
# > four.

# %%
letters = windows(train_text, 40, 500)


def fit_hmm(states, x, iterations, seed):
    draw = torch.Generator().manual_seed(seed)
    start = hidden_markov.random_hmm(states, len(SYMBOLS), draw)
    return hidden_markov.baum_welch(start, x, iterations)


# The likelihood has local maxima: the better of two random starts.
drawers, climb = max(
    (fit_hmm(2, letters, 50, seed) for seed in (0, 1)), key=lambda run: run[1][-1]
)
visits = hidden_markov.posterior(drawers, letters).flatten(0, 1)  # [N T, 2]
share = torch.zeros(len(SYMBOLS), 2).double().index_add_(0, letters.flatten(), visits)
share = share[:, 1] / share.sum(dim=1)  # how often a letter is from the second drawer
VOWELS = "aeiou"
if share[[SYMBOLS.index(v) for v in VOWELS]].mean() < 0.5:
    share = 1 - share  # the names of the drawers are arbitrary
for name, inside in (("drawer one:", share > 0.5), ("drawer two:", share <= 0.5)):
    found = [c if c != " " else "(space)" for c, here in zip(SYMBOLS, inside) if here]
    print(name, *found)
right = [(s > 0.5) == (c in VOWELS) for c, s in zip(SYMBOLS[1:], share[1:].tolist())]
print(f"{sum(right)} of 26 letters are where a child would put them")
assert sum(right) >= 20

# %% [markdown]
# Vowels in one drawer, most consonants in the other (here y goes with the vowels): what the machine exploits is
# which letters *alternate*. The experiment, with these 27 symbols, is that of R. L. Cave and L. P. Neuwirth
# (*Hidden Markov models for English*, 1980). Markov himself, in 1913, counted how vowels and consonants follow each
# other in *Eugene Onegin*. He knew the two classes; here they are found.
#
# ## The idea: a sum that nobody writes out
#
# A hidden Markov model ([Baum and Petrie, 1966](https://doi.org/10.1214/aoms/1177699147)) has $S$ states. With
# $\pi_i = p(z_1 = i)$, $A_{ij} = p(z_t = j\mid z_{t-1} = i)$ and $B_{iv} = p(x_t = v\mid z_t = i)$ the probability of a
# text $x_1\dots x_T$ is a sum over all $S^T$ paths of the hidden states,
#
# $$p(x) = \sum_{z_1,\dots,z_T}\ \pi_{z_1}B_{z_1x_1}\prod_{t=2}^{T}A_{z_{t-1}z_t}B_{z_tx_t}.$$
#
# The **forward recursion** needs $T S^2$ steps. Let $\alpha_t(j) = p(x_1\dots x_t, z_t = j)$. Whatever happened before
# can only matter through $z_{t-1}$, so
#
# $$\alpha_1(j) = \pi_jB_{jx_1},\qquad \alpha_t(j) = \Big(\sum_i\alpha_{t-1}(i)A_{ij}\Big)B_{jx_t},\qquad p(x) = \sum_j\alpha_T(j).$$
#
# On the way it predicts: $p(x_t\mid x_{<t}) = \sum_j\alpha_t(j)/\sum_j\alpha_{t-1}(j)$. Backwards goes the same way:
# $\beta_t(i) = p(x_{t+1}\dots x_T\mid z_t = i)$ with $\beta_T = 1$. Together they say how probable a state, and a *move*, is
# **given the whole text**:
#
# $$\gamma_t(i) = \frac{\alpha_t(i)\,\beta_t(i)}{p(x)},\qquad \xi_t(i,j) = \frac{\alpha_t(i)\,A_{ij}\,B_{jx_{t+1}}\,\beta_{t+1}(j)}{p(x)}.$$
#
# **Baum-Welch** ([Baum et al., 1970](https://doi.org/10.1214/aoms/1177697196); the standard tutorial is [Rabiner,
# 1989](https://doi.org/10.1109/5.18626)) alternates two steps. Under the present model, expect: starts $\gamma_1(i)$,
# moves $\sum_t\xi_t(i,j)$, emissions $\sum_{t:\,x_t=v}\gamma_t(i)$. Then set every probability to its expected share. Why can
# the likelihood never fall? For any distribution $q$ over paths, by Jensen's inequality,
#
# $$\log p_\theta(x) = \log\sum_z q(z)\frac{p_\theta(x, z)}{q(z)} \ \ge\ \sum_z q(z)\log p_\theta(x, z) - \sum_z q(z)\log q(z),$$
#
# with equality when $q$ is the posterior of the present $\theta = (\pi, A, B)$. The first step makes the bound touch; the
# second moves $\theta$ to the top of the bound, and $\log p_\theta(x)$ lies above it. This is expectation-maximisation,
# EM.


# %%
def all_paths(model: HMM, x: torch.Tensor) -> torch.Tensor:
    """log p(x) by the definition: a sum over S^T paths."""
    total = 0.0
    for z in itertools.product(range(len(model.start)), repeat=len(x)):
        p = model.start[z[0]] * model.emission[z[0], x[0]]
        for t in range(1, len(x)):
            p = p * model.transition[z[t - 1], z[t]] * model.emission[z[t], x[t]]
        total = total + p
    return total.log()


def baum_welch_step(model: HMM, x: torch.Tensor) -> HMM:
    """x [N, T]. The package's alpha and beta are scaled: alpha_t / p(x_1..t), and
    beta_t / p(x_t+1..T | x_1..t), so that gamma is their product."""
    alpha, beta, scale = hidden_markov.messages(model, x)  # scale_t: p(x_t | x_<t)
    gamma = alpha * beta  # [N, T, S]
    after = model.emission.T[x][:, 1:] * beta[:, 1:] / scale[:, 1:, None]
    xi = alpha[:, :-1, :, None] * model.transition * after[:, :, None]  # [N, T-1, S, S]
    starts, moves = gamma[:, 0].sum(dim=0), xi.sum(dim=(0, 1))
    seen = F.one_hot(x, model.emission.shape[1]).double()
    emitted = torch.einsum("nts,ntv->sv", gamma, seen)
    return HMM(*(c / c.sum(dim=-1, keepdim=True) for c in (starts, moves, emitted)))


# %%
# NBVAL_CHECK_OUTPUT
tiny = hidden_markov.random_hmm(3, 4, torch.Generator().manual_seed(0))
x = torch.tensor([[0, 3, 1, 1, 2, 0]])
assert torch.allclose(all_paths(tiny, x[0]), hidden_markov.log_likelihood(tiny, x)[0])
pairs = zip(baum_welch_step(tiny, x), hidden_markov.baum_welch_step(tiny, x)[0])
assert all(torch.allclose(mine, theirs) for mine, theirs in pairs)
assert all(later >= before - 1e-9 for before, later in zip(climb, climb[1:]))
print("the recursion equals the sum over 729 paths; one step agrees with the package;")
print("in fifty steps the likelihood of the manual never fell")

# %% [markdown]
# ## The run: how many bits is the next letter?
#
# The oldest rival counts. An **$n$-gram** model predicts from the last $n - 1$ symbols by how often each symbol followed
# them. Long histories are rare, so their counts are mixed with those of the next shorter history: with $h'$ the history
# $h$ without its first symbol, $\#$ a count and $m$ how many observations the shorter history is worth,
#
# $$p_n(c\mid h) = \frac{\#(hc) + m\,p_{n-1}(c\mid h')}{\#(h) + m}.$$
#
# A **recurrent network** ([Rumelhart, Hinton and Williams, 1986](https://doi.org/10.1038/323533a0)) has a vector where the
# HMM has a drawer: $h_t = f(h_{t-1}, x_{t-1})$ and $p(x_t\mid x_{<t}) = \mathrm{softmax}(U h_t)$, trained through time. Ours
# has gates (GRU, [Cho et al., 2014](https://arxiv.org/abs/1406.1078), a simpler relative of the LSTM of [Hochreiter and
# Schmidhuber, 1997](https://doi.org/10.1162/neco.1997.9.8.1735)), so that gradients survive more than a few steps. The
# **GPT** is that of chapter 03. All are scored on the same
# windows, after 16 symbols of context, but not taught alike: the HMMs saw 20,000 symbols, the others some 230,000.

# %%
LENGTH, CONTEXT, LONGEST = 64, 16, 5
probe_train, probe_test = (
    windows(train_text, LENGTH, 400),
    windows(test_text, LENGTH, 120),
)


def ngram_bits(x, m=5.0):
    """Bits per symbol on x [N, T] for histories of 0, 1, ..., LONGEST symbols."""
    length = len(train_text)
    counts = [
        Counter(train_text[i : i + n] for i in range(length - n + 1))
        for n in range(LONGEST + 2)
    ]
    bits = torch.zeros(LONGEST + 1, dtype=torch.float64)
    for row in x.tolist():
        text = "".join(SYMBOLS[i] for i in row)
        for t in range(CONTEXT, len(text)):
            p = 1 / len(SYMBOLS)
            for n in range(LONGEST + 1):
                h = text[t - n : t]
                p = (counts[n + 1][h + text[t]] + m * p) / (counts[n][h] + m)
                bits[n] -= math.log2(p)
    return (bits / (len(x) * (x.shape[1] - CONTEXT))).tolist()


# %%
class CharRNN(nn.Module):
    """int64 [N, T] -> logits [N, 27, T]; the state behind logit t has read x_<t."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.embed, self.start = nn.Embedding(27, 32), nn.Parameter(torch.zeros(32))
        self.rnn, self.out = nn.GRU(32, width, batch_first=True), nn.Linear(width, 27)

    def hidden(self, x):
        start = self.start.expand(len(x), 1, -1)
        shifted = torch.cat([start, self.embed(x)[:, :-1]], dim=1)
        return [shifted, self.rnn(shifted)[0]]

    def forward(self, x):
        return self.out(self.hidden(x)[-1]).mT


# %%
stream = torch.tensor([SYMBOLS.index(c) for c in train_text])


def fit(model, steps, lr, n=32):
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        start = torch.randint(len(stream) - LENGTH, (n, 1), generator=generator)
        x = stream[start + torch.arange(LENGTH)]
        value = F.cross_entropy(model(x), x)
        optimizer.zero_grad()
        value.backward()
        optimizer.step(), schedule.step()
    return model


def seeded(build):
    torch.manual_seed(0)
    return build()


def build_gpt():
    return ar.GPT(len(SYMBOLS), LENGTH, dim=48, depth=2)


# %%
@torch.no_grad()
def network_bits(model, x):
    nats = F.cross_entropy(model(x), x, reduction="none")
    return float(nats[:, CONTEXT:].mean() / math.log(2))


def hmm_bits(model, x):
    scale = hidden_markov.messages(model, x).scale  # p(x_t | x_<t)
    return float(-scale[:, CONTEXT:].log2().mean())


wide, _ = fit_hmm(12, letters, 40, seed=0)
rnn, gpt = fit(seeded(CharRNN), 110, lr=1e-2), fit(seeded(build_gpt), 110, lr=5e-3)
bits = {f"{n + 1}-gram": b for n, b in enumerate(ngram_bits(probe_test))}
bits |= {
    f"HMM, {len(h.start)} states": hmm_bits(h, probe_test) for h in (drawers, wide)
}
bits |= {"GRU": network_bits(rnn, probe_test), "GPT": network_bits(gpt, probe_test)}

# %% tags=["hide-input"]
fig = plots.bars(
    {f"uniform over {len(SYMBOLS)}": math.log2(len(SYMBOLS)), **bits},
    "Bits per symbol on unseen text: long counts win",
    xlabel="bits per symbol (lower is better)",
    fmt=".2f",
)
families = [plots.GRAY] + 6 * [plots.COLORS[0]] + 2 * [plots.COLORS[1]]
for bar, color in zip(fig.axes[0].patches, families + 2 * [plots.COLORS[2]]):
    bar.set_color(color)  # counting, hidden states, networks
plots.show(
    fig,
    alt="Bars of bits per symbol: "
    + ", ".join(f"{name} {value:.2f}" for name, value in bits.items()),
)
assert min(bits, key=bits.get) in ("5-gram", "6-gram")
assert (
    bits["6-gram"] < bits["GRU"] - 0.2
    and bits["HMM, 12 states"] < bits["HMM, 2 states"]
)
assert (
    abs(bits["GRU"] - bits["3-gram"]) < 0.3 and abs(bits["GPT"] - bits["2-gram"]) < 0.3
)
assert bits["1-gram"] - 0.5 < bits["HMM, 2 states"] < bits["1-gram"]

# %% [markdown]
# **Counting wins**, and by a lot: the manual's phrases come back again and again, and long $n$-grams know them by heart.
# The recurrent network, after 110 steps, stands near triples of letters; the transformer, which starts without any notion of
# nearness, near pairs. The two drawers save little over single letters: what they *found* is worth more to you
# than to the code length. Not shown is what longer training does; and the two networks had one seed and one learning rate
# each.
#
# ### A probe: how long will this word be?
#
# Stop after the third letter of a word and ask: is it short (3 or 4 letters), middle (5 to 7) or long? The models are
# frozen; a linear probe reads their state. Beside them stand the three letters themselves and the untrained twins.


# %%
def word_positions(x, n):
    """Row, place after the third letter, class of length, of n words in windows x."""
    found = []
    for i, row in enumerate(x.tolist()):
        text = "".join(SYMBOLS[c] for c in row)
        for start in range(1, LENGTH - 16):
            word = text[start:].split(" ")[0]
            if text[start - 1] == " " and len(word) >= 3:
                found.append((i, start + 3, (len(word) > 4) + (len(word) > 7)))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:n]
    return torch.tensor(found)[order].T


def three_letters(x, i, t):
    last = x[i[:, None], t[:, None] - torch.arange(1, 4)]
    return F.one_hot(last, len(SYMBOLS)).flatten(1).float()


def state_of(model, layer=-1):
    return lambda x, i, t: model.hidden(x)[layer][i, t]


# %%
READ = {
    "three letters": three_letters,
    "HMM, 12 states": lambda x, i, t: (
        hidden_markov.messages(wide, x).filtered[i, t - 1].float()
    ),
    "GRU, untrained": state_of(seeded(CharRNN)),
    "GRU": state_of(rnn),
    "GPT, untrained": state_of(seeded(build_gpt)),
    "GPT": state_of(gpt),
}
words = {
    p: (p, *word_positions(p, n)) for p, n in ((probe_train, 1000), (probe_test, 500))
}
accuracy = {}
for name, read in READ.items():
    with torch.no_grad():
        parts = [part for x, i, t, y in words.values() for part in (read(x, i, t), y)]
    accuracy[name] = evaluation.linear_probe(*parts).accuracy
classes = words[probe_test][3]
commonest = float(torch.bincount(classes).max() / len(classes))

# %% tags=["hide-input"]
fig = plots.bars(
    {name: 100 * value for name, value in accuracy.items()},
    "After three letters: short, middle or long?",
    chance=100 * commonest,
)
for bar, name in zip(fig.axes[0].patches, accuracy):
    bar.set_color(plots.GRAY if "untrained" in name else plots.COLORS[0])
plots.show(
    fig,
    alt="Bars of probe accuracy, percent: "
    + ", ".join(f"{name} {100 * v:.0f}" for name, v in accuracy.items())
    + f"; the commonest answer gets {100 * commonest:.0f}.",
)
three = accuracy["three letters"]
assert max(accuracy, key=accuracy.get) == "GRU" and accuracy["GRU"] > three + 0.03
assert accuracy["GRU, untrained"] > three - 0.02
assert max(accuracy["GPT"], accuracy["HMM, 12 states"]) < three + 0.02

# %% [markdown]
# In this run the GRU's state tells more about the word than its three letters do. Much of that was there before training: the
# untrained twin, random weights, remembers at least three letters, and a probe can use it. The GPT and the HMM do not get
# past the letters. One seed and 500 test words (two standard errors are four points): differences smaller than that say
# nothing, and whether a *good* language model would know more is not shown, since none here is good.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end of the notebook; skipping
# one breaks nothing.
#
# ### 1 · The forward recursion, with gaps (••, 12 minutes)
# The log-likelihood of one sequence under an HMM, in nats, where some symbols were not observed. `start` [S],
# `transition` [S, S], `emission` [S, V] are float tensors, `x` [T] is int64, and $-1$ stands for "not observed". Return
# $\log p$ of what was.
#
# <details><summary>Hint 1</summary>alpha is a vector over states; it starts as start * emission[:, x[0]].</details>
# <details><summary>Hint 2</summary>Row i of the transition matrix says where state i goes: alpha @ transition.</details>
# <details><summary>Hint 3</summary>Sum an unobserved symbol out: what do the emissions of a state add up to?</details>


# %%
def my_forward(start, transition, emission, x):
    return NOT_ATTEMPTED


ch03.check_forward_with_gap(my_forward)

# %% [markdown]
# ### 2 · Expected moves (••, 12 minutes)
# From the same four (no gaps): the expected number of moves from $i$ to $j$ given the whole text, $\sum_t\xi_t(i,j)$, as
# a tensor [S, S]. Plain $\alpha$ and $\beta$, without scaling; the texts are short. What must all entries add up to?
#
# <details><summary>Hint 1</summary>Two lists of vectors: alphas from the left, betas from the right.</details>
# <details><summary>Hint 2</summary>beta_t = transition @ (emission[:, x_t+1] * beta_t+1).</details>


# %%
def my_moves(start, transition, emission, x):
    return NOT_ATTEMPTED


ch03.check_moves(my_moves)

# %% [markdown]
# ## Where it comes from, where it went
#
# [Shannon (1951)](https://doi.org/10.1002/j.1538-7305.1951.tb01366.x) let people guess the next letter of English to
# measure its bits. HMMs carried speech recognition for decades ([Rabiner, 1989](https://doi.org/10.1109/5.18626));
# recurrent networks made the state a vector, and GPT replaced the state by looking back
# ([chapter 03](03_one_step_ahead.ipynb)).
#
# ### Quiz
#
# Why does Baum-Welch never lower the likelihood, although it never computes a gradient?
#
# <details><summary>Answer</summary>Each step maximises a lower bound that touches the log-likelihood at the present
# parameters. The new parameters raise the bound, and the likelihood lies above the bound.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def my_forward(start, transition, emission, x):
#     def seen(symbol):
#         return emission[:, symbol] if symbol >= 0 else torch.ones_like(start)
#
#     alpha = start * seen(x[0])
#     for symbol in x[1:]:
#         alpha = (alpha @ transition) * seen(symbol)
#     return alpha.sum().log()
#
#
# def my_moves(start, transition, emission, x):
#     # They add up to T - 1: one move between each two symbols.
#     alpha, beta = [start * emission[:, x[0]]], [torch.ones_like(start)]
#     for symbol in x[1:]:
#         alpha.append((alpha[-1] @ transition) * emission[:, symbol])
#     for symbol in x[1:].flip(0):
#         beta.insert(0, transition @ (emission[:, symbol] * beta[0]))
#     total = 0
#     for t in range(len(x) - 1):
#         after = emission[:, x[t + 1]] * beta[t + 1]
#         total = total + alpha[t][:, None] * transition * after
#     return total / alpha[-1].sum()
# ```
