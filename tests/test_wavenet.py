"""WaveNet: mu-law, causality, the counted receptive field, and the quick way of drawing samples."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative.wavenet import WaveNet, from_mu_law, mu_law

STACKS = ((1, 2, 4), (3,), (1, 1, 1), (2, 5))


def some(n: int, t: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, t), generator=torch.Generator().manual_seed(seed))


def test_mu_law_keeps_levels_and_small_samples():
    levels = torch.arange(256)
    assert torch.equal(mu_law(from_mu_law(levels)), levels)
    x = torch.linspace(-0.02, 0.02, 101)
    linear = ((x + 1) / 2 * 255).round() / 255 * 2 - 1
    assert (from_mu_law(mu_law(x)) - x).abs().max() < 0.2 * (linear - x).abs().max()
    assert from_mu_law(torch.tensor([0, 255])).tolist() == [-1, 1]


def test_mu_law_refuses_what_is_no_sound():
    for wrong in (torch.tensor([1.5]), torch.tensor([0, 1])):
        with pytest.raises(InputError, match="between -1 and 1"):
            mu_law(wrong)
    with pytest.raises(InputError, match="at least one dilation"):
        WaveNet(())


@pytest.mark.parametrize("dilations", STACKS)
@pytest.mark.parametrize("gated", [True, False])
def test_a_prediction_depends_on_the_past_exactly_as_far_as_counted(dilations, gated):
    torch.manual_seed(0)
    model = WaveNet(dilations, width=32, gated=gated).double().eval()
    x, t = some(1, 24), 20
    for back in range(-3, 20):
        other = x.clone()
        other[0, t - back] = (x[0, t - back] + 100) % 256
        moved = not torch.allclose(model(x)[..., t], model(other)[..., t], atol=1e-13, rtol=0)
        reached = 1 <= back <= model.receptive_field
        assert not moved or reached, back
        if back == model.receptive_field or back == 1:
            assert moved, back


@pytest.mark.parametrize("gated", [True, False])
def test_the_quick_way_draws_what_the_slow_way_draws(gated):
    torch.manual_seed(1)
    model, x = WaveNet((1, 2, 4), width=8, gated=gated).eval(), some(3, 10)
    quick = model.continued(x, 15, torch.Generator().manual_seed(2), temperature=0.7)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _ in range(15):
            p = (model(torch.cat([x, x[:, :1]], 1))[..., -1] / 0.7).softmax(1)
            x = torch.cat([x, torch.multinomial(p, 1, generator=generator)], 1)
    assert torch.equal(quick, x)


def test_a_wave_is_learned_far_below_its_counts():
    """A sine in mu-law: after a short training the next sample costs less than half of what its frequencies say."""
    from ssl_lessons.models.generative.autoregressive import bits_per_symbol
    from ssl_lessons.training import fit

    phase = 6.2832 * torch.rand(64, 1, generator=torch.Generator().manual_seed(0))
    x = mu_law(0.5 * torch.sin(0.3 * torch.arange(96) + phase))
    p = torch.bincount(x.flatten(), minlength=256) / x.numel()
    counted = float(torch.special.entr(p).sum() / torch.log(torch.tensor(2.0)))
    torch.manual_seed(0)
    model = WaveNet((1, 2, 4), width=16)
    fit(model, lambda g: torch.nn.functional.cross_entropy(model(x[:32]), x[:32]), 80, lr=1e-2)
    assert bits_per_symbol(model, x[32:]) < counted / 2
