"""Around autoregressive models: the count table, one read-out for all, grey levels, NEPA and its collapse."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative import autoregressive as ar
from ssl_lessons.models.generative import autoregressive_pixels as pixels


def drawn(n, side=4, levels=2, seed=0):
    return torch.randint(levels, (n, side, side), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("levels", [2, 3])
def test_the_table_of_counts_is_a_distribution_over_pictures(levels):
    everything = torch.tensor(list(itertools.product(range(levels), repeat=4))).view(-1, 2, 2)
    table = pixels.CountTable(drawn(20, 2, levels), levels, 1.5).double()
    assert ar.log_prob(table, everything).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_table_counts_what_followed_the_four_neighbours():
    x = torch.tensor([[[0, 1, 1], [1, 0, 1]], [[0, 1, 1], [1, 1, 1]], [[1, 0, 0], [0, 0, 0]]])
    table = pixels.CountTable(x, 2, smoothing=1e-6)
    # left, up, upper left, upper right of the middle of the second row: 1 1 0 1 twice, followed by 0 once and 1 once
    assert table.context(x)[:2, 1, 1].tolist() == [0b1101, 0b1101]
    assert table(x)[0, :, 1, 1].exp().tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert table(x)[2, 0, 1, 1].exp().item() == pytest.approx(1, abs=1e-4)
    # 1 1 1 0 was never seen there, but once elsewhere, followed by 1; and each value counts once more
    unseen = torch.tensor([[[1, 1, 0], [1, 0, 1]]])
    assert table(unseen)[0, :, 1, 1].exp().tolist() == pytest.approx([1 / 3, 2 / 3], abs=1e-4)


def test_the_table_falls_back_on_other_places():
    """What a context was followed by elsewhere counts where this place has never seen it."""
    x = torch.zeros(8, 3, 3, dtype=torch.long)
    x[:, 0] = 1  # a black pixel is followed by a black one, in the first row: 16 times
    query = torch.zeros(1, 3, 3, dtype=torch.long)
    query[0, 2, 0] = 1
    there = pixels.CountTable(x, 2, 1.0)(query)[0, 1, 2, 1].exp().item()
    assert there == pytest.approx(17 / 18, abs=1e-3)


def test_the_table_never_looks_ahead():
    table, x = pixels.CountTable(drawn(50), 2), drawn(1, seed=1)
    before = table(x).flatten(2)
    for t in range(16):
        changed = x.clone().flatten(1)
        changed[:, t] = 1 - changed[:, t]
        assert torch.equal(before[..., : t + 1], table(changed.view_as(x)).flatten(2)[..., : t + 1])


@pytest.mark.parametrize(
    ("images", "levels", "smoothing"),
    [(drawn(3), 2, 0.0), (drawn(3, levels=3) + 1, 3, 1.0), (drawn(3)[0], 2, 1.0), (drawn(0), 2, 1.0)],
)
def test_bad_input_of_the_table_is_refused(images, levels, smoothing):
    with pytest.raises(InputError):
        pixels.CountTable(images, levels, smoothing)


def test_every_model_is_read_by_quarters():
    x = drawn(3, 8)
    models = (
        pixels.NADEPictures(64, 5), ar.PixelCNN(width=6, depth=2), ar.GatedPixelCNN(width=6, depth=2),
        ar.RowLSTM(width=6, depth=1), ar.GPT(2, 64, 8, 1, 2),
    )  # fmt: skip
    assert [pixels.read_out(m, x).shape[1] for m in models] == [20, 24, 24, 24, 32]
    gpt = models[-1]
    h = gpt.hidden(x)[-1].unflatten(1, (8, 8))  # [N, 8, 8, D]
    upper_right = pixels.read_out(gpt, x).view(3, 8, 2, 2)[:, :, 0, 1]
    assert torch.allclose(upper_right, h[:, :4, 4:].mean(dim=(1, 2)), atol=1e-6)


def test_nade_as_pictures_is_nade():
    torch.manual_seed(0)
    model, x = pixels.NADEPictures(9, 4), drawn(2, 3)
    assert torch.equal(model(x).flatten(2), ar.NADE.forward(model, x.flatten(1)))


def test_grey_levels_are_equally_frequent():
    images = torch.randint(
        256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    values = pixels.grey(images, 8)
    assert values.shape == (40, 8, 8)
    assert values[0, 0, 0].item() == pytest.approx(images[0, :, :2, :2].float().mean().item(), rel=1e-5)
    levels = torch.bucketize(values, pixels.palette(values, 4))
    share = torch.bincount(levels.flatten(), minlength=4) / levels.numel()
    assert share.tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_the_loss_of_nepa_is_minus_the_cosine_with_the_next_embedding():
    g = torch.Generator().manual_seed(0)
    h, e = torch.randn(2, 3, 5, 4, generator=g)
    expected = (
        -sum(
            float(h[n, t] @ e[n, t + 1] / h[n, t].norm() / e[n, t + 1].norm())
            for n in range(3)
            for t in range(4)
        )
        / 12
    )
    assert pixels.nepa_loss(h, e).item() == pytest.approx(expected, rel=1e-5)
    e.requires_grad_()
    assert not pixels.nepa_loss(h, e).requires_grad
    assert pixels.nepa_loss(h, e, stop_gradient=False).requires_grad


def test_one_embedding_for_all_patches_is_perfect():
    torch.manual_seed(0)
    model = pixels.NEPA(1, 8, 2, dim=8, depth=1, heads=2)
    torch.nn.init.zeros_(model.embed.weight), torch.nn.init.normal_(model.embed.bias)
    for p in (*model.blocks.parameters(), model.positions):
        torch.nn.init.zeros_(p)
    model.norm.weight.data.zero_()
    model.norm.bias.data.copy_(model.embed.bias)
    assert model(torch.randn(4, 1, 8, 8)).item() == pytest.approx(-1, abs=1e-5)


def test_nepa_predicts_from_the_past_only():
    torch.manual_seed(0)
    model, x = pixels.NEPA(1, 8, 2, dim=8, depth=2, heads=2), torch.randn(1, 1, 8, 8)
    before = model.hidden(x)[-1]
    changed = x.clone()
    changed[:, :, 2:4, 2:4] += 1  # patch 5 of 16
    after = model.hidden(changed)[-1]
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)
    assert model.read_out(x).shape == (1, 32)
    with pytest.raises(InputError, match="whole number"):
        pixels.NEPA(1, 8, 3)


def test_the_schedule_warms_up_and_ends_low():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = pixels.warm_cosine(optimizer, 200, warm=10), []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step(), schedule.step()
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1)
    assert rates[105] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 95 / 190)), rel=1e-6)
    assert rates[-1] < 0.02 and max(rates) == pytest.approx(1)
