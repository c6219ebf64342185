"""Takes the pictures of docs/recipes.md: `python docs/shoot_recipes.py runs`.

It needs playwright, and Debian's chromium. The folder holds a run of each recipe, under its name.
"""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import milepost as mp

IMAGES = Path(__file__).parent / "images"
SHOTS = {
    "digits": ("#most-changed", "article", 3),
    "digits_keras": ("#embedding-map", "figure", 2),
    "classification": ("#worst-samples", "li", 12),
    "reidentification": ("#worst-queries", "article", 3),
    "text_retrieval": ("#worst-queries", "article", 2),
}
"""By recipe: a section of its report, and how many elements of it are shown."""

_MARGIN = 16


def shoot(runs: Path, tab: Any) -> None:
    """Write each picture."""
    for recipe, (section, element, count) in SHOTS.items():
        tab.goto(mp.report(runs / recipe).resolve().as_uri())
        whole = tab.locator(section).bounding_box()
        last = tab.locator(f"{section} {element}").nth(count - 1).bounding_box()
        clip = {
            "x": whole["x"] - _MARGIN,
            "y": whole["y"],
            "width": whole["width"] + 2 * _MARGIN,
            "height": last["y"] + last["height"] - whole["y"] + _MARGIN / 2,
        }
        picture = Image.open(io.BytesIO(tab.screenshot(clip=clip, full_page=True)))
        name = f"recipe-{recipe.replace('_', '-')}.png"
        picture.convert("RGB").quantize(64).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    with sync_playwright() as driver:
        quiet = ["--headless", "--no-sandbox", "--disable-gpu"]
        launched = driver.chromium.launch(executable_path="/usr/bin/chromium", args=quiet)
        shoot(Path(sys.argv[1]), launched.new_page(viewport={"width": 1000, "height": 800}))
