"""Counting by hand, fitting known machines, the sum of the parts, and the arithmetic of checkpoints."""

import math

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.methods import SimCLR, build_method
from ssl_lessons.models import build_encoder
from ssl_lessons.training import throughput
from ssl_lessons.training.throughput import Machine, Work
from ssl_lessons.views import Policy


def small(**options):
    return SimCLR(build_encoder("convnet", width=4, dim=8), out_dim=6, **options)


def test_operations_by_hand():
    n, size = 5, 16
    channels, side, forward, backward = (3, 4, 8, 16, 8), 16, 0, 0
    for i, (c_in, c_out) in enumerate(zip(channels, channels[1:], strict=False)):
        side //= 2
        once = 2 * 9 * c_in * c_out * side**2  # multiply and add, 3 x 3 taps
        forward += once
        backward += once if i == 0 else 2 * once  # the first layer needs no gradient of the picture
    linear = 2 * 8 * 8 + 2 * 8 * 6
    pairs = 3 * 2 * (2 * n) ** 2 * 6
    found = throughput.count(small(), size, n)
    assert found.flops == 2 * n * (forward + backward + 3 * linear) + pairs


def test_activations_by_hand():
    # four stages of convolution, BatchNorm and ReLU, then Linear, BatchNorm, ReLU and Linear
    stages = 3 * (4 * 64 + 8 * 16 + 16 * 4 + 8 * 1)
    assert throughput.count(small(), 16, 5).activations == 10 * (stages + 3 * 8 + 6)


def test_counting_touches_neither_the_method_nor_the_random_state():
    method, state = small(), torch.get_rng_state()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    throughput.count(method, 16, 4)
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert next(method.parameters()).device.type == "cpu"


def test_a_large_network_costs_nothing_to_count():
    found = throughput.count(SimCLR(build_encoder("resnet18")), 96, 4096)
    assert found.flops == pytest.approx(4096 * 3.9e9, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16}, {"channels_last": False}])
def test_parts_of_a_step(options):
    method, state = small(), torch.get_rng_state()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    images = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator())
    parts = throughput.time_parts(method, images, Policy.simclr(16), 8, steps=2, **options)
    assert tuple(parts) == throughput.PARTS and all(0 < v < 10 for v in parts.values())
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_fit_finds_the_rates_of_a_known_machine():
    works = [Work(1e9, 1e6), Work(5e9, 2e7), Work(2e8, 3e6)]
    known = Machine(2e11, 4e8)
    found = throughput.fit(works, [throughput.seconds_per_step(w, known) for w in works])
    assert found == pytest.approx(known)


def test_fit_never_invents_a_negative_rate():
    # activations cost nothing here, and noise would make their price negative
    works = [Work(1e9, 1e6), Work(2e9, 9e6)]
    found = throughput.fit(works, [1.0, 1.9])
    assert found.flops > 0 and found.activations > 0
    assert throughput.fit(works[:1], [0.5]) == Machine(2e9, math.inf)


def test_minutes_per_epoch():
    assert throughput.minutes_per_epoch(0.6, 1000, 100) == pytest.approx(0.1)
    assert throughput.minutes_per_epoch(0.6, 1099, 100) == pytest.approx(0.1)  # the last batch is dropped


def test_published_peaks_are_scaled_by_the_efficiency():
    assert throughput.published("T4", 0.5).flops == 32.5e12
    assert throughput.published("T4").flops == throughput.EFFICIENCY[1] * 65e12


def test_overhead_has_its_minimum_at_the_best_interval():
    best = throughput.best_interval(0.2, 90.0)
    least = throughput.overhead(best, 0.2, 3.0, 90.0)
    assert all(least <= throughput.overhead(best * f, 0.2, 3.0, 90.0) for f in (0.5, 0.9, 1.1, 2.0))
    assert throughput.overhead(10.0, 0.0, 0.0, 50.0) == pytest.approx(0.1)  # half of ten, every fifty


def test_overhead_against_a_simulation():
    interval, restart, between = 10.0, 2.0, 400.0
    generator = torch.Generator().manual_seed(0)
    ends = torch.empty(20_000).exponential_(1 / between, generator=generator).double()
    lost = (ends % interval + restart).mean()
    assert lost / between == pytest.approx(throughput.overhead(interval, 0.0, restart, between), rel=0.02)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: throughput.count(build_method("byol", build_encoder("convnet")), 32, 4), "SimCLR"),
        (lambda: throughput.count(small(), 16, 1), "at least 2"),
        (lambda: throughput.fit([], []), "as many"),
        (lambda: throughput.fit([Work(1, 1)], [0.0]), "positive"),
        (lambda: throughput.minutes_per_epoch(1.0, 10, 20), "do not fill"),
        (lambda: throughput.published("abacus"), "unknown GPU"),
        (lambda: throughput.published("T4", 1.5), "share"),
        (lambda: throughput.overhead(0.0, 1, 1, 1), "above 0"),
        (lambda: throughput.best_interval(0.0, 1), "above 0"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
