"""Takes the pictures of docs/report.md: `python docs/shoot_report.py runs/digits`.

It needs playwright, and Debian's chromium. The run is that of
`milepost run digits --runners.validation.confidence 0.95`.
"""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import milepost as mp

IMAGES = Path(__file__).parent / "images"
SHOTS: dict[str, dict[str, Any]] = {
    "report-wide.png": {"width": 1080, "height": 1420},
    "report-dark.png": {"width": 1080, "height": 1040, "dark": True, "at": "#thresholds"},
    "report-queries.png": {"width": 1080, "height": 900, "at": "#worst-queries"},
    "report-narrow.png": {"width": 390, "height": 844, "at": "#summary"},
}


def shoot(page: Path, browser: Any) -> None:
    """Write each picture."""
    for name, shot in SHOTS.items():
        scheme = "dark" if shot.get("dark") else "light"
        viewport = {"width": shot["width"], "height": shot["height"]}
        tab = browser.new_page(viewport=viewport, color_scheme=scheme)
        tab.goto(page.resolve().as_uri())
        if "at" in shot:
            tab.locator(shot["at"]).evaluate("section => section.scrollIntoView()")
        picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
        picture.quantize(128).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    with sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--headless", "--no-sandbox", "--disable-gpu"],
        )
        shoot(mp.report(sys.argv[1]), launched)
