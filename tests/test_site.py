"""The documentation site: built strictly, whole, and all that it loads lies in it."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mkdocs  # noqa: F401 - left out where it is not installed
import pytest

import milepost
from tests.pages import ROOT

pytestmark = pytest.mark.xdist_group("site")  # which is built once

PACKAGES = (
    *("runners", "callbacks", "callbacks.monitors", "callbacks.trainers"),
    *("inferencers", "predictors", "neighbors"),
)
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NAVIGATION = {"prev", "next", "canonical"}  # a browser loads no such link


class Page(HTMLParser):
    """What a page of the site says of itself.

    Attributes:
        ids: the anchors.
        links: where its links lead.
        loads: what a browser loads to show it.
        policies: its content security policies.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.policies: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        self.ids.add(of.get("id", ""))
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        if LOADING.get(tag, "") in of and of.get("rel") not in NAVIGATION:
            self.loads.append(of[LOADING[tag]])
        if of.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(of["content"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """The pages of the site by their place in it, but the one for what is not found."""
    paths = (path for path in site.rglob("*.html") if path.name != "404.html")
    return {str(path.relative_to(site)): Page(path) for path in paths}


def public_names(package: str) -> Iterator[str]:
    """Give what the `__init__` of a package re-exports, without loading it."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.asname for alias in node.names if alias.asname)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_folder_is_in_the_reference(
    package: str, pages: dict[str, Page]
) -> None:
    page = pages[f"reference/{package.rpartition('.')[2]}.html"]
    names = {f"milepost.{package}.{name}" for name in public_names(package)}
    assert names
    assert names - page.ids == set()


def test_every_public_name_of_the_front_door_is_in_the_reference(pages: dict[str, Page]) -> None:
    links = " ".join(pages["reference/index.html"].links)
    names = set(re.findall(r"(?<=[.#])\w+(?= |$)", links)) | {"errors", "__version__"}
    modules = {package.rpartition(".")[2] for package in PACKAGES}
    assert set(milepost.__all__) - modules - names == set()


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    dead = []
    for name, page in pages.items():
        for link in (*page.links, *page.loads):
            to = urlsplit(link)
            path = (site / name).parent / unquote(to.path) if to.path else site / name
            if to.scheme or (path.is_file() and not to.fragment):
                continue
            other = pages.get(os.path.relpath(path.resolve(), site))
            if other is None or unquote(to.fragment) not in {*other.ids, ""}:
                dead.append((name, link))
    assert dead == []


def test_the_site_loads_nothing_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    loads = {load for page in pages.values() for load in page.loads}
    assert loads
    assert [load for load in loads if urlsplit(load).netloc] == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:@import\s*|url\()[\"']?(?:https?:)?//[^)]*", sheet.read_text()) == []
    allowed = "default-src 'self' file: data: blob: 'unsafe-inline'"
    assert all(page.policies == [allowed] for page in pages.values())


def test_what_reads_well_in_the_repository_does_in_the_site(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"<p>[^<]*\n(- |\d+\. )", text), f"a list became text in {path}"
        assert not re.search(r"<code>[^<]*\\\|", text), f"a backslash is in the code of {path}"
        assert "<p>|" not in text, f"a table became text in {path}"
