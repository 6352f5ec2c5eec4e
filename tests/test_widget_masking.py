"""The masking widget: the fill without learning, the masks, its picture over the whole slider range."""

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import masking
from ssl_lessons.errors import InputError
from ssl_lessons.models import patchify
from ssl_lessons.views.masks import random_mask


def pictures(n=3, size=16):
    rows = torch.linspace(-1, 1, size)
    tilt = torch.randn(n, 3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    return tilt[:, :, 0] * rows[:, None] + tilt[:, :, 1] * rows


def widget(paint=lambda x, mask: torch.zeros_like(patchify(x, 4))):
    return masking.Masking(pictures(), 4, paint)


def test_pixels_of_a_mask():
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 6] = True  # row 1, column 2 of 4 x 4 patches
    pixels = masking.hidden_pixels(mask, 4)
    assert pixels.shape == (1, 1, 16, 16) and pixels.sum() == 16 and pixels[0, 0, 4:8, 8:12].all()


def test_the_fill_is_exact_on_what_is_smooth_and_keeps_what_is_visible():
    """A tilted plane is the smoothest surface through its own rim."""
    x = pictures(2)
    hidden = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    hidden[:, :, 5:11, 4:12] = True
    filled = masking.smooth_fill(x, hidden, rounds=400)
    assert torch.allclose(filled, x, atol=1e-3)
    rough = x + torch.randn_like(x)
    kept = ~hidden.expand_as(x)
    assert torch.equal(masking.smooth_fill(rough, hidden)[kept], rough[kept])


def test_the_fill_solves_the_discrete_equation():
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    hidden = masking.hidden_pixels(random_mask(1, 16, 0.5, generator=torch.Generator().manual_seed(2)), 2)
    filled = masking.smooth_fill(x, hidden, rounds=2000)
    for r, c in hidden[0, 0].nonzero().tolist():
        around = [filled[0, :, min(max(r + dr, 0), 7), min(max(c + dc, 0), 7)]
                  for dr, dc in ((1, 0), (-1, 0), (0, 1), (0, -1))]  # fmt: skip
        assert torch.allclose(filled[0, :, r, c], sum(around) / 4, atol=1e-4)


def test_nothing_visible_is_refused():
    with pytest.raises(InputError, match="visible"):
        masking.smooth_fill(pictures(1), torch.ones(1, 1, 16, 16, dtype=torch.bool))


@pytest.mark.parametrize("shape", masking.DRAWN)
def test_masks_of_one_shape_are_nested(shape):
    before = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    for hidden in range(1, 16):
        _, pixels = widget().fills(hidden, shape, 0)
        assert pixels.sum() == 16 * hidden and (pixels | ~before).all()
        before = pixels


def test_the_network_paints_hidden_pixels_only():
    seen = []

    def paint(x, mask):
        seen.append(mask)
        return torch.full_like(patchify(x, 4), 7.0)

    versions, pixels = widget(paint).fills(12, "random", 1)
    everywhere = pixels.expand(1, 3, 16, 16)
    assert seen[0].sum() == 12 and (versions["network"][everywhere] == 7).all()
    assert torch.equal(versions["network"][~everywhere], pictures()[1:2][~everywhere])
    assert masking.error(versions["network"], versions["picture"], pixels) > 10


def test_render_over_the_whole_range_of_every_control():
    chosen = widget()
    seen = {}
    for parameters in widgets.sweep(chosen.controls(), n=5):
        fig = chosen.render(**parameters)
        words = chosen.describe(**parameters)
        titles = [ax.get_title() or ax.get_title(loc="left") for ax in fig.axes]
        assert len(titles) == 4 and f"{parameters['hidden']} of 16" in words
        assert titles[2].split()[-1] in words and titles[3].split()[-1] in words
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 7, "every setting draws its own picture"


@pytest.mark.parametrize("hidden", [0, 16])
def test_all_or_nothing_is_refused(hidden):
    with pytest.raises(InputError, match="between 1 and 15"):
        widget().fills(hidden, "random", 0)


def drawn(n, hidden, seed):
    return random_mask(n, 16, hidden / 16, generator=torch.Generator().manual_seed(seed))


def test_the_colours_around_a_place_by_hand():
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    mask = drawn(2, 12, 4)
    mask[1] = True
    mask[1, 0] = False  # place 15 then sees nothing on its rim
    about = masking.colours_around(x, mask, 4)
    for n in range(2):
        known = ~masking.hidden_pixels(mask, 4)[n, 0]
        for t in range(16):
            top, left = 4 * (t // 4), 4 * (t % 4)
            near = torch.zeros(16, 16, dtype=torch.bool)
            near[max(top - 1, 0) : top + 5, max(left - 1, 0) : left + 5] = True
            near[top : top + 4, left : left + 4] = False
            seen = near & known if (near & known).any() else known
            wanted = torch.cat([torch.ones(1), x[n][:, known].mean(1), x[n][:, seen].mean(1)])
            assert torch.allclose(about[n, t], wanted, atol=1e-5)


def test_the_linear_fill_is_exact_on_what_is_linear_and_reads_no_hidden_pixel():
    colour = torch.randn(200, 3, 1, 1, generator=torch.Generator().manual_seed(5))
    x = colour.expand(-1, -1, 16, 16).clone()
    mask = drawn(200, 8, 6)
    weights = masking.fit_linear_fill(x, mask, 4)
    assert weights.shape == (16, 7, 48)
    assert torch.allclose(masking.linear_fill(weights, x, mask, 4), patchify(x, 4), atol=1e-3)
    changed = torch.where(masking.hidden_pixels(mask, 4), 9.0, x)
    fills = [masking.linear_fill(weights, y, mask, 4) for y in (x, changed)]
    assert torch.equal(*fills)


def test_too_few_pictures_for_the_linear_fill_are_refused():
    with pytest.raises(InputError, match="at least 7"):
        masking.fit_linear_fill(pictures(5), drawn(5, 8, 0), 4)


def test_the_linear_fill_stands_beside_the_others_where_it_is_given():
    x = torch.randn(80, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    weights = masking.fit_linear_fill(x, drawn(80, 12, 1), 4)
    chosen = masking.Masking(x, 4, lambda x, mask: torch.zeros_like(patchify(x, 4)), linear=weights)
    versions, pixels = chosen.fills(12, "random", 0)
    assert list(versions) == ["picture", "visible", "smooth fill", "linear fill", "network"]
    assert len(chosen.render(12, "random", 0).axes) == 5
    assert "for the linear fill" in chosen.describe(12, "random", 0) and "closest" in chosen.describe(
        4, "blocks", 1
    )
