"""Checkpoints: whatever happens to a write or a file, the newest whole one is what `load` returns."""

import os
import re
import warnings
from pathlib import Path

import pytest
import torch

from ssl_lessons.errors import InputError
from ssl_lessons.training import checkpoints
from ssl_lessons.training.checkpoints import CURRENT, PREVIOUS


def state(step):
    return {"step": step, "w": torch.full((50,), float(step)), "history": [{"loss": 0.5}], "name": "run"}


def same(a, b):
    return a["step"] == b["step"] and torch.equal(a["w"], b["w"]) and a["history"] == b["history"]


def quiet_load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return checkpoints.load(folder)


def test_none_is_none(tmp_path):
    assert quiet_load(tmp_path) is None and quiet_load(tmp_path / "nowhere") is None


def test_the_newest_is_loaded_and_one_kept(tmp_path):
    for step in (1, 2, 3):
        checkpoints.save(state(step), tmp_path / "a" / "b")
        assert same(quiet_load(tmp_path / "a" / "b"), state(step))
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == {CURRENT, PREVIOUS}
    (tmp_path / "a" / "b" / CURRENT).unlink()
    assert same(quiet_load(tmp_path / "a" / "b"), state(2))


@pytest.mark.parametrize("keep", [0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named_and_the_previous_used(tmp_path, keep):
    checkpoints.save(state(1), tmp_path)
    checkpoints.save(state(2), tmp_path)
    raw = (tmp_path / CURRENT).read_bytes()
    (tmp_path / CURRENT).write_bytes(raw[: int(keep * len(raw))])
    with pytest.warns(UserWarning, match=f"{CURRENT} is truncated or damaged"):
        assert same(checkpoints.load(tmp_path), state(1))


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path):
    checkpoints.save(state(1), tmp_path)
    checkpoints.save(state(2), tmp_path)
    raw = bytearray((tmp_path / CURRENT).read_bytes())
    at = raw.index(state(2)["w"].numpy().tobytes()) + 80
    raw[at] ^= 0b100
    (tmp_path / CURRENT).write_bytes(raw)
    with pytest.warns(UserWarning, match="damaged"):
        assert same(checkpoints.load(tmp_path), state(1))


def test_no_flipped_bit_anywhere_does_harm(tmp_path):
    """Wherever the bit lies, load returns the newest state (it was padding) or the previous one: never an error."""
    checkpoints.save(state(1), tmp_path)
    checkpoints.save(state(2), tmp_path)
    raw = (tmp_path / CURRENT).read_bytes()
    for at in range(len(raw)):
        bad = bytearray(raw)
        bad[at] ^= 1 << (7 if at % 2 else at % 7)
        (tmp_path / CURRENT).write_bytes(bad)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                loaded = checkpoints.load(tmp_path)
            except Exception as error:
                pytest.fail(f"byte {at} of {len(raw)}: {type(error).__name__}: {error}")
        assert same(loaded, state(1 if any("damaged" in str(w.message) for w in seen) else 2)), at


def test_a_file_that_the_disk_does_not_hand_out_stays_where_it_is(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoints.save(state(step), tmp_path)
    with monkeypatch.context() as away:
        away.setattr(type(tmp_path), "read_bytes", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(InputError, match="cannot be read now: Input/output error"):
            checkpoints.load(tmp_path)
    assert same(quiet_load(tmp_path), state(2))


def test_damaged_beyond_repair_is_refused(tmp_path):
    checkpoints.save(state(1), tmp_path)
    checkpoints.save(state(2), tmp_path)
    for name in (CURRENT, PREVIOUS):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.warns(UserWarning), pytest.raises(InputError, match=f"{CURRENT} and {PREVIOUS} damaged"):
        checkpoints.load(tmp_path)


class Killed(BaseException):
    """Stands for a kill: nothing after the call that raises it happens."""


def interrupt(monkeypatch, where, call):
    """Make the `call`-th Path.write_bytes, os.fsync or os.replace of the next write its last act, half done."""
    owner, name = {"write": (Path, "write_bytes"), "fsync": (os, "fsync"), "replace": (os, "replace")}[where]
    original, count = getattr(owner, name), [0]

    def cut(*args, **kw):
        count[0] += 1
        if count[0] < call:
            return original(*args, **kw)
        if where == "write":
            path, content = args
            original(path, content[: len(content) // 2])
        raise Killed

    monkeypatch.setattr(owner, name, cut)


MOMENTS = [("write", 1), ("fsync", 1), ("replace", 1), ("replace", 2)]


@pytest.mark.parametrize("where, call", MOMENTS)
def test_a_kill_during_a_write_loses_nothing_written(tmp_path, monkeypatch, where, call):
    checkpoints.save(state(1), tmp_path)
    checkpoints.save(state(2), tmp_path)
    with monkeypatch.context() as patch:
        interrupt(patch, where, call)
        with pytest.raises(Killed):
            checkpoints.save(state(3), tmp_path)
    assert quiet_load(tmp_path)["step"] in (2, 3)
    checkpoints.save(state(4), tmp_path)  # what the killed write left behind is in nobody's way
    assert same(quiet_load(tmp_path), state(4))
    assert {p.name for p in tmp_path.iterdir()} == {CURRENT, PREVIOUS}


@pytest.mark.parametrize("where, call", MOMENTS)
def test_a_damaged_file_never_replaces_the_whole_one_in_reserve(tmp_path, monkeypatch, where, call):
    """Resumed from the reserve because the newest is damaged, then killed in the next write: the reserve stays."""
    checkpoints.save(state(1), tmp_path)
    checkpoints.save(state(2), tmp_path)
    (tmp_path / CURRENT).write_bytes((tmp_path / CURRENT).read_bytes()[:200])
    with pytest.warns(UserWarning):
        assert checkpoints.load(tmp_path)["step"] == 1
    with monkeypatch.context() as patch:
        interrupt(patch, where, call)
        try:
            checkpoints.save(state(2), tmp_path)
        except Killed:
            pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert checkpoints.load(tmp_path)["step"] in (1, 2)


def test_atomic_writes_show_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "history.json"
    checkpoints.write_atomically(path, lambda p: p.write_text("old"))

    def half(p):
        p.write_text("ne")
        raise Killed

    with pytest.raises(Killed):
        checkpoints.write_atomically(path, half)
    assert path.read_text() == "old"
    checkpoints.write_atomically(path, lambda p: p.write_text("new"))
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["history.json"]


def test_checkpoints_run_no_code(tmp_path):
    torch.save({"step": 1, "w": Killed}, tmp_path / CURRENT)
    with pytest.warns(UserWarning), pytest.raises(InputError):
        checkpoints.load(tmp_path)


def test_notes_are_appended_one_line_each(tmp_path):
    checkpoints.note(tmp_path / "new", "started")
    checkpoints.note(tmp_path / "new", "two\nlines,  ß")
    lines = (tmp_path / "new" / checkpoints.LOG).read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^\d{4}(-\d\d){2} \d\d(:\d\d){2}  ", "", line) for line in lines] == [
        "started",
        "two lines, ß",
    ]
