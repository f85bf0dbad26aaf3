"""Sphinx settings; the sources are laid out by assemble.py, see `make docs`."""

from docutils import nodes
from latex2mathml.converter import convert

import lava_bsnn

project = "lava-bsnn"
copyright = "the authors of lava-bsnn, BSD-3-Clause"
release = lava_bsnn.__version__
html_title = f"lava-bsnn {release}"
html_theme = "furo"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["docs/index.md", "docs/results-data", "lava_bsnn", "netx_export", "tests"]
# Without network there is nothing to resolve other projects' names against.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(torch|numpy|np|collections|dataclasses|pathlib|os|types|lava|nir|matplotlib|h5py|tonic)\..*",
    ),
    (
        "py:class",
        r"Axes|Figure|Data|Table|Fabric|MakeOptimizer|Tensor|.*\.Array|.*\._\w+",
    ),  # names of type checkers
    (
        "py:.*",
        r"(netx_export|lava_bsnn)\..*\.\w+|netx_export\.hdf5|Job|BlockRule|Neuron|\w+_(min|max)",
    ),
]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
highlight_language = "none"
python_maximum_signature_line_length = 90

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # those of torch.nn.Module say nothing about ours
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "fully-qualified"  # with short names shown
python_use_unqualified_type_names = True
napoleon_use_ivar = True  # "Attributes:" of dataclasses
napoleon_use_rtype = False


def _math(display):
    """Visitor that writes a formula as MathML, which browsers show without scripts or network."""

    def visit(translator, node):
        translator.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit


def setup(app):
    """Register the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_math("inline"), None), (_math("block"), None))


html_math_renderer = "mathml"
