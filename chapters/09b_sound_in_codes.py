# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09b · Can a model that only predicts the next code of a sound know what the sound is?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/ssl-lessons/ssl-lessons/blob/main/chapters/09b_sound_in_codes.ipynb)
#
# **After this chapter you can**
#
# - write a WaveNet, count how far it looks back, and say what its bits per sample are made of;
# - turn a sound into a sentence of codes, predict the next one, and read what the layers know;
# - tell a good loss from a model that has lost the thread.
#
# **You need** [chapter 03](03_one_step_ahead.ipynb) (one step ahead),
# [chapter 07](07_generate_to_understand.ipynb) (VQ-VAE and prior) and [chapter 09](09_sound.ipynb) (log-mel).
# **Time**: 17 minutes to read, about a minute to run on two CPU cores. Nothing is downloaded.

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

device = book.setup("09b")

# %% [markdown]
# ## The puzzle: six tunes of the same notes
#
# One of four instruments plays, in one of five keys, major or minor, fast or slowly, one of six tunes. All six hold the
# same steps of the scale, as often; only the *order* differs.

# %%
import math

import torch
import torch.nn.functional as F

from ssl_lessons import evaluation, plots, widgets
from ssl_lessons.book import listening
from ssl_lessons.book.exercises import NOT_ATTEMPTED, ch09b
from ssl_lessons.book.widgets import depth
from ssl_lessons.data import label_subset
from ssl_lessons.evaluation.evidence import Runs
from ssl_lessons.modalities.audio import tunes
from ssl_lessons.models.generative import sound_codes, wavenet
from ssl_lessons.models.generative.autoregressive import GPT, bits_per_symbol, continued
from ssl_lessons.training import fit

# %%
clips = tunes.tunes("unlabeled", 2048)
train, test = tunes.tunes("train", 600), tunes.tunes("test", 300)


def hear(wave: torch.Tensor, words: str):
    listening.show_sound(wave, tunes.RATE, alt=words)


k = int(((test.tempo == 0) & (test.instrument == 2)).nonzero()[0])
played = " ".join(str(n) for n in test.notes()[k].tolist())
kind = tunes.INSTRUMENTS[test.instrument[k]]
print(f"a {kind}, tune {test.tune[k]}, semitones above 220 Hz: {played}")
hear(test.wave[k], f"A {kind} plays, in semitones above 220 Hz, {played}.")

# %%
LABELS = 25  # per class


def probe(features: dict, factor: str) -> float:
    y, answers = getattr(train, factor), getattr(test, factor)
    i = label_subset(y, LABELS, seed=0)
    f = features["train"][i]
    return evaluation.linear_probe(f, y[i], features["test"], answers).accuracy


mel = {"train": tunes.log_mel(train.wave), "test": tunes.log_mel(test.wave)}
averaged = {s: torch.cat([x.mean(1), x.std(1)], dim=1) for s, x in mel.items()}
for factor, classes in tunes.FACTORS.items():
    found = probe(averaged, factor)
    print(f"{factor}: {100 * found:.0f} % (chance {100 / classes:.0f})")

# %% [markdown]
# That is the spectrogram, averaged over time: instrument and key are there, the tune hardly.
#
# > **Predict before you go on.** Two networks learn to say what comes next, and nothing else: one the next *sample*,
# > one the next *code* of 30 ms. Their states are averaged over the clip, and a linear probe with 25 labels a tune
# > reads them. How many in a hundred tunes does it name from (1) the samples' network, (2) the codes' network before
# > its first layer, (3) after its middle layer? Chance is 17.
#
# ## The next sample: WaveNet
#
# Any distribution of sounds is a product of predictions, $p(x) = \prod_t p(x_t \mid x_1, \dots, x_{t-1})$. WaveNet
# makes each one a choice among 256 levels. Sound is mostly quiet, so the levels lie close together near zero: for a
# sample $x \in [-1, 1]$, **mu-law** ($\mu = 255$) is
#
# $$f(x) = \operatorname{sign}(x) \, \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)},$$
#
# rounded to 256 steps. Layer $l$ has two taps, $d_l$ samples apart, and a gate ($h$ goes in, $*$ is a causal
# convolution, $\odot$ a product entry by entry, $W$ are weights):
#
# $$z = \tanh(W_{f,l} * h) \odot \sigma(W_{g,l} * h).$$
#
# A prediction depends on $R = 1 + \sum_l d_l$ samples. With **holes**, $d_l = 1, 2, 4, \dots$, eight layers see 256
# samples; without them nine.


# %%
def mu_law(x, mu=255):
    f = x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)
    return ((f + 1) / 2 * mu).round().long()


x = mu_law(clips.wave)
assert torch.equal(x, wavenet.mu_law(clips.wave))
y = mu_law(test.wave[:60])
quiet = test.wave[test.wave.abs() < 0.05]
for name, back in (
    ("mu-law", wavenet.from_mu_law(mu_law(quiet))),
    ("even steps", ((quiet + 1) * 127.5).round() / 127.5 - 1),
):
    noise = (back - quiet).square().mean() / quiet.square().mean()
    print(f"{name}, quiet samples: noise {10 * math.log10(noise):.0f} dB")


# %%
class Layer(torch.nn.Module):
    def __init__(self, width, d):
        super().__init__()
        self.d, self.taps = d, torch.nn.Conv1d(width, 2 * width, 2, dilation=d)
        self.mix = torch.nn.Conv1d(width, width, 1)
        self.skip = torch.nn.Conv1d(width, width, 1)

    def forward(self, h):  # -> next layer's h, and a share of the logits
        f, g = self.taps(h).chunk(2, dim=1)
        z = torch.tanh(f) * torch.sigmoid(g)
        return h[..., self.d :] + self.mix(z), self.skip(z)


h, package = torch.randn(2, 8, 20), wavenet.Layer(8, 4)
mine = Layer(8, 4)
mine.load_state_dict(package.state_dict())
assert all(torch.allclose(a, b) for a, b in zip(mine(h), package(h)))

# %%
torch.manual_seed(0)
net = wavenet.WaveNet(dilations=(1, 2, 4, 8, 16, 32, 64, 128)).to(device)


def next_sample(g):
    i, t = torch.randint(len(x), (8,), generator=g), 768
    start = int(torch.randint(tunes.SAMPLES - t, (1,), generator=g))
    part = x[i, start : start + t].to(device)
    return F.cross_entropy(net(part)[..., 256:], part[:, 256:])


fit(net, next_sample, 100, lr=4e-3, progress=True)
print(f"looks {net.receptive_field} samples back,", end=" ")
print(f"{1000 * net.receptive_field / tunes.RATE:.0f} ms")
print(f"{bits_per_symbol(net, y.to(device)):.2f} bits a sample (even guess: 8)")

# %% [markdown]
# A hundred steps are few; the record has more, three seeds, and the floors: how often each level comes, how often after
# the one before, and a linear prediction from 32 samples.

# %%
record, origin = book.recorded("sound_codes")


def of(part: str, arm: str, key: str) -> list:
    """One value per seed."""
    return book.per_seed(record, key, part=part, arm=arm)


def mean(values) -> float:
    return sum(values) / len(values)


def spread(values, digits=2, scale=1) -> str:
    a, low, high = (scale * v for v in (mean(values), min(values), max(values)))
    return f"{a:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


# %% tags=["hide-input"]
SAMPLES = {
    "each alone": "how often each level",
    "the one before": "how often after the one before",
    "linear, 32 before": "linear prediction",
    "WaveNet": "WaveNet",
    "no holes": "the same, no holes",
    "no gate": "the same, ReLU for the gate",
}
bits = {arm: of("samples", arm, "bits") for arm in SAMPLES}
plots.table(
    [{"arm": name, "bits": spread(bits[arm])} for arm, name in SAMPLES.items()],
    "Bits per sample on test clips, mean and range of three seeds (even guess: 8)",
    {"arm": "predicted by", "bits": "bits"},
)
print(origin)

# %%
fresh, later = (of("samples", "WaveNet", key) for key in ("fresh", "later"))
print(f"first 5 ms of a note: {spread(fresh)} bits; the rest: {spread(later)}")
clip = mean(bits["WaveNet"]) * tunes.SAMPLES
assert max(bits["WaveNet"]) < min(bits["no holes"] + bits["the one before"])
assert min(fresh) > max(later)
assert max(of("samples", "no holes", "fresh")) < min(fresh)
print(f"a clip: {clip:,.0f} bits; which tune it is: {math.log2(6):.1f} of them")

# %% [markdown]
# WaveNet beats the tables by far, and linear prediction too. Without holes it sees 2 ms: worse, but better in a note's
# first 5 ms. A new note costs more, partly for its noise: it begins quietly, where levels lie close.
#
# The last line is the point. To know the tune saves at most 2.6 bits *a clip*, out of thousands. A network that looks
# 64 ms back can save few, and gradient descent hardly misses them.
#
# ## The next code: a VQ-VAE and its prior
#
# **Jukebox** first makes the sentence short. A VQ-VAE ([chapter 07](07_generate_to_understand.ipynb)) turns sound into
# codes, and a **prior**, a transformer, predicts the next one. Three such levels code raw samples there, 8, 32 and 128
# of 44,100 a second to a code, 2,048 codes, and two more networks fill in the fine levels; all are told artist and
# genre, the top also lyrics. Left here is one level: 128 codes, 30 ms each, and *spectra* in place of samples, in the
# spirit of its spectral loss. So the codes hold no phase, and to listen one must guess it ([Griffin and Lim,
# 1984](https://doi.org/10.1109/TASSP.1984.1164317)).


# %%
def spectra(wave):
    """[N, 3840] -> log amplitudes [N, 129, 64]: 64 ms long, one every 15 ms."""
    window = torch.hann_window(256)
    f = torch.stft(wave, 256, 60, window=window, return_complex=True)
    return (f[..., :-1].abs() + 0.01).log()


X = {s: spectra(c.wave) for s, c in (("all", clips), ("train", train), ("test", test))}
assert torch.allclose(X["test"], sound_codes.spectra(test.wave), atol=1e-4)

# %%
torch.manual_seed(0)
coder = sound_codes.SoundCodes(codes=128).to(device)
coder.settle(X["all"].to(device))
chance = torch.Generator().manual_seed(0)


def some(sounds, g):
    return sounds[torch.randint(len(sounds), (32,), generator=g)].to(device)


def restart(step):
    if step % 10 == 0 and step <= 100:
        with torch.no_grad():
            coder.vq.restart_unused(coder.encode(some(X["all"], chance)), chance)


_ = fit(coder, lambda g: coder.loss(some(X["all"], g)), 200, lr=3e-3, after=restart)

# %%
with torch.no_grad():
    codes = {s: coder.codes(v.to(device)).cpu() for s, v in X.items()}
    back = sound_codes.listen(coder.decode(codes["test"][k : k + 1].to(device)).cpu())
print("the clip above in 32 codes:", *codes["test"][k].tolist())
hear(back[0], f"The clip after its 32 codes; the notes were {played}.")

# %% [markdown]
# The prior is a GPT ([chapter 03](03_one_step_ahead.ipynb)): six layers, each state sees the codes before.

# %%
torch.manual_seed(0)
prior = GPT(symbols=128, length=32, dim=64, depth=6, heads=4).to(device)


def states(network, split: str, layer: int) -> torch.Tensor:
    """The states after a layer, averaged over the 32 places: [N, 64]."""
    with torch.no_grad():
        return network.hidden(codes[split].to(device))[layer].mean(1).cpu()


def tune_read(network, layer: int) -> float:
    both = {split: states(network, split, layer) for split in ("train", "test")}
    return 100 * probe(both, "tune")


# %%
before = {layer: tune_read(prior, layer) for layer in (0, 3)}


def next_code(g):
    part = some(codes["all"], g)
    return F.cross_entropy(prior(part), part)


fit(prior, next_code, 300, lr=3e-3, progress=True)
print(f"{bits_per_symbol(prior, codes['test'].to(device)):.2f} bits a code (even: 7)")
for layer, was in before.items():
    now = tune_read(prior, layer)
    print(f"tune, after layer {layer}: {now:.0f} %, before training {was:.0f} %")

# %% [markdown]
# ## What each layer knows
#
# That is what **CALM** did with Jukebox: take the states of the prior, average over time, fit shallow models on them.
# Its code stops after [layer 36 of 72](https://github.com/p-lambda/jukemir/blob/main/representations/jukebox/main.py);
# we take the middle too, layer 3 of 6, fixed before looking. Beside it: networks trained to name a *tag*, here the
# instrument (same network, codes, steps, and a label for every clip); COLA from [chapter 09](09_sound.ipynb); what goes
# into the prior; and spectrograms.

# %% tags=["hide-input"]
READ = {
    "log-mel": "log-mel, mean and deviation",
    "log-mel, all times": "log-mel, all times",
    "how often each code": "how often each code",
    "how often each pair": "how often each pair of codes",
    "VQ-VAE's encoder": "VQ-VAE's encoder, mean",
    "untrained, layer 3": "prior before training, layer 3",
    "prior, layer 0": "prior, before layer 1",
    "prior, layer 3": "prior, layer 3",
    "prior, layer 6": "prior, layer 6",
    "tagger, layer 3": "tagger, layer 3",
    "tagger, layer 6": "tagger, layer 6",
    "COLA": "COLA",
    "WaveNet, layer 8": "WaveNet, layer 8",
}

# %% tags=["hide-input"]
plots.table(
    [{"arm": "chance"} | {f: f"{100 / n:.0f}" for f, n in tunes.FACTORS.items()}]
    + [
        {"arm": name} | {f: spread(of("probes", a, f), 0, 100) for f in tunes.FACTORS}
        for a, name in READ.items()
    ],
    "Linear probes, 25 labels a class, mean and range of three seeds (%)",
    {"arm": "read from"} | {f: f for f in tunes.FACTORS},
)
print(origin)


# %% tags=["hide-input"]
def read(arm: str, factor: str) -> list[float]:
    return of("probes", arm, factor)


middle = "prior, layer 3"
floors = ("log-mel", "how often each code", "untrained, layer 3")
assert min(read(middle, "tune")) > max(max(read(a, "tune")) for a in floors) + 0.1
assert min(read(middle, "tune")) > max(read("prior, layer 0", "tune")) + 0.1
assert min(read("log-mel, all times", "tune")) > max(read(middle, "tune"))
for arm in ("WaveNet, layer 8", "tagger, layer 6", "COLA"):
    assert max(read(arm, "tune")) < min(read(middle, "tune"))
for factor in ("instrument", "key", "mode", "tempo"):
    assert mean(read("log-mel", factor)) > mean(read(middle, factor))

# %% [markdown]
# Read the floors first. The mean spectrogram is ahead of the prior at instrument, key, mode and tempo: on average
# nothing learned beats it there. And a spectrogram with *all* its times, 1,536 numbers, names nearly every tune: all
# clips begin with the first note, so the tune is no secret.
#
# What a mean loses, the prior keeps in part. That answers the puzzle: from WaveNet's states and before the prior's
# first layer the tune is read about as rarely as from counts; after the middle layer far more often, in every seed. A
# state of the prior is no moment but has seen the past, so order can survive the average; before training it does a
# little.
#
# What the table does not show: that the prior *hears* tunes. It has seen these six, in these keys.
#
# ## What goes wrong: bits do not show a lost thread
#
# Give both networks the first half of a slow clip and let them go on, by drawing from their own predictions. Is the
# *pitch* right, frame by frame? (It is read by a linear discriminant analysis of the spectra of other clips; its own
# errors show in the line "the clip itself".)

# %%
g = torch.Generator().manual_seed(0)
half = tunes.SAMPLES // 2
wave = net.samples(mu_law(test.wave[k : k + 1, :half]).to(device), half, g)[0].cpu()
sentence = continued(prior, codes["test"][k : k + 1, :16].to(device), 32, g)
with torch.no_grad():
    drawn = sound_codes.listen(coder.decode(sentence).cpu())[0]
for name, sound in (("WaveNet", wave), ("prior", drawn)):
    print(name, "goes on after half the clip:")
    hear(sound, f"The first half of the clip, and what the {name} makes of the rest.")

# %% tags=["hide-input"]
fig, axes = plots.new_figure(6.4, 2.6, columns=3)
three = {"clip": test.wave[k], "WaveNet": wave, "prior": drawn}
for ax, (name, sound) in zip(axes, three.items()):
    ax.imshow(spectra(sound[None])[0], origin="lower", aspect="auto", cmap="viridis")
    ax.axvline(32, color="white")
    ax.set(title=name, xlabel="time (15 ms)", yticks=[])
axes[0].set_ylabel("frequency")
plots.show(
    fig,
    alt="Three spectrograms: the clip, a staircase of eight notes; its first half, "
    "continued sample by sample by the WaveNet; and the same in codes, continued by "
    "the prior. A line marks the middle.",
)

# %% tags=["hide-input"]
GOES_ON = ("the clip itself", "through the codes", "prior", "WaveNet")
GOES_ON += ("another clip",)
fig, ax = plots.new_figure(6.4, 2.8)
time = [30 + 60 * i for i in range(8)]
for arm, mark, color in zip(GOES_ON, "o^sDv", plots.COLORS):
    right = torch.tensor(of("continued", arm, "right")).mean(0)
    ax.plot(time, 100 * right, mark + "-", color=color, label=arm)
ax.set(title="Right pitch, once the network is left alone", xlabel="ms", ylabel="%")
ax.set_ylim(0, 104)
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plots.show(
    fig,
    alt="Share of frames with the right pitch over eight eighths of the second half. "
    + " ".join(
        f"{arm}: {100 * mean(of('continued', arm, 'all')):.0f} percent in all."
        for arm in GOES_ON
    ),
)

# %% tags=["hide-input"]
all_right = {arm: of("continued", arm, "all") for arm in GOES_ON}
assert min(all_right["prior"]) > max(all_right["WaveNet"]) + 0.1
assert max(all_right["WaveNet"]) < min(all_right["through the codes"]) - 0.2
assert max(all_right["prior"]) < min(all_right["through the codes"])
assert max(all_right["WaveNet"]) < mean(all_right["another clip"]) + 0.05
assert min(all_right["prior"]) > 0.5

# %% [markdown]
# WaveNet, ahead of the tables while it is led, alone has the right pitch about as often as *another clip* (in the
# picture: noise). Both were trained on true pasts, so that alone is not why. The prior has the right pitch in most
# frames. **The test to reuse: leave the model alone, and measure what you care about.**
#
# The other failure of codes is a codebook of which few are used. [Chapter 07](07_generate_to_understand.ipynb) kills
# and revives one, [chapter 09](09_sound.ipynb) has the loss for diversity; here are Jukebox's restarts.

# %%
for arm in ("restarts", "no restarts"):
    used, error = (of("codes", arm, key) for key in ("in_use", "error"))
    print(f"{arm}: perplexity {spread(used, 0)} of 128, error {spread(error)}")
more, fewer = (of("codes", arm, "in_use") for arm in ("restarts", "no restarts"))
assert min(more) > max(fewer)

# %% [markdown]
# ## Play: what a probe reads at which depth
#
# **Which factor is read best before the first layer, which needs depth, and which is hardly read?**

# %% tags=["hide-input"]
widgets.explore(
    depth.render,
    depth.CONTROLS,
    static=[{"factor": f} for f in ("tune", "key", "mode", "tempo")],
    captions=["tune", "key", "mode", "tempo"],
    alt=depth.describe,
    columns=2,
)

# %%
curves = {f: depth.curve("prior", f) for f in tunes.FACTORS}
for f, c in curves.items():
    print(f"{f}: best after layer {c.index(max(c))}", *(f"{v:.0f}" for v in c))
assert max(curves["tune"]) > curves["tune"][0] + 10

# %% [markdown]
# ## Exercises
#
# ### 1 · How far back? (•, 5 minutes)
# `dilations` is a list of int, one a layer; `taps` an int, the taps of each layer. As above, logits for time $t$ begin
# from sample $t - 1$. Return on how many samples of the past they can depend.
#
# <details><summary>Hint</summary>Begin with no layer at all.</details>


# %%
def reach(dilations: list, taps: int) -> int:
    return NOT_ATTEMPTED


ch09b.check_reach(reach)

# %% [markdown]
# ### 2 · There and back (••, 8 minutes)
# `x` is float `[T]` in [-1, 1], `mu` an int. Return `[T]`: what is left of x after mu-law, rounding to the integers
# 0 to mu, and the way back.
#
# <details><summary>Hint</summary>Solve f = f(x) for |x|.</details>


# %%
def there_and_back(x: torch.Tensor, mu: int) -> torch.Tensor:
    return NOT_ATTEMPTED


ch09b.check_there_and_back(there_and_back)

# %% [markdown]
# ### 3 · Bits per sample (•, 5 minutes)
# `logits` is float `[N, K, T]`, `x` int64 `[N, T]`; `logits[:, :, t]` are meant for `x[:, t]`. Return the bits per
# sample. Before you run it: what must an even guess give?


# %%
def bits_of(logits: torch.Tensor, x: torch.Tensor) -> float:
    return NOT_ATTEMPTED


ch09b.check_bits(bits_of)

# %% [markdown]
# ### 4 · A forecast (•, 5 minutes on paper)
# The probe reads the *mean* of all 32 states. The last state has seen 31 codes, the mean is of states most of which
# have seen far fewer. Read the tune from the **last state alone**, after layer 3 of the prior you have trained. By how
# many points is that better (plus) or worse (minus)? Say your number first; right is within 8.


# %%
def last_alone() -> float:
    with torch.no_grad():
        last = {s: prior.hidden(codes[s].to(device))[3][:, -1].cpu() for s in mel}
    return 100 * probe(last, "tune") - tune_read(prior, 3)


forecast = NOT_ATTEMPTED
ch09b.judge_forecast(forecast, last_alone, near=8)

# %% [markdown]
# ## Claims, tested
#
# Statements and rules stand in
# [`data/claims.csv`](https://github.com/ssl-lessons/ssl-lessons/blob/main/data/claims.csv). C-370 and C-371 are CALM's:
# there a million songs and many tags, here one tag.

# %%
layer3 = {arm: f"{arm}, layer 3" for arm in ("prior", "tagger", "untrained")}


def all_factors(arm: str) -> list[float]:
    return [mean(v) for v in zip(*(of("probes", arm, f) for f in tunes.FACTORS))]


key = [of("probes", arm, "key") for arm in ("prior, layer 3", "tagger, layer 6")]
book.claim("C-370", drawn=Runs(*key, of("probes", layer3["untrained"], "key")))
both = [all_factors(arm) for arm in ("prior, layer 3", "tagger, layer 6")]
book.claim("C-371", drawn=Runs(*both, all_factors(layer3["untrained"])))
saved = {arm: [-v for v in found] for arm, found in bits.items()}
floor = saved["each alone"]
holes, gate, mine = bits["no holes"], bits["no gate"], bits["WaveNet"]
both = (saved["WaveNet"], saved["no holes"])
book.claim("C-372", drawn=Runs(mine, holes, floor, learned=both))
both = (saved["WaveNet"], saved["no gate"])
book.claim("C-373", drawn=Runs(mine, gate, floor, learned=both))
used = [of("codes", arm, "in_use") for arm in ("restarts", "no restarts")]
book.claim("C-374", drawn=Runs(*used))

# %% [markdown]
# ## Where it comes from, where it went
#
# [WaveNet](https://arxiv.org/abs/1609.03499) (2016) made speech and music sample by sample.
# [VQ-VAE](https://arxiv.org/abs/1711.00937) put codes in between, and [Jukebox](https://arxiv.org/abs/2005.00341) made
# songs of them. [CALM](https://arxiv.org/abs/2107.05677) turned the singer into a listener.
#
# ## Two questions
#
# **1.** Your model of raw sound reaches excellent bits per sample. What does that say about its melodies?
# <details><summary>Answer</summary>Next to nothing: which note comes next is a few bits among thousands. Let it go on
# alone and measure the melody.</details>
#
# **2.** You want features for the key of a song. Do you need a prior over codes?
# <details><summary>Answer</summary>First probe the mean spectrogram: what does not depend on order may be there already.
# </details>

# %% [markdown]
# ## Solutions
#
# ```python
# forecast = ...  # your own number, before the run
#
#
# def reach(dilations, taps):
#     return 1 + (taps - 1) * sum(dilations)
#
#
# def there_and_back(x, mu):
#     f = x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)
#     f = 2 * ((f + 1) / 2 * mu).round() / mu - 1
#     return f.sign() * torch.expm1(f.abs() * math.log1p(mu)) / mu
#
#
# def bits_of(logits, x):
#     return F.cross_entropy(logits, x) / math.log(2)
# ```
