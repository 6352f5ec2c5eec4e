"""Plans: what was asked for, a recipe and facts about the pictures give one frozen plan."""

import dataclasses
import json

import pytest

from ssl_lessons.errors import InputError
from ssl_lessons.training.plan import Plan, make, steps_of, steps_that_fit
from ssl_lessons.training.recipes import RECIPES


def test_a_plan_is_the_recipe_except_where_something_else_was_asked_for():
    plan, recipe = make({}), RECIPES["quick"]
    assert (plan.method, plan.batch_size, plan.lr, plan.policy) == (
        "simclr",
        recipe.batch_size,
        recipe.lr,
        recipe.policy,
    )
    assert (plan.epochs, plan.minutes, plan.steps, plan.images) == (recipe.epochs, None, None, 8192)
    asked = {
        "batch_size": 64,
        "lr": 0.01,
        "size": 48,
        "temperature": 0.3,
        "seed": 5,
        "policy_strength": 0,
        "minutes": 2.0,
    }
    plan = make(asked)
    assert (plan.batch_size, plan.lr, plan.size, plan.seed) == (64, 0.01, 48, 5)
    assert plan.policy.size == 48 and plan.policy.hue == 0 and plan.method_options["temperature"] == 0.3
    assert (plan.epochs, plan.minutes) == (None, 2.0)
    assert make({"data": "digits"}).images is None  # all of them


def test_a_plan_survives_json_and_cannot_be_changed():
    plan = make({"method": "byol", "unlabeled": "/photos", "precision": "bfloat16"})
    again = Plan.from_dict(json.loads(json.dumps(plan.as_dict())) | {"result": {"loss": 1.0}})
    assert again == plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.lr = 1.0


def test_a_plan_of_an_earlier_version_can_still_be_read():
    stored = make({}).as_dict()
    for name in ("precision", "labels", "unlabeled"):
        del stored[name]
    assert Plan.from_dict(stored) == make({})


def test_budgets_become_steps():
    assert make({"epochs": 2.0, "batch_size": 100}).fitted(1050).steps == 20 == steps_of(2.0, 1050, 100)
    assert make({"minutes": 1.0}).fitted(1000, seconds_per_step=0.5).steps == 120
    assert make({"steps": 7}).fitted(1000).steps == 7
    assert make({"epochs": 0.001}).fitted(1000).steps == 1
    assert steps_that_fit(60, 0.5, images=1000, batch_size=100) == (120, 12.0)


def test_the_learning_rate_rule_counts_from_the_recipes_batch_or_from_256():
    assert make({"batch_size": 512, "lr_rule": "linear"}).peak_lr == pytest.approx(2 * RECIPES["quick"].lr)
    assert make({"batch_size": 64, "lr": 0.1, "lr_rule": "sqrt"}).peak_lr == pytest.approx(0.05)
    assert make({"batch_size": 64}).peak_lr == RECIPES["quick"].lr


@pytest.mark.parametrize("method", ["mae", "simmim", "beit", "data2vec", "ijepa", "crossmae", "salt", "ibot"])
def test_a_transformer_is_built_for_the_size_of_the_views(method):
    plan = make({"method": method, "size": 48})
    assert plan.build(n_images=64).encoder.size == 48
    assert make({"encoder": "vit", "size": 16}).build().encoder.size == 16
    with pytest.raises(InputError, match="50 must be a multiple of the patch side 8"):
        make({"method": method, "size": 50}).build(n_images=64)


def test_building_twice_gives_the_same_weights():
    a, b = (make({"seed": 3}).build().state_dict() for _ in range(2))
    assert all(a[name].equal(b[name]) for name in a)
