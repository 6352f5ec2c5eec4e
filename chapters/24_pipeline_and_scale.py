# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 24 · The training step: what does it cost, and where does precision hurt?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/24_pipeline_and_scale.ipynb)
#
# **After this chapter you can**
#
# - time a training step before you touch it, and say what a faster part can buy at most;
# - keep 100,000 pictures as bytes, and augment each with two matrix products;
# - say which line of a contrastive loss half precision breaks;
# - draw up the memory budget of a GPU, and say why gradient accumulation brings no negatives;
# - estimate what an hour of a GPU buys, and how far off you may be.
#
# **You need** [chapter 13](13_from_nce_to_nt_xent.ipynb) (NT-Xent). **Time**: 32 minutes to read, about half a minute
# to run on two CPU cores. The companion [24b](24b_machines_and_learning_rates.ipynb) adds machines and asks for the
# learning rate.

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

device = book.setup("24")

# %% [markdown]
# ## The puzzle: four suspects
#
# SimCLR is slow. Four parts of its step are under suspicion:
#
# 1. **the pictures**: making two random views of each;
# 2. **the network**: forward and backward;
# 3. **the loss**: it compares every view with every other, $(2N)^2$ pairs;
# 4. **the optimiser**: it touches every weight.
#
# Three programs train on the same drawn pictures. *One by one* makes its views picture by picture, with torchvision's
# transforms. *Batched* makes them with `make_views`, a batch at a time. *ResNet-18* is batched too, with a network a
# hundred times heavier.
#
# > **Predict before you go on.** For each of the three: which suspect takes most of the time (a guess is right one
# > time in four)? And is it the same one three times?

# %%
import math
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from ssl_lessons import data, plots, views, widgets
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch24
from ssl_lessons.book.widgets import hours
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods import SimCLR
from ssl_lessons.models import encoders
from ssl_lessons.training import recipes, throughput

recipe = recipes.get_recipe("quick")
unlabeled = data.shapes("unlabeled", n=2048)
larger = data.shapes("unlabeled", size=64, n=256)


# %%
def transforms(policy):
    """The policy as torchvision's transforms, for one picture at a time."""
    strength = policy.brightness, policy.contrast, policy.saturation, policy.hue
    return v2.Compose(
        [
            v2.RandomResizedCrop(policy.size, policy.crop_scale, policy.crop_ratio),
            v2.RandomHorizontalFlip(policy.flip_p),
            v2.RandomApply([v2.ColorJitter(*strength)], policy.jitter_p),
            v2.RandomGrayscale(policy.grayscale_p),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(policy.mean, policy.std),
        ]
    )


def seconds_one_by_one(images: torch.Tensor) -> float:
    """Seconds for two views of each of the pictures."""
    make, decoded = transforms(recipe.policy), [to_pil_image(x) for x in images]
    [make(picture) for picture in decoded[:3]]  # warm up
    start = time.perf_counter()
    for _ in range(2):
        torch.stack([make(picture) for picture in decoded])
    return time.perf_counter() - start


# %%
def timed(encoder, images, policy, n: int, steps: int) -> dict:
    """Median seconds per step of every part."""
    method = SimCLR(encoder, temperature=0.1)
    parts = throughput.time_parts(method, images, policy, n, steps=steps)
    return {
        "pictures": parts["augmentation"],
        "network": parts["forward"] + parts["backward"],
        "loss": parts["loss"],
        "optimiser": parts["optimizer"],
    }


small = recipe.build(0).encoder
heavy = encoders.build_encoder("resnet18")
programs = {
    "one by one": timed(small, unlabeled.images, recipe.policy, 64, 4),
    "batched": timed(small, unlabeled.images, recipe.policy, 256, 4),
    "ResNet-18": timed(heavy, larger.images, views.Policy.simclr(64), 16, 3),
}
programs["one by one"]["pictures"] = seconds_one_by_one(unlabeled.images[:64])
SIZES = {"one by one": 64, "batched": 256, "ResNet-18": 16}

# %% tags=["hide-input"]
SUSPECTS = ("pictures", "network", "loss", "optimiser")
shares = {
    name: {s: 100 * t[s] / sum(t.values()) for s in SUSPECTS}
    for name, t in programs.items()
}
fig, ax = plots.new_figure(7.6, 2.5)
for row, share in enumerate(shares.values()):
    left = 0.0
    for suspect, color in zip(SUSPECTS, plots.COLORS, strict=False):
        label = suspect if row == 0 else None
        ax.barh(row, share[suspect], left=left, color=color, label=label)
        if share[suspect] > 6:
            middle, style = left + share[suspect] / 2, {"ha": "center", "va": "center"}
            ax.text(middle, row, f"{share[suspect]:.0f}", color="white", **style)
        left += share[suspect]
speeds = [SIZES[name] / sum(t.values()) for name, t in programs.items()]
labels = [f"{n}\n{s:,.0f} pictures/s" for n, s in zip(programs, speeds, strict=True)]
ax.set_yticks(range(3), labels)
ax.invert_yaxis()
ax.set(xlabel="share of a step (%)", xlim=(0, 100))
ax.set_title("The culprit depends on the program")
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=4)
plots.show(
    fig,
    alt="Shares of a training step. "
    + " ".join(
        f"{name}: " + ", ".join(f"{s} {v:.0f} %" for s, v in share.items()) + "."
        for name, share in shares.items()
    ),
)

# %%
assert max(shares["one by one"], key=shares["one by one"].get) == "pictures"
assert all(max(shares[p], key=shares[p].get) == "network" for p in list(shares)[1:])
assert shares["ResNet-18"]["pictures"] < 10 < shares["one by one"]["pictures"]
assert all(share["loss"] < 25 for share in shares.values())

# %% [markdown]
# One by one, it is the pictures. Batched, it is the network; with a heavy network it is hardly anything else. The
# loss, with all its pairs, never is. So measure before you optimise. **Leave out the first steps**, which allocate and
# compile. On a GPU, **wait** (`torch.cuda.synchronize`) before you read the clock: its work is queued.
#
# ### What a faster part can buy: Amdahl's law
#
# A part takes the share $s$ of the step. Make it $k$ times faster, and the step takes $1 - s + s/k$ of its old time,
# so it is
#
# $$\frac{1}{1 - s + s / k} \;\le\; \frac{1}{1-s}$$
#
# times faster. In *ResNet-18* faster pictures buy next to nothing.
#
# ### The record: how long does a step wait for its pictures?
#
# In the record four ways to get pictures take turns in front of the same step: JPEG files and torchvision's transforms
# in a `DataLoader`, in the training process or in two workers; one array of bytes mapped from disk, augmented in
# batches; and views that are ready, so that nothing waits.

# %%
waiting, waiting_origin = book.recorded("throughput", world=2)
NETWORKS = {"small": "conv net, 32 px", "resnet18": "ResNet-18, 96 px"}
READY, MAPPED = "views ready", "mapped array, batched"
turns = {  # (network, way) -> seconds per step, one number per turn
    (r["setup"], r["contestant"]): torch.tensor(r["seconds"]) for r in waiting
    if r["part"] == "loader"
}  # fmt: skip


def usual(setup: str) -> torch.Tensor:
    """The faster of the usual loaders, by its median."""
    found = [t for (s, way), t in turns.items() if s == setup and "JPEG" in way]
    return min(found, key=lambda t: t.median())


saved_share = {
    (setup, way): (1 - turns[setup, way] / usual(setup)).tolist()
    for setup in NETWORKS
    for way in (MAPPED, READY)
}

# %% tags=["hide-input"]
plots.table(
    [
        {"network": NETWORKS[s], "way": way, "ms": 1e3 * t.median().item(),
         "range": f"{1e3 * t.min():.0f} to {1e3 * t.max():.0f}",
         "waits": max(0.0, 1 - (turns[s, READY].median() / t.median()).item())}
        for (s, way), t in turns.items()
    ],
    "A step: the median of the turns, and how much of it is waiting for pictures",
    {"network": "network", "way": "pictures", "ms": "ms per step", "range": "range",
     "waits": "of it waiting for pictures"},
    {"ms": ".0f", "waits": ".0%"},
)  # fmt: skip
print(waiting_origin, "One thread.")
middle = {key: torch.tensor(v).median().item() for key, v in saved_share.items()}
assert middle["small", MAPPED] > 0.6 * middle["small", READY]
assert middle["small", READY] > 0.4 and middle["resnet18", READY] < 0.3

# %% [markdown]
# With JPEG files the small network waits for its pictures most of the time, the ResNet-18 hardly. Not shown is a GPU,
# for which almost any loader on two cores is too slow.
#
# ## Pictures: bytes on the device, two matrix products each
#
# As `float32` a picture is four times as large as in bytes. So keep bytes, on the device, and let each batch be floats
# for a moment.

# %%
speed, speed_origin = book.recorded("throughput")
HOME = speed[0]["on"]  # the machine of the records


def rows_of(part: str, **wanted) -> list[dict]:
    """Rows of the record that are all of `wanted`."""
    rows = [r for r in speed if r["part"] == part]
    return [r for r in rows if all(r[k] == v for k, v in wanted.items())]


stl10 = 100_000 * 3 * 96 * 96  # numbers in STL-10's unlabeled pictures
print(f"uint8 {stl10 / 1e9:.2f} GB, float32 {4 * stl10 / 1e9:.2f} GB")

# %% [markdown]
# The augmentation remains: crop, resize, flip, brightness, contrast, saturation, hue, gray.
#
# **Geometry.** A crop, its resize and a flip pick, for every output row, a weighted mean of input rows, and the same
# for columns. With weights $R \in \mathbb{R}^{S\times H}$ and $C \in \mathbb{R}^{S\times W}$ ($S$ pixels out, $H$ rows
# and $W$ columns in), a colour channel $X \in \mathbb{R}^{H \times W}$ becomes $Y = R\, X\, C^\top$.
#
# **Colour.** Each colour step is affine in the colour $c \in \mathbb{R}^3$ of a pixel, so the sequence is one matrix
# and one offset, $c \mapsto Mc + b$.


# %%
def resize_weights(start: int, length: int, size: int, n: int, flip: bool = False):
    """[size, n]: bilinear weights of n input pixels for each pixel of the crop."""
    position = start + (torch.arange(size) + 0.5) * length / size - 0.5
    position = position.clamp(start, start + length - 1)
    weights = (1 - (torch.arange(n) - position[:, None]).abs()).clamp(min=0)
    return weights.flip(0) if flip else weights


X = unlabeled.images[0].float() / 255
top, left, height, width, size = 3, 5, 20, 17, 24
R = resize_weights(top, height, size, 32)
C = resize_weights(left, width, size, 32, flip=True)
cut = X[None, :, top : top + height, left : left + width]
reference = F.interpolate(cut, (size, size), mode="bilinear")[0].flip(-1)
assert torch.allclose(R @ X @ C.T, reference, atol=1e-5)

gray = torch.tensor(views.LUMINANCE).expand(3, 3)
colour_steps = (1.3 * torch.eye(3), 0.5 * torch.eye(3) + 0.5 * gray, gray)
pixels, M = X.flatten(1), torch.eye(3)
for matrix in colour_steps:  # brighter, paler, gray
    pixels, M = matrix @ pixels, matrix @ M
assert torch.allclose(M @ X.flatten(1), pixels, atol=1e-5)
print("crop, resize and flip are one product; three colour steps are one matrix")

# %% [markdown]
# (A change of hue is affine when it turns colours around the gray axis, as here, and not in HSV, as in torchvision.
# Clamping to $[0, 1]$ in between would break the argument: `views` clamps once, at the end.)
#
# The record compares this with [kornia](https://github.com/kornia/kornia) and with torchvision:

# %% tags=["hide-input"]
augmentation, augmentation_origin = book.recorded("augment")
plain = {r["contestant"]: r for r in augmentation if r["policy"] == "without blur"}
KEPT = ("ssl_lessons", "kornia (resample crop)", "torchvision, image by image")
plots.table(
    [
        {"program": name, "rate": plain[name]["views_per_second"],
         "range": f"{plain[name]['lowest']:,.0f} to {plain[name]['highest']:,.0f}"}
        for name in KEPT
    ],
    "SimCLR's views at 96 px without blur: median and range of the turns",
    {"program": "program", "rate": "views per second", "range": "range"},
    ",.0f",
)  # fmt: skip
print(augmentation_origin)
assert plain["ssl_lessons"]["lowest"] > 3 * max(plain[n]["highest"] for n in KEPT[1:])

# %% [markdown]
# Even its slowest turn makes more than three times as many views as the others' fastest. (On a CPU, with pictures that
# are already decoded; the blur costs a part of the lead.)
#
# **Does storage matter?** Reading in random order, from the operating system's cache, on one thread:

# %% tags=["hide-input"]
stored = rows_of("storage", on=HOME)
plots.table(
    [
        {"pixels": r["pixels"], "storage": r["contestant"],
         "rate": r["images_per_second"],
         "range": f"{r['lowest']:,.0f} to {r['highest']:,.0f}"}
        for r in stored
    ],
    "Drawn pictures read per second: median and range of five turns",
    {"pixels": "pixels", "storage": "storage", "rate": "read/s", "range": "range"},
    ",.0f",
)  # fmt: skip
print(speed_origin, "Pictures of the first drawn world.")
jpeg = {r["pixels"]: r for r in stored if r["contestant"] == "JPEG files"}
array = {r["pixels"]: r for r in stored if r["contestant"] == "one mapped array"}
assert all(array[p]["lowest"] > 20 * jpeg[p]["highest"] for p in jpeg)

# %% [markdown]
# Read orders of magnitude only: the machine was shared. A mapped array is read at least twenty times as fast. For
# *training* that does little where the step is heavy. [FFCV](https://arxiv.org/abs/2306.12517) is built on such an
# array (for SSL: [Bordes et al., 2023](https://arxiv.org/abs/2303.01986)); [DALI](https://github.com/NVIDIA/DALI)
# decodes on the GPU.
#
# ## Half precision: where does it hurt?
#
# A float has a sign, an exponent (its range) and a mantissa (its precision). `float16` keeps 10 bits of mantissa and
# cuts the range; [`bfloat16`](https://arxiv.org/abs/1905.12322) keeps the range and cuts the mantissa to 7 bits.
# Matrix units of GPUs multiply either many times faster than `float32`. (A T4 has `float16` only.)

# %% tags=["hide-input"]
FORMATS = (torch.float32, torch.float16, torch.bfloat16)
logit = 1 / torch.tensor(0.07)
table = []
for dtype in FORMATS:
    info = torch.finfo(dtype)
    table.append(
        {"format": str(dtype).removeprefix("torch."), "largest": f"{info.max:.3g}",
         "smallest": f"{info.tiny:.1e}", "step": f"{info.eps:.1e}",
         "exp": f"{logit.to(dtype).exp().item():.3g}"}
    )  # fmt: skip
plots.table(
    table,
    "exp(1 / 0.07) is what two equal embeddings put into the sum of NT-Xent at 0.07",
    {"format": "format", "largest": "largest number", "smallest": "smallest normal",
     "step": "step above 1", "exp": "exp(1 / 0.07)"},
)  # fmt: skip
assert logit.half().exp().isinf() and logit.bfloat16().exp().isfinite()

# %% [markdown]
# `float16` overflows on the *exponential of one logit*, which a good softmax avoids by subtracting the largest logit
# first. `bfloat16` does not overflow, but it cannot tell a cosine of 0.900 from 0.899, and the temperature magnifies
# that by $1/\tau$. So is it the blurred cosines that spoil NT-Xent in `bfloat16`? Compute the cosines in one format
# and the softmax in another, and compare the gradient with that of `float32`.

# %%
generator = torch.Generator().manual_seed(0)
base = torch.randn(256, 128, generator=generator)
noisy = 0.6 * torch.randn(2, 256, 128, generator=generator)
z = (base + noisy).flatten(0, 1)  # [512, 128]
partner = torch.arange(512).roll(256)
itself = torch.eye(512, dtype=torch.bool)


def logits_of(z: torch.Tensor, tau: float, cosines, softmax) -> torch.Tensor:
    """[512, 512]: cosines in one format, divided by tau in another."""
    unit = F.normalize(z, dim=1).to(cosines)
    return ((unit @ unit.T).to(softmax) / tau).masked_fill(itself, -math.inf)


def gradient(tau: float, cosines=torch.float32, softmax=torch.float32):
    """Of NT-Xent with respect to z, the softmax in the format `softmax`."""
    leaf = z.clone().requires_grad_()
    loss = F.cross_entropy(logits_of(leaf, tau, cosines, softmax), partner)
    return torch.autograd.grad(loss, leaf)[0].double()


# %%
TAUS = (0.05, 0.07, 0.1, 0.2, 0.5, 1.0)
fine, coarse = torch.float32, torch.bfloat16
ARMS = {
    "all in bfloat16": (coarse, coarse),
    "float32 cosines, bfloat16 softmax": (fine, coarse),
    "bfloat16 cosines, float32 softmax": (coarse, fine),
}
errors = {
    name: [((gradient(t, *arm) - gradient(t)).norm() / gradient(t).norm()).item()
           for t in TAUS]
    for name, arm in ARMS.items()
}  # fmt: skip
leaf = logits_of(z, 0.05, fine, coarse).requires_grad_()  # what a logit is told
told = torch.autograd.grad(F.cross_entropy(leaf, partner), leaf)[0]
silent = (told.gather(1, partner[:, None]) == 0).float().mean().item()
print(f"at 0.05, partners whose gradient is exactly 0: {silent:.0%}")

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 3.2)
for (name, values), style in zip(errors.items(), ("o-", "x--", "s:"), strict=True):
    ax.plot(TAUS, [100 * v for v in values], style, label=name)
ax.set(xscale="log", yscale="log", xlabel="temperature", ylabel="gradient error (%)")
ax.set_title("At low temperature it is the softmax that breaks, not the cosines")
ax.set_xticks(TAUS, [f"{t:g}" for t in TAUS])
ax.minorticks_off()
ax.legend()
plots.show(
    fig,
    alt="Relative error of the NT-Xent gradient against temperature. "
    + " ".join(f"{n}: " + ", ".join(f"{100 * v:.1f}" for v in e) + " per cent."
               for n, e in errors.items()),
)  # fmt: skip
everything, softmax_only, cosines_only = (e[0] for e in errors.values())
assert everything > 0.2 and softmax_only > 0.2 and cosines_only < 0.06
assert silent > 0.6 and max(e[-2] for e in errors.values()) < 0.02

# %% [markdown]
# No: with a `bfloat16` softmax the gradient at 0.05 is off by tens of per cent; with a `float32` softmax the blurred
# cosines cost a few. Why? Near the end of training the partner's share $p$ of the softmax is close to 1, and its
# gradient is $p - 1$. The numbers of `bfloat16` just *below* 1 lie 0.004 apart: $p$ rounds to exactly 1. Nearly all
# partners then get a gradient of exactly zero.
#
# The rule: **the loss in float32, always**. But look what autocast does:

# %%
with torch.autocast("cpu", torch.bfloat16):
    product = z @ z.T  # z is float32
    ours = nt_xent(*z.chunk(2), 0.05)
print("under autocast, the product of two float32 matrices is", product.dtype)
print("the loss of the package:", ours.dtype, "as without autocast:", end=" ")
print(torch.equal(ours, nt_xent(*z.chunk(2), 0.05)))
assert z.dtype == fine and product.dtype == coarse and ours.dtype == fine

# %% [markdown]
# `torch.autocast` goes by the *operation*: it casts the operands of every matrix product. So `z.float()` does not keep
# the cosines sharp. That costs little as long as the softmax stays in `float32`. So leave autocast for the loss: the
# package wraps its losses in `torch.autocast(device, enabled=False)`.
#
# **Small gradients.** In `float16` the gradients of the activations, which travel backward in half precision, are
# tiny, for the loss is a mean over views.

# %%
seen = []  # gradients with respect to the outputs of all convolutions, a sample of each
method = SimCLR(encoders.build_encoder("resnet18"), temperature=0.1).train()


def listen(module, inputs, out):
    out.register_hook(lambda g: seen.append(g.flatten()[::29].clone()) and None)


for module in method.modules():
    if isinstance(module, nn.Conv2d):
        module.register_forward_hook(listen)
generator = torch.Generator().manual_seed(1)
pair = views.make_views(larger.images[:32], (views.Policy.simclr(64),) * 2, generator)
nt_xent(*method.pair(pair), 0.1).backward()
sizes = torch.cat(seen)
sizes = sizes[sizes != 0].abs().log2()
rough = {s: (sizes + s < -14).float().mean().item() for s in (0, 16)}

# %% tags=["hide-input"]
fig, ax = plots.new_figure(6.4, 2.8)
ax.hist(sizes.numpy(), bins=60, alpha=0.6, label="as they are")
ax.hist((sizes + 16).numpy(), bins=60, alpha=0.6, label="times 65,536")
ax.axvline(-14, color=plots.GRAY, linestyle="--", label="smallest normal float16")
ax.set(xlabel="size of a gradient (power of two)", ylabel="gradients in the sample")
ax.set_title(f"Below it: {rough[0]:.0%} as they are, {rough[16]:.0%} after scaling")
ax.legend(loc="upper left")
plots.show(
    fig,
    alt="Histogram of the sizes of a ResNet-18's activation gradients before and after "
    f"multiplication by 65,536. {rough[0]:.0%} lie below the smallest normal number of "
    f"float16, {rough[16]:.0%} after scaling.",
)
first = seen[-1]  # the backward pass reaches the first convolution last
assert first[first != 0].abs().log2().median() < -15
assert rough[0] > 0.4 and rough[16] < 0.1

# %% [markdown]
# Below $2^{-14}$ `float16` runs out of exponents and pays with bits of its mantissa. The **GradScaler** multiplies the
# loss by a large power of two; by the chain rule every gradient is multiplied, and divided again before the
# optimiser's step ([Micikevicius et al., 2018](https://arxiv.org/abs/1710.03740)). If something overflows, the step is
# skipped and the factor made smaller. `bfloat16` needs none of this.
#
# ### channels_last: the same numbers in another order

# %%
x = torch.zeros(8, 64, 24, 24)  # picture, channel, row, column
y = x.contiguous(memory_format=torch.channels_last)
print("steps in memory: contiguous", x.stride(), "channels_last", y.stride())
assert torch.equal(x, y) and y.stride()[1] == 1

# %% [markdown]
# In `channels_last` the 64 channels of one pixel lie side by side, and these are what a convolution multiplies with
# its weights. Does it pay, and do half precision and `torch.compile`?

# %% tags=["hide-input"]
steps = rows_of("step", on=HOME)
plots.table(
    [
        {"network": NETWORKS[r["setup"]], "arm": r["contestant"],
         "rate": r["images_per_second"]}
        | {p: r[p] / sum(r[q] for q in throughput.PARTS) for p in throughput.PARTS}
        for r in steps
    ],
    "A step of SimCLR: pictures per second, and the share of each part (medians)",
    {"network": "network", "arm": "format and layout", "rate": "pictures/s",
     **{p: p for p in throughput.PARTS}},
    {"rate": ".0f", **{p: ".0%" for p in throughput.PARTS}},
)  # fmt: skip
print(HOME + ", two threads")
rate = {(r["setup"], r["contestant"]): r["images_per_second"] for r in steps}
both = {
    s: rate[s, "bfloat16, channels_last"] / rate[s, "float32, contiguous"]
    for s in NETWORKS
}
compiled = {
    (s, d): rate[s, f"{d}, channels_last, compiled"] / rate[s, f"{d}, channels_last"]
    for s in NETWORKS
    for d in ("float32", "bfloat16")
}
print("format and layout together:", {s: f"{b:.2f}" for s, b in both.items()})
print("compiled:", {" ".join(k): f"{c:.2f}" for k, c in compiled.items()})
assert all(1.4 < b < 2 for b in both.values())
assert all(0.85 < c < 1.1 for c in compiled.values())
assert all(
    rate[s, f"{d}, channels_last"] > rate[s, f"{d}, contiguous"]
    for s in NETWORKS
    for d in ("float32", "bfloat16")
)

# %% [markdown]
# On this processor, which multiplies `bfloat16` in hardware, format and layout together make a step clearly faster,
# the layout alone a little, and compiling makes no difference that one timing per row could show. On a GPU, measure
# again.
#
# ## Memory: what has to be there at once
#
# The budget of a GPU has four lines. With $P$ parameters, $N$ pictures in a batch and two views of each, in bytes:
#
# 1. **weights, gradients and AdamW's two moments**, four `float32` numbers per parameter: $16\,P$;
# 2. **activations** that the backward pass needs: $a\,N$, where $a$ depends on network and size of the pictures;
# 3. **the loss**: a few matrices of $(2N)^2$ numbers;
# 4. **the pictures**, if they live on the device: one byte per number.
#
# Only the second needs measuring: a hook sees all that autograd keeps.


# %%
def kept(run, x) -> int:
    """Bytes that autograd keeps for the backward pass of run(x)."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(x)
    return sum(storage.nbytes() for storage in storages.values())


def per_picture(bytes_of, size: int) -> float:
    """Bytes per picture, both views: the difference of two batches."""
    few, many = (torch.rand(2 * n, 3, size, size) for n in (2, 4))
    return (bytes_of(many) - bytes_of(few)) / 2


def embed(x):
    return method.projector(method.encoder(x))


def embed_half(x):
    with torch.autocast("cpu", torch.bfloat16):
        return embed(x)


# %% [markdown]
# Half precision halves most activations. **Gradient checkpointing** ([Chen et al.,
# 2016](https://arxiv.org/abs/1604.06174)) cuts the network into pieces, keeps only the *input* of each, and computes a
# piece again when the backward pass reaches it: about one forward pass more, for the same gradient.

# %%
net = method.encoder.backbone
stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
pieces = [stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4]


def embed_again(x):
    """As embed; every piece keeps its input and is computed twice."""
    for piece in pieces:
        x = checkpoint(piece, x, use_reentrant=False)
    return method.projector(net.avgpool(x).flatten(1))


def bytes_again(x) -> int:
    """The inputs of all pieces, and the largest piece while it is done again."""
    inputs, most = 0, 0
    for piece in pieces:
        weights = sum(p.nbytes for p in piece.parameters())
        inputs, most = inputs + x.nbytes, max(most, kept(piece, x) - weights)
        x = piece(x).detach()
    return inputs + most


# %%
def gradient_of(run, x) -> torch.Tensor:
    method.zero_grad()
    nt_xent(*run(x).chunk(2), 0.1).backward()
    return torch.cat([p.grad.flatten() for p in method.parameters()])


x = torch.cat([v[:4] for v in pair])
exact, again = gradient_of(embed, x), gradient_of(embed_again, x)
assert (exact - again).norm() < 1e-3 * exact.norm()
activations = {
    "float32": per_picture(partial(kept, embed), 96),
    "bfloat16 under autocast": per_picture(partial(kept, embed_half), 96),
    "float32, checkpointing": per_picture(bytes_again, 96),
}

# %%
BATCH, T4_MEMORY = 256, 16e9
count = encoders.count_parameters(method)
z = torch.randn(2 * BATCH, 128, requires_grad=True)
of_the_loss = kept(lambda z: nt_xent(*z.chunk(2), 0.1), z)
fixed = 16 * count + stl10  # bytes
budget = {name: fixed + of_the_loss + BATCH * a for name, a in activations.items()}
largest = {name: int((T4_MEMORY - fixed) / a) for name, a in activations.items()}

# %% tags=["hide-input"]
plots.table(
    [
        {"how": name, "state": 16 * count / 1e9, "per": a / 1e6,
         "activations": BATCH * a / 1e9, "loss": of_the_loss / 1e9,
         "pictures": stl10 / 1e9, "sum": budget[name] / 1e9,
         "largest": f"{largest[name]:,}"}
        for name, a in activations.items()
    ],
    f"ResNet-18, 96 px, batch {BATCH}, STL-10 on the device: gigabytes, by counting",
    {"how": "activations in", "state": "weights to moments", "per": "MB per picture",
     "activations": "activations", "loss": "loss", "pictures": "pictures", "sum": "sum",
     "largest": "batch that fills 16 GB, without the loss"},
    {"state": ".2f", "per": ".1f", "activations": ".2f", "loss": ".3f",
     "pictures": ".2f", "sum": ".2f"},
)  # fmt: skip
(peak,) = rows_of("memory", on=HOME)
recommended = encoders.build_encoder("resnet18_3x3", max_pool=True)
method = SimCLR(recommended, temperature=0.1).train()
each = per_picture(partial(kept, embed), 64)
counted = 16 * encoders.count_parameters(method) + peak["batch_size"] * each
measured = peak["peak_gb"] - peak["with_images_gb"]
print(f"recorded run (3x3 stem, 64 px, batch {peak['batch_size']}, on a CPU): ", end="")
print(f"counted {counted / 1e9:.2f} GB, measured {measured:.2f} GB beside the pictures")
full, half, redone = activations.values()
assert 0.4 < half / full < 0.6 and redone < 0.65 * full
assert 0.5 < counted / 1e9 / measured < 1.1

# %% [markdown]
# The loss is no suspect: the activations are. Counting leaves out the views while they are made, work space, what an
# allocator keeps. Leave a quarter of the memory free. (Checkpointing also moves BatchNorm's running statistics twice
# per step.)
#
# ### Why gradient accumulation brings no negatives
#
# If 1,024 pictures do not fit, the usual advice is to run four batches of 256, add up the gradients, and step once. For
# a classifier that is exact, because its loss is a mean over pictures. Is it exact here?

# %%
TAU, PIECES = 0.1, 4
torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 32))
net = net.double()  # no BatchNorm: it would see pieces as well
policies, generator = (recipe.policy,) * 2, torch.Generator().manual_seed(2)
a, b = (
    v.double() for v in views.make_views(unlabeled.images[:256], policies, generator)
)
targets = torch.randint(32, (256,))


def contrast(a, b, targets):
    return nt_xent(net(a), net(b), TAU)


def classify(a, b, targets):
    return F.cross_entropy(net(a), targets)


def accumulated(loss):
    """The mean of the losses of the pieces; its gradient is what four backwards add."""
    chunks = zip(*(t.chunk(PIECES) for t in (a, b, targets)), strict=True)
    return sum(loss(*piece) for piece in chunks) / PIECES


def gradient_vector(value) -> torch.Tensor:
    grads = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    return torch.cat([g.flatten() for g in grads])


# %%
compared = {}
for name, loss in {"classifier": classify, "NT-Xent": contrast}.items():
    whole, pieces = loss(a, b, targets), accumulated(loss)
    g, h = gradient_vector(whole), gradient_vector(pieces)
    compared[name] = {
        "loss": name, "whole": whole.item(), "pieces": pieces.item(),
        "cosine": F.cosine_similarity(g, h, dim=0).item(),
        "error": ((h - g).norm() / g.norm()).item(),
    }  # fmt: skip

# %% tags=["hide-input"]
plots.table(
    list(compared.values()),
    f"256 pictures at once, or accumulated in {PIECES} pieces",
    {"loss": "loss", "whole": "loss at once", "pieces": "mean loss of the pieces",
     "cosine": "cosine of the gradients", "error": "relative error"},
    {"whole": ".2f", "pieces": ".2f", "cosine": ".3f", "error": ".1%"},
)  # fmt: skip
lower = compared["NT-Xent"]["whole"] - compared["NT-Xent"]["pieces"]
print(f"NT-Xent falls by {lower:.2f}; log 4 is {math.log(PIECES):.2f}")
assert compared["classifier"]["error"] < 1e-9
assert 0.005 < compared["NT-Xent"]["error"] < 0.2
assert abs(lower - math.log(PIECES)) < 0.35

# %% [markdown]
# It is not. A view meets the 126 strangers of its piece and never those of the next one, so the game gets easier by
# $\log 4$. The gradient of this untrained network is off by a few per cent only, since at the start all strangers are
# alike; but it is the gradient of a smaller
# batch, averaged. Accumulation lowers the noise; it adds no negative. Checkpointing does, since it makes room in the
# batch itself. An exact way to work in pieces is the *gradient cache* ([Gao et al.,
# 2021](https://arxiv.org/abs/2101.06983)) of exercise 3.
#
# ## What does an hour buy?
#
# A convolution with $K\times K$ taps, $C_\text{in}$ and $C_\text{out}$ channels and $H'\times W'$ outputs takes
# $2 K^2 C_\text{in} C_\text{out} H' W'$ operations (a product and a sum are two), and the backward pass twice as many:

# %%
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models


def operations(network: nn.Module, size: int = 224) -> int:
    """Of the forward pass for one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops()


BACKBONES = {
    "AlexNet (2012)": models.alexnet,
    "ResNet-18": models.resnet18,
    "ResNet-50": models.resnet50,
    "ViT-B/16": models.vit_b_16,
}
with torch.device("meta"):
    forward = {}
    for name, make in BACKBONES.items():
        network = make().eval()
        forward[name] = encoders.count_parameters(network), operations(network)

# %% tags=["hide-input"]
plots.table(
    [
        {"network": n, "parameters": p / 1e6, "operations": f / 1e9}
        for n, (p, f) in forward.items()
    ],
    "At 224 px, with the ImageNet classifier; forward pass of one picture",
    {"network": "network", "parameters": "parameters (millions)",
     "operations": "operations (billions)"},
    ".1f",
)  # fmt: skip


def attention_share(pixels: int) -> float:
    """Share of the products between all pairs of tokens in a ViT-B/16."""
    pairs = lambda side: 12 * 4 * ((side // 16) ** 2 + 1) ** 2 * 768  # noqa: E731
    tokens = lambda side: (side // 16) ** 2 + 1  # noqa: E731
    others = (forward["ViT-B/16"][1] - pairs(224)) * tokens(pixels) / tokens(224)
    return pairs(pixels) / (pairs(pixels) + others)


print(f"attention between pairs: {attention_share(224):.1%} of a ViT-B/16 at 224 px, ")
print(f"{attention_share(448):.1%} at 448 px")
assert forward["AlexNet (2012)"][0] > 2 * forward["ResNet-50"][0]
assert forward["AlexNet (2012)"][1] < 0.3 * forward["ResNet-50"][1]
assert 3 < attention_share(448) / attention_share(224) < 4

# %% [markdown]
# [AlexNet](https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks) has more
# than twice the parameters of a [ResNet-50](https://arxiv.org/abs/1512.03385) and a small share of its operations.
# Parameters say what must be *stored*, operations what must be *computed*. In a
# [ViT](https://arxiv.org/abs/2010.11929), pictures twice as wide make sixteen times as many pairs of tokens, but their
# *share* of the work grows only to between three and four times what it was.
#
# BatchNorm and ReLU compute next to nothing, but read and write every activation. So give a machine two rates,
# operations per second $r_F$ and activations per second $r_A$, and predict, for $F$ operations and $A$ activations of
# a step,
#
# $$\text{seconds per step} \approx \frac{F}{r_F} + \frac{A}{r_A}.$$
#
# The record predicts each of ten networks from rates fitted to the other nine:

# %% tags=["hide-input"]
modelled = rows_of("model", on=HOME)


def off_by(row: dict, key: str) -> float:
    """The factor between prediction and measurement, at least 1."""
    return max(row[key] / row["seconds"], row["seconds"] / row[key])


def ms(row: dict, key: str) -> float:
    return 1e3 * row[key] / row["batch_size"]


ONE = "predicted_from_one_rate"
fig, ax = plots.new_figure(6.0, 3.2)
for key, mark, label in (("predicted", "o", "two rates"), (ONE, "x", "one rate")):
    found = [ms(r, "seconds") for r in modelled], [ms(r, key) for r in modelled]
    ax.plot(*found, mark, label=label)
ends = [f(ms(r, "seconds") for r in modelled) for f in (min, max)]
ends = [ends[0] / 2, ends[1] * 2]
ax.plot(ends, ends, color=plots.GRAY, linewidth=0.8, label="exact")
ax.set(xscale="log", yscale="log", xlabel="measured (ms per picture)")
ax.set_ylabel("predicted (ms per picture)")
worst = {k: max(off_by(r, k) for r in modelled) for k in ("predicted", ONE)}
middle_factor = sorted(off_by(r, "predicted") for r in modelled)[len(modelled) // 2]
ax.set_title("Ten networks, each predicted from the other nine")
ax.legend()
plots.show(
    fig,
    alt="Predicted against measured milliseconds per picture for ten networks on "
    f"logarithmic axes, near the diagonal; two rates err by {worst['predicted']:.1f} "
    f"at worst, one rate by {worst[ONE]:.1f}.",
)
print(f"two rates: off by a factor {middle_factor:.2f} in the middle, ", end="")
print(f"{worst['predicted']:.2f} at worst; one rate: {worst[ONE]:.2f} at worst")
assert middle_factor < 1.3 and worst["predicted"] < 2.2 < worst[ONE] < 3

# %% [markdown]
# The worst case, off by about two, is the smallest network, whose time goes into neither. For a GPU that you do not
# have there is only the data sheet ([T4](https://www.nvidia.com/en-us/data-center/tesla-t4/),
# [A100](https://www.nvidia.com/en-us/data-center/a100/)), and its *peak* is never reached. This book **assumes** that
# a ResNet-18 on small pictures reaches 15 % of it, with a range from 8 to 25 %. Every number below inherits its range.

# %% tags=["hide-input"]
low, assumed, high = throughput.EFFICIENCY
estimates = {}
for name in ("ResNet-18, 96 px", "ResNet-18 3x3, 64 px"):
    for gpu in ("T4", "A100"):
        estimates[name, gpu] = [
            throughput.minutes_per_epoch(
                throughput.seconds_per_step(
                    hours.work(name), throughput.published(gpu, e)
                ),
                100_000,
                256,
            )
            for e in (high, assumed, low)
        ]
plots.table(
    [
        {"network": n, "gpu": g, "minutes": m[1],
         "range": f"{m[0]:.2g} to {m[2]:.2g}", "hours": 100 * m[1] / 60}
        for (n, g), m in estimates.items()
    ],
    f"ESTIMATE from data sheets at {assumed:.0%} of the peak ({low:.0%} to {high:.0%})",
    {"network": "network", "gpu": "GPU", "minutes": "minutes per 100,000 pictures",
     "range": "range", "hours": "hours for 100 epochs"},
    ".2f",
)  # fmt: skip
needed = 100 * 2 * 100_000 / (3 * 3600)
print(f"100 epochs in three hours: {needed:,.0f} views a second")
assert 100 * estimates["ResNet-18, 96 px", "T4"][1] / 60 < 3
assert 1500 < needed < 2500

# %% [markdown]
# The build that [chapter 25](25_capstone_stl10_simclr.ipynb) repeats promises "100 epochs in about three hours" on a
# T4, at 96 pixels. The network can do that, says the estimate. But it takes nearly two thousand views a second. In the
# table of views torchvision makes about half of that, from pictures already decoded; batched views are enough.
#
# ## What goes wrong: the cheap steps that were not free
#
# Operations fall with the square of the picture's side. [SwAV](https://arxiv.org/abs/2006.09882)'s two crops of 160
# pixels and four of 96 have fewer pixels than two of 224. [Bordes et al. (2023)](https://arxiv.org/abs/2303.01986)
# start at 160 pixels and end at 224. A ramp saves time *per step*. Its fair opponent is a run at full size **that
# stops when the ramp stops**.

# %%
assert 2 * 160**2 + 4 * 96**2 < 2 * 224**2
ramps = {r["contestant"]: r for r in rows_of("resolution", on=HOME)}
ONE_SIZE, SHORTER = "32 px", "32 px, in the seconds of {}"
first_world, first_origin = book.recorded("large_batch")
floor = {r["seed"]: r["probe"] for r in first_world if r["optimizer"] == "none"}
floor = [floor[seed] for seed in sorted(floor)]
RAMPS = ("24 to 32 px", "16 to 32 px")
ahead = {
    name: [p - q for p, q in zip(ramps[name]["probe"],
                                 ramps[SHORTER.format(name)]["probe"], strict=True)]
    for name in RAMPS
}  # fmt: skip

# %% tags=["hide-input"]
order = [ONE_SIZE] + [n for r in RAMPS for n in (r, SHORTER.format(r))]


def seeds(values) -> str:
    return " ".join(f"{100 * v:.1f}" for v in values)


def average(values) -> float:
    return sum(values) / len(values)


plots.table(
    [{"views": "chance", "probe": 0.1},
     {"views": "untrained", "probe": average(floor), "seeds": seeds(floor)}]
    + [
        {"views": name, "steps": ramps[name]["steps"],
         "seconds": ramps[name]["seconds"], "probe": average(ramps[name]["probe"]),
         "seeds": seeds(ramps[name]["probe"])}
        for name in order
    ],
    "Views that grow during the run, in equal parts; probed at 32 px, 100 labels",
    {"views": "views", "steps": "steps", "seconds": "seconds", "probe": "probe",
     "seeds": "each seed (%)"},
    {"seconds": ".1f", "probe": ".1%"},
)  # fmt: skip
print(speed_origin, "First drawn world, whose pictures are easier.")
near, far = (average(ahead[name]) for name in RAMPS)
assert -0.01 < near < 0.03 and far < 0.01

# %% [markdown]
# At equal steps the gentle ramp loses almost nothing and saves time. Against the run that stops with it, it is ahead
# by a point or two; the steep one is not ahead. Not shown: the 160 to 224 pixels of the paper.
#
# ## Play: what do hours buy?
#
# The line is the **estimate**, the band its range, the dotted line the 100 epochs of the build. **How many hours of a
# T4 do 100 epochs at 96 pixels take at worst, and which of the other controls changes that most?**

# %%
widgets.explore(
    hours.render,
    hours.controls(),
    static=[{"network": "ResNet-18, 96 px"}, {"network": "ResNet-18 3x3, 64 px"}],
    alt=hours.describe,
    columns=2,
)

# %%
slow = 100 * estimates["ResNet-18, 96 px", "T4"][2] / 60
print(f"100 epochs at 96 px on a T4, at the low efficiency: {slow:.1f} hours")
assert 1 < slow < 6

# %% [markdown]
# A few hours at worst, and the GPU matters most: in the estimate an A100 is five times as fast. Whether a small
# network can use that, no data sheet says.
#
# ## Exercises
#
# Replace a stub and run the cell. Solutions stand at the end.
#
# ### 1 · Amdahl backwards (•, 5 minutes)
# Your step has to get `target` times as fast (a float above 1), and you may only work on a part that has the share
# `share` of it (a float between 0 and 1). How many times faster must the part get? Return a float, `math.inf` where no
# factor does it. (Then ask: which of the three programs can be made twice as fast by working on its pictures?)
#
# <details><summary>Hint</summary>Write the new time in units of the old one; the rest of the step keeps its
# time.</details>


# %%
def factor_needed(share: float, target: float) -> float:
    return NOT_ATTEMPTED


ch24.check_factor_needed(factor_needed)

# %% [markdown]
# ### 2 · A softmax that never sees the whole row (••, 15 minutes)
# The $(2N)^2$ logits need not be in memory at once. `blocks` is an **iterator** over float64 tensors `[N, M]`, each a
# block of columns, and yields each block **once**. Return the log-sum-exp of every row over all columns, `[N]`, for
# logits as large as 2,000; hold no more than a few blocks at a time.
#
# <details><summary>Hint 1</summary>Keep two numbers per row: the largest logit so far, and the sum of exp(logit -
# largest).</details>
# <details><summary>Hint 2</summary>When a block brings a larger maximum, the old sum was taken relative to the old
# one. By which factor must it shrink?</details>


# %%
def streaming_logsumexp(blocks) -> torch.Tensor:
    return NOT_ATTEMPTED


ch24.check_streaming_logsumexp(streaming_logsumexp)

# %% [markdown]
# ### 3 · The gradient cache (•••, 20 minutes)
# The negatives of the whole batch with the memory of a piece. You get `embed(x, w)`, rows `[n, 8]` to embeddings `[n,
# D]`; `loss(z1, z2)`, a scalar; weights `w` `[8, D]`; the two views `x1`, `x2` `[N, 8]` (all float64); and `pieces`,
# an int that divides N. Return the gradient of `loss(embed(x1, w), embed(x2, w))` with respect to `w`, `[8, D]`. At no
# time may more than $2N/$`pieces` rows be in a graph: the checker counts them. Then argue: what happens with BatchNorm
# in `embed`?
#
# <details><summary>Hint 1</summary>By the chain rule the loss has to tell each embedding its gradient, and the network
# has to know nothing else.</details>
# <details><summary>Hint 2</summary>First embed everything without gradient. Then make the embeddings leaves, and ask
# the loss.</details>
# <details><summary>Hint 3</summary>`z.backward(g)` starts a backward pass from embeddings with a known
# gradient.</details>


# %%
def cached_gradient(embed, loss, w, x1, x2, pieces: int) -> torch.Tensor:
    return NOT_ATTEMPTED


ch24.check_cached_gradient(cached_gradient)

# %% [markdown]
# ### 4 · The batch that fits (••, 10 minutes)
# `budget` bytes; a network of `parameters` float32 parameters, trained with AdamW; activations of `per_picture` bytes
# per picture; and a loss that keeps `matrices` float32 matrices of $2N \times 2N$. Return the largest batch $N$ that
# fits, an int (0 where nothing does). From which batch on is the loss a suspect after all, with 8 MB per picture and
# four matrices?
#
# <details><summary>Hint</summary>A quadratic equation in $N$.</details>


# %%
def largest_batch(budget, parameters, per_picture, matrices) -> int:
    return NOT_ATTEMPTED


ch24.check_largest_batch(largest_batch)

# %% [markdown]
# ## Claims, tested
#
# Each turn is a pair, and the number is the share of a step's seconds that is saved. The first claim says that loading
# *can* be the bottleneck, so the small network decides. The second is about a ResNet behind eight GPUs, so both setups
# are printed and neither is called a test: choosing the network would be choosing the verdict. The judged ramp is the
# gentle one, nearest to 160 to 224 pixels.

# %%
share, nothing = saved_share["small", READY], [0.0] * len(saved_share["small", READY])
book.claim("C-135", drawn=Runs(share, nothing))
book.claim("C-136", drawn=None)
for setup, name in NETWORKS.items():
    mapped, ready = (f"{middle[setup, way]:.0%}" for way in (MAPPED, READY))
    print(f"   {name}: the mapped array saves {mapped} of a step, ready views {ready}")
gentle = RAMPS[0]
ramp, shorter = ramps[gentle]["probe"], ramps[SHORTER.format(gentle)]["probe"]
book.claim("C-137", drawn=Runs(ramp, shorter, floor))

# %% [markdown]
# Keep the scale in mind: on a CPU a ResNet is so slow that no loader could save it much.
#
# ## Where it comes from, where it went
#
# Mixed precision came as an add-on ([Apex](https://github.com/NVIDIA/apex)). Since then the engineering moved to data
# (FFCV, DALI) and to attention: [transformers](https://arxiv.org/abs/1706.03762) spend much of their time moving
# numbers ([Ivanov et al., 2021](https://arxiv.org/abs/2007.00072)), and
# [FlashAttention](https://arxiv.org/abs/2205.14135) moves fewer
# ([xFormers](https://github.com/facebookresearch/xformers)).
#
# Other ways to attack the square of attention: [Linformer](https://arxiv.org/abs/2006.04768),
# [Performer](https://arxiv.org/abs/2009.14794), [Reformer](https://arxiv.org/abs/2001.04451), [Big
# Bird](https://arxiv.org/abs/2007.14062), [Scatterbrain](https://arxiv.org/abs/2110.15343),
# [Swin](https://arxiv.org/abs/2103.14030) and its self-supervised [EsViT](https://arxiv.org/abs/2106.09785).
#
# **Further reading**: section 3.8 of the [Cookbook](https://arxiv.org/abs/2304.12210). **Next**: [chapter
# 24b](24b_machines_and_learning_rates.ipynb).
#
# ## A question
#
# A colleague's GPU holds 64 pictures. He accumulates over 16 batches, writes "batch size 1,024" into the paper, and
# compares his loss with yours, from a real batch of 1,024. His is lower. Why, and what should he write?
# <details><summary>Answer</summary>His views choose among 127 candidates, yours among 2,047; his chance level is lower
# by log 16, about 2.8. He should write: batches of 64, 16 of them per step.</details>

# %% [markdown]
# ## Solutions
#
# ```python
# def factor_needed(share, target):
#     # Only one by one: its pictures have more than half of the step.
#     left = 1 / target - (1 - share)  # the time that the part may take
#     return share / left if left > 0 else math.inf
#
#
# def streaming_logsumexp(blocks):
#     block = next(blocks)
#     top = block.amax(dim=1)
#     total = (block - top[:, None]).exp().sum(dim=1)
#     for block in blocks:
#         new = torch.maximum(top, block.amax(dim=1))
#         total = total * (top - new).exp() + (block - new[:, None]).exp().sum(dim=1)
#         top = new
#     return top + total.log()
#
#
# def cached_gradient(embed, loss, w, x1, x2, pieces):
#     # BatchNorm would see a piece at a time: not the same embeddings, not the same gradient.
#     w = w.clone().requires_grad_()
#     with torch.no_grad():
#         z = [torch.cat([embed(x, w) for x in v.chunk(pieces)]) for v in (x1, x2)]
#     leaves = [t.requires_grad_() for t in z]
#     loss(*leaves).backward()
#     for v, leaf in zip((x1, x2), leaves):
#         for x, g in zip(v.chunk(pieces), leaf.grad.chunk(pieces)):
#             embed(x, w).backward(g)
#     return w.grad
#
#
# def largest_batch(budget, parameters, per_picture, matrices):
#     # 64 N^2 = 8e6 N at N = 125,000: not in this chapter.
#     left, square = budget - 16 * parameters, 16 * matrices
#     if left < 0:
#         return 0
#     root = math.sqrt(per_picture**2 + 4 * square * left)
#     return int((root - per_picture) / (2 * square))
# ```
