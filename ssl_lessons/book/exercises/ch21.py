"""Chapter 21: who sees a linear map, features that fool RankMe and views found, the better of two runs, the ceiling."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_lessons.diagnostics import lidar, rank_me, two_nn, views_found

from .core import Check, Exercise, Stop, call, failed


def check_linear_map(fn) -> Check:
    """fn(name of a measure) -> True if it changes when the features are multiplied by an invertible matrix."""
    try:
        answers = {name: call(fn, (name,)) for name in BEFORE_AND_AFTER}
    except Stop as stop:
        return stop.check
    if not all(isinstance(value, bool) for value in answers.values()):
        return Check(False, "return True (it changes) or False (it does not) for every measure")
    for name, measure in BEFORE_AND_AFTER.items():
        before, after = (measure(pair) for pair in _mapped())
        if answers[name] != (abs(after - before) > 0.01 * abs(before)):
            return Check(False, f"{name}: {before:.4g} before the map and {after:.4g} after it")
    return Check(True, "correct: a ratio of two spreads of the same features cannot see a linear map")


def check_impostor(fn) -> Check:
    """fn(images float32 [N, 3, H, W], dim) -> features [N, dim] that fool RankMe and views found without looking."""
    try:
        for n, dim, seed in ((200, 32, 0), (300, 64, 1)):
            _judge(fn, n, dim, seed)
    except Stop as stop:
        return stop.check
    return Check(True, "correct: full rank, every view finds its partner, and not a word about the pictures")


def check_better_of_two(fn) -> Check:
    """fn(measure [n], probe [n], setting [n]) -> share of pairs of other settings ordered alike; ties count half."""
    return BETTER.check(fn)


def check_ceiling(fn) -> Check:
    """fn(probes [settings, seeds]) -> sqrt(v_q / (v_q + v_e)), the correlation of true quality with single probes."""
    return CEILING.check(fn)


# ---- who sees a linear map -------------------------------------------------------------------------------------


def _mapped() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(views z [300, 6, 8], labels [300, 1]) before and after an invertible map."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(300, 1, 8, generator=g).double() + 0.5 * torch.randn(300, 6, 8, generator=g).double()
    y = (z[:, 0, :3].sum(dim=1, keepdim=True) + torch.randn(300, 1, generator=g)).sign().double()
    turn = torch.linalg.qr(torch.randn(8, 8, generator=g).double()).Q
    return (z, y), (z @ (turn * torch.logspace(0, 2, 8).double()), y)


def _fit(pair: tuple[Tensor, Tensor]) -> float:
    """R^2 of least squares."""
    z, y = pair[0][:, 0], pair[1]
    return float(1 - (y - z @ torch.linalg.lstsq(z, y).solution).square().sum() / y.square().sum())


BEFORE_AND_AFTER = {
    "RankMe": lambda pair: rank_me(pair[0][:, 0]),
    "LiDAR": lambda pair: lidar(pair[0], delta=1e-9),
    "TwoNN": lambda pair: two_nn(pair[0][:, 0]),
    "views found": lambda pair: views_found(pair[0][:, 0], pair[0][:, 1]),
    "best fit of labels by least squares": _fit,
}


# ---- fooling RankMe and views found ----------------------------------------------------------------------------


def _judge(fn, n: int, dim: int, seed: int) -> None:
    """Raises Stop unless fn's features of two views of n images fool both measures, blindly and without dice."""
    g = torch.Generator().manual_seed(seed)
    views = [torch.randn(n, 3, 4, 4, generator=g) for _ in range(2)]
    features = []
    for world, x in enumerate((views[0], views[0], views[1])):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + world)
            state = torch.get_rng_state()
            z = call(fn, (x, dim))
            touched = not torch.equal(state, torch.get_rng_state())
        if not isinstance(z, Tensor) or z.shape != (n, dim) or not z.is_floating_point():
            raise failed(f"return a float tensor [{n}, {dim}], one row per image")
        if not z.isfinite().all():
            raise failed("the features hold NaN or infinity")
        if touched:
            raise failed(
                "you draw from the global random state: use a generator of your own, or no dice at all"
            )
        features.append(z.detach().double())
    if not torch.equal(features[0], features[1]):
        raise failed("two calls with the same images give different features")
    if not torch.equal(features[0], features[2]):
        raise failed("other images give other features: yours look at the images, if only at a few pixels")
    rank, found = rank_me(features[0]), views_found(features[0], features[2])
    if rank < 0.9 * dim:
        raise failed(
            f"RankMe is {rank:.1f} of {dim}; it takes 90 %: make all singular values alike (and columns centred)"
        )
    if found < 0.95:
        raise failed(f"only {found:.0%} of the views find their partner: rows must differ from each other")


# ---- the better of two runs ------------------------------------------------------------------------------------


def _runs(g: torch.Generator) -> list[tuple]:
    cases = []
    for settings, seeds in ((4, 3), (6, 2), (5, 4)):
        n = settings * seeds
        setting = torch.arange(settings).repeat_interleave(seeds)
        probe = torch.randn(n, generator=g).double() + setting
        measure = (0.5 * probe + torch.randn(n, generator=g).double()).round()  # with ties
        order = torch.randperm(n, generator=g)
        cases.append((measure[order], probe[order], setting[order]))
    return cases


def _alike(x: Tensor, y: Tensor) -> Tensor:
    """+1 / -1 for every ordered pair, 0 for ties: [n, n]"""
    return (x[:, None] - x).sign() * (y[:, None] - y).sign()


def _other(setting: Tensor) -> Tensor:
    return setting[:, None] != setting


def _same(setting: Tensor) -> Tensor:
    return ~_other(setting) & ~torch.eye(len(setting), dtype=torch.bool)


def _better(measure: Tensor, probe: Tensor, setting: Tensor) -> Tensor:
    return ((1 + _alike(measure, probe)) / 2)[_other(setting)].mean()


BETTER = Exercise(
    sample=_runs,
    reference=_better,
    mistakes=(
        (
            "pairs of one setting are counted: compare different settings only",
            lambda m, p, s: ((1 + _alike(m, p)) / 2)[~torch.eye(len(m), dtype=torch.bool)].mean(),
        ),
        (
            "a run is compared with itself: that is no pair, and it counts as a tie",
            lambda m, p, s: ((1 + _alike(m, p)) / 2).mean(),
        ),
        (
            "a tie in the measure counts as wrong: it counts half",
            lambda m, p, s: (_alike(m, p) > 0)[_other(s)].double().mean(),
        ),
        (
            "a tie in the measure counts as right: it counts half",
            lambda m, p, s: (_alike(m, p) >= 0)[_other(s)].double().mean(),
        ),
        (
            "ties are left out: they count half",
            lambda m, p, s: (_alike(m, p)[_other(s) & (_alike(m, p) != 0)] > 0).double().mean(),
        ),
        (
            "this is Kendall's tau, from -1 to 1: you want the share (1 + tau) / 2",
            lambda m, p, s: _alike(m, p)[_other(s)].mean(),
        ),
        ("this is the share ordered oppositely", lambda m, p, s: 1 - _better(m, p, s)),
        (
            "pairs of one setting are counted, and no others",
            lambda m, p, s: _alike(m, p)[_same(s)].add(1).div(2).mean(),
        ),
    ),
    praise="(1/2 is what a coin reaches)",
)


# ---- the ceiling -----------------------------------------------------------------------------------------------


def _tables(g: torch.Generator) -> list[tuple]:
    quality = [torch.randn(n, 1, generator=g).double() for n in (8, 20, 12)]
    sizes = zip(quality, (0.4, 0.8, 0.2), (3, 2, 5), strict=True)
    cases = [(q + luck * torch.randn(len(q), k, generator=g).double(),) for q, luck, k in sizes]
    apart = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 0.0, 2.0]]).double()  # nothing but luck
    return [*cases, (apart,)]


def _parts(probes: Tensor, correction: int = 1) -> tuple[Tensor, Tensor]:
    """Variances of quality and of luck."""
    luck = probes.var(dim=1, correction=correction).mean()
    return (probes.mean(dim=1).var() - luck / probes.shape[1]).clamp_min(0), luck


def _reliability(quality: Tensor, luck: Tensor) -> Tensor:
    return quality / (quality + luck)


CEILING = Exercise(
    sample=_tables,
    reference=lambda probes: _reliability(*_parts(probes)).sqrt(),
    mistakes=(
        ("the root is missing: this is the share of the variance", lambda p: _reliability(*_parts(p))),
        (
            "the means of settings still carry luck: take luck / seeds from their variance",
            lambda p: _reliability(p.mean(dim=1).var(), _parts(p)[1]).sqrt(),
        ),
        (
            "all the luck is taken from the variance of the means: a mean carries luck / seeds",
            lambda p: _reliability((p.mean(dim=1).var() - _parts(p)[1]).clamp_min(0), _parts(p)[1]).sqrt(),
        ),
        ("luck is divided by seeds: divide by seeds - 1", lambda p: _reliability(*_parts(p, 0)).sqrt()),
        (
            "this is for the mean over the seeds: you are asked for single runs",
            lambda p: _reliability(_parts(p)[0], _parts(p)[1] / p.shape[1]).sqrt(),
        ),
        (
            "the variance of all numbers together holds the luck, too",
            lambda p: (p.mean(dim=1).var() / p.var()).sqrt(),
        ),
        (
            "the variance of all numbers together is no estimate of the sum of the two variances",
            lambda p: (_parts(p)[0] / p.var()).sqrt(),
        ),
        ("settings and seeds are swapped: rows are settings", lambda p: _reliability(*_parts(p.T)).sqrt()),
    ),
    hint=lambda inputs, answers: (
        "where the estimate of the quality's variance falls below 0, return 0"
        if not answers[-1].isfinite().all()
        else None
    ),
    praise="(of a measure that knows the settings and not the run's luck)",
)
