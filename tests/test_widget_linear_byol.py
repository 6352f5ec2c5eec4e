"""The linear-BYOL widget: its equations against gradient descent on matrices, its picture over the whole range."""

import math

import pytest
import torch

from ssl_lessons import plots, widgets
from ssl_lessons.book.widgets import linear_byol as lb
from ssl_lessons.errors import InputError

STATE = [torch.tensor([0.3, 0.7]), torch.tensor([0.2, 0.5]), torch.tensor([0.9, 1.0])]


def expected_loss(w, p, target, noise):
    """E |P W x1 - W_a x2|^2 / 2 for x1 = x + e1, x2 = x + e2, x ~ N(0, 1), e ~ N(0, noise)."""
    a = p @ w
    return ((1 + noise) * (a @ a.T + target @ target.T) - a @ target.T - target @ a.T).trace() / 2


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("speed", [1.0, 3.0])
def test_the_equations_are_the_gradient_flow(decay, speed):
    """One direction at a time: matrices with a shared eigenbasis, gradients by autograd, teacher = tau W."""
    p, s, tau = (x.double() for x in STATE)
    basis, _ = torch.linalg.qr(
        torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    w = (basis @ torch.diag(s.sqrt())).requires_grad_()  # F = W W^T has eigenvalues s
    big_p = (basis @ torch.diag(p) @ basis.T).requires_grad_()
    target = (basis @ torch.diag(tau * s.sqrt())).detach()
    noise = 0.25
    grad_w, grad_p = torch.autograd.grad(expected_loss(w, big_p, target, noise), (w, big_p))
    dw, dp = -grad_w - decay * w, -speed * grad_p - decay * big_p
    df = dw @ w.T + w @ dw.T
    right_p = (basis.T @ dp @ basis).diagonal()
    right_s = (basis.T @ df @ basis).diagonal()
    found_p, found_s, _ = lb.velocity(p, s, tau, decay=decay, speed=speed, noise=noise)
    assert torch.allclose(found_p, right_p.detach()) and torch.allclose(found_s, right_s.detach())


def test_the_teachers_share_follows_from_its_moving_average():
    """W_a = tau W and dW_a/dt = rate (W - W_a), with dW/dt = (ds/dt) / (2 s) W."""
    p, s, tau = (x.double() for x in STATE)
    _, ds, dtau = lb.velocity(p, s, tau, rate=0.7)
    assert torch.allclose(dtau, 0.7 * (1 - tau) - tau * ds / (2 * s))
    assert (lb.velocity(p, s, tau, rate=math.inf)[2] == 0).all()


def test_the_parabola_is_invariant_without_decay():
    """s - p^2 / speed keeps its value (decay 0) or fades like exp(-2 decay t)."""
    for decay in (0.0, 0.05):
        path = lb.follow([0.2, 0.5], [0.3, 0.4], seconds=20, decay=decay, speed=2.0)
        c = path.s - path.p**2 / 2
        fade = torch.exp(-2 * decay * path.time)[:, None]
        assert torch.allclose(c, c[0] * fade, atol=1e-6)


@pytest.mark.parametrize("decay, noise", [(0.01, 0.25), (0.1, 0.25), (0.15, 0.0), (0.0, 0.5)])
def test_fixed_points_are_where_directions_end(decay, noise):
    points = lb.fixed_points(decay, noise)
    for p in points:
        zero = torch.tensor([p], dtype=torch.float64)
        assert abs(lb.velocity(zero, zero**2, torch.ones(1), decay=decay, noise=noise)[0]) < 1e-9
    start = points[1] * 1.1 if len(points) == 3 else 0.1
    end = lb.follow([start], [start**2], seconds=600, steps=2000, decay=decay, noise=noise)
    assert float(end.p[-1]) == pytest.approx(points[-1], abs=1e-3)
    if len(points) == 3:
        below = lb.follow(
            [points[1] * 0.9], [(points[1] * 0.9) ** 2], seconds=300, steps=1000, decay=decay, noise=noise
        )
        assert float(below.p[-1]) < 0.5 * points[1]


def test_too_much_decay_or_no_predictor_kills_every_direction():
    assert lb.fixed_points(decay=0.21, noise=0.25) == (0.0,)
    assert lb.alive(lb.run(decay=0.22)) == 0
    assert lb.alive(lb.run(predictor="none")) == 0
    shrinking = lb.run(predictor="none", decay=0.02, noise=0.3)
    rate = -(shrinking.s[-1] / shrinking.s[0]).log() / (2 * shrinking.time[-1])
    assert torch.allclose(rate, torch.full_like(rate, 0.32), atol=1e-4)
    assert lb.alive(lb.run()) >= 3
    assert lb.alive(lb.run(predictor="set to sqrt(s)", decay=0.02)) >= 3


def test_a_slow_teacher_delays_but_ends_in_the_same_place():
    fast, slow = lb.run(decay=0.02), lb.run(decay=0.02, rate=0.3)
    assert (slow.tau[10] < 1).any()
    assert torch.allclose(fast.p[-1, 2:], slow.p[-1, 2:], atol=0.02)


def test_render_over_the_whole_range_of_every_control():
    seen = set()
    for chosen in widgets.sweep(lb.controls(), n=3):
        fig, words = lb.render(**chosen), lb.describe(**chosen)
        assert f"{lb.alive(lb.run(**chosen))} of 5" in words
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in fig.axes)
        seen.add(plots.png(fig))
    assert len(seen) >= 10


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="above 0"):
        lb.follow([0.1], [0.0])


@pytest.mark.parametrize("decay", [0.1, 0.18])
def test_in_the_long_run_neither_teacher_nor_predictor_speed_decides_who_lives(decay):
    start = torch.tensor(lb.STARTS, dtype=torch.float64)

    def at_last(speed=1.0, rate=math.inf):
        return lb.alive(lb.follow(start, start**2 / speed, 600.0, 900, decay=decay, speed=speed, rate=rate))

    alone = at_last()
    assert 0 < alone < len(start)
    assert at_last(rate=0.1) == at_last(speed=0.2) == at_last(speed=5.0) == alone
