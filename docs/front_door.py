"""A hook of MkDocs: the index of the reference lists the public names of `milepost`."""

from mkdocs.structure.pages import Page

from milepost import _NAMES


def on_page_markdown(markdown: str, *, page: Page, **kwargs: object) -> str:
    """Add a row a module: each name leads to its place in the reference."""
    if page.file.src_uri != "reference/index.md":
        return markdown
    rows = ["", "| from | `milepost` has |", "| --- | --- |"]
    for module, names in _NAMES.items():
        home = "milepost" if module.startswith("milepost._") else module
        links = ", ".join(f"[`{name}`][{home}.{name}]" for name in names)
        rows.append(f"| `{home}` | {links} |")
    return markdown + "\n".join(rows) + "\n"
