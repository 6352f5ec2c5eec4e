"""A cleaner pool out of a messy one, without labels: copies removed, then what resembles a small trusted set kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons.data.world import shapes
from ssl_lessons.errors import InputError


def messy_pool(
    n: int = 8192, seed: int = 0, shares: tuple[float, float] = (0.3, 0.4)
) -> tuple[Tensor, Tensor]:
    """A drawn pool as a crawler might bring it: uint8 [n, 3, 32, 32], and which pictures show an object, bool [n].

    shares: of pictures of the embedded world, all different, and of bare grounds; the rest are copies with a little
    noise, about sixteen of each of a few pictures.  Raises InputError unless the shares leave something for all three.
    """
    first, bare = (round(share * n) for share in shares)
    rest = n - first - bare
    if min(first, bare, rest // 16) < 1:
        raise InputError(
            f"shares {shares} of {n} pictures leave nothing for pictures, bare grounds or copies"
        )
    clean = shapes("unlabeled", 32, n, seed).images
    few = clean[first : first + rest // 16]
    copies = few[torch.arange(rest) % len(few)]
    noise = 3 * torch.randn(copies.shape, generator=torch.Generator().manual_seed(seed))
    copies = (copies + noise).round().clamp(0, 255).to(torch.uint8)
    grounds = shapes("unlabeled", 32, n + bare, seed, objects=False).images[n:]  # of no picture in the pool
    shows = torch.arange(n)
    return torch.cat([clean[:first], grounds, copies]), (shows < first) | (shows >= first + bare)


def without_copies(features: Tensor, threshold: float) -> Tensor:
    """The rows to keep so that no two are linked, [M] in rising order: features [N, D] of N pictures.

    Two rows are linked where their cosine is at least `threshold`; of a set joined by links the first row stays
    (DINOv2, Oquab et al. 2023, section 3, "Deduplication", and appendix A.3, keeps one per connected component).
    Raises InputError for other shapes, and for a threshold that is no cosine.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    if features.ndim != 2 or not len(features):
        raise InputError(f"without_copies takes features [N, D] with N >= 1, not {list(features.shape)}")
    if not -1 <= threshold <= 1:
        raise InputError(f"threshold is a cosine, from -1 to 1, not {threshold}")
    z = F.normalize(features.float(), dim=1)
    pairs = [
        ((z[i : i + 1024] @ z.T) >= threshold).nonzero() + torch.tensor([i, 0])
        for i in range(0, len(z), 1024)
    ]
    rows, columns = torch.cat(pairs).T.numpy()
    links = csr_array((torch.ones(len(rows)).numpy(), (rows, columns)), shape=(len(z), len(z)))
    group = torch.from_numpy(connected_components(links, directed=False)[1]).long()
    first = torch.full((int(group.max()) + 1,), len(z)).scatter_reduce(0, group, torch.arange(len(z)), "amin")
    return first.sort().values


def retrieved(trusted: Tensor, pool: Tensor, k: int) -> Tensor:
    """The pool's rows that are among the k nearest by cosine of any trusted row, [M] in rising order.

    trusted: features [Q, D]; pool: [N, D]; M is at most Q k.  (DINOv2, section 3, "Retrieval": k = 4 there.)
    Raises InputError for other shapes and unless 1 <= k <= N.
    """
    if trusted.ndim != 2 or pool.ndim != 2 or trusted.shape[1] != pool.shape[1]:
        raise InputError(
            f"retrieved takes features [Q, D] and [N, D] of one width, not {list(trusted.shape)}, {list(pool.shape)}"
        )
    if not 1 <= k <= len(pool):
        raise InputError(f"k must be from 1 to the {len(pool)} pictures of the pool, not {k}")
    cosines = F.normalize(trusted.float(), dim=1) @ F.normalize(pool.float(), dim=1).T
    return cosines.topk(k, dim=1).indices.unique()
