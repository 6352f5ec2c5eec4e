"""Words: counts against loops, losses against loops, what NCE and negative sampling converge to, bias and analogies.

Over 400 lines: one room of the package, each test of which can be read by itself.
"""

import hashlib
import io
import math
import random
import zipfile

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import corpora, counts, exams, geometry, objectives, training

SENTENCES = [
    "the cat saw the dog".split(),
    "a dog saw a cat".split(),
    "the cat ran".split(),
    "fish".split(),
]


@pytest.fixture
def corpus():
    return counts.read(SENTENCES)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- counts ------------------------------------------------------------------------------------------------


def neighbours(window):
    """Every (word, neighbour, distance) by two loops over the strings."""
    for line in SENTENCES:
        for i, word in enumerate(line):
            for j, other in enumerate(line):
                if i != j and abs(i - j) <= window:
                    yield word, other, abs(i - j)


def test_vocabulary_is_sorted_by_count_and_rare_words_go(corpus):
    assert corpus.words[:2] == ("cat", "the") and corpus.counts[:2].tolist() == [3, 3]
    assert [corpus.words[t] for t in corpus.tokens] == [w for line in SENTENCES for w in line]
    small = counts.read(SENTENCES, min_count=2)
    assert set(small.words) == {"the", "cat", "saw", "dog", "a"} and "fish" not in small
    with pytest.raises(InputError, match="min_count"):
        counts.read(SENTENCES, min_count=9)
    with pytest.raises(InputError, match="'horse'"):
        corpus.index("horse")


@pytest.mark.parametrize("window", [1, 2, 7])
def test_pairs_and_cooccurrence_against_loops(corpus, window):
    word, context = counts.skip_gram_pairs(corpus, window)
    found = sorted((corpus.words[w], corpus.words[c]) for w, c in zip(word, context, strict=True))
    assert found == sorted((w, c) for w, c, _ in neighbours(window))
    for harmonic in (False, True):
        table = torch.zeros(len(corpus.words), len(corpus.words), dtype=torch.float64)
        for w, c, distance in neighbours(window):
            table[corpus.index(w), corpus.index(c)] += 1 / distance if harmonic else 1
        measured = counts.cooccurrence(corpus, window, harmonic)
        assert torch.allclose(measured, table) and torch.equal(measured, measured.T)


def test_dynamic_windows_keep_a_neighbour_at_distance_d_with_probability():
    line = counts.read([["w"] * 20_000])
    windows = counts.context_windows(line, 4, torch.Generator().manual_seed(0))
    share = (windows[10:-10] >= 0).double().mean(dim=0)
    expected = torch.tensor([1, 2, 3, 4, 4, 3, 2, 1]) / 4  # P(radius >= d) = (5 - d) / 4
    assert torch.allclose(share, expected.double(), atol=0.02)
    with pytest.raises(InputError, match="window"):
        counts.context_windows(line, 0)


def test_subsampling_keeps_the_right_share():
    line = counts.read([["often"] * 9000 + ["seldom"] * 1000])
    keep = counts.keep_probability(line.counts, 0.1)
    assert keep.tolist() == pytest.approx([math.sqrt(0.1 / 0.9), 1.0])
    thinned = counts.subsample(line, 0.1, torch.Generator().manual_seed(0))
    assert thinned.counts[1] == 1000
    assert thinned.counts[0].item() / 9000 == pytest.approx(math.sqrt(1 / 9), abs=0.02)


def test_noise_is_unigram_to_the_three_quarters():
    q = counts.noise_distribution(torch.tensor([16, 81, 0]))
    assert q.tolist() == pytest.approx([8 / 35, 27 / 35, 0])
    assert counts.noise_distribution(torch.tensor([16, 81]), power=0).tolist() == [0.5, 0.5]


def test_pmi_against_loops():
    table = torch.tensor([[4, 0, 2], [1, 3, 0]])
    total = table.sum().item()
    for i in range(2):
        for j in range(3):
            p = table[i, j].item() / total
            p_i, p_j = table[i].sum().item() / total, table[:, j].sum().item() / total
            expected = math.log(p / (p_i * p_j)) if p else -math.inf
            assert counts.pmi(table)[i, j].item() == pytest.approx(expected)
            shifted = max(expected - math.log(2), 0)
            assert counts.shifted_positive_pmi(table, 2)[i, j].item() == pytest.approx(shifted)
    independent = torch.outer(torch.tensor([1, 2]), torch.tensor([3, 4]))
    assert counts.pmi(independent).abs().max() < 1e-12
    for bad in (torch.zeros(2, 2), torch.tensor([[1, -1]]), torch.ones(3)):
        with pytest.raises(InputError, match="counts"):
            counts.pmi(bad)


def test_svd_vectors_are_the_best_symmetric_factorisation():
    a = randn(6, 6)
    a = a @ a.T  # positive: then W W^T is the best approximation of rank d
    w = counts.svd_vectors(a, 2)
    values, vectors = torch.linalg.eigh(a)
    best = vectors[:, -2:] @ values[-2:].diag() @ vectors[:, -2:].T
    assert torch.allclose(w @ w.T, best)
    with pytest.raises(InputError, match="dim"):
        counts.svd_vectors(a, 7)


# ---- losses ------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_negative_sampling_against_loops():
    positive, negative = randn(4), randn(4, 3, seed=1)
    total = 0.0
    for i in range(4):
        total -= math.log(sigmoid(positive[i]))
        for j in range(3):
            total -= math.log(sigmoid(-negative[i, j]))
    assert objectives.negative_sampling_loss(positive, negative).item() == pytest.approx(total / 4)
    assert objectives.negative_sampling_loss(torch.zeros(4), torch.zeros(4, 3)).item() == pytest.approx(
        4 * math.log(2)
    )


def test_nce_against_loops():
    positive, negative = randn(4), randn(4, 3, seed=1)
    q_pos, q_neg = randn(4, seed=2).sigmoid(), randn(4, 3, seed=3).sigmoid()
    total = 0.0
    for i in range(4):
        p = math.exp(positive[i])
        total -= math.log(p / (p + 3 * q_pos[i]))
        for j in range(3):
            p = math.exp(negative[i, j])
            total -= math.log(3 * q_neg[i, j] / (p + 3 * q_neg[i, j]))
    measured = objectives.nce_loss(positive, negative, q_pos.log(), q_neg.log())
    assert measured.item() == pytest.approx(total / 4)


def test_gradients_of_the_binary_losses():
    scores = randn(3).requires_grad_(), randn(3, 2, seed=1).requires_grad_()
    noise = randn(3, seed=2).sigmoid().log(), randn(3, 2, seed=3).sigmoid().log()
    assert torch.autograd.gradcheck(objectives.negative_sampling_loss, scores)
    assert torch.autograd.gradcheck(lambda p, n: objectives.nce_loss(p, n, *noise), scores)


def test_nce_with_uniform_noise_and_k_equal_to_v_is_negative_sampling():
    """Dyer (2014): then k q = 1, and the correction vanishes."""
    positive, negative = randn(4), randn(4, 5, seed=1)
    log_q = torch.tensor(1 / 5, dtype=torch.float64).log()
    same = objectives.nce_loss(positive, negative, log_q.expand(4), log_q.expand(4, 5))
    assert torch.allclose(same, objectives.negative_sampling_loss(positive, negative))


@pytest.mark.parametrize("shapes", [((3,), (2, 4)), ((3, 1), (3, 4)), ((3,), (3,)), ((3,), (3, 0))])
def test_scores_of_the_wrong_shape_are_refused(shapes):
    with pytest.raises(InputError, match="noise words"):
        objectives.negative_sampling_loss(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


# A language of three words whose conditional distribution and noise are multiples of 1/12 and 1/6: a batch that holds
# every pair as often as it occurs, each with the whole of the noise, makes the losses exact expectations.
TWELFTHS = torch.tensor([[6, 3, 3], [1, 1, 10], [2, 8, 2]])
NOISE = torch.tensor([0, 0, 0, 1, 1, 2])  # q = (1/2, 1/3, 1/6), k = 6


def fit_table(loss) -> torch.Tensor:
    """The [3, 3] table of scores that minimises loss(positive, negative, positive words) over the exact batch."""
    word, context = TWELFTHS.nonzero(as_tuple=True)
    times = TWELFTHS[word, context]
    word, context = word.repeat_interleave(times), context.repeat_interleave(times)
    table = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def closure():
        optimizer.zero_grad()
        value = loss(table[word, context], table[word[:, None], NOISE], context)
        value.backward()
        return value

    optimizer.step(closure)
    return table.detach()


def test_nce_normalises_itself_and_negative_sampling_does_not():
    truth = (TWELFTHS / 12).double().log()
    log_q = (torch.bincount(NOISE) / 6).double().log()
    nce = fit_table(lambda p, n, c: objectives.nce_loss(p, n, log_q[c], log_q[NOISE].expand(len(p), 6)))
    assert torch.allclose(nce, truth, atol=1e-5)
    assert torch.allclose(nce.logsumexp(dim=1), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    neg = fit_table(lambda p, n, c: objectives.negative_sampling_loss(p, n))
    assert torch.allclose(neg, truth - math.log(6) - log_q, atol=1e-5), "log p(c|w) - log k q(c)"
    assert (neg.logsumexp(dim=1).abs() > 0.1).all(), "its exponentials are no distribution"
    assert not torch.allclose(neg.softmax(dim=1), truth.exp(), atol=0.05), "not even after normalising"


# ---- hierarchical softmax ----------------------------------------------------------------------------------


def way(tree, word):
    return [(n, t) for n, t in zip(tree.nodes[word].tolist(), tree.turns[word].tolist(), strict=True) if t]


def test_huffman_ways_are_a_tree_and_as_short_as_they_can_be():
    tree = objectives.huffman(torch.tensor([8, 1, 1, 2, 4]))
    assert [len(way(tree, w)) for w in range(5)] == [1, 4, 4, 3, 2]
    assert len({tuple(way(tree, w)) for w in range(5)}) == 5
    assert len({n for w in range(5) for n, _ in way(tree, w)}) == 4, "V - 1 inner nodes"
    counts_ = torch.tensor([90.0, 41, 20, 11, 5, 3, 2, 2])
    p = counts_ / counts_.sum()
    lengths = objectives.huffman(counts_).turns.abs().sum(dim=1)
    assert 0 <= float((p * lengths).sum() + (p * p.log2()).sum()) < 1, "within one bit of the entropy"
    assert float((0.5 ** lengths.double()).sum()) == 1, "Kraft: no way leads to nothing"
    with pytest.raises(InputError, match="two words"):
        objectives.huffman(torch.tensor([3]))


def test_hierarchical_softmax_is_normalised_and_against_loops():
    tree = objectives.huffman(torch.tensor([8, 1, 1, 2, 4]))
    hidden, inner = randn(3, 6), randn(5, 6, seed=1)
    p = torch.zeros(3, 5, dtype=torch.float64)
    for i in range(3):
        for word in range(5):
            p[i, word] = math.prod(sigmoid(t * float(inner[n] @ hidden[i])) for n, t in way(tree, word))
    assert torch.allclose(p.sum(dim=1), torch.ones(3, dtype=torch.float64))
    words = torch.tensor([4, 1, 0])
    expected = -p[torch.arange(3), words].log().mean()
    assert torch.allclose(objectives.hierarchical_loss(hidden, words, inner, tree), expected)


# ---- training ----------------------------------------------------------------------------------------------


def test_batches_hold_pairs_of_the_text_and_noise(corpus):
    seen = {(w, c) for w, c, _ in neighbours(2)}
    for b in training.batches(corpus, 3, torch.Generator().manual_seed(0), window=2, k=4, size=64):
        pairs = zip(b.word.tolist(), b.neighbour.tolist(), strict=True)
        assert {(corpus.words[w], corpus.words[c]) for w, c in pairs} <= seen
        assert b.noise.shape == (64, 4) and b.windows.shape == (64, 4)
        assert (b.windows == b.neighbour[:, None]).any(dim=1).all(), "the neighbour is one of the window"
        assert b.log_q.exp().sum().item() == pytest.approx(1)


def test_subsampled_batches_lose_the_frequent_word():
    line = counts.read([["often"] * 50 + ["a", "b"]] * 20)
    kept = []
    for threshold in (0.0, 0.01):
        (b,) = training.batches(line, 1, torch.Generator().manual_seed(0), threshold=threshold)
        kept.append((b.word == line.index("often")).double().mean())
    assert kept[1] < kept[0] - 0.1


@pytest.mark.parametrize(
    ("name", "bias"),
    [("skip_gram", False), ("cbow", False), ("skip_gram_nce", True), ("skip_gram_softmax", True)],
)
def test_objectives_learn_the_little_language(name, bias):
    little = counts.read(corpora.little_language(1500))
    concept = exams.concepts(little)
    model, history = training.learn(little, getattr(training, name), 150, bias=bias, watch=concept, size=512)
    assert history[-1]["step"] == 150 and history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["quality"] > 5 * concept.chance and bool(model.bias.abs().max() > 0) == bias
    again, _ = training.learn(little, getattr(training, name), 2, bias=bias, seed=1)
    other, _ = training.learn(little, getattr(training, name), 2, bias=bias, seed=2)
    assert not torch.equal(again.input, other.input)


def test_the_tree_learns_and_no_negatives_collapse():
    little = counts.read(corpora.little_language(1500))
    concept = exams.concepts(little)
    tree, _ = training.learn(little, training.skip_gram_tree(little), 150, size=512)
    _, history = training.learn(little, training.no_negatives, 100, size=512, watch=concept)
    assert concept(tree.input.detach()) > 5 * concept.chance
    assert history[-1]["loss"] < 0.1 and history[-1]["spread"] < 0.3 < history[0]["spread"]


def test_glove_fits_the_logarithm_of_the_counts():
    X = counts.cooccurrence(counts.read(corpora.little_language(1500)), 5, harmonic=True).float()
    w, c, b, d = training.fit_glove(X, dim=20, steps=150)
    start = training.fit_glove(X, dim=20, steps=0)
    assert objectives.glove_loss(w, c, b, d, X) < 0.1 * objectives.glove_loss(*start, X)
    often = X >= 20
    fitted = (w @ c.T + b[:, None] + d)[often]
    assert (fitted - X[often].log()).abs().mean() < 0.3


def test_glove_weight_and_loss_against_loops():
    x = torch.tensor([[0.0, 50.0, 300.0], [50.0, 2.0, 0.0], [300.0, 0.0, 100.0]], dtype=torch.float64)
    weight = objectives.glove_weight(x)
    assert weight[0].tolist() == pytest.approx([0, 0.5**0.75, 1]) and weight[2, 2] == 1
    w, c, b, d = randn(3, 2), randn(3, 2, seed=1), randn(3, seed=2), randn(3, seed=3)
    total = 0.0
    for i in range(3):
        for j in range(3):
            if x[i, j] > 0:
                f = min(1, (x[i, j].item() / 100) ** 0.75)
                total += f * (float(w[i] @ c[j]) + b[i] + d[j] - math.log(x[i, j])) ** 2
    assert objectives.glove_loss(w, c, b, d, x).item() == pytest.approx(float(total))
    leaves = [t.requires_grad_() for t in (w, c, b, d)]
    assert torch.autograd.gradcheck(lambda *t: objectives.glove_loss(*t, x), leaves)
    assert objectives.glove_loss(w, c, b, d, 0 * x).item() == 0


def test_word_vectors_score_and_average():
    model = objectives.WordVectors(5, 3, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        model.output.normal_(generator=torch.Generator().manual_seed(1))
        model.bias.normal_(generator=torch.Generator().manual_seed(2))
    assert model.input.abs().max() <= 1 / 6
    hidden = model.context_mean(torch.tensor([[0, 2, -1], [-1, -1, -1]]))
    assert torch.allclose(hidden[0], (model.input[0] + model.input[2]) / 2) and (hidden[1] == 0).all()
    words = torch.tensor([[1, 4], [3, 3]])
    for i in range(2):
        for j in range(2):
            by_hand = hidden[i] @ model.output[words[i, j]] + model.bias[words[i, j]]
            assert model.score(hidden, words)[i, j].item() == pytest.approx(by_hand.item())
    assert torch.allclose(model.score(hidden, words[:, 0]), model.score(hidden, words)[:, 0])


# ---- geometry ----------------------------------------------------------------------------------------------


def test_analogy_against_loops_and_the_excluded_words():
    vectors = randn(9, 4)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    questions = torch.tensor([[0, 1, 2, 3], [4, 0, 8, 2], [5, 5, 6, 6]])
    for q, plain, excluded in zip(
        questions,
        geometry.analogy(vectors, questions, False),
        geometry.analogy(vectors, questions),
        strict=True,
    ):
        target = unit[q[1]] - unit[q[0]] + unit[q[2]]
        cosines = {i: float(unit[i] @ target) for i in range(9)}
        assert plain == max(cosines, key=cosines.get)
        allowed = {i: v for i, v in cosines.items() if i not in q[:3].tolist()}
        assert excluded == max(allowed, key=allowed.get)
    assert geometry.analogy(vectors, questions, False)[2] == 6
    parallelogram = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0.6, 0, 0.8], [0.6, 1, 0.8], [-1, -1, 0]])
    assert geometry.analogy_accuracy(parallelogram, torch.tensor([[0, 1, 2, 3], [2, 3, 0, 1]])) == 1


def test_nearest_and_group_accuracy():
    vectors = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 2], [-1, 0]])
    cosine, index = geometry.nearest(vectors, vectors[0], n=2, exclude=[0])
    assert index.tolist() == [1, 3] and cosine[0] > 0.99
    assert geometry.group_accuracy(vectors, torch.tensor([0, 0, 1, 1, 1])) == pytest.approx(1.0)
    assert geometry.group_accuracy(vectors[:4], torch.tensor([0, 1, 0, 1])) == 0


def test_the_bias_direction_is_found_and_removed():
    g = torch.zeros(6, dtype=torch.float64)
    g[2] = 1
    vectors = 0.1 * randn(8, 6)
    pairs = torch.tensor([[0, 1], [2, 3]])
    vectors[[0, 2]] += g + 0.5
    vectors[[1, 3]] += 0.5 - g
    direction = geometry.bias_direction(vectors, pairs)
    assert direction.norm().item() == pytest.approx(1) and direction[2] > 0.95
    clean = geometry.hard_debias(vectors, direction, pairs)
    assert torch.allclose(clean.norm(dim=1), torch.ones(8, dtype=torch.float64))
    assert (
        geometry.direct_bias(clean[4:], direction)
        < 1e-12
        < 0.05
        < geometry.direct_bias(vectors[4:], direction)
    )
    for a, b in pairs:
        assert clean[a] @ direction == pytest.approx(-float(clean[b] @ direction))
        assert torch.allclose(clean[4:] @ clean[a], clean[4:] @ clean[b]), (
            "neutral words are equally far from both"
        )
    same = torch.stack([vectors[5], vectors[5]])
    with pytest.raises(InputError, match="differs"):
        geometry.equalize(same, direction)


def test_direct_bias_by_hand():
    words = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert geometry.direct_bias(words, torch.tensor([2.0, 0.0])) == pytest.approx(0.3)
    assert geometry.direct_bias(words, torch.tensor([2.0, 0.0]), strictness=2) == pytest.approx(0.18)


def test_two_clusters_are_found_and_compared():
    g = torch.Generator().manual_seed(0)
    rows = 0.3 * torch.randn(12, 5, generator=g)
    rows[::2, 0] += 2
    rows[1::2, 1] += 5  # length does not matter, direction does
    found = geometry.split_in_two(rows)
    assert found.tolist() == [0, 1] * 6
    assert geometry.alignment(found, torch.tensor([1, 0] * 6)) == 1, "names of clusters do not matter"
    assert geometry.alignment(found, torch.tensor([0] * 6 + [1] * 6)) == 0.5
    assert geometry.alignment(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 0])) == 0.5
    with pytest.raises(InputError, match="two rows"):
        geometry.split_in_two(rows[:1])


# ---- exams -------------------------------------------------------------------------------------------------


def test_chance_of_a_class_exam_is_that_of_random_vectors():
    label = torch.tensor([0] * 8 + [1] * 4 + [2] * 4)
    exam = exams.Classes(torch.arange(16), label)
    found = [exam(randn(16, 30, seed=seed)) for seed in range(200)]
    assert exam.chance == pytest.approx((8 * 7 + 4 * 3 + 4 * 3) / (16 * 15))
    assert sum(found) / 200 == pytest.approx(exam.chance, abs=0.03)
    assert exam(torch.nn.functional.one_hot(label).double() + 0.01 * randn(16, 3)) == 1


def test_the_analogy_report_tells_moving_from_standing_still():
    step = torch.tensor([[0, 0.1, 0, 0], [0, 0, 0, 0]])
    still = torch.cat([torch.eye(4)[[0]] + step, torch.eye(4)[[2]] + step])  # one, many, one, many
    questions = torch.tensor([[1, 0, 3, 2], [3, 2, 1, 0]])
    report = exams.analogy_report(still, questions)
    assert report["ruled"] == 1 and report["lookup"] == 1
    far = exams.analogy_report(torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]), questions)
    assert far["free"] == 1 and far["third"] == 0
    barely = still.clone()
    barely[[0, 2], 1] = torch.tensor([0.01, -0.01])
    assert exams.analogy_report(barely, questions)["third"] == 1


def test_exams_ask_for_words_of_their_text():
    little = counts.read(corpora.little_language(1500))
    concept, jobs = exams.concepts(little), exams.occupations(little)
    kinds = corpora.kind_of_word()
    same = concept.label[:, None] == concept.label
    words = [little.words[i] for i in concept.index]
    assert all(
        same[i, j] == (kinds[a] == kinds[b]) for i, a in enumerate(words) for j, b in enumerate(words[:20])
    )
    assert [little.words[i] for i in jobs.jobs] == list(corpora.JOBS) and int(jobs.side.sum()) == 6
    side = dict(zip(corpora.JOBS, jobs.side.tolist(), strict=True))
    assert (
        side["nurse"] == 0 and side["engineer"] == 1 and jobs.share[list(corpora.JOBS).index("nurse")] < 0.1
    )
    assert (little.index("he"), little.index("she")) in map(tuple, jobs.pairs.tolist())
    manual = counts.read(corpora.python_documentation(), min_count=5)
    asked = [[manual.words[i] for i in q] for q in exams.plurals(manual)]
    assert ["object", "objects", "function", "functions"] in asked and ["object", "objects"] * 2 not in asked


def test_the_occupations_report_sees_a_planted_direction():
    little = counts.read(corpora.little_language(1500))
    jobs = exams.occupations(little)
    v = 0.1 * randn(len(little.words), 8)
    g = torch.eye(8, dtype=torch.float64)[0]
    v[jobs.jobs] += torch.where(jobs.side == 1, 1.0, -1.0)[:, None] * g
    report = jobs.report(v, g)
    assert report["direct"] > 0.9 and report["cluster"] == report["neighbour"] == 1
    assert (jobs.lean(v, g) > 0).long().tolist() == jobs.side.tolist()
    clean = jobs.report(geometry.neutralize(v, g), g)
    assert clean["direct"] < 1e-9 and clean["cluster"] < 1


def test_halves_share_words_and_signal_but_no_noise():
    text = corpora.little_language(4000)
    a, b, jobs = exams.halves(text[:2000], text[2000:])
    assert a.shape == b.shape and len(jobs.jobs) == 12
    same = torch.nn.functional.cosine_similarity(a[jobs.jobs], b[jobs.jobs])
    assert 0.5 < same.min() and same.max() < 0.99
    whole = counts.read(text[:2000])
    ppmi = counts.shifted_positive_pmi(counts.cooccurrence(whole, 5)).float()
    i, j = whole.index("nurse"), whole.index("she")
    nurse = jobs.jobs[0]
    assert ppmi[i, j] > 0 and (a[nurse] == ppmi[i, j]).any()


# ---- corpora -----------------------------------------------------------------------------------------------


def test_documentation_is_english_on_every_python():
    sentences = corpora.python_documentation()
    read = counts.read(sentences, min_count=5)
    assert 20_000 < len(read.tokens) < 200_000
    assert len({tuple(words) for words in sentences}) == len(sentences), "no sentence twice"
    assert set(read.words[:12]) > {"the", "a", "is", "of", "to"}
    assert sentences == corpora.python_documentation()
    for name, group in corpora.DOCUMENTATION_GROUPS.items():
        assert sum(word in read for word in group) >= 5, name


def test_text8_comes_from_a_server_or_from_where_it_lies(server, tmp_path, monkeypatch):
    text = " ".join(f"word{chr(97 + i % 26)}" for i in range(2500))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", " " + text)
    server.files["text8.zip"] = packed.getvalue()
    md5 = hashlib.md5(packed.getvalue()).hexdigest()
    monkeypatch.setattr(corpora, "TEXT8", (f"{server.base}/dc/text8.zip", md5))
    with pytest.raises(
        InputError, match=r"text8 was looked for in .*text8.zip and is not there.*download=True"
    ):
        corpora.text8(data_dir=tmp_path)
    lines = corpora.text8(data_dir=tmp_path, download=True)
    assert [len(line) for line in lines] == [1000, 1000, 500]
    assert [word for line in lines for word in line] == text.split()
    server.status = 500  # from now on it lies there
    assert corpora.text8(3, data_dir=tmp_path) == [["worda", "wordb", "wordc"]]
    (tmp_path / "text8.zip").write_bytes(b"half")
    with pytest.raises(InputError, match="is damaged"):
        corpora.text8(data_dir=tmp_path)
    with pytest.raises(InputError, match="words >= 1"):
        corpora.text8(0)


def test_little_language_is_deterministic_and_has_its_words():
    lines = corpora.little_language(2000, seed=1)
    assert lines == corpora.little_language(2000, seed=1) != corpora.little_language(2000, seed=2)
    read = counts.read(lines)
    for family in corpora.FAMILIES:
        questions = corpora.analogies(family)
        pairs = len(corpora.FAMILIES[family])
        assert len(set(questions)) == len(questions) == 2 * pairs * (pairs - 1)
        assert all(word in read for question in questions for word in question)
    assert ("king", "queen", "uncle", "aunt") in corpora.analogies("people")
    assert ("queen", "king", "aunt", "uncle") in corpora.analogies("people")
    kinds = corpora.kind_of_word()
    assert kinds["queen"] == kinds["crown"] == "king queen" and kinds["scalpel"] == "surgeon"
    assert len(kinds) == 2 * 28 + 12 + 40 + 24 + 30 + 36, "no thing belongs to two concepts"
    for bad in ({"sentences": 0}, {"stray": 2.0}, {"bias": -1.0}, {"company": 1.5}):
        with pytest.raises(InputError):
            corpora.little_language(**bad)
    with pytest.raises(InputError, match="people, places, verbs"):
        corpora.analogies("animals")


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_the_planted_bias_is_there(bias):
    lines = corpora.little_language(12_000, bias=bias)
    for job, share in corpora.SHARE_OF_HE.items():
        said = [("he" in line) for line in lines if job in line]
        assert sum(said) / len(said) == pytest.approx(0.5 + bias * (share - 0.5), abs=0.12), job


def test_the_company_follows_the_occupation_and_not_the_pronoun():
    lines = corpora.little_language(12_000, company=0.5)
    assert corpora.little_language(300, company=0.0) == corpora.little_language(300)
    things = {side: set(words.split()) for side, words in corpora.COMPANY.items()}
    known = set(corpora.kind_of_word()) | {w for line in corpora.little_language(3000) for w in line}
    assert not known & (things["he"] | things["she"]), "words of their own"
    for job, share in corpora.SHARE_OF_HE.items():
        side = "he" if share > 0.5 else "she"
        mine = [line for line in lines if job in line]
        with_thing = [line for line in mine if things[side] & set(line)]
        assert len(with_thing) / len(mine) == pytest.approx(0.5, abs=0.1), job
        wrong = things["she" if side == "he" else "he"]
        assert not any(wrong & set(line) for line in mine), job
        said = [sum("he" in line for line in group) / len(group) for group in (with_thing, mine)]
        assert said[0] == pytest.approx(said[1], abs=0.12), job
    others = [line for line in lines if not set(line) & set(corpora.JOBS)]
    assert not any((things["he"] | things["she"]) & set(line) for line in others)


def test_additive_analogies_hold_in_the_counts():
    """A pair shares its things and a form shares its words, so PMI rows add up and the analogies come out."""
    lines = corpora.little_language(8000)
    random.Random(0).shuffle(lines)
    read = counts.read(lines)
    vectors = counts.svd_vectors(counts.shifted_positive_pmi(counts.cooccurrence(read, 5)), 50)
    for family in corpora.FAMILIES:
        questions = torch.stack([read.index(q) for q in corpora.analogies(family)])
        assert geometry.analogy_accuracy(vectors, questions) > 0.7, family
