"""Masks: counts, shapes of the hidden area, and what the samplers promise."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.views.masks import block_mask, context_and_targets, random_mask, uniform_mask, visible


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", [random_mask, block_mask])
@pytest.mark.parametrize("tokens, ratio, hidden", [(64, 0.75, 48), (64, 0.1, 6), (16, 0.4, 6), (36, 0.9, 32)])
def test_every_row_hides_the_same_share(draw, tokens, ratio, hidden):
    mask = draw(50, tokens, ratio, generator=generator())
    assert mask.shape == (50, tokens) and mask.dtype == torch.bool
    assert (mask.sum(1) == hidden).all()
    assert len({tuple(row.tolist()) for row in mask}) > 25  # rows differ
    assert torch.equal(mask, draw(50, tokens, ratio, generator=generator()))
    assert not torch.equal(mask, draw(50, tokens, ratio, generator=generator(1)))


def test_random_masks_prefer_no_place():
    share = random_mask(4000, 16, 0.5, generator=generator()).float().mean(0)
    assert (share - 0.5).abs().max() < 0.04


def neighbours_alike(mask, side):
    """How often a hidden patch has a hidden right-hand neighbour."""
    grid = mask.view(-1, side, side)
    return float((grid[:, :, 1:] & grid[:, :, :-1]).sum() / grid[:, :, :-1].sum())


def test_blocks_are_more_clustered_than_random_masks():
    random, block = (draw(500, 64, 0.4, generator=generator()) for draw in (random_mask, block_mask))
    assert neighbours_alike(random, 8) < 0.45 and neighbours_alike(block, 8) > 0.7


def test_cells_are_hidden_together():
    mask = random_mask(20, 64, 0.5, cell=2, generator=generator())
    cells = mask.view(20, 4, 2, 4, 2).transpose(2, 3).flatten(3)
    assert (cells.all(-1) | ~cells.any(-1)).all() and (mask.sum(1) == 32).all()


def test_uniform_masks_leave_one_patch_per_cell():
    mask = uniform_mask(200, 64, generator=generator())
    cells = mask.view(200, 4, 2, 4, 2).transpose(2, 3).flatten(3)
    assert (cells.sum(-1) == 3).all()
    assert ((~cells).float().mean((0, 1, 2)) - 0.25).abs().max() < 0.05  # each of the four equally often


def test_visible_lists_the_patches_left():
    mask = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0]], dtype=torch.bool)
    assert visible(mask).tolist() == [[1, 3], [0, 3]]
    for bad in (torch.tensor([[1, 0], [1, 1]]).bool(), torch.ones(2, 4).bool(), torch.ones(0, 4).bool()):
        with pytest.raises(InputError, match="same number"):
            visible(bad)


@pytest.mark.parametrize("seed", range(5))
def test_context_and_targets_of_ijepa(seed):
    context, targets = context_and_targets(30, 64, generator=generator(seed))
    assert context.shape[0] == 30 and targets.shape[:2] == (30, 4)
    assert 8 <= targets.shape[2] <= 16  # .15 to .2 of 64 patches, rounded to whole rows and columns
    for i in range(30):
        seen = set(context[i].tolist())
        assert len(seen) == context.shape[1] and not seen & set(targets[i].flatten().tolist())
        for block in targets[i]:
            rows, columns = set((block // 8).tolist()), set((block % 8).tolist())
            assert len(block) == len(rows) * len(columns)  # a full rectangle
            assert max(rows) - min(rows) == len(rows) - 1 and max(columns) - min(columns) == len(columns) - 1
    assert len({tuple(t.flatten().tolist()) for t in targets}) > 20


def test_too_many_targets_are_refused():
    with pytest.raises(InputError, match="cover"):
        context_and_targets(20, 16, targets=30, target_scale=(0.5, 0.6), generator=generator())


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5, 0.001, 0.999, float("nan")])
def test_a_useless_ratio_is_refused(ratio):
    for draw in (random_mask, block_mask):
        with pytest.raises(InputError, match="ratio"):
            draw(2, 64, ratio)


def test_odd_grids_are_refused():
    with pytest.raises(InputError, match="square"):
        random_mask(2, 60, 0.5)
    with pytest.raises(InputError, match="even"):
        uniform_mask(2, 25)
    with pytest.raises(InputError, match="cell"):
        random_mask(2, 64, 0.5, cell=3)
