"""Take a picture of a run's report with headless Chromium, for the README.

    python benchmarks/_screenshot.py RUN/report.html docs/images/report.png

Knows nothing of what the report shows. Needs a ``chromium`` or ``google-chrome`` on the path.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def screenshot(report: Path, picture: Path, width: int, height: int, dark: bool) -> None:
    """Write a PNG of the report's first ``height`` pixels.

    Raises:
        ValueError: if the report does not exist or no browser is installed.
        RuntimeError: if the browser leaves no picture.
    """
    if not report.is_file():
        raise ValueError(f"report: {report} not found (give the report.html of a finished run)")
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ValueError(f"browser: none of {', '.join(BROWSERS)} is on the path (install one)")
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            # The figures are drawn by a large script: without this the picture may come too early.
            "--virtual-time-budget=10000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            f"--screenshot={picture.resolve()}",
            report.resolve().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)  # noqa: S603 - fixed
    if not picture.exists():
        raise RuntimeError(f"{browser} left no picture: {done.stderr.strip()[-500:]}")


def main() -> None:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(description="picture of a report")
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/images/report.png"))
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    try:
        screenshot(given.report, given.picture, given.width, given.height, given.dark)
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
    print(given.picture)


if __name__ == "__main__":
    main()
