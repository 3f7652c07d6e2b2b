"""Sphinx's configuration. ``make docs`` builds the site; warnings are errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

from kiel_logging import constants  # noqa: E402

project = "kiel_logging"
project_copyright = "the authors of kiel_logging"
version = release = constants.VERSION

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_the_code"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_use_ivar = True

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"kiel_logging {version}"
html_copy_source = False
html_show_sourcelink = False
