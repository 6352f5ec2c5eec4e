# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     gpuType: T4
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 25 · How do you pretrain an encoder on 100,000 photographs, and know that it worked?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/25_capstone_stl10_simclr.ipynb)
#
# **After this chapter you can** plan a SimCLR run for the machine you have, start it, lose the connection, resume it
# to the same result, and judge the encoder honestly: with few labels, against the baselines, over several draws.
#
# **You need** [chapter 00](00_start_here.ipynb); [chapter 13](13_from_nce_to_nt_xent.ipynb) for the loss.
# **Time**: 33 minutes to read. As it stands the notebook is a **rehearsal**: about one minute on two CPU cores, with
# small drawn pictures. With a GPU and STL-10 it is the real thing, and takes hours.

# %%
try:
    import ssl_lessons
except ImportError:  # Colab
    import os

    os.system("pip install -q git+https://github.com/ssl-lessons/ssl-lessons")
from ssl_lessons import book

device = book.setup("25")

# %% [markdown]
# ## Your decisions
#
# Everything you may want to change is in this cell. Leave it alone for the rehearsal. On a Colab T4, set
# `REHEARSAL = False` **and** `IMAGES = "stl10"`: STL-10 (one archive of 2.6 GB, [Coates et al.
# 2011](https://proceedings.mlr.press/v15/coates11a.html)) is used where it lies, and downloaded where it does not. In a
# classroom, `MIRROR` may name one laptop that serves the archive to all.

# %%
REHEARSAL = True  # False: the full build, as long as MINUTES allow
IMAGES = "auto"  # "auto", "stl10", "cifar10", "shapes", or a folder with one sub-folder per class
RECIPE = None  # None: "quick" for the rehearsal, "recommended" for the build; or "published"
MINUTES = None  # None: all epochs of the recipe; or a budget such as 90
MIRROR = None  # for example "http://192.168.0.10:8000"
SEED = 0

# %% [markdown]
# ## The puzzle: does this recipe hold together?
#
# A page on the web offers a complete build. In short: ResNet-18 with a two-layer projection head "2048 to 512", batch
# 256, temperature 0.07, SGD (stochastic gradient descent) with learning rate 0.5, momentum 0.9, weight decay 1e-4 and a cosine schedule; 100 epochs
# on STL-10 in about three hours on a T4; the loss should settle "around 2.5", and a linear probe on 5 % of the labels
# should pass 70 %.
#
# **Before you spend three hours, predict**: which of these numbers cannot be right, which are right only by luck, and
# which can you check without training anything?

# %%
import math
import tempfile
from pathlib import Path

import torch

from ssl_lessons import data, diagnostics, evaluation, exercises, plots, views, widgets
from ssl_lessons.book import capstone
from ssl_lessons.book.exercises import ch25
from ssl_lessons.methods import Supervised
from ssl_lessons.models import encoders, settle
from ssl_lessons.training import default_monitor, pretrain, recipes

print(
    f"a ResNet-18 hands {encoders.ResNet18.dim} numbers to its head; a head that expects 2048 cannot be attached"
)

views_seen = 2 * 100 * 100_000
print(
    f"100 epochs of two views are {views_seen:.0e} augmented pictures: {views_seen / (3 * 3600):.0f} per second for 3 h"
)
print(f"the loss of a network that knows nothing is log(2 * 256 - 1) = {math.log(511):.2f}")

# %% [markdown]
# So the head has to be read as 512 → 2048 → 512, and the augmentation has to deliver some two thousand views per
# second, which a two-core Colab machine cannot do one picture at a time; it has to happen on the GPU, in batches. And
# "2.5"? The loss depends on the temperature as much as on what was learned. Take a *fixed* geometry, partners at a
# cosine of 0.7 and all other views spread evenly over the sphere, and change nothing but $\tau$:

# %%
generator = torch.Generator().manual_seed(SEED)
z = torch.nn.functional.normalize(torch.randn(510, 128, generator=generator), dim=1)


def loss_of_fixed_geometry(temperature: float, positive_cosine: float = 0.7) -> float:
    """NT-Xent of one view: its partner at a given cosine, 510 other views uniform on the sphere in 128-d."""
    others = torch.cat([torch.tensor([positive_cosine]), z[:, 0]]) / temperature
    return float(torch.logsumexp(others, 0) - others[0])


plots.table(
    [{"temperature": t, "loss": loss_of_fixed_geometry(t)} for t in (0.07, 0.1, 0.2, 0.5)],
    caption="One and the same representation, four temperatures: there is no right number for the loss",
    floatfmt=".2f",
)

# %% [markdown]
# A loss target without a temperature, a batch size and a picture of the cosines is no target. What remains to be
# tested is the optimiser and the promise of 70 %. For that you need a plan, a run and a fair judge.

# %% [markdown]
# ## Two recipes, by name
#
# The package holds both: `published`, as the page prints it (with the head that fits), and `recommended`, ours. You can
# start either from a terminal, for example `ssl-lessons pretrain --recipe recommended --data stl10 --out runs/build`.


# %%
def describe(name: str) -> dict:
    r = recipes.get_recipe(name)
    p, head = r.policy, r.options
    encoder = f"{r.encoder} {r.encoder_options or ''}".strip()
    return {
        "recipe": name,
        "encoder": encoder,
        "view": f"{p.size} px",
        "crop area": f"{p.crop_scale[0]:g} to {p.crop_scale[1]:g}",
        "jitter b/c/s/h": "/".join(f"{v:g}" for v in (p.brightness, p.contrast, p.saturation, p.hue)),
        "gray": f"{p.grayscale_p:g}",
        "blur": f"{p.blur_p:g}",
        "temperature": f"{head['temperature']:g}",
        "head": f"{head.get('hidden_dim', 'd')}-{head.get('out_dim', 128)}"
        + ("" if head.get("batch_norm", True) else ", no BN"),
        "optimiser": f"{r.optimizer} {r.lr:g}",
        "decay": f"{r.weight_decay:g}",
        "warm-up": f"{r.warmup:.0%}",
        "epochs": str(r.epochs),
    }


described = [describe(name) for name in ("published", "recommended", "quick")]
plots.table(
    [{"": key} | {row["recipe"]: row[key] for row in described} for key in described[0] if key != "recipe"],
    caption="Three presets of ssl_lessons.training.recipes",
)

# %% [markdown]
# Why ours differs. The **3x3 stem with its max-pool** keeps detail that a 7x7 stride-2 stem throws away at this size. It is
# dear: even on **64-pixel views**, with less than half the pixels of 96-pixel ones, a step takes longer than one of the
# published recipe, and the same hours hold fewer epochs ([chapter 24](24_pipeline_and_scale.ipynb) estimates the minutes).
# **Crops** of at least a fifth of the area keep the object in view. **SGD at 0.06 with a warm-up** is a usual rate for this
# optimiser and batch; the one that SimCLR scales, $0.3 \times B/256$, belongs to LARS (layer-wise adaptive rate scaling)
# ([Chen et al. 2020](https://arxiv.org/abs/2002.05709), section 2.2; [You et al. 2017](https://arxiv.org/abs/1708.03888)).
# **BatchNorm in the head** is in SimCLR's own code. None of this is law. It is where we would start.

# %% [markdown]
# ## The plan: which pictures, where to, how long
#
# For the rehearsal `capstone.choose_images` draws the embedded world in STL-10's layout: a large unlabelled split, a train
# split with ten predefined folds of 1,000, and a test split. The build takes the pictures you name, or STL-10 where it lies;
# where it does not, it stops and asks instead of training on drawings. `capstone.run_folder` keeps
# checkpoints on Google Drive when it is mounted, so that they outlive a Colab machine. `capstone.plan` times a few real
# steps of the recipe on this very machine and says what fits.

# %%
recipe_name = RECIPE or ("quick" if REHEARSAL else "recommended")
recipe = recipes.get_recipe(recipe_name)
images = capstone.choose_images(IMAGES, recipe.policy.size, rehearsal=REHEARSAL, mirror=MIRROR, world=1)
budget = capstone.plan(recipe, images.unlabeled, MINUTES, steps=180 if REHEARSAL else None)
out = (
    Path(tempfile.mkdtemp()) / "rehearsal"
    if REHEARSAL
    else capstone.run_folder(f"{images.name}-{recipe_name}")
)

print(
    f"pictures: {images.name}: {len(images.unlabeled):,} unlabelled of {images.unlabeled.size} px, "
    f"{len(images.train):,} train in {len(images.train.folds)} folds, {len(images.test):,} test"
)
print(f"recipe:   {recipe_name}")
print(f"budget:   {budget.sentence()}")
if REHEARSAL:
    print(
        "THIS IS THE REHEARSAL: small drawn pictures and a short run. It shows that everything works; it is not the result."
    )

# %%
first = images.unlabeled.images[:8]
pair = views.make_views(first, (recipe.policy,) * 2, torch.Generator().manual_seed(SEED))
shown = torch.cat(
    [views.denormalize(views.normalize(first, recipe.policy.size)), *map(views.denormalize, pair)]
)
plots.show(
    plots.image_grid(shown, columns=8, title="What the network will see: pictures, and two views of each"),
    alt="Eight unlabelled pictures and two random views of each.",
)

# %% [markdown]
# ## The run, with an accident
#
# A Colab machine may be taken from you at any moment. So the run writes a checkpoint now and then: weights, optimiser,
# schedule and random state, first to a temporary file that is then renamed, with the checkpoint before it kept in
# reserve. Batch $t$ and its augmentations depend on the seed and on $t$ alone. A resumed run therefore ends, on a CPU,
# with *the same weights to the last bit* as one that was never interrupted.
#
# In the rehearsal you can watch it: the run below is cut off half way, and then simply started again.

# %%
torch.manual_seed(SEED)
simclr = recipe.build(SEED)


def run(on_measure=None) -> list[dict]:
    """Start the run, or continue it where its last checkpoint stands."""
    return pretrain(
        simclr,
        images.unlabeled.images,
        (recipe.policy,) * 2,
        steps=budget.steps,
        seed=SEED,
        monitor=default_monitor(images.train, budget.steps, images=500),
        out=out,
        resume=True,
        checkpoint_every=max(1, budget.steps // 8),
        on_measure=on_measure,
        **recipe.training(),
    )


def accident(history: list[dict]) -> None:
    if REHEARSAL and len(history) >= budget.steps // 2:
        raise ConnectionError(f"the machine is gone after step {len(history)}")


try:
    history = run(on_measure=accident)
except ConnectionError as error:
    print(error)

# %%
simclr = recipe.build(SEED)  # a new machine knows nothing of the old one's memory
history = run()
print(
    f"resumed and finished: {len(history)} steps; files: {', '.join(sorted(p.name for p in out.iterdir()))}"
)

# %%
plots.show(
    plots.training_panel(
        history,
        title="One run in two halves: loss, quality and collapse measures go on where they stopped",
        chance=1 / len(images.train.classes),
        chance_loss=math.log(2 * recipe.batch_size - 1),
    ),
    alt="Training curves of the interrupted and resumed run: loss, online kNN accuracy, feature spread and rank.",
)

# %% [markdown]
# ## The judge
#
# **Protocol.** Frozen features, `eval()` mode. Labelled pictures are drawn from the train split, the same number from
# every class. The regularisation of each probe is chosen by cross-validation inside its own labels. The test split
# is only scored. Against every number of labels stand the **untrained encoder** and the **supervised baseline**: the
# same network, trained from scratch on exactly those labels with the same augmentation.
#
# ### How many labels do you need?

# %%
PER_CLASS, CURVE_DRAWS, SUPERVISED_DRAWS = (5, 10, 25), 2, 1  # and ten draws of the last
SUPERVISED_STEPS = 300 if REHEARSAL else 1000

fresh = encoders.untrained(simclr.encoder, seed=SEED + 1).to(device)
features = {
    name: tuple(evaluation.extract_features(encoder, s.images) for s in (images.train, images.test))
    for name, encoder in (("SimCLR", simclr.encoder), ("untrained", fresh))
}


def curve(name: str, per_class: tuple[int, ...], draws: int) -> list[dict]:
    train_x, test_x = features[name]
    return evaluation.label_efficiency(
        train_x, images.train.labels, test_x, images.test.labels, per_class=per_class, draws=draws, seed=SEED
    )


def supervised(per_class: int, draw: int) -> float:
    """Test accuracy of the same encoder trained from scratch on one stratified draw of labels."""
    few = images.train[data.label_subset(images.train.labels, per_class, seed=SEED + draw)]
    torch.manual_seed(draw)
    model = Supervised(encoders.untrained(fresh, seed=draw), len(images.train.classes))
    pretrain(
        model, few.images, (recipe.policy,), labels=few.labels, steps=SUPERVISED_STEPS, lr=3e-3, seed=draw,
        batch_size=min(50, len(few)), progress=False,
    )  # fmt: skip
    h = evaluation.extract_features(model.encoder, images.test.images)
    with torch.no_grad():
        logits = model.classifier.cpu()(h)
    return float((logits.argmax(1) == images.test.labels).float().mean())


curves = {
    name: curve(name, PER_CLASS[:-1], CURVE_DRAWS) + curve(name, PER_CLASS[-1:], 10) for name in features
}
curves["supervised"] = []
for count in PER_CLASS:
    scores = [supervised(count, draw) for draw in range(SUPERVISED_DRAWS)]
    curves["supervised"].append({"labels": count * len(images.train.classes), "accuracies": scores})

# %%
fig, ax = plots.new_figure(6.4, 3.4)
for (name, rows), color, marker in zip(curves.items(), plots.COLORS, "osv"):
    labels = [r["labels"] for r in rows]
    means = [100 * sum(r["accuracies"]) / len(r["accuracies"]) for r in rows]
    low, high = ([100 * pick(r["accuracies"]) for r in rows] for pick in (min, max))
    ax.plot(labels, means, marker + "-", color=color, label=name)
    ax.fill_between(labels, low, high, color=color, alpha=0.15)
chance = 1 / len(images.train.classes)
ax.axhline(100 * chance, color="gray", linestyle=":", label="chance")
ax.set(xscale="log", xlabel="labels used (all classes together)", ylabel="test accuracy (%)", ylim=(0, 100))
ax.set_xticks([r["labels"] for r in curves["SimCLR"]], [str(r["labels"]) for r in curves["SimCLR"]])
ax.minorticks_off()
ax.set_title("What each label buys, with and without pretraining; bands: lowest and highest draw")
ax.legend()
plots.show(
    fig,
    alt="Test accuracy against the number of labels. "
    + " ".join(
        f"{name}: "
        + ", ".join(
            f"{100 * sum(r['accuracies']) / len(r['accuracies']):.0f}% with {r['labels']}" for r in rows
        )
        + "."
        for name, rows in curves.items()
    ),
)

# %% [markdown]
# The supervised baseline gets its chance: the same augmentation, and steps enough to learn its labels well (one draw of labels
# per point in the rehearsal, since it takes longest; more steps would help it still). Look where its curve lies before you
# read on, and do not compare it with the frozen ones: it may change all its weights, they only a last layer. The fair opponent
# is the pretrained encoder, fine-tuned on the same labels ([chapter 00](00_start_here.ipynb) has that curve; for photographs,
# SimCLR v2 reports it for 1 % and 10 % of ImageNet's labels, [Chen et al. 2020](https://arxiv.org/abs/2006.10029)).
# `ssl-lessons probe --fine-tune` measures it for your build.
#
# ### The number the page promises: 5 % of the labels
#
# STL-10 has 5,000 labelled training pictures; 5 % are 250, that is 25 per class. One draw of 250 can be lucky. Here
# are ten, stratified, the same ten for both encoders. kNN (a vote of the nearest neighbours) uses all train labels; precision@10 uses
# none to classify: it is the share of a picture's ten nearest neighbours that show the same class.

# %%
train_y, test_y = images.train.labels, images.test.labels
table = []
ten_draws = {name: curves[name][-1] for name in features}
for name, (train_x, test_x) in features.items():
    found = ten_draws[name]
    table.append(
        {
            "encoder": name,
            "probe": found["mean"],
            "std": found["std"],
            "lowest": min(found["accuracies"]),
            "highest": max(found["accuracies"]),
            "kNN": evaluation.knn_accuracy(train_x, train_y, test_x, test_y),
            "precision@10": evaluation.precision_at_k(test_x, test_y, 10),
        }
    )
table.append({"encoder": "chance", "probe": chance, "kNN": chance, "precision@10": chance})
plots.table(
    table,
    caption=f"Linear probe with 250 labels over ten draws on {images.name}; kNN with all {len(train_y):,} train labels",
    floatfmt=".1%",
)
assert ten_draws["SimCLR"]["mean"] > ten_draws["untrained"]["mean"] + 0.15

# %% [markdown]
# Two protocols are often mixed up. *A probe on all 5,000 labels* and *a probe on 250 of them* are different tests, and
# public STL-10 results often report the first. When you compare with somebody, ask which labels they used. STL-10's own
# protocol uses neither: it trains on each of the ten predefined folds of 1,000 and averages (`images.train.folds`).
#
# ### Is it healthy?
#
# A probe can look fine while half of the dimensions are dead. `diagnose` reads the spread and the spectrum of the
# features and says what it sees in words.

# %%
h = features["SimCLR"][1]
report = diagnostics.diagnose(h)
print(report)
plots.show(
    plots.spectrum(
        {name: diagnostics.singular_values(pair[1]) for name, pair in features.items()},
        title="A long tail of directions: the features have not collapsed",
    ),
    alt="Singular values of the features on a logarithmic axis for the SimCLR encoder and an untrained one.",
)
assert report.verdict == "healthy"

# %% [markdown]
# ### Look at it
#
# Numbers first, then eyes. For four test pictures, the nearest neighbours among the other test pictures.

# %%
neighbors = widgets.Neighbors(images.test, {name: pair[1] for name, pair in features.items()}, k=7)
queries = [int((images.test.labels == c).nonzero()[0]) for c in range(4)]
sheet = plots.side_by_side([neighbors.render(q, "SimCLR") for q in queries], columns=1)
plots.show(sheet, alt=" ".join(neighbors.alt(q, "SimCLR") for q in queries))

# %% [markdown]
# And the filters of the first layer: what the network asks of a patch before anything else.


# %%
def first_filters(encoder) -> torch.Tensor:
    """Weights of the first convolution, each scaled to [0, 1]: [filters, 3, k, k]."""
    weight = next(m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)).weight.detach().cpu()
    low, high = weight.amin((1, 2, 3), keepdim=True), weight.amax((1, 2, 3), keepdim=True)
    return (weight - low) / (high - low)


both = torch.cat([first_filters(fresh)[:16], first_filters(simclr.encoder)[:16]])
plots.show(
    plots.image_grid(both, columns=16, title="First-layer filters: untrained (top), after SimCLR (bottom)"),
    alt="Sixteen first-layer filters of an untrained network above sixteen of the trained one.",
)

# %% [markdown]
# ## What goes wrong: settings from another recipe
#
# Back to the published settings: SGD at 0.5, no warm-up, another weight decay and temperature, no BatchNorm in the head.
# Do they train, all together? You can find out in miniature: same small encoder, same pictures, same number of steps.
# **Predict** the order of the published, the recommended and the untrained encoder before you run it.

# %%
SHORT = 40


def miniature(name: str) -> dict:
    """The optimiser, schedule, temperature and head of a recipe on the rehearsal's encoder and pictures."""
    source, small = recipes.get_recipe(name), recipes.get_recipe("quick")
    chosen = small.with_(
        optimizer=source.optimizer, lr=source.lr, weight_decay=source.weight_decay, warmup=source.warmup,
        options=source.options,
    )  # fmt: skip
    method = chosen.build(SEED)
    pictures = data.shapes("unlabeled", chosen.policy.size, 8192, world=1) if not REHEARSAL else images.unlabeled
    rows = pretrain(
        method,
        pictures.images,
        (chosen.policy,) * 2,
        steps=SHORT,
        seed=SEED,
        progress=False,
        **chosen.training(),
    )
    losses = {
        "loss, first step": rows[0]["loss"],
        "loss, highest": max(r["loss"] for r in rows),
        "loss, last 10 steps": sum(r["loss"] for r in rows[-10:]) / 10,
    }
    return {"settings": name} | losses | read(method.encoder)


def read(encoder) -> dict:
    train, test = (data.shapes(s, 32, 2000, world=1) for s in ("train", "test"))
    train_x, test_x = (evaluation.extract_features(encoder, s.images) for s in (train, test))
    accuracy = evaluation.knn_accuracy(train_x, train.labels, test_x, test.labels)
    return {"kNN": accuracy, "RankMe": diagnostics.rank_me(test_x)}


trials = [miniature("published"), miniature("recommended")]
start = settle(recipes.get_recipe("quick").build(SEED).encoder, data.shapes("unlabeled", 32, 2048, world=1).images)
trials.append({"settings": "untrained"} | read(start))
plots.table(
    trials, caption=f"{SHORT} steps of SGD in miniature: published and recommended settings", floatfmt=".2f"
)
assert trials[0]["kNN"] < trials[2]["kNN"] < trials[1]["kNN"]

# %% [markdown]
# The untrained encoder beats the published settings: here, all together, they do harm. Which of them is to blame one such
# comparison cannot say, the learning rate alone or the company it keeps; [chapter 26](26_capstone_extensions.ipynb) changes
# one at a time. Read the losses with care: the two temperatures differ, so their losses cannot be compared with each other,
# only each with its own start (knowing nothing is 6.24 in both). Two such short runs on drawn pictures decide nothing
# about three hours on photographs; they tell you what to watch in the first five minutes.

# %% [markdown]
# ## Play: augmentation, operation by operation
#
# Every slider is the strength of one operation, on real photographs. Find the point where *you* can no longer tell that
# two views show the same thing: beyond it you ask the network for something impossible. Below it, look for
# what two views still share that has nothing to do with their content: that is the next shortcut.

# %%
gallery = widgets.Augmentations(widgets.photographs())
off = dict.fromkeys(gallery.controls, 0.0)
widgets.explore(
    gallery.render,
    gallery.controls,
    static=[off | {"crop": 0.8}, off | {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.3}],
    captions=["crops only, cutting away up to 0.8 of the area", "colour only, strong"],
    alt=gallery.alt,
    columns=1,
)

# %% [markdown]
# What does that do to a representation? On photographs nobody can say which property is lost. In the embedded world you
# can. The record below holds encoders trained at five strengths of the colour jitter, three seeds each, and what can
# be read from them.

# %%
rows, origin = book.recorded("augmentation_strength")
FACTORS = ("kind", "object_hue", "background_hue", "polarity", "background_texture", "x")
strengths = sorted({r["strength"] for r in rows})
fig, axes = plots.new_figure(8.6, 3.3, 1, 2)
for factor, color in zip(FACTORS, plots.COLORS):
    by = [[r["factors"][factor] for r in rows if r["strength"] == s] for s in strengths]
    axes[0].plot(
        strengths,
        [sum(v) / len(v) for v in by],
        "o-",
        markersize=3,
        color=color,
        label=factor.replace("_", " "),
    )
    axes[0].fill_between(strengths, [min(v) for v in by], [max(v) for v in by], color=color, alpha=0.15)
axes[0].set(
    title="Colour goes, the kind comes",
    xlabel="jitter strength (1 = quick recipe)",
    ylabel="factor probe (1 = perfect)",
)
axes[0].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
probes = [[100 * r["probe"] for r in rows if r["strength"] == s] for s in strengths]
axes[1].plot(strengths, [sum(v) / len(v) for v in probes], "o-", color=plots.COLORS[0])
axes[1].fill_between(
    strengths, [min(v) for v in probes], [max(v) for v in probes], color=plots.COLORS[0], alpha=0.15
)
axes[1].axhline(10, color="gray", linestyle=":", label="chance")
axes[1].set(
    title="Probe with 100 labels",
    xlabel="jitter strength (1 = quick recipe)",
    ylabel="accuracy (%)",
    ylim=(0, 100),
)
axes[1].legend()
mean_probe = {s: sum(v) / len(v) for s, v in zip(strengths, probes)}
plots.show(
    fig,
    alt="Left: factor-probe scores against jitter strength; hue falls and kind rises. Right: probe accuracy, "
    + ", ".join(f"{v:.0f}% at {s:g}" for s, v in mean_probe.items())
    + ".",
)
print(origin)

# %% [markdown]
# One row of that record is re-trained here and now, with fewer steps, so that you can see it is real: the encoder of
# this chapter had strength 1.

# %%
if REHEARSAL:
    chosen = [{k: s.factors[k] for k in FACTORS} for s in (images.train, images.test)]
    live = evaluation.factor_probe(features["SimCLR"][0], chosen[0], features["SimCLR"][1], chosen[1])
    at_one = {k: [r["factors"][k] for r in rows if r["strength"] == 1.0] for k in FACTORS}
    plots.table(
        [{"factor": k, "recorded": sum(v) / len(v), "live, shorter run": live[k]} for k, v in at_one.items()],
        caption="Factor probe at strength 1: the record and this notebook's run",
        floatfmt=".2f",
    )
    assert live["object_hue"] < 0.2 and live["kind"] > 0.5, (
        "the record no longer describes what this code does"
    )

# %% [markdown]
# ## Exercises
#
# ### 1 · The learning rate at every step (••, 10 minutes)
# Linear warm-up, then half a cosine to zero: at step `s < warmup_steps` the rate is `peak * (s + 1) / (warmup_steps + 1)`;
# from there it follows $\frac{1}{2}(1 + \cos(\pi p))$ times the peak, where $p$ runs from 0 at the end of the warm-up to 1 at
# `steps`.
#
# <details><summary>Hint</summary>The fraction of the way through the cosine is
# `(step - warmup_steps) / (steps - warmup_steps)`.</details>


# %%
def lr_at(step, steps, warmup_steps, peak):
    return exercises.NOT_ATTEMPTED


ch25.check_lr_at(lr_at)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def lr_at(step, steps, warmup_steps, peak):
#     if step < warmup_steps:
#         return peak * (step + 1) / (warmup_steps + 1)
#     progress = (step - warmup_steps) / (steps - warmup_steps)
#     return peak * 0.5 * (1 + math.cos(math.pi * progress))
# ```
# </details>
#
# ### 2 · The learning rate for your batch (•, 3 minutes)
# The linear rule: a recipe gives `base_lr` for a batch of 256; what do you use for `batch_size`?
#
# <details><summary>Hint</summary>Twice the batch, twice the step.</details>


# %%
def scaled_lr(base_lr, batch_size):
    return exercises.NOT_ATTEMPTED


ch25.check_scaled_lr(scaled_lr)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def scaled_lr(base_lr, batch_size):
#     return base_lr * batch_size / 256
# ```
# </details>
#
# ### 3 · Negatives that are none (•••, 15 minutes)
# In a batch of $N$ pictures with classes `labels`, every view has $2N - 2$ negatives. Some of them show the same class:
# false negatives. Return their share, averaged over all views.
#
# <details><summary>Hint 1</summary>Write the labels twice in a row: `labels.repeat(2)` are the classes of all $2N$ views.</details>
# <details><summary>Hint 2</summary>Compare all pairs, then take out each view itself and its partner.</details>
# <details><summary>Hint 3</summary>The partner of view `i` is `i + N` or `i - N`; both it and the view itself have the
# view's class, so they count 2 in every row.</details>


# %%
def false_negatives(labels):
    return exercises.NOT_ATTEMPTED


ch25.check_false_negatives(false_negatives)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def false_negatives(labels):
#     both = labels.repeat(2)
#     same = (both[:, None] == both[None, :]).sum(1) - 2
#     return float(same.double().mean() / (len(both) - 2))
# ```
# </details>
#
# ### 4 · What fits? (•, 5 minutes)
# You have `seconds`, a step takes `seconds_per_step`, and there are `images` pictures in batches of `batch_size`. Return
# the number of whole steps (at least one) and the epochs they make.
#
# <details><summary>Hint</summary>An epoch is `images / batch_size` steps.</details>


# %%
def what_fits(seconds, seconds_per_step, images, batch_size):
    return exercises.NOT_ATTEMPTED


ch25.check_steps_that_fit(what_fits)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def what_fits(seconds, seconds_per_step, images, batch_size):
#     steps = max(1, int(seconds / seconds_per_step))
#     return steps, steps * batch_size / images
# ```
# </details>

# %% [markdown]
# ## Claims, tested

# %%
best = max(mean_probe, key=mean_probe.get)
book.claim(
    "C-75",
    "There is a sweet spot of augmentation: too weak or too strong hurts.",
    "reproduced" if strengths[0] < best < strengths[-1] else "mixed",
    {f"probe at strength {s:g} (%)": v for s, v in mean_probe.items()},
    source="https://arxiv.org/abs/2005.10243",
)

# %% [markdown]
# Whether pretraining saves labels is not decided here: the supervised network may change all its weights, the frozen one
# only a last layer. [Chapter 00](00_start_here.ipynb) compares like with like. One run of forty steps decides nothing about
# learning rates either. And the promise of the page, 70 % with 250 labels of STL-10 after 100 epochs, is **not** tested by
# this rehearsal. It needs the
# full build: set `REHEARSAL = False` and `IMAGES = "stl10"` on a machine with a GPU.

# %% [markdown]
# ## Where it comes from, where it went
#
# STL-10 was made for exactly this question: many unlabelled pictures, few labels ([Coates et al.
# 2011](https://proceedings.mlr.press/v15/coates11a.html)). SimCLR ([Chen et al. 2020](https://arxiv.org/abs/2002.05709)) trained a
# ResNet-50 with batches of thousands; [SimCLR v2](https://arxiv.org/abs/2006.10029) added wider networks, a deeper head and
# distillation, and judged by 1 % and 10 % of the labels. ResNet-18 is from [He et al. 2015](https://arxiv.org/abs/1512.03385). The
# sweet spot of augmentation is discussed by [Tian et al. 2020](https://arxiv.org/abs/2005.10243).
#
# **From here**: chapter 26 extends this build (smaller batches with a queue, a temperature sweep, a small fast encoder,
# a policy for another domain).
#
# ## Three questions
#
# **1.** Your run reports a loss of 0.9 after ten epochs, your neighbour's 2.9. Who is ahead?
# <details><summary>Answer</summary>Nobody knows. With a lower temperature the same geometry gives a lower loss. Compare kNN or
# a probe on the same labels.</details>
#
# **2.** Why does the plan fix the number of steps before the run, instead of stopping when the time is up?
# <details><summary>Answer</summary>The cosine schedule needs to know its end. A run that is stopped early has never seen its small
# learning rates, and its result depends on how busy the machine was.</details>
#
# **3.** Why are the ten draws of 250 labels the same for every encoder?
# <details><summary>Answer</summary>Because draws differ. With the same draws the difference between encoders is not blurred by luck:
# it is a paired comparison.</details>
