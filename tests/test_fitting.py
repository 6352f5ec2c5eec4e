"""The loop for modalities other than pictures."""

import pytest
import torch
from torch import nn

from ssl_lessons.errors import InputError
from ssl_lessons.training import fit
from ssl_lessons.training.loop import Diverged


def line(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.0))


def squared(model):
    def loss(generator):
        x = torch.randn(32, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return loss


def test_it_learns_a_sum():
    model = line()
    losses = fit(model, squared(model), 300, lr=3e-2, weight_decay=0.0)
    assert len(losses) == 300 and losses[-1] < 1e-3 < losses[0]
    assert torch.allclose(model[0].weight, torch.ones(1, 3), atol=0.05) and not model.training


def test_one_seed_is_one_run_and_another_is_not():
    runs = []
    for seed in (1, 1, 2):
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        model.load_state_dict({k: torch.ones_like(v) / 4 for k, v in model.state_dict().items()})
        runs.append(fit(model, squared(model), 5, seed=seed))
    assert runs[0] == runs[1] != runs[2]


def test_the_callers_random_state_comes_back():
    torch.manual_seed(7)
    expected = torch.randn(3)
    model = line()
    torch.manual_seed(7)
    fit(model, squared(model), 3)
    assert torch.equal(torch.randn(3), expected)


def test_the_rate_warms_up_and_goes_to_nothing():
    model, moved = line(), []
    before = model[0].weight.detach().clone()

    def after(step):
        nonlocal before
        moved.append((model[0].weight.detach() - before).abs().max().item())
        before = model[0].weight.detach().clone()

    fit(model, squared(model), 40, lr=1e-2, after=after, warmup=0.25)
    assert moved[0] < moved[8] and moved[-1] < moved[12] / 20


def test_what_is_not_finite_stops_it_and_leaves_the_weights():
    model = line()
    before = model[0].weight.detach().clone()
    with pytest.raises(Diverged, match="step 1 of 4"):
        fit(model, lambda generator: model[0].weight.sum() * float("nan"), 4)
    assert torch.equal(model[0].weight, before)


def test_no_steps_are_no_run():
    with pytest.raises(InputError, match="at least one step"):
        fit(line(), lambda g: torch.zeros(()), 0)


def test_a_bar_says_what_is_trained(capsys):
    fit(model := line(), squared(model), 3)
    assert capsys.readouterr().out == ""
    fit(model, squared(model), 3, progress=True)
    assert "Sequential: 3 of 3" in capsys.readouterr().out
    fit(model, squared(model), 3, progress="a sum")
    assert "a sum: 3 of 3" in capsys.readouterr().out
