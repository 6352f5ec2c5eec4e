"""What may be asked of sound without labels: each class holds an encoder and its heads, and gives a loss per batch.

All take x [B, T, mels], standardised log-mel, and a generator; all read the same `SoundEncoder`.  `features` [B, T / 2,
width] is what a probe reads afterwards, in the way the objective was trained.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.audio import views
from ssl_lessons.modalities.audio.encoders import SoundEncoder, WaveEncoder

AHEAD, STRETCH = 6, 6  # steps of 20 ms
HIDDEN, DISTRACTORS = 0.5, 20  # share of the steps; number


class Objective(nn.Module):
    """An encoder, its heads, and `loss(x, generator, **more)`."""

    causal = False

    def __init__(self, encoder: SoundEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return self.encoder(x, causal=self.causal)


class CPC(Objective):
    """Predict what comes from what was; negatives "clips" or "times" (see `losses.cpc`)."""

    causal = True

    def __init__(self, encoder: SoundEncoder, negatives: str = "clips", ahead: int = AHEAD) -> None:
        super().__init__(encoder)
        self.maps = nn.Parameter(torch.randn(ahead, encoder.width, encoder.width) / encoder.width)
        self.negatives = negatives

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        z = self.encoder.frames(x)
        return losses.cpc(self.encoder.context(z, causal=True), z, self.maps, self.negatives)


class COLA(Objective):
    """Two stretches of one clip against those of other clips; the second may come from `other`, the clip elsewhere."""

    def __init__(self, encoder: SoundEncoder, length: int = 48) -> None:
        super().__init__(encoder)
        self.head = nn.Sequential(
            nn.Linear(encoder.width, encoder.width), nn.LayerNorm(encoder.width), nn.Tanh()
        )
        self.weight = nn.Parameter(torch.randn(encoder.width, encoder.width) / encoder.width)
        self.length = length

    def loss(self, x: Tensor, generator: torch.Generator, other: Tensor | None = None) -> Tensor:
        segments = [views.crops(v, self.length, generator) for v in (x, x if other is None else other)]
        a, p = (self.head(self.encoder(s).mean(1)) for s in segments)
        return losses.cola(a, p, self.weight)


class BYOLA(Objective):
    """BYOL on sound: two stretches, each with a little of another clip mixed in.

    mean, std [mels]: x times std plus mean is the log-mel spectrogram itself, in which powers are mixed.
    """

    def __init__(
        self, encoder: SoundEncoder, mean: Tensor, std: Tensor, length: int = 48, momentum: float = 0.98
    ) -> None:
        super().__init__(encoder)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        w = encoder.width
        self.projector = nn.Sequential(nn.Linear(w, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 32))
        self.predictor = nn.Sequential(nn.Linear(32, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 32))
        self.teacher = copy.deepcopy(nn.ModuleList([encoder, self.projector])).requires_grad_(False)
        self.length, self.momentum = length, momentum

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        online, target = [], []
        for _ in range(2):
            other = x[torch.randperm(len(x), generator=generator).to(x.device)]
            share = 0.01 + 0.4 * torch.rand(len(x), generator=generator)
            mixed = views.mix(x * self.std + self.mean, other * self.std + self.mean, share)
            view = views.crops((mixed - self.mean) / self.std, self.length, generator)
            online.append(self.predictor(self.projector(self.encoder(view).mean(1))))
            with torch.no_grad():
                target.append(self.teacher[1](self.teacher[0](view).mean(1)))
        return losses.byol(online[0], target[1]) + losses.byol(online[1], target[0])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """The teacher follows: called after each step of the student."""
        student = nn.ModuleList([self.encoder, self.projector])
        for mine, theirs in zip(self.teacher.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs, 1 - self.momentum)


class Restore(Objective):
    """Fill in what is hidden of the spectrogram: "bands" (whole times and filters) or as many single "cells"."""

    def __init__(self, encoder: SoundEncoder, hide: str = "bands", mels: int = 32) -> None:
        super().__init__(encoder)
        if hide not in ("bands", "cells"):
            raise InputError(f"hide must be 'bands' or 'cells', not {hide!r}.")
        self.head, self.hide = nn.Linear(encoder.width, 2 * mels), hide

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        hidden = views.bands(*x.shape, (3, 12), (2, 5), generator)
        if self.hide == "cells":
            hidden = views.cells_like(hidden, generator)
        hidden = hidden.to(x.device)
        filled = self.head(self.encoder(x.masked_fill(hidden, 0.0))).unflatten(-1, (2, -1)).flatten(1, 2)
        return l1_loss(filled[hidden], x[hidden])


class Quantiser(nn.Module):
    """z -> G groups of V codes, one vector each, put one after the other: the target of wav2vec 2.0."""

    def __init__(self, width: int, groups: int = 2, codes: int = 16) -> None:
        super().__init__()
        self.logits = nn.Linear(width, groups * codes)
        self.vectors = nn.Parameter(torch.rand(groups, codes, width // groups))

    def forward(self, z: Tensor, generator: torch.Generator | None = None, temperature: float = 1.0):
        """z [M, width] -> (targets [M, width], probabilities [M, G, V] without noise)."""
        logits = self.logits(z).unflatten(-1, self.vectors.shape[:2])
        noise = None
        if generator is not None:
            u = torch.rand(logits.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
            noise = -(-u.log()).log().to(logits.device)
        codes = losses.gumbel_codes(logits, noise, temperature)
        return torch.einsum("mgv,gvd->mgd", codes, self.vectors).flatten(1), logits.softmax(-1)


class Wav2Vec2(Objective):
    """Hidden frames find their own target; quantised or not, with a weight for the use of all codes (alpha)."""

    def __init__(self, encoder: SoundEncoder, quantised: bool = True, alpha: float = 0.1) -> None:
        super().__init__(encoder)
        self.quantiser = Quantiser(encoder.width) if quantised else nn.Linear(encoder.width, encoder.width)
        self.head = nn.Linear(encoder.width, encoder.width)
        self.quantised, self.alpha, self.temperature = quantised, alpha, 2.0

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        z = self.encoder.frames(x)
        hidden = views.spans(*z.shape[:2], HIDDEN, STRETCH, generator).to(z.device)
        context = self.head(self.encoder.context(z, hidden)[hidden])
        if self.quantised:
            target, p = self.quantiser(z[hidden], generator, self.temperature)
        else:
            target = self.quantiser(z[hidden])
        others = distractors(len(x), len(target) // len(x), DISTRACTORS, generator).to(z.device)
        loss = losses.wav2vec2(context, target, others)
        return loss + self.alpha * losses.codebook_diversity(p, "perplexity") if self.quantised else loss

    def update(self, step: int) -> None:
        """The temperature of the codes goes down, a little every step, to 0.5."""
        self.temperature = max(0.5, 2.0 * 0.997**step)


def distractors(clips: int, each: int, k: int, generator: torch.Generator) -> Tensor:
    """Indices [clips * each, k] of other hidden frames of the same clip, uniformly, repeats allowed."""
    if each < 2:
        raise InputError("A clip with one hidden frame has no distractor.")
    shift = torch.randint(1, each, (clips, each, k), generator=generator)
    place = (torch.arange(each)[:, None] + shift) % each
    return (place + each * torch.arange(clips)[:, None, None]).flatten(0, 1)


class HuBERT(Objective):
    """Name the unit of each hidden frame; labels [B, T / 2] come with the batch, from k-means."""

    def __init__(self, encoder: SoundEncoder, units: int) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(encoder.width, encoder.width)
        self.units = nn.Parameter(torch.randn(units, encoder.width))

    def loss(self, x: Tensor, generator: torch.Generator, labels: Tensor) -> Tensor:
        z = self.encoder.frames(x)
        hidden = views.spans(*z.shape[:2], HIDDEN, STRETCH, generator).to(z.device)
        return losses.hubert(self.head(self.encoder.context(z, hidden)), self.units, labels, hidden)


class TwoFormats(Objective):
    """The samples of a clip against its spectrogram, among the clips of the batch; both ways."""

    def __init__(self, encoder: SoundEncoder) -> None:
        super().__init__(encoder)
        self.wave = WaveEncoder(encoder.width)
        self.heads = nn.ModuleList(nn.Linear(encoder.width, encoder.width) for _ in range(2))

    def loss(self, x: Tensor, generator: torch.Generator, wave: Tensor) -> Tensor:
        a, b = self.heads[0](self.encoder(x).mean(1)), self.heads[1](self.wave(wave).mean(1))
        return (losses.info_nce(a, b) + losses.info_nce(b, a)) / 2
