# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12b · What can a row of a table teach without its label?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/12b_tables.ipynb)
#
# **After this chapter you can**
#
# - build pretexts for tables: which cells were replaced, what stood there, which row is this, which columns are missing;
# - say beforehand for which table they have no answer, and find out by a test that a pretext is solved by a shortcut;
# - compare pretraining with gradient boosting, nearest neighbours and label spreading so that they may win.
#
# **You need** [chapter 05](05_restore_the_image.ipynb) (restoring), [chapter 13](13_from_nce_to_nt_xent.ipynb)
# (InfoNCE) and [chapter 23](23_evaluation.ipynb) (few labels, fairly compared). **Time**: 22 minutes to read, about a
# minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("12b")

# %% [markdown]
# ## The puzzle: two tables, the same columns
#
# Two tables of 4,000 rows and 48 columns. Take any column: its values are the same in both, only in another order.
# Nobody gives you labels yet.

# %%
import copy

import torch

from ssl_lessons import evaluation, plots, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch12b
from ssl_lessons.book.widgets import suspects
from ssl_lessons.data.image_set import label_subset
from ssl_lessons.evaluation import evidence
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.tables import encoders, objectives, views, world
from ssl_lessons.training import fit

raw = {kind: world.drawn(kind, "train", 4000).x for kind in ("tied", "loose")}
for column in range(48):
    assert raw["tied"][:, column].sort()[0].equal(raw["loose"][:, column].sort()[0])
tables = {kind: world.split(kind) for kind in ("tied", "loose")}
train, test = tables["tied"]

# %% tags=["hide-input"]
fig, axes = plots.new_figure(6.4, 2.8, columns=2)
for ax, name in zip(axes, ("A", "B")):
    kind = {"A": "loose", "B": "tied"}[name]
    ax.imshow(raw[kind][:20], aspect="auto", cmap="viridis", vmin=-2, vmax=2)
    ax.set(title=f"table {name}", xlabel="column", ylabel="row", yticks=(0, 10))
alt = "Twenty rows of two tables as colours. Nothing tells them apart at a glance."
plots.show(fig, alt)

# %% [markdown]
# > **Predict before you go on.** (1) In each row some cells are replaced by the value of *another* row in the same
# > column. A network is trained to say which. In one of the tables it cannot do better than a coin, however large it
# > is. What is true of that table? (2) You get ten labels per class and 4,000 rows without. Who is right most often:
# > logistic regression, gradient boosting, a network trained on the labels, or the same network after a pretext? (3)
# > Fill the replaced cells with a *code* instead, a number that no row has, as tables write -999 for what is missing.
# > Will the network find them more often? Will its features be better?
#
# ## All that a row can teach
#
# Let $x \in \mathbb{R}^D$ be a row, $x_d$ its cell in column $d$, and $x_{-d}$ all others. Replace cells with
# probability $r$, each by a draw from its column's own distribution $p_d$ (the **empirical marginal**: the cell of a
# random row). Write $m_d = 1$ where a cell was drawn for replacement; below, $x$ is the row after it. If only $d$ may
# have been, Bayes' rule gives
#
# $$P(m_d = 1 \mid x) \;=\; \frac{r\, p_d(x_d)}{r\, p_d(x_d) + (1 - r)\, p(x_d \mid x_{-d})} .$$
#
# Look at what the mask depends on: how much *more* probable the others make this value. Where columns are independent,
# $p(x_d \mid x_{-d}) = p_d(x_d)$, and the answer is $r$ for every cell of every row. With several cells replaced at
# once it is the same: the spoiled row then has exactly the distribution of a clean one. The best guess for a replaced
# cell is then the mean of its column, and a loss that asks for values learns to shrink each cell towards its column's
# mean, one by one. **Mask and values can teach what ties columns together, and little else.**
#
# Corruption is four lines. The loss of **VIME** is the mask's cross-entropy plus $\alpha$ times the squared error
# of the restored row, all columns scaled to run from 0 to 1.


# %%
def corrupt(x, pool, rate, generator):
    chosen = torch.rand(x.shape, generator=generator) < rate
    rows = torch.randint(len(pool), x.shape, generator=generator)  # a row for each cell
    corrupted = torch.where(chosen, pool.gather(0, rows), x)
    return corrupted, corrupted != x  # equal values are not counted (none here)


x = raw["tied"]
spoiled, mask = corrupt(x, x, 0.3, torch.Generator().manual_seed(0))
ours, same = views.corrupt(x, x, 0.3, torch.Generator().manual_seed(0))
assert spoiled.equal(ours) and mask.equal(same)


# %%
def find_replaced(kind: str, fill: str = "marginal", steps: int = 600):
    """Train a mask predictor; the task, and how well it ranks cells of new rows."""
    rows, others = tables[kind]
    torch.manual_seed(0)
    net = encoders.RowNet(columns=48).to(device)
    task = objectives.Vime(net, rows.x, rate=0.3, values=False, fill=fill)
    fit(task.to(device), task, steps, lr=3e-3)
    return task, task.detection(others.x, torch.Generator().manual_seed(1))


found = {kind: find_replaced(kind)[1] for kind in tables}
for kind, area in found.items():
    print(f"{kind}: a replaced cell is suspected more than another in {area:.0%}")
assert found["tied"] > 0.55 and abs(found["loose"] - 0.5) < 0.03

# %% [markdown]
# That is (1). Table A, `loose`, is table B with every column shuffled on its own: independent columns, and a coin. In
# table B, `tied`, three blocks of sixteen columns each hide a *place*, one of eight on a ring, seen by every column
# from its own angle $\varphi_d$, under noise:
#
# $$x_d \;\propto\; \sqrt 2 \cos\!\big(2\pi\, \text{place} / 8 - \varphi_d\big) + \sigma\,\epsilon , \qquad \sigma = 0.6 .$$
#
# The label is the first block's place modulo 4. So two *opposite* places share a label, the mean of every class is
# zero, and a linear fit finds nothing: its best weights are zero. In `loose` the label is a rule about six columns, and
# a linear one at that.
#
# ## Six questions for one network
#
# | method | what it asks |
# |---|---|
# | mask | which cells were replaced? |
# | values | what stood there? (a denoising autoencoder) |
# | **VIME** | both |
# | **SCARF** | find your corrupted self among the rows of the batch (InfoNCE, 60 % replaced) |
# | **SubTab** | from four tenths of the columns restore the row; all subsets of it near each other |
# | **SAINT** | cells cut in from another row, embeddings mixed with a third; find yourself, and be restored |
#
# The encoder is the same for all: 48 (or $D$) inputs, two hidden layers of 128, 64 features. SAINT's own network
# attends over columns *and rows*; here an MLP stands in, so this tests its pretext, not its network. SubTab's encoder
# takes the values of a subset alone; here missing columns are zero. The last three are contrasts: even where columns
# are independent they can be solved, by recognising cells that were left alone. What this teaches is another matter.

# %%
TRY = ("mask", "values", "VIME", "SCARF", "SubTab", "SAINT")
make = objectives.tasks(lambda: encoders.RowNet(columns=48).to(device), train.x)


def probe(features, per_class: int = 50, draws: int = 2) -> float:
    """A linear probe on frozen features, mean over draws of labels."""
    a, b = features(train.x), features(test.x)
    rows = evaluation.label_efficiency(a, train.y, b, test.y, (per_class,), draws)
    return rows[0]["mean"]


torch.manual_seed(0)
fresh = encoders.RowNet(columns=48)
live = {"the columns themselves": probe(lambda x: x)}
live["untrained network"] = probe(lambda x: encoders.features(fresh, x))
for name in TRY:
    torch.manual_seed(0)
    task = make[name]().to(device)
    fit(task, task, steps=400, lr=3e-3)
    live[name] = probe(task.features)

# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance", "right": "25"}]
    + [{"arm": k, "right": f"{100 * v:.0f}"} for k, v in live.items()],
    "Tied table, linear probe with 50 labels per class, after 400 steps: right (%)",
    {"arm": "features", "right": "right"},
)
assert live["the columns themselves"] < 0.4  # a linear fit finds nothing
assert min(live["mask"], live["VIME"]) > live["values"] > live["untrained network"]

# %% [markdown]
# One seed, half the steps: a taste. The record has three seeds, three draws of labels, and settings tuned on held-out
# train rows: each arm, library methods included, chooses one of three settings at most, and a fine-tuned one a rate of
# fine-tuning beside it. The drawn tables were designed on other seeds than those recorded.
#
# ## What ten labels and 4,000 rows are worth

# %%
record, origin = book.recorded("tables")


def of(part: str, table: str, arm: str, key: str, count: int = 10) -> list[float]:
    """One value per seed, the mean over draws of labels."""
    where = {"part": part, "table": table, "arm": arm}
    found = book.per_seed([r for r in record if key in r], key, **where)
    return [mean(v[str(count)]) if isinstance(v, dict) else v for v in found]


def mean(values) -> float:
    return sum(values) / len(values)


def spread(values) -> str:
    a, b, c = (100 * v for v in (mean(values), min(values), max(values)))
    return f"{a:.0f} ({b:.0f} to {c:.0f})"


COUNTS = (10, 50)
LIBRARY = (
    "logistic regression", "nearest neighbours", "PCA, logistic",
    "PCA, nearest neighbours", "label spreading", "boosting", "boosting, as it comes",
)  # fmt: skip


# %% tags=["hide-input"]
def rows_for(table: str) -> list[dict]:
    rows = [{"arm": a} | cells(table, a, ("probe",)) for a in LIBRARY]
    rows += [{"arm": "untrained"} | cells(table, "untrained", ("probe",))]
    rows += [{"arm": "from scratch"} | cells(table, "from scratch", ("fine",))]
    return rows + [{"arm": a} | cells(table, a, ("probe", "fine")) for a in TRY]


def cells(table: str, arm: str, keys) -> dict:
    pairs = [(key, n) for key in keys for n in COUNTS]
    return {f"{k} {n}": spread(of("labels", table, arm, k, n)) for k, n in pairs}


def show(table: str) -> None:
    heads = {"arm": "method"} | {f"probe {n}": f"frozen, {n}" for n in COUNTS}
    heads |= {f"fine {n}": f"whole network, {n}" for n in COUNTS}
    title = f"{table}: right (%) by labels per class, mean and range over seeds"
    plots.table(rows_for(table), title, heads)


show("tied")
print(origin)

# %%
frozen = {a: of("labels", "tied", a, "probe") for a in (*LIBRARY, *TRY)}
best = max(frozen, key=lambda a: mean(frozen[a]))
print(f"10 labels per class, nothing fine-tuned: {best} ({mean(frozen[best]):.0%})")
scratch = of("labels", "tied", "from scratch", "fine")
for name in TRY:
    tuned = of("labels", "tied", name, "fine")
    print(f"{name:>8} fine-tuned: {evidence.compare(tuned, scratch, learns='none')}")

# %%
fine = {a: mean(of("labels", "tied", a, "fine")) for a in TRY}
assert mean(frozen["logistic regression"]) < 0.3 < mean(frozen["boosting"])
assert abs(mean(frozen["boosting"]) - mean(scratch)) < 0.04
assert min(fine["SCARF"], fine["SAINT"]) > mean(scratch) + 0.03
many = {a: mean(of("labels", "tied", a, "fine", 50)) for a in ("from scratch", *TRY)}
assert max(many.values()) < many["from scratch"] + 0.02
assert many["mask"] < many["from scratch"] - 0.02

# %% [markdown]
# That is (2). Logistic regression sees nothing; tuned boosting and a network from scratch are about level; after SCARF
# or SAINT the network is a few points ahead, and of six comparisons one, SAINT's, holds (uncorrected). With 50 labels
# nothing is ahead by two points, and the mask is behind. The record's mask and VIME are *below* the taste above: its
# rates were chosen after half the steps, in one world, often at the edge of the list; why they did not carry over is
# not measured.
#
# *Frozen* columns are read by logistic regression, or are the library's own method; compare these with each other.
# *Whole network* columns train everything; compare fine-tuned with from scratch. What the table does not show: other
# networks, or more steps.
#
# Why are "mask" and "values" not the same question? To restore a cell you may be content with a weighted sum of the
# others, and a weighted sum knows no place on a ring. How far does the best one go?

# %%
restored, network = {}, make["values"]().to(device)
fit(network, network, steps=400, lr=3e-3)
hidden, mask = views.corrupt(test.x, train.x, 0.3, torch.Generator().manual_seed(2))
spoiled, _ = views.corrupt(train.x, train.x, 0.3, torch.Generator().manual_seed(3))
weights = torch.linalg.lstsq(spoiled, train.x).solution  # [48, 48], no label used
with torch.no_grad():
    guess = network.values(network.encoder(hidden.to(device))).cpu()
for name, value in (("weighted sums", hidden @ weights), ("the network", guess)):
    error = (value - test.x)[mask].square().mean() / test.x[mask].square().mean()
    restored[name] = float(1 - error)
    print(f"{name}: {1 - error:.0%} of the variation of replaced cells is restored")
assert 0.2 < restored["weighted sums"] < restored["the network"]

# %% [markdown]
# Compare the two numbers: what lies between them is what this network gained by being non-linear, in 400 steps. Most of
# what it restores, a weighted sum restores, too. No weighted sum gives the mask: its best answer is the ratio above.
#
# That is why the weight $\alpha$ matters in VIME, and the unit that it is measured in. The paper's columns run from 0
# to 1, and its code has $\alpha = 2$. In deviations, the unit of our rows, errors are larger:

# %%
span = train.x.amax(dim=0) - train.x.amin(dim=0)  # [48]
print(f"alpha = 2 is {2 * span.square().reciprocal().mean():.2f} in deviations")

# %% tags=["hide-input"]
WEIGHTS = {"mask": "0: mask alone", "alpha 0.1": "0.1", "VIME": "2", "alpha 30": "30"}


def weighed(arm: str, key: str) -> list[float]:
    return of("weights" if arm.startswith("alpha") else "labels", "tied", arm, key)


plots.table(
    [
        {"alpha": text} | {k: spread(weighed(a, k)) for k in ("detection", "probe")}
        for a, text in WEIGHTS.items()
    ],
    "VIME, tied table: replaced cells found (area, %); linear probe (10 labels, %)",
    {"alpha": "weight of the values", "detection": "found", "probe": "right"},
)
print(origin)
assert mean(weighed("VIME", "detection")) > mean(weighed("alpha 30", "detection"))
heavy = [mean(weighed(a, "probe")) for a in WEIGHTS]
assert heavy[0] > max(heavy[1:]) + 0.05

# %% [markdown]
# Give errors in deviations a weight near 1, and that is the last row: the values drown the mask, and fewer of the
# replaced cells are found. A weight means nothing without its unit. (The probe does not follow: any $\alpha > 0$ is
# worse than the mask alone, even 0.1, which finds as many. Why is not measured.)
#
# ## Honest tables
#
# Handwritten digits as 64 gray values, order of the columns forgotten; 30 measurements of breast tumours; and `loose`,
# the control. A real table has one split; its seeds differ in first weights, batches and labelled rows.

# %% tags=["hide-input"]
for name in ("digits", "cancer", "loose"):
    show(name)
print(origin)

# %%
for table in ("digits", "cancer", "loose"):
    simple = {a: of("labels", table, a, "probe") for a in LIBRARY}
    first = max(simple, key=lambda a: mean(simple[a]))
    whole = {a: of("labels", table, a, "fine") for a in ("from scratch", *TRY)}
    net = max(whole, key=lambda a: mean(whole[a]))
    ahead = 100 * (mean(whole[net]) - mean(simple[first]))
    print(f"{table}: {first} against {net}, fine-tuned: {ahead:+.0f} points")
    assert ahead < 2
    expected = {"digits": "label spreading", "loose": "logistic regression"}
    assert first == expected.get(table, first) and (ahead < -1 or table == "cancer")
digits = [mean(of("labels", "digits", a, "fine")) for a in ("SAINT", "from scratch")]
assert digits[0] > digits[1] + 0.02

# %% [markdown]
# Both names are picked after the fact, the best of several on either side: read the whole tables. Read the library's
# rows first; where one of them wins, pretraining was not worth its time. With ten labels label spreading is ahead on
# the digits and logistic regression on `loose`; on cancer it is level, and no network is ahead by two points. On the
# digits pretraining still lifts the *same* network: SAINT, fine-tuned, is ahead of from scratch. Note the two rows of
# boosting. *As it comes*, a leaf needs twenty rows, and with so few labels hardly a split is allowed: beat the tuned
# row, not this one. Note label spreading, which uses unlabelled rows, too, and no network.
#
# ## What goes wrong: the fill betrays itself
#
# Fill with a normal number, the column's mean, or a code far outside, and train the same mask predictor.

# %%
worth = {}
for fill in views.FILLS:
    task, area = find_replaced("tied", fill)
    worth[fill] = probe(task.features)
    print(f"fill {fill}: found {area:.0%}, features {worth[fill]:.0%} right")
assert area > 0.95 and worth["code"] < 0.45 < worth["marginal"]  # the last is the code
shuffled = {f: find_replaced("loose", f)[1] for f in ("marginal", "code")}
print("every column shuffled:", {f: f"{a:.0%}" for f, a in shuffled.items()})
assert shuffled["code"] > 0.95 > 0.53 > shuffled["marginal"]

# %% tags=["hide-input"]
plots.table(
    [
        {"fill": f}
        | {f"{t} found": spread(of("fills", t, f, "detection")) for t in tables}
        | {"probe": spread(of("fills", "tied", f, "probe"))}
        for f in views.FILLS
    ],
    "Area under the ROC curve (%), and what the features are worth (tied, right, %)",
    {"fill": "filled with", "tied found": "found in tied"}
    | {"loose found": "found in loose", "probe": "linear probe"},
)
print(origin)

# %% [markdown]
# That is (3): with a code the pretext is solved, cell by cell, without one look at another column, and the features are
# worth little. The last line is a test that you can take with you: **shuffle every column on its own and train the
# pretext again. Whatever is still solved is a shortcut.** A marginal fill passes if values never repeat. If they do,
# "changed" betrays rare values, $r\,(1 - p_d(x_d))$: compare with that, or count drawn cells. A shortcut need not ruin
# the features: the mean is found in the shuffled table, too, and what it teaches is worth as much as what the marginal
# fill teaches. The code's features are below the untrained network's.
#
# ## How much to replace

# %% tags=["hide-input"]
SHARES = (0.1, 0.3, 0.6, 0.9)
plots.table(
    [
        {"arm": a}
        | {s: spread(of("rates", "tied", f"{a}, {s}", "probe")) for s in SHARES}
        for a in ("mask", "values", "SCARF")
    ],
    "Linear probe (right, %, 10 labels per class) by the share of cells replaced",
    {"arm": "question"} | {s: f"{s:.0%}" for s in SHARES},
)
print(origin)

# %%
by_share = {
    a: [mean(of("rates", "tied", f"{a}, {s}", "probe")) for s in SHARES]
    for a in ("mask", "values")
}
assert max(by_share["mask"]) == by_share["mask"][0] > by_share["mask"][3] + 0.2
assert min(by_share["values"][2:]) > max(by_share["values"][:2])
assert by_share["mask"][3] < 0.3

# %% [markdown]
# The mask is best with 10 % and near chance with 90 %; values are best with 60 % or more; SCARF's ranges overlap. A
# guess: a mask needs others that can vouch. (Rates were tuned for the default share alone.)
#
# ## Labels that are there already
#
# A few rows do have labels. **Target-aware** pretraining adds their cross-entropy to the pretext, and fine-tunes
# afterwards as ever.

# %% tags=["hide-input"]
plots.table(
    [
        {"table": t, "arm": a, "fine": spread(of("aware", t, a, "fine"))}
        for t, p in (("tied", "mask"), ("tied", "values"), ("digits", "values"))
        for a in (p, f"{p}, labels too")
    ],
    "Fine-tuned with 10 labels per class, right (%)",
    {"table": "table", "arm": "pretext", "fine": "right"},
)
print(origin)

# %%
pairs = (("tied", "mask"), ("tied", "values"), ("digits", "values"))
for t, p in pairs:
    gain = evidence.compare(
        of("aware", t, f"{p}, labels too", "fine"),
        of("aware", t, p, "fine"),
        learns="none",
    )
    assert gain.word != evidence.HOLDS and abs(gain.estimate) < 0.03

# %% [markdown]
# No difference that three seeds can see. (In the paper all rows have labels.)
#
# ## A leak worth a minute
#
# Standardise by *train* rows. How much does it matter if all rows have a say?

# %%
gaps = []
for seed in range(20):
    a, b = world.real("wine", seed)
    both = world.Table(torch.cat([a.x, b.x]), torch.cat([a.y, b.y]), {})
    rows = label_subset(a.y, 5, seed=seed)
    right = [
        evaluation.knn_accuracy(t.x[rows], t.y[rows], v.x, v.y, k=3)
        for t, v in (world.standardised(a, b), world.standardised(both, a, b)[1:])
    ]
    gaps.append(right[1] - right[0])
estimate, low, high = evidence.interval(gaps)
low, high, estimate = (100 * v for v in (low, high, estimate))
print(f"test rows in the mean: {estimate:+.1f} points [{low:+.1f}, {high:+.1f}]")
assert abs(estimate) < 3  # small

# %% [markdown]
# Small here, one table and twenty splits, because test rows are like train rows. Do it right anyway: tomorrow's rows
# come one by one and perhaps from elsewhere, and then there is no "mean of all rows". The same holds for the pool of
# marginal fills.
#
# ## Play: who is suspected?
#
# A network was trained for each table and fill, with 30 % of the cells replaced. **Can you make cells of the loose
# table suspicious? At which rate does it stop finding them in the tied one?**

# %%
widgets.explore(
    suspects.render,
    suspects.CONTROLS,
    static=[{}, {"kind": "loose"}, {"kind": "loose", "fill": "code"}, {"rate": 0.9}],
    captions=["tied", "loose", "loose, filled with a code", "tied, 90 % replaced"],
    alt=suspects.describe,
    columns=2,
)
assert suspects.detection(0.3, "code", "loose") > 0.95
assert suspects.detection(0.3, "marginal", "loose") < 0.55
tied = [suspects.detection(rate, "marginal", "tied") for rate in (0.3, 0.9)]
assert tied[0] > tied[1]

# %% [markdown]
# In the loose table, by the fill alone. In the tied one suspicion fades as fewer cells are left to vouch for each
# other.
#
# ## Exercises
#
# Replace a stub, run the cell, and read what the checker says. Solutions stand at the end; skipping one breaks nothing.
#
# ### 1 · How suspicious may it be? (••, 8 minutes)
# `joint` is a float tensor `[A, B]`, the probabilities of pairs in a table of two columns. The second cell is replaced
# with probability `rate` (float) by a draw from its marginal; the first never. Return `[A, B]`: the chance that the
# second was drawn for replacement, given the pair that you see.
#
# <details><summary>Hint</summary>Two ways to see (a, b): replaced, with probability rate p(a) p(b), or not, with (1 - rate) p(a, b).</details>


# %%
def suspicion(joint: torch.Tensor, rate: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch12b.check_suspicion(suspicion)

# %% [markdown]
# ### 2 · How many cells change? (•, 5 minutes)
# A column has K values with probabilities `p` (float tensor `[K]`). Cells are replaced with probability `rate` by a
# draw from `p`. Return the share of cells with another value than before. Then: a column is "no" in 99 % of the rows.
# What does a rate of 60 % do to it?


# %%
def changed(p: torch.Tensor, rate: float) -> float:
    return NOT_ATTEMPTED


ch12b.check_changed(changed)

# %% [markdown]
# ### 3 · Whose mean? (•, 5 minutes)
# `train` `[N, D]` and `new` `[M, D]` are float tensors. Return `new`, every column standardised as you would before
# a network trained on `train` sees it.


# %%
def standardise(train: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    return NOT_ATTEMPTED


ch12b.check_standardise(standardise)

# %% [markdown]
# ### 4 · What a linear eye sees (••, 10 minutes)
# A ring has `places` places (int), each as frequent; the label is the place modulo `classes` (int). A column shows
# $\sqrt 2 \cos(2\pi\, \text{place} / \text{places} - \text{angle})$. Return the mean of the column in each class, a
# tensor `[classes]`. With 8 places, for which numbers of classes could a *fitted* logistic regression tell one class
# from another?
#
# <details><summary>Hint</summary>With 8 places and 4 classes, a class has two places, opposite each other.</details>


# %%
def class_means(places: int, classes: int, angle: float) -> torch.Tensor:
    return NOT_ATTEMPTED


ch12b.check_class_means(class_means)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv).

# %%
untrained = of("labels", "tied", "untrained", "probe")
arms = {a: of("labels", "tied", a, "probe") for a in ("SAINT", "SAINT, contrast only")}
book.claim("C-155a", drawn=Runs(*arms.values(), floor=untrained))
aware = [of("aware", "tied", a, "fine") for a in ("values, labels too", "values")]
book.claim("C-155b", drawn=Runs(*aware))
vime, values = (of("labels", "tied", a, "probe") for a in ("VIME", "values"))
book.claim("C-320", drawn=Runs(vime, values, floor=untrained))
book.claim("C-321", drawn=Runs(of("labels", "tied", "SCARF", "fine"), scratch))

# %%
three = ("SCARF", "values", "SAINT")
scarf, values, saint = (of("labels", "digits", a, "fine") for a in three)
book.claim("C-322", drawn=Runs(scarf, values))
book.claim("C-324", drawn=Runs(saint, of("labels", "digits", "boosting", "probe")))
three = ("SubTab, values only", "values", "untrained")
subset, corrupted, floor = (of("labels", "digits", a, "probe") for a in three)
book.claim("C-323", drawn=Runs(subset, corrupted, floor=floor))

# %% [markdown]
# ## Where it comes from, where it went
#
# Mask and values: [VIME](https://vanderschaar-lab.com/papers/NeurIPS2020_VIME.pdf); the mask alone, on tables with
# words in their cells: [TABBIE](https://arxiv.org/abs/2105.02584). It is replaced token detection ([chapter
# 08](08_the_missing_word.ipynb)) with a generator that only knows columns. Contrast with the same corruption:
# [SCARF](https://arxiv.org/abs/2106.15147). Subsets of columns: [SubTab](https://arxiv.org/abs/2110.04361). Mixed rows,
# and attention between rows: [SAINT](https://arxiv.org/abs/2106.01342). Compared on equal terms, with labels in the
# pretext: [Rubachev et al. (2022)](https://arxiv.org/abs/2207.03208). A [survey](https://arxiv.org/abs/2402.01204).
#
# ## Two questions
#
# **1.** A mask predictor reaches 0.99 on your table. What do you do before you rejoice?
# <details><summary>Answer</summary>Shuffle every column on its own and train it again. If it still reaches 0.99, the fill, or how frequent a value is, betrays the cell (rounding, a code, a rare value), and no column was compared with another.</details>
#
# **2.** A table's columns are independent *given the label*. Is there nothing to learn without labels?
# <details><summary>Answer</summary>There is: the label ties them. Two cells that both speak for one class vouch for each other. Only if columns are independent outright, and no value repeats, is the mask a coin.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def suspicion(joint, rate):
#     replaced = rate * joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
#     return replaced / (replaced + (1 - rate) * joint)
#
#
# def changed(p, rate):
#     # "no" in 99 %: 1 - 0.9802 = 2 % of the cells could change, and 60 % of these do.
#     return rate * (1 - p.square().sum())
#
#
# def standardise(train, new):
#     return (new - train.mean(dim=0)) / train.std(dim=0)
#
#
# def class_means(places, classes, angle):
#     # Not with 2 or 4 classes: there each stands evenly round the ring, and every mean is zero.
#     place = torch.arange(places)
#     column = 2**0.5 * torch.cos(2 * torch.pi * place / places - angle)
#     return torch.stack([column[place % classes == c].mean() for c in range(classes)])
# ```
