"""How Sphinx makes the site, from what ``tools/site`` has put together; `make site` runs both."""

import os
from pathlib import Path

import minieng

STAGED = Path(os.environ["SITE_STAGED"])

project = "minieng: the course on LLM batching"
author = "the authors of minieng"
project_copyright = f"{author}, Apache-2.0"
release = version = minieng.__version__
html_title = "minieng: LLM batching"

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
source_suffix = {".md": "markdown"}
exclude_patterns = ["extra"]
nitpicky = True

html_theme = "furo"
html_static_path = [str(STAGED / "_static")]
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_extra_path = [str(STAGED / "extra")]
html_favicon = str(STAGED / "_static" / "icon.svg")
html_copy_source = False
html_show_sphinx = False
# a summary is fetched, which a browser refuses to a page that was opened as a file
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": True}
if repo := os.environ.get("SITE_REPO"):
    html_theme_options |= {"source_repository": f"https://github.com/{repo}/", "source_branch": "main", "top_of_page_buttons": []}
