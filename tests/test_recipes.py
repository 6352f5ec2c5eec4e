"""The presets build what they say, for every method."""

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.methods import METHODS
from ssl_lessons.pretraining import pretrain
from ssl_lessons.recipes import QUICK, RECIPES, get_recipe

FACTS = {"n_images": 48, "n_classes": 3}


def test_the_overrides_name_methods_and_fields_that_exist():
    assert set(QUICK) <= set(METHODS)
    for name in QUICK:
        get_recipe("quick", name)  # an unknown field would raise


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_with_the_quick_recipe(name):
    recipe = get_recipe("quick", name)
    method = recipe.build(0, **FACTS)
    images = torch.randint(0, 256, (48, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    before = [p.detach().clone() for p in method.encoder.parameters()]
    settings = recipe.training() | {"batch_size": 16}
    history = pretrain(
        method,
        images,
        method.views(recipe.policy),
        steps=3,
        labels=torch.arange(48) % 3,
        progress=False,
        **settings,
    )
    assert len(history) == 3
    assert any(not torch.equal(a, b) for a, b in zip(before, method.encoder.parameters(), strict=True))


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
