"""Small painters, their training loops, and what to measure of a painting: VQ-VAE, a prior on its codes, a denoiser."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative import diffusion, vq
from ssl_lessons.models.generative.autoregressive import GPT

BANDS = (1, 2, 4, 8, 16)  # cycles per picture: the edges of the octaves in `band_power`


class VQVAE(nn.Module):
    """Pictures x [N, 3, S, S] -> S/4 x S/4 codes -> pictures (van den Oord et al. 2017), without residual blocks.

    forward: (rebuilt [N, 3, S, S], codebook and commitment loss, indices [N, S/4, S/4]).
    """

    def __init__(self, codes: int = 64, dim: int = 16, width: int = 16, beta: float = 0.25):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.ReLU(), nn.Conv2d(2 * width, dim, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, 2 * width, 3, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, 2, 1),
        )  # fmt: skip
        self.vq = vq.VectorQuantizer(codes, dim, beta)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized, loss, indices = self.vq(self.encoder(x))
        return self.decoder(quantized), loss, indices

    @torch.no_grad()
    def codes(self, x: Tensor, batch_size: int = 500) -> Tensor:
        """The index of the code at every place, int64 [N, S/4, S/4]."""
        return torch.cat(
            [vq.nearest_code(self.encoder(b).movedim(1, -1), self.vq.codebook) for b in x.split(batch_size)]
        )

    @torch.no_grad()
    def draw(self, indices: Tensor, batch_size: int = 500) -> Tensor:
        """Codes [N, S/4, S/4] as pictures [N, 3, S, S]."""
        return torch.cat([self.decoder(self.vq.look_up(b)) for b in indices.split(batch_size)])

    def rebuild(self, x: Tensor) -> Tensor:
        """Pictures through their codes and back."""
        return self.draw(self.codes(x))


class Denoiser(nn.Module):
    """A U-Net that guesses the clean picture from x_t; called as (x_t, t), it returns the noise which that implies.

    Guessing x_0 or the noise (as Ho et al. 2020 do) is the same up to the weight of each noise level:
    ||eps - eps_hat||^2 = alpha_bar / (1 - alpha_bar) ||x_0 - x0_hat||^2.
    """

    def __init__(self, s: diffusion.Schedule, width: int = 16):
        super().__init__()
        self.s, self.net = s, diffusion.UNet(len(s.beta), width=width)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        a = diffusion.at(self.s.alpha_bar, t, xt)
        return (xt - a.sqrt() * self.net(xt, t)) / (1 - a).sqrt()

    @torch.no_grad()
    def layers(self, x: Tensor, t: int, seed: int = 0, batch_size: int = 250) -> list[Tensor]:
        """Each layer's output for pictures x [N, 3, S, S] under the noise of step t, by quarters: [N, 4 C] each."""
        generator, found = torch.Generator().manual_seed(1000 * seed + t), []
        for b in x.split(batch_size):
            steps = torch.full((len(b),), t)
            noisy = diffusion.add_noise(b, steps, torch.randn(b.shape, generator=generator), self.s)
            found.append([F.adaptive_avg_pool2d(h, 2).flatten(1) for h in self.net.features(noisy, steps)])
        return [torch.cat(layer) for layer in zip(*found, strict=True)]


def minimize(
    loss: Callable[[Tensor], Tensor],
    parameters,
    x: Tensor,
    steps: int,
    lr: float,
    *,
    batch_size: int = 64,
    seed: int = 0,
    every: int = 0,
    look: Callable[[int], object] | None = None,
) -> list[float]:
    """Adam on loss(batch) for random batches of x [N, ...], the rate warmed up and cooled down (one cycle).

    look(step), if given, is called after every `every` steps.  Returns the loss of each step.
    Raises InputError unless steps is positive.
    """
    if steps < 1:
        raise InputError(f"training needs at least one step, not {steps}")
    optimizer = torch.optim.Adam(parameters, lr=lr)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=max(2, steps))
    generator, losses = torch.Generator().manual_seed(seed), []
    for step in range(1, steps + 1):
        value = loss(x[torch.randint(len(x), (batch_size,), generator=generator)])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        rate.step()
        losses.append(value.item())
        if look is not None and every and step % every == 0:
            look(step)
    return losses


def train_codes(
    model: VQVAE, x: Tensor, steps: int, lr: float = 3e-3, *, restarts: bool = True, seed: int = 0
) -> list[float]:
    """Train a VQ-VAE on x [N, 3, S, S]; restarts: every 10 steps of the first half, unused codes are moved.

    Returns squared error plus the codes' two terms, one number per step.
    """
    done, generator = 0, torch.Generator().manual_seed(seed)

    def loss(b: Tensor) -> Tensor:
        nonlocal done
        if restarts and done % 10 == 0 and done < steps // 2:
            with torch.no_grad():
                z = model.encoder(b)
            model.vq.restart_unused(z, generator)
        done += 1
        rebuilt, extra, _ = model(b)
        return F.mse_loss(rebuilt, b) + extra

    return minimize(loss, model.parameters(), x, steps, lr, seed=seed)


def train_prior(prior: GPT, codes: Tensor, steps: int, lr: float = 3e-3, *, seed: int = 0) -> list[float]:
    """Train an autoregressive prior on codes int64 [N, H, W]; returns nats per code, one number per step."""
    return minimize(
        lambda b: F.cross_entropy(prior(b), b), prior.parameters(), codes, steps, lr, batch_size=32, seed=seed
    )


def train_denoiser(
    denoiser: Denoiser, x: Tensor, steps: int, lr: float = 3e-3, *, seed: int = 0, every: int = 0, look=None
) -> list[float]:
    """Train on x [N, 3, S, S] at all noise levels; returns the squared error of the guessed picture, per step."""
    generator, total = torch.Generator().manual_seed(seed + 1), len(denoiser.s.beta)

    def loss(b: Tensor) -> Tensor:
        t = torch.randint(total, (len(b),), generator=generator)
        noise = torch.randn(b.shape, generator=generator)
        return F.mse_loss(denoiser.net(diffusion.add_noise(b, t, noise, denoiser.s), t), b)

    return minimize(loss, denoiser.parameters(), x, steps, lr, seed=seed, every=every, look=look)


def band_power(x: Tensor) -> Tensor:
    """Mean power of pictures x [N, C, S, S] in octaves of spatial frequency, [4]: 1-2, 2-4, 4-8, 8-16 cycles.

    The mean is taken out, and a Hann window keeps the picture's borders from looking like edges.  Blur shows as power
    missing in the last bands; a checkerboard as power too much.
    """
    if x.ndim != 4 or x.shape[-1] != x.shape[-2] or x.shape[-1] < 2 * BANDS[-1]:
        raise InputError(f"band_power needs square pictures of at least 32 pixels, not {list(x.shape)}")
    side = x.shape[-1]
    window = torch.hann_window(side, periodic=False, device=x.device, dtype=x.dtype)
    x = (x - x.mean(dim=(2, 3), keepdim=True)) * window * window[:, None]
    power = torch.fft.fft2(x, norm="ortho").abs().square().mean(dim=(0, 1))
    f = torch.fft.fftfreq(side, 1 / side, device=x.device)
    radius = (f.square() + f[:, None].square()).sqrt()
    return torch.stack(
        [power[(radius >= low) & (radius < high)].sum() for low, high in zip(BANDS, BANDS[1:], strict=False)]
    )


def to_nearest(x: Tensor, studied: Tensor) -> Tensor:
    """Distance per picture x [N, ...] to the nearest of the pictures `studied` [M, ...]: [N]."""
    return torch.cat([torch.cdist(b.flatten(1), studied.flatten(1)).min(dim=1).values for b in x.split(100)])


def from_strip(text: str) -> Tensor:
    """Square pictures side by side, a PNG in base64 as the record generate.json keeps them: [N, 3, S, S] in [0, 1]."""
    import numpy as np
    from PIL import Image  # comes with torchvision

    row = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
    row = torch.tensor(row).permute(2, 0, 1)
    return torch.stack(row.split(row.shape[1], dim=2)).float() / 255


def bag_of_codes(indices: Tensor, codes: int) -> Tensor:
    """How often each code occurs in each quarter of indices [N, H, W]: [N, 4 * codes]."""
    return F.adaptive_avg_pool2d(F.one_hot(indices, codes).movedim(-1, 1).float(), 2).flatten(1)


def code_surprise(seen: Tensor, new: Tensor, codes: int) -> dict[str, float]:
    """Nats per code of new codes [M, H, W], predicted from counts in codes seen [N, H, W] (each count plus one).

    nothing: log K; frequency: how often a code is used; before: the code to the left, in reading order.
    """
    seen, new = seen.flatten(1), new.flatten(1)
    used = torch.bincount(seen.flatten(), minlength=codes) + 1.0
    pairs = torch.bincount((seen[:, :-1] * codes + seen[:, 1:]).flatten(), minlength=codes**2) + 1.0
    pairs = pairs.view(codes, codes)
    log_next = pairs.log() - pairs.sum(dim=1, keepdim=True).log()
    log_used = (used / used.sum()).log()
    first, later = log_used[new[:, 0]], log_next[new[:, :-1], new[:, 1:]]
    return {
        "nothing": math.log(codes),
        "frequency": -float(log_used[new].mean()),
        "before": -float(torch.cat([first[:, None], later], dim=1).mean()),
    }


class Components:
    """The painter that knows k principal components: pictures [N, ...] -> k numbers [N, k], and back.

    draw: numbers from independent Gaussians with the variances found.
    """

    def __init__(self, x: Tensor, k: int = 100, seed: int = 0):
        self.shape, flat = x.shape[1:], x.flatten(1)
        self.mean = flat.mean(dim=0)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            _, sizes, axes = torch.svd_lowrank(flat - self.mean, q=k + 10, niter=2)
        self.axes, self.std = axes[:, :k], sizes[:k] / math.sqrt(len(x) - 1)

    def numbers(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.axes

    def rebuild(self, x: Tensor) -> Tensor:
        return self.picture(self.numbers(x))

    def picture(self, numbers: Tensor) -> Tensor:
        return (self.mean + numbers @ self.axes.T).unflatten(1, self.shape)

    def draw(self, n: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return self.picture(torch.randn(n, len(self.std), generator=generator) * self.std)
