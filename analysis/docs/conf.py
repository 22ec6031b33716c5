"""Settings of the documentation: ``sphinx-build -W --keep-going -b html analysis/docs OUT`` from the root of a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from rdtools._version import __version__ as release  # noqa: E402

project = "rdtools"
author = "The rdtools developers"
project_copyright = author
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "rdtools_docs.extension",
]
exclude_patterns = ["templates", "methods", "generated/gallery_scripts", "_build"]
nitpicky = True
smartquotes = False  # literals such as "natural" stay what is typed

myst_enable_extensions = ["dollarmath", "colon_fence", "fieldlist"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"
pygments_style = "default"

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE / "generated" / "gallery_scripts")],
    "gallery_dirs": ["generated/gallery"],
    "filename_pattern": "plot_",
    "download_all_examples": False,
    "image_scrapers": ("rdtools_docs.gallery.scrape",),
    "within_subsection_order": "FileNameSortKey",
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 10_000,
    "write_computation_times": False,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"rdtools {release}"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "header_links_before_dropdown": 6,
}
html_sidebars = {name: [] for name in ("index", "tutorial", "bounds", "choosing")}
