"""Take a picture of a report with headless Chromium, for the README.

    python benchmarks/_screenshot.py RUN/report.html docs/images/report.png
    python benchmarks/_screenshot.py RUN/report.html docs/images/phone.png --width 390 --height 1400 --dark

Knows nothing of what the report shows. Needs a ``chromium`` or ``google-chrome`` on the path.
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

BROWSERS = ("chromium", "google-chrome")


def screenshot(report: Path, picture: Path, width: int, height: int, dark: bool, place: str) -> None:
    """Write a PNG of ``height`` pixels of the report, from the top or from a section on.

    Raises:
        ValueError: if the report or the section does not exist, or no browser is installed.
    """
    if not report.is_file():
        raise ValueError(f"report: {report} not found (give the report.html of a finished run)")
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ValueError(f"browser: none of {', '.join(BROWSERS)} is on the path (install one)")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=browser, args=["--disable-gpu"])
        page = launched.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.goto(report.resolve().as_uri())
        if place:
            section = page.locator(f"section#{place}")
            if section.count() != 1:
                raise ValueError(f"section: {place!r} is not on the page (see the addresses of its contents)")
            section.evaluate("(at) => window.scrollTo(0, at.getBoundingClientRect().top + window.scrollY - 24)")
        page.screenshot(path=picture)
        launched.close()


def main() -> None:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(description="picture of a report")
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/images/report.png"))
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1500)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--section", default="", help="begin with this section, as in daily")
    given = parser.parse_args()
    try:
        screenshot(given.report, given.picture, given.width, given.height, given.dark, given.section)
    except (ValueError, Error) as error:
        sys.exit(str(error))
    print(given.picture)


if __name__ == "__main__":
    main()
