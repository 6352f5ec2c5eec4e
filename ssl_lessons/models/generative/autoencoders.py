"""Autoencoders: corruptions, a small decoder, the variational bound, and sparse coding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError

# ---- corruptions: what a denoising autoencoder has to undo ----


def add_gaussian(x: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """x plus independent Gaussian noise of standard deviation sigma, any shape.  Raises InputError for sigma < 0."""
    if sigma < 0:
        raise InputError(f"a noise level cannot be negative, got {sigma}")
    return x + sigma * _drawn(torch.randn, x.shape, x, generator)


def mask_entries(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """x with each entry set to zero with probability `share` (Vincent et al. 2008, section 2.3), any shape.

    Raises InputError unless 0 <= share <= 1.
    """
    _check_share(share)
    return x * (_drawn(torch.rand, x.shape, x, generator, torch.float32) >= share)


def mask_patches(x: Tensor, share: float, patch: int = 8, generator: torch.Generator | None = None) -> Tensor:
    """Images x [N, C, S, S] with that share of their patch x patch squares (all channels) set to zero.

    Raises InputError unless 0 <= share <= 1 and S is a multiple of `patch`.
    """
    _check_share(share)
    if x.shape[-1] % patch or x.shape[-2] % patch:
        raise InputError(f"the sides {list(x.shape[-2:])} are not multiples of the patch {patch}")
    squares = (len(x), 1, x.shape[-2] // patch, x.shape[-1] // patch)
    keep = _drawn(torch.rand, squares, x, generator, torch.float32) >= share
    return x * keep.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)


def _drawn(
    draw, shape, like: Tensor, generator: torch.Generator | None, dtype: torch.dtype | None = None
) -> Tensor:
    """Random numbers where `like` is; a generator of the CPU draws them there, the same ones for every device."""
    place = like.device if generator is None else generator.device
    return draw(shape, generator=generator, dtype=dtype or like.dtype, device=place).to(like.device)


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"the share to hide must lie in [0, 1], got {share}")


# ---- decoder ----


class ConvDecoder(nn.Module):
    """A code [N, dim] as an image [N, channels, 8 * 2^k, ...]: one linear map to 4x4, then doublings.

    size: side of the image, 4 * 2^k.  Every doubling is nearest-neighbour upsampling and a 3x3 convolution (no
    checkerboards).  Made to mirror `encoders.ConvNet`; the last layer is linear.
    """

    def __init__(self, dim: int, size: int = 32, width: int = 16, channels: int = 3):
        super().__init__()
        doublings = round(math.log2(size / 4)) if size >= 8 else 0
        if 4 * 2**doublings != size or doublings < 1:
            raise InputError(f"the image side must be 8, 16, 32, ..., got {size}")
        self.top = width * 2 ** (doublings - 1)
        self.start = nn.Linear(dim, self.top * 16)
        layers = []
        for i in range(doublings):
            c_in = self.top // 2**i
            c_out = c_in // 2 if i < doublings - 1 else channels
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(c_in, c_out, 3, 1, 1)]
            if i < doublings - 1:
                layers += [nn.BatchNorm2d(c_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        return self.layers(F.relu(self.start(code)).unflatten(1, (self.top, 4, 4)))


# ---- variational autoencoder (Kingma and Welling 2014) ----


def reparameterize(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A draw z = mu + sigma * noise from N(mu, diag(exp(log_var))), differentiable in both; same shape."""
    return mu + (log_var / 2).exp() * _drawn(torch.randn, mu.shape, mu, generator)


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, diag(exp(log_var))) || N(0, I)) in nats: [..., D] -> [...]  (Kingma and Welling 2014, appendix B).

    = 1/2 sum_d (mu_d^2 + sigma_d^2 - log sigma_d^2 - 1)
    """
    return 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum(dim=-1)


def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """log p(x) in nats of independent Bernoulli pixels: x in [0, 1] and logits [..., V], broadcast -> [...]."""
    x, logits = torch.broadcast_tensors(x, logits)
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)


def normal_log_density(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mu, diag(exp(log_var))) in nats: [..., D] -> [...]."""
    return -0.5 * (math.log(2 * math.pi) + log_var + (z - mu).square() / log_var.exp()).sum(dim=-1)


class VAE(nn.Module):
    """A variational autoencoder on vectors x [N, V] in [0, 1] with Bernoulli pixels and latents z [N, D].

    encode(x) gives mu and log variance of q(z|x); decode(z) the logits of p(x|z); p(z) is standard normal.
    """

    def __init__(self, visible: int, latent: int, hidden: int = 128):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(visible, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, visible))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = self.encoder(x).chunk(2, dim=-1)
        return mu, log_var

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def elbo(self, x: Tensor, beta: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """One-sample estimate of log p(x|z) - beta KL(q(z|x) || p(z)) per image [N], in nats.

        beta = 1 is the evidence lower bound (Kingma and Welling 2014, eq. 3 and 10).
        """
        mu, log_var = self.encode(x)
        z = reparameterize(mu, log_var, generator)
        return bernoulli_log_likelihood(x, self.decode(z)) - beta * kl_to_standard_normal(mu, log_var)

    def importance_bound(self, x: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """log 1/K sum_k p(x, z_k) / q(z_k | x) per image [N], z_k drawn from q (Burda et al. 2016, section 3).

        Its expectation is the ELBO for one sample, grows with K, and tends to log p(x).
        """
        if samples < 1:
            raise InputError(f"the importance bound needs at least one sample, got {samples}")
        mu, log_var = (t.expand(samples, *t.shape) for t in self.encode(x))
        z = reparameterize(mu, log_var, generator)
        zero = torch.zeros_like(z)
        log_weight = (
            bernoulli_log_likelihood(x, self.decode(z))
            + normal_log_density(z, zero, zero)
            - normal_log_density(z, mu, log_var)
        )
        return log_weight.logsumexp(dim=0) - math.log(samples)


# ---- sparse coding (Olshausen and Field 1996; for transfer, Raina et al. 2007) ----


def sparse_codes(x: Tensor, dictionary: Tensor, penalty: float, steps: int = 50) -> Tensor:
    """Codes s [N, K] that lower 1/2 ||x - s B||^2 + penalty |s|_1 for x [N, P] and atoms B [K, P], by ISTA.

    Each step follows the gradient and shrinks towards zero (Beck and Teboulle 2009, section 1); the step size is one
    over the largest eigenvalue of B B^T, so the objective never rises.  Raises InputError for penalty < 0.
    """
    if penalty < 0:
        raise InputError(f"the sparsity penalty cannot be negative, got {penalty}")
    gram, target = dictionary @ dictionary.T, x @ dictionary.T
    step = 1 / torch.linalg.eigvalsh(gram)[-1]
    s = torch.zeros_like(target)
    for _ in range(steps):
        s = F.softshrink(s + step * (target - s @ gram), (step * penalty).item())
    return s


def learn_dictionary(
    x: Tensor, atoms: int, penalty: float, rounds: int = 20, batch_size: int = 2000, seed: int = 0
) -> Tensor:
    """Unit-length atoms B [atoms, P] for x [N, P]: codes with B fixed, then B by ridge regression on the codes.

    (Raina et al. 2007, eq. 1: squared error plus L1 penalty, atoms of bounded length, alternating.)  An atom that no
    patch uses is replaced by a random patch.
    """
    generator = torch.Generator().manual_seed(seed)
    dictionary = F.normalize(x[torch.randperm(len(x), generator=generator)[:atoms]], dim=1)
    for _ in range(rounds):
        batch = x[torch.randint(len(x), (batch_size,), generator=generator)]
        s = sparse_codes(batch, dictionary, penalty, steps=20)
        gram = s.T @ s + 1e-3 * len(batch) * torch.eye(atoms, dtype=x.dtype)
        # Half a step towards the regression's answer: one batch knows little about a rare atom.
        dictionary = dictionary + torch.linalg.solve(gram, s.T @ (batch - s @ dictionary)) / 2
        idle = s.abs().sum(dim=0) == 0
        dictionary[idle] = batch[torch.randint(len(batch), (int(idle.sum()),), generator=generator)]
        dictionary = F.normalize(dictionary, dim=1)
    return dictionary
