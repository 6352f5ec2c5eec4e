"""Autoregressive models: each conditional sees the past only, the probabilities of all images sum to one."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative import autoregressive as ar

IMAGE_MODELS = {
    "pixelcnn": lambda levels=2: ar.PixelCNN(levels, width=8, depth=3),
    "pixelcnn, kernel 5": lambda levels=2: ar.PixelCNN(levels, width=8, depth=2, kernel=5),
    "gated": lambda levels=2: ar.GatedPixelCNN(levels, width=8, depth=3),
    "gated, kernel 5": lambda levels=2: ar.GatedPixelCNN(levels, width=8, depth=2, kernel=5),
    "row lstm": lambda levels=2: ar.RowLSTM(levels, width=8, depth=2),
    "gpt": lambda levels=2: ar.GPT(levels, 36, dim=16, depth=2, heads=2),
}


class NADEImages(torch.nn.Module):
    """NADE as a model of images: raster order is the order of its dimensions."""

    def __init__(self, pixels):
        super().__init__()
        self.nade = ar.NADE(pixels, 7)

    def forward(self, x):
        return self.nade(x.flatten(1)).view(len(x), 2, *x.shape[1:])


def build(name, side, levels=2):
    torch.manual_seed(0)
    model = NADEImages(side * side) if name == "nade" else IMAGE_MODELS[name](levels)
    for p in model.parameters():  # far from the start, where many weights are zero or small
        p.data.add_(0.3 * torch.randn_like(p))
    return model.double()


def images(side, levels=2):
    everything = itertools.product(range(levels), repeat=side * side)
    return torch.tensor(list(everything)).view(-1, side, side)


@pytest.mark.parametrize("name", [*IMAGE_MODELS, "nade"])
def test_the_probabilities_of_all_images_sum_to_one(name):
    x = images(2)
    with torch.no_grad():
        assert ar.log_prob(build(name, 2), x).exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert len(x) == 16


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_with_three_levels_too(name):
    with torch.no_grad():
        assert ar.log_prob(build(name, 2, 3), images(2, 3)).exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", [*IMAGE_MODELS, "nade"])
def test_no_output_depends_on_its_own_pixel_or_a_later_one(name):
    side = 6
    model = build(name, side)
    x = torch.randint(2, (2, side, side), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(x).flatten(2)
        influenced = False
        for t in range(side * side):
            changed = x.clone().flatten(1)
            changed[:, t] = 1 - changed[:, t]
            after = model(changed.view_as(x)).flatten(2)
            assert torch.allclose(before[..., : t + 1], after[..., : t + 1], atol=1e-12), t
            influenced |= not torch.allclose(before[..., t + 1 :], after[..., t + 1 :], atol=1e-9)
    assert influenced, "a model that ignores its input would pass the rest"


def test_nade_against_the_definition():
    torch.manual_seed(0)
    nade = ar.NADE(5, 3).double()
    nade.b.data.normal_(), nade.c.data.normal_()
    x = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1]])
    for n in range(2):
        total = 0.0
        for d in range(5):
            h = torch.sigmoid(nade.c + sum((x[n, k] * nade.W[k] for k in range(d)), torch.zeros(3)))
            assert torch.allclose(nade.states(x)[n, d], h)
            p = torch.sigmoid(nade.b[d] + nade.V[d] @ h).item()
            total += math.log(p if x[n, d] else 1 - p)
        assert ar.log_prob(nade, x)[n].item() == pytest.approx(total)
    assert nade.states(x).shape == (2, 6, 3)


def test_masks_of_the_masked_convolution():
    a, b = ar.MaskedConv2d(1, 1, 3, "A").mask, ar.MaskedConv2d(1, 1, 3, "B").mask
    assert a.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert b.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    for kernel, kind in ((4, "A"), (3, "C")):
        with pytest.raises(InputError, match="odd kernel"):
            ar.MaskedConv2d(1, 1, kernel, kind)
    with pytest.raises(InputError, match="odd"):
        ar.GatedPixelCNN(kernel=2)
    with pytest.raises(InputError, match="odd"):
        ar.RowLSTM(kernel=2)


def earlier(side, row, column):
    place = torch.arange(side * side).view(side, side)
    return place < row * side + column


def test_the_plain_pixelcnn_has_exactly_the_known_blind_spot():
    side, row, column = 9, 6, 3
    seen = ar.receptive_field(ar.PixelCNN(width=8, depth=12), side, row, column)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    # A path goes right by at most one pixel for each row that it goes up.
    blind = earlier(side, row, column) & (columns - column > row - rows)
    assert blind.sum() >= 5
    assert torch.equal(seen, earlier(side, row, column) & ~blind)


@pytest.mark.parametrize("kernel", [3, 5])
def test_two_stacks_have_no_blind_spot(kernel):
    side, row, column = 9, 6, 3
    seen = ar.receptive_field(ar.GatedPixelCNN(width=8, depth=9, kernel=kernel), side, row, column)
    assert torch.equal(seen, earlier(side, row, column))


def test_one_layer_sees_its_own_kernel_only():
    seen = ar.receptive_field(ar.PixelCNN(width=8, depth=1), 7, 3, 3)
    assert seen.nonzero().tolist() == [[2, 2], [2, 3], [2, 4], [3, 2]]
    seen = ar.receptive_field(ar.GatedPixelCNN(width=8, depth=1), 7, 3, 3)
    above = [
        [row, column] for row in (1, 2) for column in (2, 3, 4)
    ]  # the vertical kernel is 2 x 3, the row kernel 1 x 2
    assert seen.nonzero().tolist() == [*above, [3, 1], [3, 2]]


def test_the_row_lstm_sees_a_triangle():
    side, row, column = 9, 6, 4
    torch.manual_seed(0)
    seen = ar.receptive_field(ar.RowLSTM(width=8, depth=1), side, row, column)
    above = seen[: row - 1]
    assert seen[row - 1].sum() < seen[row - 2].sum() <= above.sum(dim=1).max()
    assert not seen[row - 1].all() and seen[0].all(), "narrow at the bottom, wide at the top"
    assert not (seen & ~earlier(side, row, column)).any()


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]])
def test_any_order_is_normalised_and_sees_the_past_of_that_order(order):
    torch.manual_seed(0)
    model = ar.AnyOrderLM(3, 4, dim=16, depth=2, heads=2).double()
    x = torch.tensor(list(itertools.product(range(3), repeat=4)))
    order = torch.tensor(order)
    with torch.no_grad():
        logits = model(x, order)
        total = -torch.nn.functional.cross_entropy(logits, x, reduction="none").sum(dim=1)
        assert total.exp().sum().item() == pytest.approx(1, abs=1e-9)
        for place, token in enumerate(order.tolist()):
            changed = x.clone()
            changed[:, token] = (changed[:, token] + 1) % 3
            after = model(changed, order)
            unmoved, moved = order[: place + 1], order[place + 1 :]
            assert torch.allclose(logits[..., unmoved], after[..., unmoved], atol=1e-12)
            for later in moved.tolist():
                assert not torch.allclose(logits[..., later], after[..., later], atol=1e-9)
    with pytest.raises(InputError, match="permutation"):
        model(x, torch.tensor([0, 0, 1, 2]))


def test_gpt_on_images_reads_them_in_raster_order():
    torch.manual_seed(0)
    gpt = ar.GPT(4, 16, dim=16, depth=1, heads=2)
    x = torch.randint(4, (3, 4, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(gpt(x).flatten(2), gpt(x.flatten(1)), atol=1e-6)
    assert [h.shape for h in gpt.hidden(x)] == [(3, 16, 16)] * 2


def test_bits_of_a_model_that_knows_nothing():
    model = ar.PixelCNN(4, width=4, depth=1)
    torch.nn.init.zeros_(model.out.weight), torch.nn.init.zeros_(model.out.bias)
    x = torch.randint(4, (5, 3, 3), generator=torch.Generator().manual_seed(0))
    assert ar.bits_per_symbol(model, x) == pytest.approx(2)


def test_samples_follow_the_model():
    """A model trained on two images draws these two."""
    torch.manual_seed(0)
    x = torch.tensor([[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0], [1, 0, 0]]])
    model = ar.PixelCNN(width=12, depth=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        (-ar.log_prob(model, x).mean()).backward()
        optimizer.step()
    drawn = ar.sample_images(model, 40, 3, torch.Generator().manual_seed(0))
    known = [(drawn == image).flatten(1).all(dim=1).sum().item() for image in x]
    assert sum(known) >= 36 and min(known) >= 8
