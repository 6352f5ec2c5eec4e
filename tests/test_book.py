"""Running, building and checking chapters; and, for every chapter there is, what each must satisfy.

Over 400 lines: what every chapter must satisfy stands in one list.
"""

import html
import json
import random
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_lessons import book, plots
from ssl_lessons.book import chapter as chapter_module
from ssl_lessons.book import files, ledger
from ssl_lessons.errors import InputError
from ssl_lessons.evaluation.evidence import HOLDS, UNTESTED, Runs

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""

GOOD = (
    HEADER
    + """
# %% [markdown]
# # A toy chapter

# %%
import sys
import time

for step in range(4):
    sys.stderr.write(f"\\r{step}/3 [00:0{step}<00:00, {time.time()}it/s]")
    sys.stderr.flush()
    time.sleep(0.05)
sys.stderr.write("\\n")
print("first", flush=True)
time.sleep(0.2)  # two messages from the kernel, one output in the notebook
print("second")

# %%
from ssl_lessons import book, plots, widgets
from ssl_lessons.evaluation.evidence import Runs

plots.table([{"method": "pixels", "accuracy": 0.21}], "Toy accuracy", floatfmt=".0%")
book.claim("C-71", drawn=Runs([0.6, 0.62, 0.61], [0.3, 0.31, 0.33], [0.2, 0.21, 0.2]))

# %%
def render(height=1):
    fig, ax = plots.new_figure(2, 1)
    ax.bar([0], [height])
    return fig


# %%
widgets.explore(
    render,
    {"height": widgets.Slider(1, 3, 1, "height")},
    static=[{"height": 1}, {"height": 3}],
    alt="Two bars.",
)

# %%
block = bytearray(300 * 2**20)
block[:: 4096] = b"x" * len(block[:: 4096])
time.sleep(0.4)
del block
"""
)

BAD = (
    HEADER
    + """
# %% [markdown]
# # A broken chapter

# %%
x = 1

# %%

answer = x / 0  # here
print("not reached")
"""
)


def write(folder: Path, **chapters: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in chapters.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A toy book, built once: (chapters folder, notebook text, the ChapterRun)."""
    folder = write(tmp_path_factory.mktemp("book") / "chapters", **{"03_toy": GOOD})
    [run] = book.build(chapters=folder)
    return folder, (folder / "03_toy.ipynb").read_text(encoding="utf-8"), run


def outputs(text: str) -> list[dict]:
    return [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]


# ---- run and build -----------------------------------------------------------------------------------------


def test_a_good_chapter_is_timed_and_its_memory_measured(built):
    _, _, run = built
    assert (run.number, run.name, run.verdict, run.ok) == ("03", "03_toy", "ok", True)
    assert run.seconds > 0.5, "the kernel's start counts, and the chapter sleeps for longer than this"
    assert run.peak_mib > 300, "the chapter holds a block of 300 MiB for a while"


def test_a_second_build_gives_the_same_bytes(built):
    folder, text, _ = built
    book.build(["3"], chapters=folder)
    assert (folder / "03_toy.ipynb").read_text(encoding="utf-8") == text


def test_progress_lines_keep_their_last_state_without_clock_and_streams_are_joined(built):
    streams = [(o["name"], "".join(o["text"])) for o in outputs(built[1]) if o["output_type"] == "stream"]
    assert streams == [("stderr", "3/3\n"), ("stdout", "first\nsecond\n")]


def test_volatile_metadata_is_gone_and_ids_follow_the_content(built):
    notebook = json.loads(built[1])
    assert all("execution" not in cell["metadata"] for cell in notebook["cells"])
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3" and "widgets" not in notebook["metadata"]
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)

    again = nbformat.reads(built[1], as_version=4)
    again.cells.insert(1, nbformat.v4.new_markdown_cell("inserted"))
    again.cells.append(nbformat.v4.new_markdown_cell("inserted"))
    book.clean(again)
    assert [cell["id"] for cell in again.cells][2:-1] == ids[1:], (
        "an inserted cell leaves the other ids alone"
    )
    assert again.cells[1]["id"] != again.cells[-1]["id"], "equal cells get different ids"


def test_the_widget_leaves_its_static_picture_only(built):
    explore = json.loads(built[1])["cells"][-2]
    [output] = explore["outputs"]
    assert 'alt="Two bars."' in "".join(output["data"]["text/html"])
    assert files.WIDGET_MIME not in built[1] and "<details" not in built[1]


def test_claims_are_collected_with_their_numbers(built):
    ledger = json.loads((built[0].parent / "data" / "results" / "claims.json").read_text(encoding="utf-8"))
    assert [(row["chapter"], row["id"], row["drawn"]["n"]) for row in ledger] == [("03_toy", "C-71", 3)]
    assert ledger[0]["drawn"]["word"] == HOLDS and ledger[0]["photographs"]["word"] == UNTESTED


def test_a_claim_made_twice_is_refused(built, tmp_path):
    notebook = json.loads(built[1])
    notebook["cells"] += [cell for cell in notebook["cells"] if "book.claim" in "".join(cell["source"])]
    write(tmp_path, **{"03_toy": GOOD})
    (tmp_path / "03_toy.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(InputError, match="C-71 twice"):
        book.collect_claims(tmp_path)


def test_a_failing_chapter_is_named_and_its_old_notebook_kept(tmp_path):
    folder = write(tmp_path / "chapters", **{"04_bad": BAD})
    (folder / "04_bad.ipynb").write_text("the old one", encoding="utf-8")
    seen = []
    with pytest.raises(InputError, match="04_bad, cell 2, which starts with `answer = x / 0  # here`"):
        book.build(["04"], chapters=folder, started=lambda path: seen.append(path.name), finished=seen.append)
    assert (folder / "04_bad.ipynb").read_text(encoding="utf-8") == "the old one"
    assert seen[0] == "04_bad.py"
    assert seen[1].verdict == "failed: cell 2: ZeroDivisionError: division by zero" and not seen[1].ok
    assert sorted(p.name for p in folder.iterdir()) == ["04_bad.ipynb", "04_bad.py"], (
        "nothing half-written is left"
    )


def test_a_cell_that_never_ends_is_stopped_and_named(tmp_path):
    folder = write(tmp_path, **{"05_slow": HEADER + "\n# %%\nimport time\n\ntime.sleep(60)\n"})
    [run] = book.run(timeout=2, chapters=folder)
    assert run.verdict == "failed: cell 1: TimeoutError: the cell ran longer than 2 s"
    assert run.seconds < 40 and not (folder / "05_slow.ipynb").exists()


def test_a_notebook_over_one_megabyte_is_refused(tmp_path):
    source = write(tmp_path, **{"06_big": HEADER}) / "06_big.py"
    noise = np.random.default_rng(0).integers(0, 255, 2**20, dtype=np.uint8).tobytes().hex()
    output = nbformat.v4.new_output("display_data", {"text/plain": noise})
    cells = [
        nbformat.v4.new_code_cell("small = 1"),
        nbformat.v4.new_code_cell("show(noise)", outputs=[output]),
    ]
    with pytest.raises(InputError, match=r"over the 1 MB limit.*number 2, starting with 'show\(noise\)'"):
        files.save(nbformat.v4.new_notebook(cells=cells), source)
    assert not source.with_suffix(".ipynb").exists()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\rb\rc\n", "c\n"),
        ("plain [1:02] text\n", "plain [1:02] text\n"),  # no carriage return: not a progress line
        (
            "\r 50%|##   | 1/2 [00:01<00:01,  1.0s/it]\r100%|####| 2/2 [1:00:02<00:00,  1.0s/it, loss=2.5]",
            "100%|####| 2/2",
        ),
        ("done\r\nnext\n", "done\nnext\n"),
        ("\rwait\r    \r", "wait"),
    ],
)
def test_last_state(text, kept):
    assert book.last_state(text) == kept


# ---- the pair ----------------------------------------------------------------------------------------------


def test_check_pair_finds_a_manual_edit(built, tmp_path):
    source = write(tmp_path, **{"03_toy": GOOD}) / "03_toy.py"
    assert book.check_pair(source) == ["03_toy.ipynb is missing."]
    notebook = source.with_suffix(".ipynb")
    notebook.write_text(built[1], encoding="utf-8")
    assert book.check_pair(source) == []
    notebook.write_text(built[1].replace("Runs([0.6,", "Runs([0.7,"), encoding="utf-8")
    [difference] = book.check_pair(source)
    assert all(s in difference for s in ("cell 3", "Runs([0.6,", "Runs([0.7,"))
    source.write_text(GOOD + "\n# %%\nextra = 1\n", encoding="utf-8")
    assert "03_toy.py has 7 cells, 03_toy.ipynb has 6." in book.check_pair(source)


def test_find(tmp_path):
    folder = write(tmp_path, **{"00_start": "", "07_rotation": "", "13_nce": "", "notes": ""})
    assert [p.stem for p in book.find(chapters=folder)] == ["00_start", "07_rotation", "13_nce"]
    assert [p.stem for p in book.find(["13", "7", "07_rotation"], folder)] == ["07_rotation", "13_nce"]
    with pytest.raises(InputError, match="no chapter '99'; there are 00, 07, 13"):
        book.find(["99"], folder)
    with pytest.raises(InputError, match="clone"):
        book.find(chapters=tmp_path / "nowhere")
    write(folder, **{"13b_bugs": "", "14_queue": ""})
    assert [p.stem for p in book.find(chapters=folder)][-3:] == ["13_nce", "13b_bugs", "14_queue"]
    assert [p.stem for p in book.find(["13"], folder)] == ["13_nce"]
    assert [p.stem for p in book.find(["13b"], folder)] == ["13b_bugs"]


# ---- what chapters call ------------------------------------------------------------------------------------


def test_setup_seeds_everything_and_prints_one_line(capsys):
    draws = []
    for _ in range(2):
        device = book.setup("13", seed=5)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "Chapter 13" in lines[0] and "seed 5" in lines[0] and "fixed steps" in lines[0]


def test_claim_and_table_bundles_escape_html_and_have_a_text_fallback(monkeypatch):
    bundles = []
    monkeypatch.setattr(plots, "display_bundle", lambda data: bundles.append(data) or True)
    book.claim("C-71", drawn=Runs([0.6, 0.62, 0.61], [0.3, 0.31, 0.33], [0.2, 0.21, 0.2]))
    plots.table([{"name": "<b>", "value": 0.5}, {"name": "c", "value": None}], "Cap & tion", floatfmt=".1%")
    claim, table = bundles
    assert '<a href="https://arxiv.org/abs/2002.05709">' in claim["text/html"]
    assert ledger._linked("a < b, https://example.org/x.").startswith("a &lt; b, <a")
    assert json.loads(json.dumps(claim[files.CLAIM_MIME]))["drawn"]["n"] == 3
    assert "<caption>Cap &amp; tion</caption>" in table["text/html"] and "<td" in table["text/html"]
    assert "&lt;b&gt;" in table["text/html"] and "50.0%" in table["text/plain"]
    assert table["text/plain"].splitlines()[-1].split() == ["c", "-"]


def test_figures_need_alt_text_and_are_the_same_bytes_twice():
    def fig():
        return plots.bars({"pixels": 20, "SimCLR": [78, 80]}, "SimCLR wins", chance=10)

    for empty in ("", "  ", None):
        with pytest.raises(InputError, match="alt text"):
            plots.show(fig(), empty)
    plots.show(fig(), "outside a notebook nothing happens")
    assert plots.png(fig()) == plots.png(fig())
    assert b"Software" not in plots.png(fig()) and b"matplotlib" not in plots.png(fig())
    assert 'alt="a &quot;b&quot; &lt; c"' in plots.image_html(fig(), 'a "b"\n < c')


def test_watch_redraws_one_output_in_place(monkeypatch):
    shown = []
    monkeypatch.setattr(
        plots, "display_bundle", lambda data, handle=None: shown.append((data, handle)) or "place"
    )
    update = plots.watch("title", "what is to be seen", chance=0.1)
    update([{"step": 1, "loss": 2.0, "knn": 0.3, "std": 0.5, "rank": 9.0}])
    assert [handle for _, handle in shown] == [None, "place"]
    assert 'alt="what is to be seen"' in shown[1][0]["text/html"]


def test_watch_does_nothing_outside_a_notebook():
    plots.watch("title", "alt")([{"step": 1, "loss": 2.0}])


def test_every_figure_function_draws_and_refuses_nothing_to_draw():
    rows = [{"step": 0, "loss": 3.0, "knn": 0.1, "std": 0.9, "rank": 9.0}, {"step": 1, "loss": 2.0}]
    figures = [
        plots.training_panel(rows, "t", chance=0.1, chance_loss=3.2),
        plots.training_panel({"a": rows, "b": rows}, "t"),
        plots.bars({"a": 1.0, "b": [1, 2]}, "t", errors={"a": 0.1}),
        plots.spectrum({"a": torch.tensor([2.0, 1.0, 0.0]), "zero": [0.0, 0.0]}),
        plots.factor_bars({"a": {"shape": 0.5, "hue": -0.1}, "b": {"shape": [0.4, 0.6]}}),
        plots.image_grid(
            torch.zeros(3, 3, 8, 8, dtype=torch.uint8), columns=2, titles=["a", "b", "c"], title="t"
        ),
    ]
    assert all(plots.png(fig).startswith(b"\x89PNG") for fig in figures)
    for nothing in (
        lambda: plots.training_panel([], "t"),
        lambda: plots.bars({}, "t"),
        lambda: plots.spectrum({}),
        lambda: plots.factor_bars({}),
        lambda: plots.image_grid(torch.zeros(3, 8, 8)),
        lambda: plots.table([], "c"),
        lambda: plots.side_by_side([]),
    ):
        with pytest.raises(InputError):
            nothing()


def test_image_grid_shows_the_pixels_it_is_given():
    images = torch.zeros(2, 3, 4, 4)
    images[0, 0], images[1, 2] = 1.0, 0.5
    shown = [ax.images[0].get_array() for ax in plots.image_grid(images).axes]
    assert (
        np.allclose(shown[0][..., 0], 1)
        and np.allclose(shown[1][..., 2], 0.5)
        and shown[0].shape == (4, 4, 3)
    )
    assert np.allclose(shown[0][..., 1:], 0)


# ---- the repository ----------------------------------------------------------------------------------------


def test_environment_yml_lists_what_pyproject_lists():
    import yaml

    groups = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    conda = yaml.safe_load((book.ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    [pip] = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert "-e ." in pip
    assert sorted(pip) == sorted(["-e .", *groups["lab"], *groups["test"]])


SOURCES = book.find()
chapter = pytest.mark.parametrize("source", SOURCES, ids=[p.stem for p in SOURCES])


@chapter
def test_pair_is_in_sync_and_no_notebook_stands_alone(source):
    assert book.check_pair(source) == []


def test_every_notebook_has_its_text_source():
    assert {p.stem for p in book.CHAPTERS.glob("*.ipynb")} == {p.stem for p in SOURCES}


@chapter
def test_saved_notebook_is_complete_small_and_clean(source):
    path = source.with_suffix(".ipynb")
    assert path.stat().st_size < files.MAX_BYTES
    cells = [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    ran = [cell["execution_count"] for cell in cells if "".join(cell["source"]).strip()]
    assert ran == list(range(1, len(ran) + 1)), "executed top to bottom in a fresh kernel: ssl-lessons build"
    for cell in cells:
        if "raises-exception" not in cell["metadata"].get("tags", []):
            assert not [o["evalue"] for o in cell["outputs"] if o["output_type"] == "error"]
    assert any(cell["outputs"] for cell in cells)


@chapter
def test_no_cell_ends_in_a_value_that_nobody_reads(source):
    """A checker's answer, yes; the history of a training or the layers of a network, no: assign them to _."""
    for output in outputs(source.with_suffix(".ipynb").read_text(encoding="utf-8")):
        if output["output_type"] == "execute_result":
            text = "".join(output["data"]["text/plain"])
            assert text.startswith(("○", "✓", "✗")), text[:80]


@chapter
def test_every_picture_has_alt_text(source):
    pictures = 0
    for output in outputs(source.with_suffix(".ipynb").read_text(encoding="utf-8")):
        data = output.get("data", {})
        assert not {"image/png", "image/jpeg", "image/svg+xml"} & set(data), (
            "these are shown without alt text: use plots.show"
        )
        for tag in re.findall(r"<img\b[^>]*>", "".join(data.get("text/html", ""))):
            pictures += 1
            alt = re.search(r'alt="([^"]*\w[^"]*)"', tag)
            assert alt, tag[-200:]
            assert len(html.unescape(alt[1])) <= 1000, (
                f"too long to be listened to, see explore(brief=): {alt[1]}"
            )
    assert pictures


@chapter
def test_badge_and_set_up_cell_use_the_address_of_the_repository(source):
    cells = jupytext.read(source).cells
    assert book.badge(source.stem) in cells[0].source
    first_code = next(cell for cell in cells if cell.cell_type == "code")
    assert first_code.source == book.setup_cell(source.stem) and first_code.metadata.get("tags") == [
        files.HIDDEN
    ]


# ---- the running table -------------------------------------------------------------------------------------


def test_results_table_shows_chance_baselines_and_the_spread_of_seeds(monkeypatch, capsys):
    def row(method, seed, probe, **more):
        return {
            "method": method,
            "arm": "minute",
            "seed": seed,
            "steps": 7,
            "probe": probe,
            "knn": 0.5,
            "rank_h": 9.0,
        } | more

    rows = [row("pixels", 0, 0.21, steps=0), row("untrained", 0, 0.24, steps=0)]
    rows += [row("byol", seed, p, processor_seconds=60.0) for seed, p in enumerate((0.62, 0.4, 0.51))]
    rows += [row("byol", 0, 0.99, arm="live")]
    monkeypatch.setattr(chapter_module, "recorded", lambda name, world: (rows, f"Recorded in {name}."))
    book.results_table(["byol"], "One table")
    shown = capsys.readouterr().out
    assert "chance" in shown and "21.0%" in shown and "51.0% (40.0% to 62.0%)" in shown and "99" not in shown
    assert "Recorded in families." in shown
    with pytest.raises(InputError, match="--methods swav"):
        book.results_table(["swav"], "One table")


def test_runs_on_photographs_have_the_untrained_encoder_as_floor(monkeypatch):
    def rows(group, arm, accuracies, loss=None):
        return [
            {"group": group, "arm": arm, "seed": seed, "accuracy_10": a} | ({"loss": loss} if loss else {})
            for seed, a in enumerate(accuracies)
        ]

    record = rows("labels", "untrained", [0.1, 0.1]) + rows("jitter", "0", [0.2, 0.3], 0.5)
    record += rows("jitter", "1", [0.4, 0.6], 1.5)
    monkeypatch.setattr(chapter_module, "recorded", lambda name: (record, ""))
    runs = book.on_photographs(("jitter", "1"), ("jitter", "0"))
    assert (runs.treatment, runs.control, runs.floor, runs.learned) == ([0.4, 0.6], [0.2, 0.3], [0.1, 0.1], None)
    runs = book.on_photographs(("jitter", "0"), ("jitter", "1"), "loss")
    assert (runs.treatment, runs.control) == ([0.5, 0.5], [1.5, 1.5])
    assert runs.learned == ([0.2, 0.3], [0.4, 0.6]) and runs.floor == [0.1, 0.1]
    with pytest.raises(InputError, match="no row"):
        book.on_photographs(("jitter", "7"), ("jitter", "1"))


def test_per_seed_orders_by_seed_and_wants_one_row_of_each():
    rows = [{"arm": "a", "seed": seed, "probe": probe} for seed, probe in ((2, 0.3), (0, 0.1), (1, 0.2))]
    rows += [
        {"arm": "b", "seed": 0, "probe": 0.5, "width": 8},
        {"arm": "b", "seed": 0, "probe": 0.6, "width": 16},
    ]
    assert book.per_seed(rows, "probe", arm="a") == [0.1, 0.2, 0.3]
    assert book.per_seed(rows, "probe", arm="b", width=16) == [0.6]
    assert book.per_seed(rows, "loss", arm="a") == []
    with pytest.raises(InputError, match="no row"):
        book.per_seed(rows, "probe", arm="c")
    with pytest.raises(InputError, match="one column more"):
        book.per_seed(rows, "probe", arm="b")
