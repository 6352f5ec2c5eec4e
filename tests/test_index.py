"""The index of embeddings: exact against a loop, eight bits within their bound, and back from a file as it was."""

import math

import pytest
import torch

from ssl_lessons.deployment.index import Index, recall
from ssl_lessons.errors import InputError


def drawn(n, dim=16, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def filled(bits, n=300):
    index, rows = Index(16, bits), drawn(n)
    index.add(torch.arange(n) + 1000, rows)
    return index, rows


def loop(rows, query, k):
    cosines = [float(query @ row / (query.norm() * row.norm())) for row in rows.double()]
    best = sorted(range(len(rows)), key=lambda i: -cosines[i])[:k]
    return [i + 1000 for i in best], [cosines[i] for i in best]


def test_similarity_search_service_in_float_is_a_loop_over_cosines():
    """An internal similarity-search service over embeddings, by brute force."""
    index, rows = filled(32)
    queries = drawn(5, seed=1)
    ids, cosines = index.search(queries, 7)
    for query, found, values in zip(queries.double(), ids, cosines, strict=True):
        right, exact = loop(rows, query, 7)
        assert found.tolist() == right and values.tolist() == pytest.approx(exact, abs=1e-5)


def test_eight_bits_stay_within_half_a_step_and_find_nearly_the_same():
    (small, _), (large, _) = filled(8), filled(32)
    assert small.rows.dtype == torch.int8 and large.nbytes / small.nbytes > 3
    queries = drawn(40, seed=1)
    unit = queries / queries.norm(dim=1, keepdim=True)
    exact = unit @ large.rows.T
    coarse = unit @ (small.rows.float() * small.scales).T
    bound = small.scales.T / 2 * unit.abs().sum(dim=1, keepdim=True)
    assert bool(((exact - coarse).abs() <= bound + 1e-6).all()) and float((exact - coarse).abs().max()) > 1e-4
    found, right = (index.search(queries, 10)[0] for index in (small, large))
    assert 0.9 < recall(found, right) and recall(right, right) == 1


def test_rows_come_in_portions_and_each_finds_itself():
    index, rows = Index(16, 8), drawn(300)
    for start in (0, 100, 250):
        stop = {0: 100, 100: 250, 250: 300}[start]
        index.add(torch.arange(start, stop), rows[start:stop])
    assert len(index) == 300
    ids, cosines = index.search(rows, 1)
    assert torch.equal(ids[:, 0], torch.arange(300)) and float((cosines - 1).abs().max()) < 0.01


@pytest.mark.parametrize("bits", [8, 32])
def test_an_index_comes_back_from_its_file_and_goes_on(bits, tmp_path):
    index, _ = filled(bits)
    index.save(tmp_path / "shop" / "index.safetensors")
    again = Index.load(tmp_path / "shop" / "index.safetensors")
    queries = drawn(4, seed=2)
    assert all(map(torch.equal, index.search(queries, 5), again.search(queries, 5)))
    again.add(torch.tensor([7]), queries[:1])
    assert again.bits == bits and again.search(queries[:1], 1)[0].item() == 7


def test_recall_counts_whatever_the_order():
    assert recall(torch.tensor([[3, 1], [5, 6]]), torch.tensor([[1, 3], [6, 9]])) == 0.75


def test_nonsense_is_refused(tmp_path):
    index, rows = filled(32)
    (tmp_path / "text").write_text("no tensors")
    for call, words in (
        (lambda: Index(16, 4), "32 or 8 bits"),
        (lambda: index.add(torch.arange(2), drawn(2, 8)), r"\[N, 16\]"),
        (lambda: index.add(torch.arange(2), drawn(3)), "one whole number per embedding"),
        (lambda: index.add(torch.tensor([1000]), rows[:1]), "stands twice"),
        (lambda: index.add(torch.tensor([1]), rows[:1] * math.nan), "NaN"),
        (lambda: index.search(rows, 0), "k must be from 1 to 300"),
        (lambda: Index.load(tmp_path / "text"), "no index"),
        (lambda: Index.load(tmp_path / "nothing"), "no index"),
        (lambda: recall(torch.zeros(2, 3), torch.zeros(2, 2)), "one shape"),
    ):
        with pytest.raises(InputError, match=words):
            call()
