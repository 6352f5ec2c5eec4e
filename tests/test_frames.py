"""The pictures of a slider for pages without a kernel."""

import base64
import io
import json

import pytest
from PIL import Image

from ssl_lessons import book, plots, widgets
from ssl_lessons.book import files, frames
from ssl_lessons.book.widgets import Choice, Slider
from ssl_lessons.errors import InputError

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

CHAPTER = """\
# %%
from ssl_lessons import book, plots, widgets

book.setup("03")

def render(height):
    fig, ax = plots.new_figure(2, 1)
    ax.bar([0], [height])
    return fig

for label in ("height", "level"):
    widgets.explore(
        render,
        {"height": widgets.Slider(1, 3, 2, label)},
        static=[{"height": 1}],
        alt=lambda height: f"A bar of {height}.",
    )
"""


def render(**parameters):
    return plots.new_figure(1, 1)[0]


def describe(**parameters):
    return str(parameters)


@pytest.fixture
def draw(monkeypatch):
    """frames.draw with controls as keywords, and a thousand bytes in place of every picture."""
    monkeypatch.setattr(
        frames, "_frame", lambda render, describe, values: {"src": 1000 * "x", "alt": describe(**values)}
    )
    return lambda limit=1_000_000, **controls: frames.draw(render, controls, describe, limit)


def test_stops_keep_both_ends_and_the_start_value_and_lie_on_the_steps():
    assert Slider(0.5, 12.0, 3.0, "hours", step=0.5).stops(5) == [0.5, 3.0, 6.5, 9.0, 12.0]
    assert Slider(1, 100, 75, "round").stops(5) == [1, 26, 50, 75, 100]
    assert Slider(0, 1, 1, "on").stops(5) == [0, 1]
    log = Slider(0.01, 1.0, 0.3, "tau", log=True).stops(5)
    assert log == [0.01, 0.0316, 0.1, 0.3, 1.0], "the neighbour by ratio gives way to the start value"
    assert Choice(("a", "b", "c"), "b", "letter").stops(9) == ["a", "b", "c"]


def test_few_combinations_are_all_drawn(draw):
    drawn = draw(
        tau=Slider(0.01, 1.0, 0.3, "temperature", log=True), kind=Choice(("soft", "hard"), "hard", "kind")
    )
    tau, kind = drawn["controls"]
    assert drawn["mode"] == "grid" and len(drawn["frames"]) == 18
    assert (tau["name"], tau["label"], len(tau["values"]), tau["values"][tau["start"]]) == (
        "tau",
        "temperature",
        9,
        "0.3",
    )
    assert kind["values"] == ["soft", "hard"] and kind["start"] == 1
    assert drawn["frames"]["0,1"]["alt"] == describe(tau=0.01, kind="hard")


def test_of_many_combinations_those_with_one_control_moved_are_drawn(draw):
    drawn = draw(**{name: Slider(0.0, 1.0, 0.5, name) for name in "abc"})
    start = [control["start"] for control in drawn["controls"]]
    places = [[int(i) for i in key.split(",")] for key in drawn["frames"]]
    assert drawn["mode"] == "one" and len(places) == 3 * 8 + 1
    assert all(sum(i != s for i, s in zip(place, start, strict=True)) <= 1 for place in places)


def test_a_tight_limit_gives_fewer_values_and_one_too_tight_is_refused(draw):
    tau = Slider(0.01, 1.0, 0.3, "temperature", log=True)
    few = draw(limit=4_500, tau=tau)
    assert len(few["frames"]) == 4 and "0.3" in few["controls"][0]["values"]
    with pytest.raises(InputError, match="smaller picture"):
        draw(limit=2_500, tau=tau)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A chapter with two widgets, its frames built: (source, what is in its folder afterwards)."""
    source = tmp_path_factory.mktemp("book") / "chapters" / "03_toy.py"
    source.parent.mkdir()
    source.write_text(CHAPTER)
    stale = source.parent / "frames" / "03_toy" / "7.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    book.build(chapters=source.parent, only_frames=True)
    return source


def test_building_frames_writes_them_in_the_order_of_the_widgets_and_nothing_else(toy):
    found = sorted(str(p.relative_to(toy.parent.parent)) for p in toy.parent.parent.rglob("*") if p.is_file())
    assert found == ["chapters/03_toy.py", "chapters/frames/03_toy/0.json", "chapters/frames/03_toy/1.json"]
    first, second = (json.loads((toy.parent / "frames" / "03_toy" / f"{n}.json").read_text()) for n in (0, 1))
    assert [d["controls"][0]["label"] for d in (first, second)] == ["height", "level"]
    assert first["controls"][0]["values"] == ["1", "2", "3"] and first["frames"]["2"]["alt"] == "A bar of 3."


def test_a_frame_is_a_picture_of_the_size_on_the_page(toy):
    frame = json.loads((toy.parent / "frames" / "03_toy" / "0.json").read_text())["frames"]["0"]
    kind, _, data = frame["src"].partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/webp;base64" and image.size == (200, 100)


def test_frames_of_over_a_megabyte_are_refused_and_the_old_ones_kept(tmp_path):
    source = tmp_path / "03_toy.py"
    output = nbformat.v4.new_output("display_data", {files.FRAMES_MIME: {"frames": "x" * 600_000}})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output, output])])
    with pytest.raises(InputError, match=r"03_toy take 1.2 MB"):
        frames.save(notebook, source)
    assert not (tmp_path / "frames").exists()


def test_a_saved_notebook_has_places_for_the_frames_no_fold_and_no_frames():
    page = '<div class="ssl-frames" data-widget="0"></div>\n<img alt="A bar.">'
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": widgets.live.folded(page)}),
        nbformat.v4.new_output("display_data", {files.FRAMES_MIME: {}}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])
    for _ in range(2):
        book.clean(notebook)
        [kept] = notebook.cells[0].outputs
        assert kept.data["text/html"] == page


def test_widgets_are_counted_from_the_set_up_on(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "show", lambda fig, alt, around: shown.append(around("")))
    for _ in range(2):
        book.setup("03")
        for _ in range(2):
            widgets.explore(render, {"x": Slider(0, 1, 0, "x")}, static=[{}], alt="Nothing.")
    assert [markup.split('"')[3] for markup in shown] == ["0", "1", "0", "1"]
