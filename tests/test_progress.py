"""Progress in a file: a line now and then; on a terminal: a bar."""

import io

from ssl_lessons import progress as module
from ssl_lessons.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def steps(file, n=3000, **options):
    with progress(total=n, file=file, **options) as bar:
        for i in range(n):
            bar.set_postfix_str(f"loss {i}")
            bar.update()


def test_a_file_gets_a_line_at_the_start_and_the_end_of_a_short_run():
    file = io.StringIO()
    steps(file)
    lines = file.getvalue().splitlines()
    assert 1 <= len(lines) <= 2 and "\r" not in file.getvalue()
    assert lines[-1].startswith("3000 of 3000 (100%)") and lines[-1].endswith("loss 2999")


def test_a_file_gets_a_line_per_interval(monkeypatch):
    import time

    monkeypatch.setattr(module, "LINE_EVERY", 0.05)
    file = io.StringIO()
    with progress(total=40, file=file) as bar:
        for _ in range(40):
            time.sleep(0.01)
            bar.update()
    assert 4 <= len(file.getvalue().splitlines()) <= 20


def test_a_terminal_gets_a_bar_that_is_drawn_over_and_a_hidden_one_says_nothing():
    terminal, hidden = Terminal(), io.StringIO()
    steps(terminal)
    assert terminal.getvalue().count("\r") >= 2 and "100%" in terminal.getvalue()
    steps(hidden, disable=True)
    assert hidden.getvalue() == ""


def test_a_patient_bar_comes_after_a_while_and_leaves_nothing(monkeypatch):
    import time

    monkeypatch.setattr("sys.stderr", Terminal())
    assert list(module.patient(range(3), "soon over")) == [0, 1, 2] and module.sys.stderr.getvalue() == ""
    monkeypatch.setattr(module, "DELAY", 0.05)
    for _ in module.patient(range(8), "features"):
        time.sleep(0.1)
    shown = module.sys.stderr.getvalue()
    assert "features:" in shown and shown.rpartition("\r")[0].endswith(" ")  # drawn over with blanks
    monkeypatch.setattr("sys.stderr", hidden := Terminal())
    list(module.patient(range(3), "features", shown=False))
    assert hidden.getvalue() == ""
