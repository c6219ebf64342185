"""A hook of MkDocs: pages that are written to be read in the repository do in the site too.

A link such as `../configs/digits.yaml` leads to a file that is no part of the site: it is taken
into it. A few files of the root are pages of the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_PLACES = {**PAGES, "README.md": "index.md"}  # file of the repository -> page of the site
_SOURCES = {page: file for file, page in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?!#|\w+:)([^)#\s]+)")
_CODE_IN_TABLE = re.compile(r"(?<=`)[^`\n]*\\\|[^`\n]*(?=`)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside the folder of the pages."""
    for file, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn each link into one of the site; a `|` in code within a table wants no backslash here."""
    here = page.file.src_uri
    folder = posixpath.dirname(_SOURCES.get(here, f"docs/{here}"))

    def place(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[1]))
        if not (ROOT / target).is_file():
            return link[0]  # MkDocs says that it is dead
        if target.startswith("docs/"):
            uri = target.removeprefix("docs/")
        else:
            uri = _PLACES.get(target, f"repository/{target}")
            if uri not in files.src_uris:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
        return posixpath.relpath(uri, posixpath.dirname(here))

    markdown = _CODE_IN_TABLE.sub(lambda code: code[0].replace("\\|", "|"), markdown)
    return _LINK.sub(place, markdown)
