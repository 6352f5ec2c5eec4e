"""Two rooms: the world is what it says, views and exact answers too, short trainings learn, nonsense is refused."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_lessons import diagnostics
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.agents import (
    encoders,
    exploring,
    lattice,
    objectives,
    planning,
    prototypes,
    world,
)
from ssl_lessons.training import fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def at(*xy):
    return torch.tensor(xy, dtype=torch.float32)


# ---- the world ------------------------------------------------------------------------------------------------------


def test_the_wall_stops_and_the_door_lets_through():
    right = at(1.0, 0.0)
    assert torch.equal(world.move(at(0.45, 0.9), right), at(0.45, 0.9))
    assert torch.allclose(world.move(at(0.45, 0.5), right), at(0.45 + world.STEP, 0.5))
    assert torch.equal(world.move(at(0.99, 0.5), right), at(0.99, 0.5))  # the edge
    slide = world.move(at(0.45, 0.9), at(1.0, -0.5))  # what is not blocked still happens
    assert torch.allclose(slide, at(0.45, 0.9 - world.STEP / 2))


def test_walks_stay_inside_and_change_rooms_through_the_door_only():
    walks = world.walks("train", 200, seed=3)
    p = walks.positions
    assert walks.frames.shape == (200, 25, 3, 16, 16) and walks.actions.shape == (200, 24, 2)
    assert ((p > 0) & (p < 1)).all() and walks.actions.abs().max() <= 1
    changed = world.room(p[:, 1:]) != world.room(p[:, :-1])
    assert changed.any()
    share = (0.5 - p[:, :-1, 0]) / (p[:, 1:, 0] - p[:, :-1, 0])
    height = p[:, :-1, 1] + share * (p[:, 1:, 1] - p[:, :-1, 1])
    assert ((height[changed] > world.DOOR[0]) & (height[changed] < world.DOOR[1])).all()
    for k in range(3):
        assert torch.equal(world.move(p[:, k], walks.actions[:, k]), p[:, k + 1])


def test_the_same_arguments_give_the_same_walks_and_splits_differ():
    first, again = (world.walks("train", 5, seed=1) for _ in range(2))
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.positions, world.walks("test", 5, seed=1).positions)


def test_distance_is_the_best_over_the_door():
    a, b = planning.across(50)
    heights = torch.linspace(*world.DOOR, 400)
    door = torch.stack([torch.full_like(heights, 0.5), heights], dim=1)
    brute = (a[:, None] - door).norm(dim=2) + (door - b[:, None]).norm(dim=2)
    assert torch.allclose(world.distance(a, b), brute.amin(1), atol=1e-4)
    assert torch.allclose(world.distance(a, b), world.distance(b, a))
    assert torch.allclose(world.distance(a, a[:1]), (a - a[:1]).norm(dim=1))


def test_the_dot_is_where_it_should_be_and_the_screen_where_asked():
    g = generator()
    positions = world.anywhere(40, g)
    red = world.draw(positions, g, noise=0.0)[:, 0].flatten(1).float().argmax(1)
    found = torch.stack([(red % 16 + 0.5) / 16, (red // 16 + 0.5) / 16], dim=1)
    assert ((found - positions).abs() < 1 / 16).all()
    tv = torch.arange(40) % 2 == 0
    plain = world.draw(positions, generator(1), 0.0)
    noisy = world.draw(positions, generator(1), 0.0, tv)
    same = (plain == noisy).flatten(1).all(1)
    assert torch.equal(same, ~tv)
    assert torch.equal(plain[..., 6:, :], noisy[..., 6:, :])


def test_neighbours_are_as_far_by_ruler_and_farther_through_the_wall():
    through, inside = world.neighbours(300, generator())
    rulers = [(p[:, 0] - p[:, 1]).norm(dim=1) for p in (through, inside)]
    assert torch.allclose(*rulers) and ((inside > 0) & (inside < 1)).all()
    assert (world.room(through[:, 0]) != world.room(through[:, 1])).all()
    assert (world.room(inside[:, 0]) == world.room(inside[:, 1])).all()
    assert (world.distance(through[:, 0], through[:, 1]) > rulers[0] + 0.05).all()


# ---- the lattice ----------------------------------------------------------------------------------------------------


def test_the_lattice_obeys_the_world():
    places = lattice.lattice(8)
    there = world.move(places.positions[:, None].expand(-1, 4, -1), lattice.COMPASS, step=1 / 8)
    assert torch.allclose(places.positions[places.after], there, atol=1e-6)
    assert torch.equal(places.steps, places.steps.T) and (places.steps >= 0).all()
    i, j = 0, 7  # the upper corners: down to the door, through, and up again
    assert places.steps[i, j] > 7


def test_occupancy_is_the_sum_over_moves():
    chance = lattice.transitions(lattice.lattice(4))
    assert torch.allclose(chance.sum(1), torch.ones(16).double())
    total, power = torch.zeros_like(chance), chance
    for k in range(300):
        total, power = total + 0.1 * 0.9**k * power, power @ chance
    assert torch.allclose(lattice.occupancy(chance, 0.9), total)
    assert torch.allclose(lattice.occupancy(chance, 0.0), chance)


def test_the_smoothest_function_tells_the_rooms_apart():
    places = lattice.lattice(12)
    values, maps = lattice.laplacian_maps(places, 3)
    assert (values.diff() >= 0).all() and values[0] > 1e-6
    side = maps[:, 0] > 0
    right = world.room(places.positions).bool()
    assert float((side == right).float().mean()) in (0.0, 1.0)
    way = lattice.to_the_top(places, maps[:, 0], int(maps[:, 0].argmin()))
    assert torch.isclose(maps[way[-1], 0], maps[:, 0].max())  # two corners are equally high


# ---- objectives -----------------------------------------------------------------------------------------------------


def test_augmentation_shifts_the_whole_picture():
    x = world.draw(world.anywhere(6, generator()), generator())
    assert torch.equal(objectives.shifted(x, generator(), pad=0), x)
    moved = objectives.shifted(x[:, None], generator(1), pad=2)
    assert moved.shape == (6, 1, 3, 16, 16) and not torch.equal(moved[:, 0], x)
    assert all(set(b.unique().tolist()) <= set(a.unique().tolist()) for a, b in zip(x, moved, strict=True))


def test_waiting_times_are_geometric():
    k = objectives.ahead(20_000, 0.8, generator())
    assert k.min() == 1
    assert abs(float(k.float().mean()) - 5) < 0.2 and abs(float((k == 1).float().mean()) - 0.2) < 0.015


@pytest.mark.parametrize("kind", [objectives.Contrast, objectives.Spr, objectives.WorldModel])
def test_every_task_gives_a_loss_and_moves_its_encoder(kind):
    torch.manual_seed(0)
    walks = world.walks("train", 10, moves=6)
    task = kind(encoders.Eye(8), walks, batch=8)
    before = [p.clone() for p in task.encoder.parameters()]
    history = fit(task, task, 3, after=getattr(task, "follow", None))
    assert all(math.isfinite(v) for v in history)
    assert all(not torch.equal(a, b) for a, b in zip(before, task.encoder.parameters(), strict=True))


def test_the_critic_starts_at_chance_and_reads_the_action():
    torch.manual_seed(0)
    walks = world.walks("train", 30)
    task = objectives.Reach(encoders.Critic(8), walks, batch=64)
    assert abs(task(generator()).item() - math.log(40)) < 1
    x = walks.frames[:4, 0]
    assert not torch.equal(task.encoder.here(x, torch.zeros(4, 2)), task.encoder.here(x, torch.ones(4, 2)))


def test_still_features_have_unit_variance_and_do_not_learn():
    frames = world.walks("train", 50).frames[:, 0]
    for encoder in (encoders.Pixels(), encoders.Eye(8)):
        still = encoders.Still(encoder, frames)
        z = still(frames)
        assert z.shape == (50, still.dim) and abs(float(z.var(0).mean()) - 1) < 1e-3
        assert not any(p.requires_grad for p in still.parameters())


def test_a_world_model_learns_where_the_dot_is_and_without_sigreg_collapses():
    """A short training; the margins are far below what a full one reaches."""
    walks, test = world.walks("train", 200), world.walks("test", 20)
    frames, positions = test.frames.flatten(0, 1), test.positions.flatten(0, 1)
    found = {}
    for weight in (0.01, 0.0):
        torch.manual_seed(0)
        task = objectives.WorldModel(encoders.Eye(4), walks, weight, batch=32)
        fit(task, task, 200, lr=5e-3)
        z = encoders.features(task.encoder, frames)
        found[weight] = (z, float(z.std(0).mean()))
    assert found[0.01][1] > 0.3 > 0.05 > found[0.0][1]
    assert diagnostics.diagnose(found[0.0][0]).verdict == "complete collapse"
    design = torch.cat([found[0.01][0], torch.ones(len(positions), 1)], dim=1)
    left = positions - design @ torch.linalg.lstsq(design, positions).solution
    assert float(left.var(0).mean() / positions.var(0).mean()) < 0.6


# ---- planning and exploring -----------------------------------------------------------------------------------------


def test_who_knows_the_moves_gets_to_the_other_room_and_who_looks_one_move_ahead_does_not():
    start, goal = planning.across(20)
    assert (world.room(start) != world.room(goal)).all()
    far = planning.travel(None, planning.true_moves, start, goal)
    short = planning.travel(None, planning.true_moves, start, goal, horizon=1)
    assert far.success > 0.8 and far.success > short.success + 0.2
    assert far.positions.shape == (20, 29, 2) and torch.equal(far.positions[:, 0], start)
    assert planning.chase(None, start, goal).success < 0.4


def test_the_cross_entropy_method_finds_a_sum():
    def imagine(z, actions):
        return z[..., None, :] + actions.cumsum(dim=-2)

    start, goal = torch.zeros(3, 2), torch.tensor([[2.0, 0.0], [0.0, -2.0], [1.0, 1.0]])
    plan = planning.cem(imagine, start, goal, generator(), horizon=3, repeat=1, cost="last")
    assert plan.shape == (3, 3, 2) and torch.allclose(plan.sum(1), goal, atol=0.15)


def test_counting_sees_more_than_walking_at_random():
    lives = {b: exploring.live(b, steps=300, side=12) for b in ("none", "count")}
    assert lives["count"].covered[-1] > lives["none"].covered[-1] + 0.1
    assert lives["count"].covered[-1] == len(lives["count"].places.unique()) / 144


def test_a_life_says_how_much_of_its_end_is_spent_where_the_screen_is():
    near = torch.tensor([True] * 6 + [False, True, True, False])
    life = exploring.Journey(torch.arange(10), torch.ones(10), near)
    assert life.watching(4) == 0.5 and life.watching() == pytest.approx(0.8)


def test_noise_keeps_an_error_alive_but_is_no_progress():
    """What a screen of noise leaves of each bonus when there is nothing to learn any more."""
    left = {}
    for kind in ("pixel error", "pixel progress"):
        torch.manual_seed(0)
        surprise, g = exploring.Surprise(kind, lr=5e-3), generator()
        here, action = torch.full((16, 2), 0.1), torch.zeros(16, dtype=torch.long)
        for _ in range(150):
            now, then = (world.draw(here, g, tv=torch.ones(16, dtype=torch.bool)) for _ in range(2))
            surprise.learn(now, action, then)
        now, then = (world.draw(here, g, tv=torch.ones(16, dtype=torch.bool)) for _ in range(2))
        left[kind] = float(surprise(now, action, then).mean())
    screen = 36 / 256 / 12  # its share of the picture, times the variance of a uniform number
    assert 0.7 * screen < left["pixel error"] < 2 * screen
    assert left["pixel progress"] < 0.3 * left["pixel error"]


def test_a_surprise_that_can_be_learned_goes_away():
    torch.manual_seed(0)
    surprise = exploring.Surprise("pixel error", lr=5e-3)
    x = world.draw(world.anywhere(16, generator()), generator())
    action = torch.arange(16) % 4
    first = surprise(x, action, x.roll(1, 0)).mean()
    for _ in range(60):
        surprise.learn(x, action, x.roll(1, 0))
    assert surprise(x, action, x.roll(1, 0)).mean() < 0.5 * first


def test_nonsense_is_refused():
    walks = world.walks("train", 3, moves=2)
    for call in (
        lambda: world.walks("validation", 3),
        lambda: world.walks("train", 3, keep=1.0),
        lambda: lattice.lattice(7),
        lambda: lattice.occupancy(torch.eye(2), 1.0),
        lambda: lattice.laplacian_maps(lattice.lattice(4), 0),
        lambda: objectives.WorldModel(encoders.Eye(2), walks)(generator()),
        lambda: planning.travel(None, planning.true_moves, *planning.across(2), cost="middle"),
        lambda: exploring.live("boredom"),
    ):
        with pytest.raises(InputError):
            call()


# ---- Proto-RL -------------------------------------------------------------------------------------------------------


def test_proto_rl_loss_is_swavs_along_time_and_its_bonus_a_distance():
    """Proto-RL: the balanced share of the next picture is predicted; far from what is remembered pays."""
    g = generator()
    u, v, c = (torch.randn(n, 5, generator=g, dtype=torch.float64) for n in (12, 12, 4))
    scores_u, scores_v = (
        torch.stack([torch.stack([x @ p / (x.norm() * p.norm()) for p in c]) for x in rows]) / 0.1
        for rows in (u, v)
    )
    q = scores_v.exp()
    for _ in range(3):
        q = q / q.sum(dim=0) / 4
        q = q / q.sum(dim=1, keepdim=True)
    right = -(q * (scores_u - scores_u.exp().sum(dim=1, keepdim=True).log())).sum(dim=1).mean()
    assert float(prototypes.swapped(u, v, c)) == pytest.approx(float(right), abs=1e-9)
    known = F.normalize(torch.randn(9, 5, generator=g, dtype=torch.float64), dim=1)
    gaps = [sorted(float((x / x.norm() - row).norm()) for row in known)[2] for x in u]
    assert prototypes.remote(u, known).tolist() == pytest.approx(gaps, abs=1e-6)
    assert prototypes.remote(u, known[:0]).tolist() == [0.0] * 12


def test_proto_rl_pays_less_for_what_it_has_seen_often():
    torch.manual_seed(0)
    seen, strange = torch.full((16, 2), 0.2), torch.full((16, 2), 0.8)
    asker, action = prototypes.Prototypes(), torch.zeros(16, dtype=torch.long)
    for step in range(20):
        x = world.draw(seen, generator(step))
        asker.learn(x, action, x)
    assert asker.queue.shape == (512, 16)
    near, far = (
        asker(x, action, x).mean() for x in (world.draw(p, generator(99)) for p in (seen, strange))
    )
    assert near < 0.3 * far
