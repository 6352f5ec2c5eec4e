"""Small painters and what is measured of their paintings."""

import base64
import io
import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative import diffusion, painting, vq
from ssl_lessons.models.generative.autoregressive import GPT


@pytest.fixture
def pictures():
    return torch.randn(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def wave(cycles: int, side: int = 32) -> torch.Tensor:
    x = torch.arange(side) * 2 * math.pi * cycles / side
    return x.sin().expand(1, 1, side, side)


def test_a_vqvae_rebuilds_through_its_codes(pictures):
    torch.manual_seed(0)
    model = painting.VQVAE(codes=8, dim=4, width=4)
    rebuilt, loss, indices = model(pictures)
    assert rebuilt.shape == pictures.shape and indices.shape == (40, 8, 8) and loss.ndim == 0
    assert torch.equal(model.codes(pictures, batch_size=7), indices)
    assert torch.allclose(model.rebuild(pictures), rebuilt, atol=1e-5)
    assert torch.equal(model.draw(indices, batch_size=9), model.rebuild(pictures))


@pytest.mark.parametrize("restarts", [True, False])
def test_training_lowers_the_loss_and_restarts_revive(pictures, restarts):
    torch.manual_seed(0)
    model = painting.VQVAE(codes=8, dim=4, width=4)
    model.vq.codebook.data.mul_(8)
    losses = painting.train_codes(model, pictures, steps=24, lr=1e-2, restarts=restarts)
    assert len(losses) == 24 and losses[-1] < losses[1]
    used = vq.perplexity(model.codes(pictures), 8)
    assert used > 2 if restarts else used < 2


def test_a_prior_beats_the_frequencies_of_a_regular_text():
    codes = torch.arange(16).remainder(4).view(1, 4, 4).repeat(64, 1, 1)
    torch.manual_seed(0)
    prior = GPT(4, 16, dim=16, depth=1, heads=2)
    painting.train_prior(prior, codes, steps=60, lr=1e-2)
    counted = painting.code_surprise(codes, codes[:3], 4)
    assert counted["nothing"] == pytest.approx(math.log(4)) == pytest.approx(counted["frequency"])
    assert counted["before"] < 0.2  # the first code is predicted from its frequency
    assert F.cross_entropy(prior(codes[:3]), codes[:3]).item() < counted["frequency"] / 2


def test_a_denoiser_implies_the_noise_of_its_guess(pictures):
    s = diffusion.linear_schedule(20)
    torch.manual_seed(0)
    denoiser = painting.Denoiser(s, width=8)
    t = torch.full((40,), 7)
    guess, noise = denoiser.net(pictures, t), denoiser(pictures, t)
    assert torch.allclose(diffusion.predict_x0(pictures, t, noise, s), guess, atol=1e-5)
    seen = []
    before = painting.train_denoiser(denoiser, pictures, steps=6, lr=1e-2, every=3, look=seen.append)
    assert seen == [3, 6] and len(before) == 6
    layers = denoiser.layers(pictures, 7, batch_size=16)
    assert [h.shape[1] for h in layers] == [32, 64, 128, 64, 32]
    assert torch.equal(layers[0], denoiser.layers(pictures, 7, batch_size=16)[0])


def test_band_power_sees_blur_and_where_a_wave_lies(pictures):
    for octave, cycles in enumerate((1, 3, 6, 12)):
        assert painting.band_power(wave(cycles)).argmax() == octave
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="reflect"), 3, 1)
    ratio = painting.band_power(blurred) / painting.band_power(pictures)
    assert ratio[0] > 0.5 > 0.1 > ratio[-1]
    assert torch.allclose(painting.band_power(pictures + 5), painting.band_power(pictures), rtol=1e-3)
    with pytest.raises(InputError, match="square pictures"):
        painting.band_power(pictures[..., :16])


def test_components_are_the_principal_ones():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 3, generator=g) @ torch.diag(torch.tensor([5.0, 3.0, 0.01]))
    x = (x @ torch.linalg.qr(torch.randn(12, 12, generator=g))[0][:3] + 1).view(500, 3, 2, 2)
    painter = painting.Components(x, 2)
    assert torch.allclose(painter.std, torch.tensor([5.0, 3.0]), rtol=0.1)
    assert torch.allclose(painter.rebuild(x), x, atol=0.1)
    drawn = painter.draw(4000)
    assert drawn.shape == (4000, 3, 2, 2) and torch.allclose(drawn.mean(0), x.mean(0), atol=0.3)
    assert torch.allclose(painter.numbers(drawn).std(dim=0), painter.std, rtol=0.1)


def test_distances_bags_and_strips(pictures):
    assert painting.to_nearest(pictures[:5], pictures).max() < 0.05
    indices = torch.zeros(2, 4, 4, dtype=torch.long)
    indices[:, :2, :2] = 1
    bags = painting.bag_of_codes(indices, 3).view(2, 3, 4)
    assert torch.equal(bags[0], torch.tensor([[0.0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]))
    x = torch.randint(256, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(torch.cat(list(x), dim=2).permute(1, 2, 0).numpy()).save(file, "PNG")
    found = painting.from_strip(base64.b64encode(file.getvalue()).decode())
    assert torch.equal((255 * found).round().byte(), x)


def test_minimize_wants_a_step(pictures):
    with pytest.raises(InputError, match="at least one step"):
        painting.minimize(lambda b: b.mean(), [torch.zeros(1, requires_grad=True)], pictures, 0, 0.1)
