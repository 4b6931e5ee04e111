"""How the documentation is built; ``make docs`` does it."""

from __future__ import annotations

from pyramid_pluggable_session import __version__

project = "pyramid_pluggable_session"
author = "The pyramid_pluggable_session contributors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "repoze.sphinx.autointerface",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
# The slugs that code hosts make of headings, so that a link works here and there.
myst_heading_anchors = 4

# Commands are copied from here.
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d4ed8", "color-brand-content": "#1d4ed8"},
    "dark_css_variables": {"color-brand-primary": "#93c5fd", "color-brand-content": "#93c5fd"},
}
# Of a console snippet, what is copied is what one types.
copybutton_exclude = ".linenos, .gp, .go"
