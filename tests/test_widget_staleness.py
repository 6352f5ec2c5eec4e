"""The widget on the age of keys: its numbers against a loop, its picture over the whole range of every control."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from ssl_lessons import data, plots, widgets
from ssl_lessons.book.widgets import staleness as sw
from ssl_lessons.errors import InputError
from ssl_lessons.training import pretrain, recipes


@pytest.fixture
def film():
    """21 pictures of a network that drifts; the keys with momentum 0.9 drift at a tenth of the speed."""
    generator = torch.Generator().manual_seed(0)
    start, drift = torch.randn(2, 12, 6, generator=generator)
    t = torch.arange(21)[:, None, None] / 10
    return sw.Film(4, start + t * drift, {0.0: start + t * drift, 0.9: start + 0.1 * t * drift})


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("age", [0, 8, 24])
def test_comparison_against_a_loop(film, momentum, age):
    seen = sw.compare(film, momentum, age, "middle")
    now, won = 12, 0
    own, others, steady = [], [], 0
    then = film.keys[momentum][now - age // 4]
    for i, q in enumerate(film.queries[now]):
        cosines = [cosine_similarity(q, k, dim=0).item() for k in then]
        won += sum(c < cosines[i] for c in cosines)
        own.append(cosines.pop(i))
        others += cosines
        steady += cosine_similarity(then[i], film.keys[momentum][now][i], dim=0).item()
    assert seen.own.tolist() == pytest.approx(own, abs=1e-6)
    assert seen.others.tolist() == pytest.approx(others, abs=1e-6)
    assert seen.wins == pytest.approx(won / (12 * 11))
    assert seen.steady == pytest.approx(steady / 12, abs=1e-6)


def test_fresh_keys_of_the_same_network_fit_and_old_ones_less(film):
    fresh = sw.compare(film, 0.0, 0)
    assert fresh.own.min() > 1 - 1e-9 and fresh.wins == 1 and fresh.steady > 1 - 1e-9
    own = [sw.compare(film, 0.0, age).own.mean() for age in (0, 12, 24)]
    assert own[0] > own[1] > own[2]
    assert sw.compare(film, 0.9, 24).steady > sw.compare(film, 0.0, 24).steady + 0.02


def test_render_over_the_whole_range_of_every_control(film):
    seen = {}
    for parameters in widgets.sweep(sw.controls(film), n=5):
        fig = sw.render_keys(**parameters, film=film)
        words = sw.describe_keys(**parameters, film=film)
        wins = sw.compare(film, **parameters).wins
        title = fig.axes[1].get_title() or fig.axes[1].get_title(loc="left")
        assert f"{100 * wins:.0f} percent of the comparisons" in words and f"{wins:.0%}" in title
        assert f"closer in {100 * wins:.0f} percent (cosine" in sw.brief_keys(**parameters, film=film)
        assert len(fig.axes[1].lines) == 3  # two momenta and the marker
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
        seen[tuple(parameters.values())] = plots.png(fig)
    assert len(set(seen.values())) == len(seen) >= 7, "every setting draws its own picture"


def test_static_page(film, monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, *_: pages.append(alt))
    widgets.explore(partial(sw.render_keys, film=film), sw.controls(film),
                    static=[{"age": 0}, {"age": 24}], alt=partial(sw.describe_keys, film=film))  # fmt: skip
    assert "Keys 0 steps old" in pages[0] and "Keys 24 steps old" in pages[0]


def test_bad_input_is_refused_with_a_sentence(film):
    with pytest.raises(InputError, match="No key encoder with momentum 0.5"):
        sw.compare(film, 0.5, 0)
    with pytest.raises(InputError, match="moment must be one of"):
        sw.compare(film, 0.0, 0, "noon")
    for age in (-4, 60):
        with pytest.raises(InputError, match="age must be between 0 and 48"):
            sw.compare(film, 0.0, age, "middle")


def test_age_clue_against_a_loop(film):
    for momentum, age in ((0.0, 24), (0.9, 24), (0.0, 0)):
        fresh, old = (sw.compare(film, momentum, a).others for a in (0, age))
        wins = [(f > o).item() + 0.5 * (f == o).item() for f in fresh for o in old]
        assert sw.age_clue(film, momentum, age) == pytest.approx(sum(wins) / len(wins), abs=1e-6)
    assert sw.age_clue(film, 0.0, 0) == pytest.approx(0.5)


def test_camera_films_what_the_followers_say_and_leaves_the_training_alone():
    recipe = recipes.get_recipe("quick", "moco_v2")
    images, policy = data.shapes("train", n=64).images, recipe.policy
    settings = recipe.training() | {"batch_size": 16}
    trained = []
    for filmed in (False, True):
        method = recipe.build(seed=0)
        if filmed:
            camera = sw.Camera(method, images[:8], policy, (0.0, method.momentum), every=2)
        pretrain(method, images, method.views(policy), steps=4, progress=False, **settings)
        trained.append(method)
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in trained), strict=True))
    film = camera.film()
    assert film.queries.shape == (3, 8, 128) and set(film.keys) == {0.0, method.momentum}
    slow = sw._in_training(method.teacher, camera.views[1])
    fast = sw._in_training(camera.net, camera.views[1])
    assert torch.allclose(film.keys[method.momentum][-1], slow, atol=1e-4)
    assert torch.allclose(film.keys[0.0][-1], fast, atol=1e-5) and not torch.allclose(fast, slow, atol=1e-3)
    assert torch.allclose(film.queries[-1], normalize(film.queries[-1], dim=1))


def test_every_few_steps_writes_at_the_start_and_after_every_second_step():
    method = recipes.get_recipe("quick").build(seed=0)
    seen = []
    sw.every_few_steps(method, 2, lambda m: seen.append(m))
    for _ in range(5):
        method.after_step(0.5)
    assert seen == [method] * 3
