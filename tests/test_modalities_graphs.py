"""The worlds of graphs, how they are spoiled, the encoders, the floors and the tasks: what a reader may rely on."""

import itertools
import math

import pytest
import torch

from ssl_lessons import evaluation
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.graphs import counts, encoders, objectives, views, world
from ssl_lessons.modalities.graphs.graph import Graphs
from ssl_lessons.training import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(graphs) -> set:
    return {tuple(sorted(e)) for e in graphs.edges.T.tolist()}


@pytest.fixture(scope="module")
def people() -> Graphs:
    return world.town()


@pytest.fixture(scope="module")
def some() -> Graphs:
    return world.molecules(300)


def parts(graphs) -> list[int]:
    """How many connected pieces each graph has."""
    root = list(range(len(graphs.x)))

    def find(i):
        while root[i] != i:
            i = root[i]
        return i

    for a, b in graphs.edges.T.tolist():
        root[find(a)] = find(b)
    own = graphs.owner.tolist()
    return [len({find(i) for i in range(len(own)) if own[i] == m}) for m in range(len(graphs))]


# ---- the worlds -----------------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_town(people):
    again, other = world.town(), world.town(1)
    assert torch.equal(people.x, again.x) and torch.equal(people.edges, again.edges)
    assert not torch.equal(people.factors["group"], other.factors["group"])


def test_a_town_is_a_block_model_with_its_own_degrees(people):
    group, level = people.factors["group"], people.factors["level"]
    assert len(pairs(people)) == people.edges.shape[1] and (people.edges[0] < people.edges[1]).all()
    same = float((group[people.edges[0]] == group[people.edges[1]]).float().mean())
    assert abs(same - 6 / 11) < 0.06  # six friends of eleven in one's own group of six
    assert abs(float(people.degrees().float().mean()) - 11) < 1.3
    own = (group[people.edges[0]] == group[people.edges[1]]).long().repeat(2)
    inside = torch.zeros(len(people.x)).long().index_add(0, people.edges.flatten(), own)
    for friends, grows in ((inside, True), (people.degrees() - inside, False)):
        mean = [float(friends[level == k].float().mean()) for k in range(world.LEVELS)]
        assert (mean[2] > 1.5 * mean[1] > 2.25 * mean[0]) if grows else (max(mean) < 1.2 * min(mean))


def test_edges_between_the_well_known_stay_in_a_group_more_often(people):
    group, central = people.factors["group"], people.degrees()[people.edges].float().mean(0)
    same = (group[people.edges[0]] == group[people.edges[1]]).float()
    assert same[central > central.median()].mean() > same[central < central.median()].mean() + 0.1


def test_words_tell_group_and_style_and_the_rest_nothing(people):
    first = world.GROUPS * world.WORDS["group"]
    second = first + world.STYLES * world.WORDS["style"]
    assert people.x.shape == (1000, second + world.WORDS["idle"])
    assert people.x.mean(0).abs().max() < 1e-5 and (people.x.std(0) - 1).abs().max() < 1e-4

    def apart(columns, name):
        """How far the mean of the words of one's own kind lies above the others'."""
        kinds = int(people.factors[name].max()) + 1
        x = columns.view(len(columns), kinds, -1).mean(dim=2)
        own = torch.nn.functional.one_hot(people.factors[name], kinds).bool()
        return float(x[own].mean() - x[~own].mean())

    assert apart(people.x[:, :first], "group") > 0.5 and apart(people.x[:, first:second], "style") > 0.7


def test_style_is_not_in_the_edges_and_level_not_in_the_words(people):
    style, a, b = people.factors["style"], *people.edges
    assert abs(float((style[a] == style[b]).float().mean()) - 1 / world.STYLES) < 0.05
    known, asked = world.halves(len(people.x))
    level = people.factors["level"]
    found = evaluation.linear_probe(people.x[known], level[known], people.x[asked], level[asked])
    assert found.accuracy < 0.45


def test_molecules_are_trees_of_the_sizes_asked(some):
    assert some.sizes().min() >= world.SIZES[0] and some.sizes().max() <= world.SIZES[1]
    assert some.edges.shape[1] == len(some.x) - len(some) and set(parts(some.pick(torch.arange(30)))) == {1}
    assert torch.equal(some.owner[some.edges[0]], some.owner[some.edges[1]])
    assert (some.x.sum(1) == 1).all()
    again = world.molecules(300)
    assert torch.equal(some.edges, again.edges) and torch.equal(some.x, again.x)
    assert not torch.equal(some.x[:500], world.molecules(300, 1).x[:500])


def test_a_rule_shows_in_who_is_bound_and_not_in_how_many_there_are(some):
    atoms, rule = some.x.argmax(1), some.factors["rule"]
    a, b = atoms[some.edges[0]], atoms[some.edges[1]]
    for k in range(world.RULES):
        mine = rule[some.owner[some.edges[0]]] == k
        mates = torch.tensor(world.PARTNERS[k])
        share = float((mates[a[mine]] == b[mine]).float().mean())
        assert abs(share - (0.3 + 0.7 / 4)) < 0.05
        kinds = atoms[rule[some.owner] == k].bincount(minlength=4) / float((rule[some.owner] == k).sum())
        assert (kinds - 0.25).abs().max() < 0.04


def test_a_shape_shows_in_the_degrees(some):
    most = torch.zeros(len(some)).long().scatter_reduce(0, some.owner, some.degrees(), "amax").float()
    means = [float(most[some.factors["shape"] == k].mean()) for k in range(world.SHAPES)]
    assert means[0] < means[1] < means[2] and means[2] > 2 * means[0]


# ---- boxes of graphs -------------------------------------------------------------------------------------------------


def test_picked_graphs_are_whole_and_in_order(some):
    rows = torch.tensor([7, 2, 250])
    three = some.pick(rows)
    assert len(three) == 3 and torch.equal(three.sizes(), some.sizes()[[2, 7, 250]])
    assert torch.equal(three.factors["rule"], some.factors["rule"][[2, 7, 250]])
    first = some.pick(torch.tensor([2]))
    n = len(first.x)
    assert torch.equal(three.x[:n], first.x) and pairs(first) == {p for p in pairs(three) if p[1] < n}
    with pytest.raises(InputError, match="once only"):
        some.pick(torch.tensor([1, 1]))


# ---- spoiling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", views.SPOILINGS)
def test_a_spoiling_is_repeatable_and_leaves_the_graph_alone(name, some):
    x, edges = some.x.clone(), some.edges.clone()
    one, two = (views.SPOILINGS[name](some, seeded(3), 0.4) for _ in range(2))
    assert torch.equal(one.x, two.x) and torch.equal(one.edges, two.edges)
    assert torch.equal(some.x, x) and torch.equal(some.edges, edges)
    assert len(one) == len(some) and (one.sizes() > 0).all()
    assert torch.equal(one.owner[one.edges[0]], one.owner[one.edges[1]])
    nothing = views.SPOILINGS[name](some, seeded(3), 0.0)
    assert torch.equal(nothing.x, x) and pairs(nothing) == pairs(some)


@pytest.mark.parametrize("name", ["drop nodes", "subgraph"])
def test_exactly_the_share_of_nodes_goes(name, some):
    left = views.SPOILINGS[name](some, seeded(), 0.25).sizes()
    assert torch.equal(left, some.sizes() - (0.25 * some.sizes()).round().long())


def test_a_subgraph_is_connected_and_dropped_nodes_break_a_tree(some):
    few = some.pick(torch.arange(40))
    assert set(parts(views.subgraph(few, seeded(), 0.5))) == {1}
    assert max(parts(views.drop_nodes(few, seeded(), 0.5))) > 3


def test_a_subgraph_of_loose_parts_still_has_its_size():
    loose = Graphs(torch.eye(5), torch.tensor([[0, 2], [1, 3]]), torch.zeros(5).long(), {}, 1)
    assert len(views.subgraph(loose, seeded(), 0.2).x) == 4


def test_perturbed_edges_are_as_many_but_for_clashes(some):
    spoiled = views.perturb_edges(some, seeded(), 0.4)
    kept = len(pairs(some) & pairs(spoiled)) / some.edges.shape[1]
    assert 0.6 <= kept < 0.66 and 0.94 * some.edges.shape[1] < spoiled.edges.shape[1] <= some.edges.shape[1]
    assert (spoiled.edges[0] != spoiled.edges[1]).all() and len(pairs(spoiled)) == spoiled.edges.shape[1]


def test_hidden_nodes_are_zero_and_the_wiring_stays(some):
    spoiled = views.mask_nodes(some, seeded(), 0.4)
    hidden = (spoiled.x == 0).all(dim=1)
    assert torch.equal(spoiled.edges, some.edges) and abs(float(hidden.float().mean()) - 0.4) < 0.02
    assert torch.equal(spoiled.x[~hidden], some.x[~hidden])


def test_edges_and_columns_go_with_their_chances(people):
    assert abs(views.drop_edges(people, seeded(), 0.3).edges.shape[1] / people.edges.shape[1] - 0.7) < 0.05
    chance = torch.zeros(people.edges.shape[1])
    chance[::2] = 1
    assert torch.equal(views.drop_edges(people, seeded(), chance).edges, people.edges[:, 1::2])
    hidden = (views.mask_columns(people, seeded(), 0.3).x == 0).all(dim=0)
    assert abs(float(hidden.float().mean()) - 0.3) < 0.1


def test_the_edges_of_the_well_known_are_dropped_least(people):
    chance = views.edge_chances(people, 0.3, 0.7)
    central = people.degrees()[people.edges].float().mean(0)
    assert chance.min() == 0 and chance.max() <= 0.7 and chance.argmin() == central.argmax()
    low, high = chance[central < central.median()].mean(), chance[central > central.median()].mean()
    assert low > high and abs(float(chance.mean()) - 0.3) < 0.02
    assert views.column_chances(people, 0.3, 0.7).shape == (people.x.shape[1],)


# ---- encoders and floors ---------------------------------------------------------------------------------------------


def test_smoothing_is_the_matrix_of_the_paper(people):
    a = torch.from_numpy(counts.adjacency(people))
    a = a + torch.eye(len(a), dtype=torch.float64)
    root = torch.diag(a.sum(0).rsqrt())
    wanted = root @ a @ root @ people.x.double()
    assert torch.allclose(encoders.smooth(people, people.x).double(), wanted, atol=1e-5)
    assert torch.allclose(counts.smoothed(people, 1).double(), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["GCN", "GIN"])
def test_encoders_do_not_mind_the_order_of_nodes(name, some):
    torch.manual_seed(0)
    few = some.pick(torch.arange(1 if name == "GCN" else 4))
    encoder = encoders.GCN(4) if name == "GCN" else encoders.GIN(4)
    order = torch.cat([i[torch.randperm(len(i), generator=seeded())] for i in _rows(few)])
    moved = few.replace(x=few.x[order], edges=order.argsort()[few.edges])
    assert torch.equal(moved.owner, few.owner)
    before, after = objectives.features(encoder, few), objectives.features(encoder, moved)
    assert torch.allclose(before[order] if name == "GCN" else before, after, atol=1e-5)


def _rows(graphs):
    return [(graphs.owner == m).nonzero()[:, 0] for m in range(len(graphs))]


def test_a_gin_cannot_tell_a_ring_of_six_from_two_of_three():
    ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6])
    threes = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3]])
    both = [Graphs(torch.ones(6, 1), e, torch.zeros(6).long(), {}, 1) for e in (ring, threes)]
    torch.manual_seed(0)
    encoder = encoders.GIN(1)
    assert torch.allclose(*(objectives.features(encoder, g) for g in both))


def test_subtrees_are_counted_with_names_that_both_splits_share(some):
    train, test = some.pick(torch.arange(200)), some.pick(torch.arange(200, 300))
    a, b = counts.subtree_counts(train, test, depth=0, least=1)
    assert torch.equal(a.sum(1).long(), train.sizes()) and a.shape[1] == b.shape[1] == 4
    a, b = counts.subtree_counts(train, train, depth=1, least=1)
    assert torch.equal(a, b) and torch.equal(a.sum(1).long(), 2 * train.sizes())
    assert counts.subtree_counts(train, test, 1, least=5)[0].shape[1] < a.shape[1]


def test_principal_directions_are_uncorrelated_and_the_widest_come_first(people):
    z = counts.principal(people.x, 5)
    spread = z.T @ z
    assert z.shape == (len(people.x), 5) and torch.allclose(spread, spread.diag().diag(), atol=1e-2)
    assert (spread.diag().diff() < 0).all()


def test_degrees_and_atoms_are_counted(some):
    assert torch.equal(counts.composition(some).sum(1).long(), some.sizes())
    degrees = counts.degree_counts(some)
    assert torch.equal(degrees.sum(1).long(), some.sizes()) and degrees[:, 0].sum() == 0


def test_labels_spread_over_edges_and_eigenmaps_tell_groups(people):
    group = people.factors["group"]
    known, asked = world.halves(len(people.x))
    said = counts.spread_labels(people, group, known)
    assert torch.equal(said[known], group[known]) or (said[known] == group[known]).float().mean() > 0.8
    assert (said[asked] == group[asked]).float().mean() > 0.4
    assert counts.spectral(people, 4).shape == (len(people.x), 4)


# ---- learning --------------------------------------------------------------------------------------------------------


def score(x, y, seed=0):
    known, asked = world.halves(len(x), seed)
    return evaluation.label_efficiency(x[known], y[known], x[asked], y[asked], (10,), 3)[0]["mean"]


@pytest.mark.parametrize("name", objectives.tasks(lambda: None, None))
def test_every_task_on_a_town_trains(name, people):
    torch.manual_seed(0)
    task = objectives.tasks(lambda: encoders.GCN(people.x.shape[1]), people)[name]()
    before = {n: p.clone() for n, p in task.encoder.named_parameters()}
    history = fit(task, task, 12, lr=4e-3, after=getattr(task, "follow", None))
    assert history[-1] < history[0] and all(math.isfinite(v) for v in history)
    assert any(not torch.equal(p, before[n]) for n, p in task.encoder.named_parameters())
    assert not any("own" in n for n in task.state_dict())


def test_node_contrast_learns_groups_beyond_the_untrained_encoder(people):
    torch.manual_seed(0)
    encoder, group = encoders.GCN(people.x.shape[1]), people.factors["group"]
    before = score(objectives.features(encoder, people), group)
    task = objectives.NodeContrast(encoder, people)
    fit(task, task, 80, lr=6e-3)
    assert score(objectives.features(encoder, people), group) > before + 0.08


def test_remasking_changes_what_the_decoder_sees(people):
    kept, remasked = (objectives.Restore(_fixed(people), people, remask=r) for r in (False, True))
    remasked.load_state_dict(kept.state_dict())
    assert kept(seeded()).item() != pytest.approx(remasked(seeded()).item())


def _fixed(people):
    torch.manual_seed(0)
    return encoders.GCN(people.x.shape[1])


@pytest.mark.parametrize(
    "first, second",
    list(itertools.combinations_with_replacement(views.SPOILINGS, 2))[:4] + [("subgraph",) * 2],
)
def test_every_spoiling_can_be_contrasted(first, second, some):
    torch.manual_seed(0)
    task = objectives.GraphContrast(encoders.GIN(4), some, first, second)
    history = fit(task, task, 10, lr=4e-3)
    assert history[-1] < history[0]


def test_infograph_learns_whose_part_it_is(some):
    torch.manual_seed(0)
    task = objectives.PartWhole(encoders.GIN(4), some, batch=16)
    history = fit(task, task, 30, lr=4e-3)
    assert history[-1] < history[0]


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda g: world.town(n=10), "n >= 60"),
        (lambda g: world.town(topic=1.5), "chances"),
        (lambda g: world.molecules(0), "m >= 1"),
        (lambda g: world.molecules(5, faith=2), "faith"),
        (lambda g: views.drop_nodes(g, seeded(), 1.0), "below 1"),
        (lambda g: views.edge_chances(g, 0.9, 0.5), "mean <= most"),
        (lambda g: counts.subtree_counts(g, g, -1), "0 or more"),
        (lambda g: objectives.Restore(encoders.GCN(4), g, ratio=1.0), "between 0 and 1"),
        (lambda g: objectives.GraphContrast(encoders.GIN(4), g, "blur"), "known are"),
        (lambda g: objectives.PartWhole(encoders.GIN(4), g, batch=999), "batch"),
    ],
)
def test_bad_input_gets_one_clear_error(call, says, some):
    with pytest.raises(InputError, match=says):
        call(some)
