"""Sphinx's settings: copied as conf.py beside the sources that `source.write` makes, and read by Sphinx alone."""

import json
from pathlib import Path

_told = json.loads(Path(__file__).with_name("site.json").read_text(encoding="utf-8"))

project = "The executable textbook of self-supervised learning"
author = copyright = "The authors of the book"
version = release = _told["version"]
language = "en"
extensions = ["myst_nb", "sphinxcontrib.bibtex"]
exclude_patterns = ["frames"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
bibtex_bibfiles = ["references.bib"]
bibtex_cite_id = "ref-{key}"
suppress_warnings = ["bibtex.duplicate_citation", "epub.unknown_project_files"]

html_theme = "sphinx_book_theme"
html_title = project
html_short_title = "Self-supervised learning"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js", "frames.js"]
html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # it would be fetched, which a page opened from a file cannot do
html_show_sphinx = False
html_theme_options = {
    "repository_url": _told["repository"],
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
mathjax_path = "tex-svg-full.js"

epub_basename = "ssl-lessons"
epub_show_urls = "no"
epub_tocscope = "includehidden"
epub_css_files = ["epub.css"]


def _mathml(display: str):
    """A renderer of formulas that needs no script: readers of electronic books know MathML."""

    def visit(translator, node):
        from docutils import nodes
        from latex2mathml.converter import convert

        try:
            formula = convert(node.astext(), display=display)
        except Exception:  # noqa: BLE001 - a command the converter does not know: LaTeX is better than nothing
            formula = f"<code>{translator.encode(node.astext())}</code>"
        translator.body.append(formula if display == "inline" else f'<div class="math">{formula}</div>')
        raise nodes.SkipNode

    return visit, None


def _names_and_roles(app, pagename, templatename, context, doctree):
    """What a screen reader is told: the words on the button; no roles that are deprecated or only half used."""
    for wrong in (' aria-label="Toggle hidden content"', ' role="doc-biblioentry"', ' role="list"'):
        context["body"] = context.get("body", "").replace(wrong, "")
    if _told["epub"]:  # myst-nb names its style there and does not bring it along
        kept = [file for file in context["css_files"] if "mystnb" not in str(file.filename)]
        context["css_files"] = kept


def setup(app):
    app.add_html_math_renderer("mathml", _mathml("inline"), _mathml("block"))
    app.connect("html-page-context", _names_and_roles)


if _told["epub"]:
    html_math_renderer = "mathml"
else:
    extensions.append("sphinx_copybutton")
