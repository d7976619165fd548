"""How `make docs` renders the documentation, with Sphinx.

The source folder is the root of the repository, so every document stays where people look for it on
GitHub, and a link between two documents is the same in both places.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

project = "Homeport"
author = "the Homeport authors"
release = version = version_of("homeport")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "bench/README.md",
    "bench/results/*.md",
    "deploy/*.md",
    "docs/**",
    "protocol/SPEC.md",
]
exclude_patterns = [".*", "build", "node_modules", "gateway", "tests"]

# Anchors are GitHub's. A link to a document or heading that is not there is a warning, and `make
# docs` takes warnings as errors.
myst_heading_anchors = 4

default_role = "py:obj"  # `Name` in a docstring is a link where Sphinx knows the name
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"Homeport {release}"
html_copy_source = False
html_show_sphinx = False

MADE_BY_A_CLIENT = {"homeport.Conversation", "homeport.Group", "homeport.Room"}


def _no_constructor(_app: Any, _what: str, name: str, *_more: Any) -> tuple[str, str] | None:
    """Programs get these objects from a client, so their constructors are not shown."""
    return ("", "") if name in MADE_BY_A_CLIENT else None


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-signature", _no_constructor)
