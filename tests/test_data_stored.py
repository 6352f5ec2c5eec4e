"""Pictures on disk answer like a tensor, within bounded memory; their file is read back whole or not at all."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from ssl_lessons.data import stored
from ssl_lessons.data.stored import Catalogue, StoredPictures
from ssl_lessons.errors import InputError

N, SIZE = 11, 6


def pixels(n=N, size=SIZE):
    return np.random.RandomState(0).randint(0, 256, (n, 3, size, size)).astype(np.uint8)


def catalogue(n=N, decoder="1"):
    names = [f"{i}.png" for i in range(n - 2)] + ["bad\udcff.png", "schön.png"]
    rows = np.array([*range(n - 2), -1, n - 2])
    return Catalogue(
        names, np.arange(4 * n).reshape(n, 4), rows, (rows < 0) - 1, rows * 0, ["truncated"], decoder
    )


def write(path, array, known):
    with open(path, "wb") as file:
        file.write(array)
        stored.finish(file, len(array), array.shape[-1], known)
    return path


@pytest.fixture
def both(tmp_path):
    """The same pictures in memory and on disk, in an order that is not that of the file."""
    array, rows = pixels(), np.random.RandomState(1).permutation(N)
    array.tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", dtype=np.uint8, mode="r", shape=array.shape)
    return torch.from_numpy(array[rows]), StoredPictures(mapped, rows)


def test_it_describes_itself_as_the_tensor_does(both):
    tensor, pictures = both
    for name in ("shape", "dtype", "ndim", "device"):
        assert getattr(pictures, name) == getattr(tensor, name), name
    assert len(pictures) == len(tensor) and pictures.numel() == tensor.numel()
    assert pictures.shape[-1] == SIZE and pictures.shape[2:] == tensor.shape[2:]


INDICES = {
    "one": 3, "the last": -1, "numpy's": np.int64(2), "0-d tensor": torch.tensor(4), "slice": slice(2, 9, 3),
    "everything": slice(None), "backwards": slice(None, None, -1), "nothing": slice(5, 5), "list": [7, 0, 7],
    "empty list": [], "tensor": torch.tensor([10, -1, 3, 3]), "table": torch.tensor([[1, 2, 3], [6, 5, 4]]),
    "array": np.array([9, 2]), "bool": torch.arange(N) % 3 == 0, "bool list": [True] + [False] * (N - 1),
}  # fmt: skip


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_indexing_gives_what_the_tensor_gives(both, index):
    tensor, pictures = both
    if isinstance(index, slice) and index.step == -1:
        want = tensor.flip(0)  # torch has no negative steps
    else:
        want = tensor[index]
    got = pictures[index]
    assert isinstance(got, torch.Tensor) and got.dtype == torch.uint8 and torch.equal(got, want)


def test_the_result_is_a_copy(both):
    before = both[1][:].clone()
    both[1][2:4].zero_()
    assert torch.equal(both[1][:], before)


@pytest.mark.parametrize("index", [N, -N - 1, torch.tensor([0, N])])
def test_an_index_beyond_the_end_is_an_index_error(both, index):
    with pytest.raises(IndexError):
        both[1][index]


def test_a_second_dimension_is_refused(both):
    with pytest.raises(InputError, match="first dimension"):
        both[1][0, 1]


def test_split_and_iteration_pass_over_everything_once(both):
    tensor, pictures = both
    parts = list(pictures.split(4))
    assert [len(p) for p in parts] == [4, 4, 3] and torch.equal(torch.cat(parts), tensor)
    assert torch.equal(torch.stack(list(pictures)), tensor)


@pytest.mark.parametrize("at_once", [1, 300, 10**6])
def test_reading_in_parts_changes_nothing(both, at_once, monkeypatch):
    monkeypatch.setattr(stored, "AT_ONCE", at_once)
    tensor, pictures = both
    index = torch.tensor([4, 1, 1, 10, 0])
    assert torch.equal(pictures[index], tensor[index])


def test_to_a_device_copies_every_picture(both, monkeypatch):
    monkeypatch.setattr(stored, "AT_ONCE", 300)
    tensor, pictures = both
    assert pictures.to("cpu") is pictures
    moved = pictures.to("meta")  # stands for a device: holds no values
    assert moved.device.type == "meta" and moved.shape == tensor.shape and moved.dtype == torch.uint8


def test_select_composes_and_keeps_a_large_choice_on_disk(both, monkeypatch):
    tensor, pictures = both
    monkeypatch.setattr(stored, "IN_MEMORY", 5 * 3 * SIZE**2)
    large = pictures.select(torch.tensor([8, 3, 5, 1, 0, 2]))
    assert isinstance(large, StoredPictures) and torch.equal(large[:], tensor[[8, 3, 5, 1, 0, 2]])
    small = large.select(slice(1, None))
    assert isinstance(small, torch.Tensor) and torch.equal(small, tensor[[3, 5, 1, 0, 2]])


def test_a_quarter_of_the_available_memory_is_the_other_limit(both, monkeypatch):
    size = both[0].numel()
    for available, kind in ((4 * size, torch.Tensor), (4 * size - 4, StoredPictures), (None, torch.Tensor)):
        monkeypatch.setattr(stored, "available_memory", lambda: available)  # noqa: B023
        assert isinstance(stored.held(both[1]), kind), available


def test_available_memory_is_a_part_of_the_machine():
    available = stored.available_memory()
    assert available is None or 2**20 < available < 2**50


def test_threads_read_the_same_as_one(both, monkeypatch):
    monkeypatch.setattr(stored, "KEPT", 3 * SIZE**2)  # gives pages back at every read
    tensor, pictures = both
    orders = [torch.randperm(N, generator=torch.Generator().manual_seed(s)) for s in range(200)]
    with ThreadPoolExecutor(4) as pool:
        for order, got in zip(orders, pool.map(pictures.__getitem__, orders), strict=True):
            assert torch.equal(got, tensor[order])


PASSES = """
import sys
from pathlib import Path
import numpy as np, torch
from ssl_lessons.data.stored import StoredPictures
mapped = np.memmap(sys.argv[1], dtype=np.uint8, mode="r").reshape(-1, 3, 96, 96)
pictures = StoredPictures(mapped)
def peak():
    return next(1024 * int(l.split()[1]) for l in Path("/proc/self/status").open() if l.startswith("VmHWM"))
before = peak()
generator = torch.Generator().manual_seed(0)
for _ in range(len(pictures) // 100):
    pictures[torch.randint(len(pictures), (100,), generator=generator)]
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and MADV_DONTNEED as Linux has them")
def test_memory_stays_bounded(tmp_path):
    size = 20_000 * 3 * 96 * 96
    with open(tmp_path / "pixels", "wb") as file:
        file.truncate(size)  # all zeros, which take no disk
    run = [sys.executable, "-c", PASSES, tmp_path / "pixels"]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown < size / 2, f"{grown / 2**20:.0f} MiB"


def test_a_file_is_read_back(tmp_path):
    array, known = pixels()[: N - 1], catalogue()
    pictures, found = stored.read(write(tmp_path / "file", array, known), SIZE)
    assert torch.equal(pictures[:], torch.from_numpy(array))
    for name in ("names", "reasons", "decoder"):
        assert getattr(found, name) == getattr(known, name)
    for name in stored.ARRAYS:
        assert (getattr(found, name) == getattr(known, name)).all(), name
    assert found.position["schön.png", *known.signatures[N - 1].tolist()] == N - 1


def test_a_file_of_no_readable_picture_is_read_back(tmp_path):
    pictures, found = stored.read(write(tmp_path / "file", pixels(0), catalogue()), SIZE)
    assert len(pictures) == 0 and pictures[:].shape == (0, 3, SIZE, SIZE) and len(found.names) == N


def test_what_is_not_whole_is_not_read(tmp_path):
    path = write(tmp_path / "file", pixels()[: N - 1], catalogue())
    whole = path.read_bytes()
    assert stored.read(path, SIZE) is not None and stored.read(path, SIZE + 1) is None
    assert stored.read(tmp_path / "absent", SIZE) is None and stored.read(tmp_path, SIZE) is None
    for content in (b"", whole[:10], whole[:-1], whole[:-40], whole[1:], whole + b"x", whole[:-8] + bytes(8)):
        path.write_bytes(content)
        assert stored.read(path, SIZE) is None, len(content)
