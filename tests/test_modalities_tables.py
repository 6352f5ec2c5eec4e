"""The tables, how a row is spoiled, and the tasks: what a reader may rely on."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.tables import encoders, objectives, views, world
from ssl_lessons.training import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tied() -> world.Table:
    return world.drawn("tied", "train", 4000)


@pytest.fixture(scope="module")
def loose() -> world.Table:
    return world.drawn("loose", "train", 4000)


def test_the_same_seed_draws_the_same_rows_and_splits_share_none(tied):
    assert torch.equal(tied.x, world.drawn("tied", "train", 4000).x)
    test = world.drawn("tied", "test", 1000)
    assert not {tuple(r) for r in tied.x[:, :3].tolist()} & {tuple(r) for r in test.x[:, :3].tolist()}
    assert not torch.equal(tied.x[:500], world.drawn("tied", "train", 500, seed=1).x)


def test_places_are_balanced_and_the_label_is_the_first_place_modulo_four(tied):
    for place in tied.factors.values():
        assert place.bincount(minlength=8).min() > 0.8 * 4000 / 8
    assert torch.equal(tied.y, tied.factors["first"] % 4)
    pairs = (8 * tied.factors["first"] + tied.factors["second"]).bincount(minlength=64)
    assert (pairs / 4000 - 1 / 64).abs().max() < 0.01  # places are independent


def test_without_noise_every_column_shows_its_place(tied):
    """Columns of equal rows in a block are equal; sixteen of forty-eight are told by the first place alone."""
    clean = world.drawn("tied", "train", 500, noise=0.0)
    told = 0
    for d in range(48):
        spread = [clean.x[clean.factors["first"] == p, d].std() for p in range(8)]
        told += max(spread) < 1e-3
    assert told == 16


def test_the_classes_of_the_tied_table_have_one_mean_and_nothing_linear_finds_them(tied):
    means = torch.stack([tied.x[tied.y == c].mean(0) for c in range(4)])
    assert means.abs().max() < 0.2
    model = LogisticRegression(max_iter=200).fit(tied.x[:3000], tied.y[:3000])
    assert model.score(tied.x[3000:], tied.y[3000:]) < 0.35


def test_the_loose_table_has_the_same_columns_and_no_ties(tied, loose):
    quantiles = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    for d in range(48):
        assert (tied.x[:, d].quantile(quantiles) - loose.x[:, d].quantile(quantiles)).abs().max() < 1e-5
    off = ~torch.eye(48, dtype=torch.bool)
    for f in (lambda x: x, torch.square, torch.sign):
        assert torch.corrcoef(f(loose.x).T)[off].abs().max() < 0.08
    assert torch.corrcoef(tied.x.T)[off].abs().max() > 0.4
    model = LogisticRegression(max_iter=200).fit(loose.x[:3000], loose.y[:3000])
    assert model.score(loose.x[3000:], loose.y[3000:]) > 0.9


def test_real_tables_are_split_and_standardised_by_their_train_rows():
    for name, rows in (("digits", 1797), ("cancer", 569), ("wine", 178)):
        train, test = world.real(name, seed=1)
        assert len(train) + len(test) == rows
        train, test = world.standardised(train, test)
        assert train.x.mean(0).abs().max() < 1e-3 and (train.x.std(0) - 1).abs().max() < 1e-3
        assert test.x.mean(0).abs().max() > 1e-3
        assert len(train.y.unique()) == len(test.y.unique())
    assert not torch.equal(world.real("wine", 0)[0].x, world.real("wine", 1)[0].x)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_corruption_changes_as_many_cells_as_asked_and_says_which(tied, rate):
    x = tied.x[:1000]
    for fill in views.FILLS:
        corrupted, mask = views.corrupt(x, tied.x, rate, seeded(), fill)
        assert abs(mask.float().mean() - rate) < 0.02
        assert torch.equal(corrupted[~mask], x[~mask]) and (corrupted != x)[mask].all()


def test_marginal_fills_keep_every_column_and_break_what_ties_them(tied):
    corrupted, _ = views.corrupt(tied.x, tied.x, 1.0, seeded())
    for d in range(48):
        values = set(tied.x[:, d].tolist())
        assert set(corrupted[:, d].tolist()) <= values
    off = ~torch.eye(48, dtype=torch.bool)
    assert torch.corrcoef(corrupted.T)[off].abs().max() < 0.08
    mean, _ = views.corrupt(tied.x, tied.x, 1.0, seeded(), "mean")
    assert (mean - tied.x.mean(0)).abs().max() < 1e-5
    gauss, _ = views.corrupt(tied.x, tied.x, 1.0, seeded(), "gauss")
    assert (gauss.std(0) - tied.x.std(0)).abs().max() < 0.06


def test_a_cell_replaced_by_an_equal_value_is_not_masked():
    x = torch.ones(50, 3)
    assert not views.corrupt(x, x, 1.0, seeded())[1].any()


def test_subsets_overlap_and_cover_all_columns():
    keep = views.subsets(20, 4, 0.75)
    assert keep.sum(1).tolist() == [8, 8, 8, 8] and keep.any(0).all() and keep.sum(0).max() == 2
    assert views.subsets(20, 4, 0.0).sum(0).tolist() == [1] * 20
    assert views.subsets(7, 3, 0.5).any(0).all()


def test_mixing_keeps_the_own_share():
    h = torch.eye(6)
    mixed = views.mix(h, 0.8, seeded())
    assert torch.allclose(mixed.sum(1), torch.ones(6)) and (mixed.diagonal() >= 0.8 - 1e-6).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: world.drawn("knotted", "train", 3),
        lambda: world.drawn("tied", "dev", 3),
        lambda: world.drawn("tied", "train", 0),
        lambda: world.real("covertype"),
        lambda: world.standardised(world.Table(torch.ones(3, 2), torch.zeros(3).long(), {})),
        lambda: views.corrupt(torch.ones(3, 2), torch.ones(3, 2), 1.2, seeded()),
        lambda: views.corrupt(torch.ones(3, 2), torch.ones(3, 2), 0.2, seeded(), "zero"),
        lambda: views.corrupt(torch.ones(3, 2), torch.ones(3, 4), 0.2, seeded()),
        lambda: views.subsets(3, 4),
        lambda: views.mix(torch.ones(3, 2), 1.5, seeded()),
        lambda: objectives.Vime(encoders.RowNet(2), torch.ones(3, 2), mask=False, values=False),
        lambda: objectives.Scarf(encoders.RowNet(2), torch.ones(3, 4)),
        lambda: objectives.Vime(encoders.RowNet(2), torch.ones(3, 2), mask=False).suspicion(torch.ones(3, 2)),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize("name", objectives.tasks(lambda: encoders.RowNet(48), torch.zeros(2, 48)))
def test_every_task_lowers_its_loss_and_gives_features(tied, name):
    torch.manual_seed(0)
    task = objectives.tasks(lambda: encoders.RowNet(48), tied.x)[name]()
    history = fit(task, task, 40, lr=3e-3)
    assert sum(history[-10:]) < sum(history[:10])
    x = task.features(tied.x[:50])
    assert x.shape == (50, 64) and x.isfinite().all() and x.std(0).min() > 0


def test_the_weight_of_vimes_values_does_not_depend_on_the_unit_of_a_column(tied):
    scale = torch.linspace(0.2, 9, 48)
    loss = {}
    for unit in (torch.ones(48), scale):
        torch.manual_seed(0)
        task = objectives.Vime(encoders.RowNet(48), tied.x * unit)
        with torch.no_grad():
            task.encoder.embed[0].weight /= unit
            task.values[-1].weight *= unit[:, None]
            task.values[-1].bias *= unit
        loss[float(unit[0])] = float(task(seeded()).detach())
    one, other = loss.values()
    assert other == pytest.approx(one, rel=1e-4)


def spotted(kind: str, fill: str, steps: int = 500) -> float:
    train, test = world.split(kind, 0, 3000, 500)
    torch.manual_seed(0)
    task = objectives.Vime(encoders.RowNet(48), train.x, values=False, fill=fill)
    fit(task, task, steps, lr=3e-3)
    return task.detection(test.x, seeded(1))


def test_replaced_cells_are_spotted_where_columns_are_tied_and_only_there():
    assert spotted("tied", "marginal") > 0.55
    assert abs(spotted("loose", "marginal") - 0.5) < 0.03


def test_a_code_betrays_itself_without_any_tie():
    assert spotted("loose", "code", 400) > 0.95


def test_labels_are_learned_alone_and_beside_a_pretext(loose):
    train, test = world.split("loose", 0, 1500, 500)
    torch.manual_seed(0)
    alone = objectives.Classify(encoders.RowNet(48), train.x, train.y, 4)
    fit(alone, alone, 120, lr=3e-3)
    assert alone.accuracy(test.x, test.y) > 0.7
    both = objectives.Aware(objectives.Vime(encoders.RowNet(48), train.x), train.x, train.y, 4)
    fit(both, both, 120, lr=3e-3)
    assert both.labels.accuracy(test.x, test.y) > 0.7
    assert both.labels.encoder is both.pretext.encoder
