"""The world of clips, how they are spoiled, and the tasks: what a reader may rely on."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.video import encoders, objectives, views, world
from ssl_lessons.training import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def some() -> world.Clips:
    return world.clips("train", 600, camera=True, noise=0.0)


def test_the_same_seed_draws_the_same_clips_and_splits_share_none(some):
    again = world.clips("train", 600, camera=True, noise=0.0)
    assert torch.equal(some.frames, again.frames) and torch.equal(some.other, again.other)
    test = world.clips("test", 600, noise=0.0)
    rows = {clip.numpy().tobytes() for clip in some.frames[:, 0]}
    assert not rows & {clip.numpy().tobytes() for clip in test.frames[:, 0]}
    assert not torch.equal(some.frames[:300], world.clips("train", 300, seed=1, noise=0.0).frames)


def test_factors_are_balanced(some):
    for name, options in world.FACTORS.items():
        counts = some.factors[name].bincount(minlength=options)
        assert len(counts) == options and counts.min() > 0.6 * 600 / options


def test_a_place_says_nothing_about_direction_and_speed():
    """Uniform over the picture for every direction: means of cos and sin of the place are near 0."""
    drawn = world.clips("train", 2000)
    for name, t in itertools.product(("direction", "speed"), (0, 7)):
        for value in range(world.FACTORS[name]):
            angle = 2 * math.pi * drawn.centres[drawn.factors[name] == value, t, 0]
            assert max(angle.cos().mean().abs(), angle.sin().mean().abs()) < 4 / len(angle) ** 0.5


def test_masks_positions_and_factors_agree(some):
    inside = some.masks > 0
    assert (inside.flatten(2).sum(2) > 15).all()
    grid = (torch.arange(24) + 0.5) / 24 * 2 * math.pi
    share = inside.float() / inside.flatten(2).sum(2)[:, :, None, None]
    for axis, weight in ((0, share.sum(2)), (1, share.sum(3))):  # circular mean of the silhouette
        angle = torch.atan2((weight * grid.sin()).sum(2), (weight * grid.cos()).sum(2)) / (2 * math.pi) % 1
        away = (angle - some.centres[:, :, 0, axis] + 0.5) % 1 - 0.5
        assert away.abs().max() < 2.5 / 24
    step = (some.centres[:, 1, 0] - some.centres[:, 0, 0] + 0.5) % 1 - 0.5
    angle = torch.atan2(step[:, 1], step[:, 0]) / (2 * math.pi) * 8 % 8
    assert torch.equal(angle.round().long() % 8, some.factors["direction"])


def test_colour_kind_and_background_are_read_from_clean_frames(some):
    """By rules, not by training: the hue inside the mask, the area of the mask, the direction of the waves."""
    frame, mask = some.frames[:, 0].float(), some.masks[:, 0, None] > 0
    rgb = (frame * mask).sum((2, 3)) / mask.sum((2, 3))
    rgb = rgb - rgb.mean(1, keepdim=True)
    hue = torch.atan2(3**0.5 / 2 * (rgb[:, 1] - rgb[:, 2]), rgb[:, 0] - rgb[:, 1:].mean(1))
    hue = (hue / (2 * math.pi) * 6).round().long() % 6
    assert (hue == some.factors["colour"]).float().mean() > 0.97


def test_the_second_camera_sees_the_same_mirrored(some):
    moved = 0.15 + 0.7 * some.frames.float().flip(-1)[:, :, [2, 0, 1]] / 255
    assert (moved * 255 - some.other.float()).abs().max() < 2


def test_without_loss_a_bouncing_film_and_its_reverse_are_equally_likely():
    """Heights, speeds and accelerations have the same distribution both ways; with loss they have not."""
    gap = {}
    for loss in (0.0, 0.4):
        y = world.clips("train", 4000, motion="bounce", loss=loss).centres[:, :, 0, 1]
        forward, backward = (h[:, 2:6].mean() for h in (y, y.flip(1)))
        gap[loss] = float((y[:, 4:].mean() - y[:, :4].mean()).abs()), float((forward - backward).abs())
    assert gap[0.0][0] < 0.01 and gap[0.4][0] > 0.03


def test_drift_brightens_and_pan_moves_the_background():
    drifting = world.clips("train", 50, drift=0.02, noise=0.0).frames.float().mean((0, 2, 3, 4))
    assert (drifting[1:] > drifting[:-1] + 2).all()
    still, moving = (world.clips("train", 50, pan=p, noise=0.0).frames.float() for p in (0.0, 0.05))
    assert (still[:, 1:] - still[:, :-1]).abs().mean() < (moving[:, 1:] - moving[:, :-1]).abs().mean() / 2


def test_two_objects_have_two_colours_and_two_masks():
    two = world.clips("test", 100, objects=2)
    assert set(two.masks.unique().tolist()) == {0, 1, 2} and two.centres.shape == (100, 8, 2, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: world.clips("dev", 3),
        lambda: world.clips("train", 0),
        lambda: world.clips("train", 3, motion="swim"),
        lambda: world.clips("train", 3, loss=1.0),
        lambda: views.reorder(torch.zeros(2, 3, 3, 4, 4), torch.zeros(3, 2, dtype=torch.long)),
        lambda: views.arrow(torch.zeros(2, 3, 4, 4), seeded()),
        lambda: views.masks(2, 4, 16, 0.99, seeded(), tubes=True),
        lambda: views.patches(torch.zeros(1, 7, 3, 24, 24)),
    ],
)
def test_bad_input_gets_one_clear_error(call):
    with pytest.raises(InputError):
        call()


def numbered(n=200, t=8) -> torch.Tensor:
    """Clips whose frames are their numbers."""
    return torch.arange(t).float()[None, :, None, None, None].expand(n, t, 3, 6, 6)


def test_labels_of_the_order_tasks_are_what_they_say():
    x, label = views.in_order(numbered(), seeded())
    order = x[:, :, 0, 0, 0]
    rising, falling = ((s * (order[:, 1:] - order[:, :-1]) > 0).all(1) for s in (1, -1))
    assert torch.equal(rising, label == 1) and not falling.any() and 70 < label.sum() < 130
    x, label = views.arrow(numbered(), seeded())
    assert torch.equal(x[:, 0, 0, 0, 0] < x[:, -1, 0, 0, 0], label == 1)
    x, label = views.paced(numbered(), seeded())
    assert torch.equal((x[:, 1:] - x[:, :-1])[..., 0, 0, 0], (label + 1.0)[:, None].expand(-1, 3))
    x, label = views.permuted(numbered(2000), seeded())
    orders = {tuple(o) for o in torch.cat([x[:, :, 0, 0, 0], label[:, None]], dim=1).tolist()}
    assert len(orders) == 24 and len({o[:4] for o in orders}) == 24
    assert all((*o[:4][::-1], o[4]) in orders for o in orders)
    x, odd = views.odd_one(numbered(), seeded())
    rising = (x[:, :, 1:] - x[:, :, :-1])[..., 0, 0, 0].gt(0).all(2)
    assert torch.equal(rising.logical_not().float().argmax(1), odd) and (rising.sum(1) == 2).all()


def test_one_augmentation_per_clip_leaves_the_motion():
    clips = views.to_float(world.clips("train", 20, noise=0.0).frames)
    kept, broken = (views.augment(clips, seeded(), consistent=c) for c in (True, False))
    still = clips[:, :1].expand_as(clips)
    frozen = views.augment(still, seeded())
    assert torch.equal(frozen[:, 0], frozen[:, 7]) and kept.shape == clips.shape
    assert not torch.equal(broken[:, 0] - broken[:, 1], kept[:, 0] - kept[:, 1])


def test_ego_motion_says_how_the_camera_moved():
    clips = torch.rand(30, 8, 3, 24, 24, generator=seeded())
    pair, move = views.ego_motion(clips, seeded())
    for n in range(30):
        dy, dx = int(move[n]) // 7 - 3, int(move[n]) % 7 - 3
        assert torch.equal(pair[n, 0].roll((dy, dx), (1, 2)), pair[n, 1])


def test_tubes_hide_the_same_places_and_random_masks_leak():
    tubes, loose = (views.masks(40, 4, 16, 0.75, seeded(), tubes=t) for t in (True, False))
    assert (tubes.sum(1) == 48).all() and (loose.sum(1) == 48).all()
    assert views.leak(tubes, 4) == 0 and 0.4 < views.leak(loose, 4) < 0.75
    cubes = views.patches(numbered(2).repeat(1, 1, 1, 4, 4))
    assert cubes.shape == (2, 64, 216) and cubes[0, 0].unique().tolist() == [0, 1]
    assert cubes[0, 16].unique().tolist() == [2, 3]


def test_every_task_learns_for_two_steps_and_repeats_itself(some):
    def net():
        torch.manual_seed(0)
        return encoders.ClipNet(16)

    for name, make in objectives.tasks(net, some.frames, some.other).items():
        runs = [fit(task, task, 2) for task in (make(), make())]
        assert runs[0] == runs[1], name
        assert all(map(math.isfinite, runs[0]))
    assert encoders.features(net(), some.frames[:7]).shape == (7, 32)


def test_masked_cubes_points_and_walks_learn_for_two_steps(some):
    torch.manual_seed(0)
    for task in (
        objectives.Cubes(encoders.CubeViT(16, 1), some.frames),
        objectives.Cubes(encoders.CubeViT(16, 1), some.frames, tubes=False),
        objectives.Points(encoders.PlaceNet(8, 8), some.frames),
        objectives.Walks(encoders.PlaceNet(8, 8), some.frames),
    ):
        assert all(map(math.isfinite, fit(task, task, 2)))
    task = objectives.CubeFeatures(encoders.CubeViT(16, 1), some.frames)
    before = task.teacher.embed.weight.clone()
    assert all(map(math.isfinite, fit(task, task, 2, after=task.follow)))
    assert not torch.equal(before, task.teacher.embed.weight)


def test_hidden_cubes_do_not_reach_the_encoder(some):
    torch.manual_seed(0)
    net, cubes = encoders.CubeViT(16, 1), views.patches(views.to_float(some.frames[:4]))
    mask = views.masks(4, 4, 16, 0.75, seeded(), tubes=True)
    spoiled = torch.where(mask[..., None], torch.full_like(cubes, 9.0), cubes)
    assert torch.equal(net.reconstruct(cubes, mask), net.reconstruct(spoiled, mask))
