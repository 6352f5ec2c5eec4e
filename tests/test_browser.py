"""A reader's copy with a live widget in a real JupyterLab: run the cells, press keys, read what the reader would see.

Needs Chromium and JupyterLab; skipped where one is missing. Chromium is driven over the DevTools protocol.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest

from ssl_lessons.book import lab

for package in ("jupyterlab", "jupytext", "ipykernel", "ipywidgets"):
    pytest.importorskip(package, reason=f"the browser test needs the Python package {package}")
websocket = pytest.importorskip("websocket", reason="the browser test needs the package websocket-client")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("the browser test needs the program `chromium`", allow_module_level=True)

# Seconds for each step: a busy machine starts a kernel and imports torch in half a minute; a busier one gets more.
DEADLINE = float(os.environ.get("SSL_LESSONS_PATIENCE", 90))
TOKEN = "browser-test"
CHAPTER = """
# %%
import time
from ssl_lessons import plots
from ssl_lessons.book.widgets import Choice, Slider, explore

drawn = []

def render(tau, tenths, kind):
    drawn.append(tau)
    time.sleep(tenths / 10)
    if tau > 1.9:
        raise ValueError("<tau> is too large")
    fig, ax = plots.new_figure(2, 1)
    ax.text(.3, .4, f"{tau:.3g}")
    return fig

def alt(tau, tenths, kind):
    return f"the number {tau:.3g}" + (f", drawing {len(drawn)}" if tenths else "")

controls = {
    "tau": Slider(.02, 2, .1, "temperature", log=True),
    "tenths": Slider(0, 10, 0, "seconds / 10", step=1, live=True),
    "kind": Choice(("plain", "fancy"), "plain", "kind"),
}
explore(render, controls, static=[{"tau": .05}, {"tau": 1.0}], alt=alt)
"""
STATIC_PICTURE = "document.querySelector('.jp-OutputArea details.ssl-folded img')"
LIVE_PICTURE = "document.querySelector('.widget-html img')"
LIVE_ERROR = "document.querySelector('.widget-html [role=alert]')?.textContent"
HANDLE = "document.querySelector('.widget-slider .noUi-handle')"
SECOND_HANDLE = "document.querySelectorAll('.widget-slider .noUi-handle')[1]"
READOUT = "Number(document.querySelector('.widget-slider .widget-readout').textContent)"
COMPUTING = "document.querySelector('.ssl-live [role=status]')?.innerText"
KEY_CODES = {"ArrowRight": 39, "Home": 36, "End": 35, "s": 83}


def wait_for(what, ask):
    """The first true answer of `ask()`; an error that says what never came after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):  # not listening yet, or a file half written
            if answer := ask():
                return answer
        time.sleep(0.2)
    raise TimeoutError(f"{what}: not within {DEADLINE} s")


class Page:
    """One browser tab, by its DevTools address."""

    def __init__(self, address):
        self._socket = websocket.create_connection(address, timeout=DEADLINE, suppress_origin=True)
        self.close = self._socket.close
        self._sent = 0
        self.events = []  # what the browser told between the answers

    def command(self, method, **parameters):
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._sent:
                return answer.get("result", {})
            self.events.append(answer)

    def js(self, expression):
        """The value of a JavaScript expression; None where it throws, as while the page is loading."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer.get("result", {}).get("value")

    def until(self, expression):
        try:
            return wait_for(expression, lambda: self.js(expression))
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the page shows:\n{self.js('document.body.innerText')}") from None

    def press(self, key):
        """Press a key on the element that has the focus."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": KEY_CODES[key]}
        for event in ("keyDown", "keyUp"):
            self.command("Input.dispatchKeyEvent", type=event, **named)

    def accessible(self, role):
        """Name and announced value of everything on the page that has this role for assistive technology."""
        found = []
        for node in self.command("Accessibility.getFullAXTree")["nodes"]:
            if node.get("role", {}).get("value") == role:
                said = {p["name"]: p["value"].get("value") for p in node.get("properties", [])}
                value = said.get("valuetext") or node.get("value", {}).get("value")
                found.append((node["name"].get("value"), value))
        return found

    def picture(self, element):
        """Alt text and source of an `<img>` that has been decoded; None while there is none."""
        return self.until(f"(i => i?.complete && i.naturalWidth > 0 ? [i.alt, i.src] : null)({element})")


def stop(process):
    """End a process: politely first, so that JupyterLab can end its kernel and Chromium its children."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()  # does nothing to a process that has ended
    process.wait()


def start_lab(folder):
    """A JupyterLab that serves one chapter of `folder` and ignores the user's settings: process, address."""
    (folder / "chapters").mkdir()
    (folder / "chapters" / "00_slider.py").write_text(CHAPTER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    copy, _ = lab.own_copy("00", chapters=folder / "chapters")
    command = lab.command(copy, browser=False, port=port) + [
        f"--IdentityProvider.token={TOKEN}",
        "--expose-app-in-browser",  # window.jupyterapp
    ]
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {**lab.environment(), **own, "IPYTHONDIR": str(folder / "ipython"), "OMP_NUM_THREADS": "1"}
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    return process, f"http://127.0.0.1:{port}"


def start_chromium(folder):
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --window-size=1200,1600"
    flags += " --no-proxy-server --disable-background-networking --disable-component-update --disable-sync"
    flags += f" --disable-dev-shm-usage --remote-debugging-port=0 --user-data-dir={folder / 'profile'}"
    return subprocess.Popen([CHROMIUM, *flags.split(" "), "about:blank"], stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The chapter open in the browser, all its cells run, the live widget on the screen."""
    folder = tmp_path_factory.mktemp("lab")
    download = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # 127.0.0.1: past any proxy
    with contextlib.ExitStack() as at_the_end:
        server, address = start_lab(folder)
        at_the_end.callback(stop, server)
        at_the_end.callback(stop, start_chromium(folder))
        port = wait_for("Chromium", (folder / "profile" / "DevToolsActivePort").read_text).split()[0]
        tabs = wait_for("a tab", lambda: json.load(download(f"http://127.0.0.1:{port}/json")))
        page = Page(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])
        at_the_end.callback(page.close)
        wait_for("JupyterLab", lambda: server.poll() is not None or download(f"{address}/api?token={TOKEN}"))
        assert server.poll() is None, (folder / "lab.log").read_text()
        # Without the focus JupyterLab has no current notebook, and runs nothing.
        page.command("Emulation.setFocusEmulationEnabled", enabled=True)
        page.command("Page.navigate", url=f"{address}/lab/tree/{lab.FOLDER}/00_slider.ipynb?token={TOKEN}")
        page.until("jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
        page.js("void jupyterapp.commands.execute('notebook:run-all-cells')")
        page.until(f"!!{HANDLE} && !!{LIVE_PICTURE} && !!{STATIC_PICTURE}")
        page.folder = folder
        yield page


def test_the_printed_address_opens_the_reader_s_copy_without_questions(page):
    assert f"/lab/tree/{lab.FOLDER}/00_slider.ipynb?token=" in (page.folder / "lab.log").read_text()
    assert "news" not in page.js("document.body.innerText")


def test_the_live_panel_stands_first_and_the_static_picture_is_folded_below_it(page):
    places = (
        "['.ssl-live', 'details.ssl-folded'].map(s => document.querySelector(s).getBoundingClientRect().top)"
    )
    live, static = page.js(places)
    assert live < static
    assert page.js("document.querySelector('details.ssl-folded').open") is False
    assert page.js(f"{LIVE_PICTURE}.clientWidth") == 300  # one and a half times 2 inches
    assert "Run this cell again" in page.js("document.querySelector('.ssl-live').innerText")


def test_every_control_has_a_name_and_announces_its_value(page):
    page.until(f"{SECOND_HANDLE}.hasAttribute('aria-label')")
    assert page.accessible("slider") == [("temperature", "0.100"), ("seconds / 10", "0")]
    assert [name for name, _ in page.accessible("combobox")].count("kind") == 1


def test_the_static_picture_has_its_alt_text(page):
    alt, _ = page.picture(STATIC_PICTURE)
    assert alt == "temperature = 0.05: the number 0.05 temperature = 1: the number 1"


def test_an_arrow_key_on_the_slider_redraws_the_picture_and_its_alt_text(page):
    alt, source = page.picture(LIVE_PICTURE)
    page.js(f"{HANDLE}.focus()")
    page.press("ArrowRight")
    page.until(f"{LIVE_PICTURE}?.alt && {LIVE_PICTURE}.alt !== {json.dumps(alt)}")
    new_alt, new_source = page.picture(LIVE_PICTURE)
    old, new = (float(text.removeprefix("the number ")) for text in (alt, new_alt))
    assert old < new < 1.2 * old  # one step of a logarithmic slider
    assert new == page.js(READOUT)
    assert new_source != source
    assert page.accessible("slider")[0] == ("temperature", f"{new:.3f}"), "the value, not its logarithm"


def test_a_render_that_raises_shows_its_error_and_the_next_value_draws_again(page):
    page.js(f"{HANDLE}.focus()")
    page.press("End")
    assert page.until(LIVE_ERROR) == "Nothing drawn. ValueError: <tau> is too large"
    page.press("Home")
    assert page.picture(LIVE_PICTURE)[0] == "the number 0.02"


def test_a_slow_redraw_says_that_it_computes_and_quick_changes_of_two_sliders_do_not_queue(page):
    assert page.js(COMPUTING) == ""
    for handle in (SECOND_HANDLE, HANDLE):
        page.js(f"{handle}.focus()")
        for _ in range(10):
            page.press("ArrowRight")
    page.until(f"{COMPUTING} === 'computing ...'")
    page.until(f"{COMPUTING} === '' && {LIVE_PICTURE}.alt.startsWith(`the number ${{{READOUT}}},`)")
    drawings = int(page.picture(LIVE_PICTURE)[0].rpartition(" ")[2])
    assert drawings < 16, "of 20 changes most were overtaken by the next one"


def test_saving_the_copy_leaves_the_book_as_it_is(page):
    before = {path: path.read_bytes() for path in (page.folder / "chapters").iterdir()}
    page.js("void jupyterapp.commands.execute('docmanager:save')")
    saved = page.folder / "work" / "00_slider.ipynb"
    wait_for("the saved copy", lambda: "the number" in saved.read_text())
    assert {path: path.read_bytes() for path in (page.folder / "chapters").iterdir()} == before
    assert [path.name for path in saved.parent.glob("[!.]*")] == [saved.name], "no .py beside the copy"
