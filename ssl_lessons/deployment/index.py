"""Search among embeddings: every query against every row, which is exact, and enough for some hundred thousand.

What an internal similarity-search service does, without the service: add, search, save, load.  With int8 rows an index
is a quarter as large; larger ones than fit into memory, or in a hurry, are the business of a library such as FAISS.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from ssl_lessons.deployment.quantization import weight_grid
from ssl_lessons.errors import InputError
from ssl_lessons.storage import write_atomically

BLOCK = 1024  # queries at a time


class Index:
    """Unit rows by cosine, in float32 or in int8 with a scale per row.

    A row q is read back as scale q, with q from -127 to 127 (`weight_grid`); the cosine is off by half a step times the
    length of what it is multiplied with, at most.  ids: whole numbers, yours.
    """

    def __init__(self, dim: int, bits: int = 32):
        if bits not in (8, 32):
            raise InputError(f"an index keeps rows in 32 or 8 bits, not {bits!r}")
        self.dim, self.bits = dim, bits
        self.rows = torch.zeros(0, dim, dtype=torch.float32 if bits == 32 else torch.int8)
        self.scales, self.ids = torch.ones(0, 1), torch.zeros(0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """What rows and scales take."""
        return self.rows.nbytes + (self.scales.nbytes if self.bits == 8 else 0)

    def add(self, ids: Tensor, embeddings: Tensor) -> None:
        """Append embeddings [N, dim] of the things `ids` int64 [N].

        Raises InputError for other shapes, values that are not finite, and an id that is there already.
        """
        embeddings = self._checked(embeddings)
        if ids.shape != embeddings.shape[:1] or ids.dtype != torch.long:
            raise InputError(f"give one whole number per embedding, int64 [{len(embeddings)}]")
        every = torch.cat([self.ids, ids])
        if len(every.unique()) < len(every):
            raise InputError("an id stands twice; a thing has one embedding in the index")
        scales = torch.ones(len(embeddings), 1)
        if self.bits == 8:
            scales = weight_grid(embeddings).scale
            embeddings = (embeddings / scales).round().to(torch.int8)
        self.rows, self.scales, self.ids = (
            torch.cat(pair) for pair in ((self.rows, embeddings), (self.scales, scales), (self.ids, ids))
        )

    def search(self, queries: Tensor, k: int = 10) -> tuple[Tensor, Tensor]:
        """(ids int64 [N, k], cosines [N, k]) of the k nearest rows, best first, for queries [N, dim] in float.

        Raises InputError for queries that do not fit and k outside 1 to the number of rows.
        """
        if not 1 <= k <= len(self):
            raise InputError(f"k must be from 1 to {len(self)}, the number of rows, not {k!r}")
        found = []
        for block in self._checked(queries).split(BLOCK):
            found.append((block @ self.rows.float().T * self.scales.T).topk(k, dim=1))
        cosines, places = (torch.cat([getattr(f, part) for f in found]) for part in ("values", "indices"))
        return self.ids[places], cosines

    def save(self, path: str | Path) -> None:
        """One safetensors file, written whole or not at all."""
        content = {"rows": self.rows, "scales": self.scales, "ids": self.ids}
        write_atomically(Path(path), lambda to: save_file(content, to))

    @classmethod
    def load(cls, path: str | Path) -> Index:
        """Raises InputError where there is no such file, or it holds no index."""
        try:
            content = load_file(path)
            rows = content["rows"]
            index = cls(rows.shape[1], 8 if rows.dtype == torch.int8 else 32)
            index.rows, index.scales, index.ids = rows, content["scales"], content["ids"]
        except (OSError, SafetensorError, KeyError, IndexError) as error:
            raise InputError(f"{path} is no index that was saved here: {error}") from None
        return index

    def _checked(self, embeddings: Tensor) -> Tensor:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise InputError(f"embeddings must be [N, {self.dim}], not {tuple(embeddings.shape)}")
        if not bool(embeddings.isfinite().all()):
            raise InputError("the embeddings hold NaN or infinite values")
        return normalize(embeddings.detach().float().cpu(), dim=1)


def recall(found: Tensor, right: Tensor) -> float:
    """Which share of the right neighbours was found: ids [N, k] against ids [N, k], in any order."""
    if found.shape != right.shape or found.ndim != 2:
        raise InputError(
            f"compare ids of one shape [N, k], not {tuple(found.shape)} and {tuple(right.shape)}"
        )
    return float((found[:, :, None] == right[:, None, :]).any(dim=2).float().mean())
