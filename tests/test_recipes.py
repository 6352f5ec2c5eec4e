"""The presets build what they say, for every method."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.methods import METHODS
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import QUICK, RECIPES, get_recipe

FACTS = {"n_images": 96, "n_classes": 3}


def test_the_overrides_name_methods_and_fields_that_exist():
    assert set(QUICK) <= set(METHODS)
    for name in QUICK:
        get_recipe("quick", name)  # an unknown field would raise


SMALL = {"w_mse": {"sub_batch": 16}}  # what a batch of 16 needs


class Killed(BaseException):
    pass


def train(name, **options):
    """Four steps of a method's quick recipe on 96 images: the method and its losses."""
    recipe = get_recipe("quick", name)
    recipe = recipe.with_(options=recipe.options | SMALL.get(name, {}))
    method = recipe.build(0, **FACTS)
    images = torch.randint(0, 256, (96, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    settings = recipe.training() | {"batch_size": 16, "labels": torch.arange(96) % 3, "progress": False}
    history = pretrain(method, images, method.views(recipe.policy), steps=4, **settings | options)
    return method, [row["loss"] for row in history]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_with_the_quick_recipe_and_survives_a_kill(name, tmp_path, monkeypatch):
    method, losses = train(name)
    fresh = get_recipe("quick", name).build(0, **FACTS)
    pairs = zip(fresh.encoder.parameters(), method.encoder.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs), "training changes the encoder"

    after_step = METHODS[name].after_step

    def kill(self, progress):
        if progress > 0.5:
            raise Killed
        after_step(self, progress)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(METHODS[name], "after_step", kill)
        train(name, out=tmp_path, checkpoint_every=2)
    again, continued = train(name, out=tmp_path, resume=True)
    assert continued == losses
    a, b = method.state_dict(), again.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (get_recipe("quick").build(seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_another_method_keeps_its_own_options():
    """A temperature or head of SimCLR's says nothing about another method."""
    assert get_recipe("published", "supervised").options == {}
    assert get_recipe("published", "supervised").batch_size == RECIPES["published"].batch_size
    assert get_recipe("published", "simclr") is RECIPES["published"] is get_recipe("published")


@pytest.mark.parametrize("name, method", [("quickest", None), ("quick", "simcrl")])
def test_unknown_names_are_refused(name, method):
    with pytest.raises(InputError, match="choose from"):
        get_recipe(name, method)
