"""The hidden Markov model against sums over all state sequences, and Baum-Welch against its promise."""

import itertools
import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.models.generative import hmm as hidden_markov

STATES, SYMBOLS, LENGTH = 3, 4, 4


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def model(generator):
    return hidden_markov.random_hmm(STATES, SYMBOLS, generator)


def joint(model, x, z):
    p = model.start[z[0]] * model.emission[z[0], x[0]]
    for t in range(1, len(x)):
        p = p * model.transition[z[t - 1], z[t]] * model.emission[z[t], x[t]]
    return float(p)


def paths(x):
    return itertools.product(range(STATES), repeat=len(x))


def test_rows_are_distributions(model):
    for part in model:
        assert torch.allclose(part.sum(dim=-1), torch.ones_like(part.sum(dim=-1))) and (part > 0).all()


def test_likelihood_is_the_sum_over_all_paths(model, generator):
    x = torch.randint(SYMBOLS, (6, LENGTH), generator=generator)
    brute = [math.log(sum(joint(model, row, z) for z in paths(row))) for row in x.tolist()]
    assert hidden_markov.log_likelihood(model, x).tolist() == pytest.approx(brute)


def test_the_likelihoods_of_all_sequences_sum_to_one(model):
    everything = torch.tensor(list(itertools.product(range(SYMBOLS), repeat=LENGTH)))
    assert hidden_markov.log_likelihood(model, everything).exp().sum().item() == pytest.approx(1)


def test_posterior_and_filter_are_sums_over_paths(model):
    x = [1, 3, 0, 2]
    tensor = torch.tensor([x])
    gamma, filtered = (
        hidden_markov.posterior(model, tensor)[0],
        hidden_markov.messages(model, tensor).filtered[0],
    )
    total = sum(joint(model, x, z) for z in paths(x))
    for t in range(LENGTH):
        so_far = sum(joint(model, x[: t + 1], z) for z in paths(x[: t + 1]))
        for state in range(STATES):
            share = sum(joint(model, x, z) for z in paths(x) if z[t] == state) / total
            assert gamma[t, state].item() == pytest.approx(share)
            past = x[: t + 1]
            share = sum(joint(model, past, z) for z in paths(past) if z[t] == state) / so_far
            assert filtered[t, state].item() == pytest.approx(share)


def test_one_step_of_baum_welch_is_the_ratio_of_expected_counts(model, generator):
    x = torch.randint(SYMBOLS, (5, LENGTH), generator=generator)
    start, moves = torch.zeros(STATES), torch.zeros(STATES, STATES)
    emitted = torch.zeros(STATES, SYMBOLS)
    for row in x.tolist():
        total = sum(joint(model, row, z) for z in paths(row))
        for z in paths(row):
            weight = joint(model, row, z) / total
            start[z[0]] += weight
            for t in range(LENGTH):
                emitted[z[t], row[t]] += weight
                if t:
                    moves[z[t - 1], z[t]] += weight
    after, likelihood = hidden_markov.baum_welch_step(model, x)
    for got, expected in zip(after, (start, moves, emitted), strict=True):
        expected = expected.double() / expected.double().sum(dim=-1, keepdim=True)
        assert torch.allclose(got, expected, atol=1e-5)
    assert likelihood == pytest.approx(hidden_markov.log_likelihood(model, x).mean().item())


@pytest.mark.parametrize("length", [1, 2, 30])
def test_baum_welch_never_loses_likelihood(model, generator, length):
    truth = hidden_markov.random_hmm(STATES, SYMBOLS, generator, concentration=4.0)
    x, _ = hidden_markov.sample(truth, 40, length, generator)
    _, history = hidden_markov.baum_welch(model, x, 25)
    assert len(history) == 26
    assert all(b >= a - 1e-9 for a, b in zip(history, history[1:], strict=False))
    assert history[-1] > history[0]


def test_baum_welch_finds_two_clear_states(generator):
    truth = hidden_markov.HMM(
        torch.tensor([0.5, 0.5]).double(),
        torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double(),
        torch.tensor([[0.45, 0.45, 0.05, 0.05], [0.05, 0.05, 0.45, 0.45]]).double(),
    )
    x, states = hidden_markov.sample(truth, 100, 60, generator)
    fitted, _ = hidden_markov.baum_welch(hidden_markov.random_hmm(2, 4, generator), x, 60)
    guess = hidden_markov.posterior(fitted, x).argmax(dim=2)
    agree = (guess == states).double().mean().item()
    assert max(agree, 1 - agree) > 0.9, "the names of the states are arbitrary"


def test_samples_have_the_right_frequencies(model, generator):
    x, states = hidden_markov.sample(model, 20_000, 2, generator)
    assert torch.allclose((torch.bincount(states[:, 0]) / 20_000).double(), model.start, atol=0.015)
    second = model.start @ model.transition @ model.emission
    assert torch.allclose((torch.bincount(x[:, 1]) / 20_000).double(), second, atol=0.015)


@pytest.mark.parametrize("x", [torch.zeros(0, 3).long(), torch.zeros(3).long(), torch.tensor([[0, 4]])])
def test_bad_sequences_are_refused(model, x):
    with pytest.raises(InputError, match="symbols between 0 and 3"):
        hidden_markov.log_likelihood(model, x)


def test_bad_sizes_are_refused(generator):
    with pytest.raises(InputError, match="one state"):
        hidden_markov.random_hmm(0, 3, generator)
