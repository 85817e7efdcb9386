import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from experiments.report.audit import render_audit

HOSTILE = "<img src=x onerror=alert(1)> [bold]&%{y}"
MANIFEST = {
    "schema": 1,
    "created": "2026-01-05T10:00:00+00:00",
    "code_version": "0.1.0",
    "config_hash": "abc",
    "python": "3.11",
    "packages": {"numpy": "2.4"},
    "machine": {"cpus": 2, "platform": "Linux"},
    "seeds": {"world": 7},
    "timings": {"experiment": 1.25},
    "data": None,
}
Maker = Callable[..., dict[str, Any]]

BROWSER = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)


def charts_of(html: str) -> dict[str, Any]:
    """The figures that the page carries."""
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_page_holds_tables_and_figures(audit_of: Maker) -> None:
    """Each treatment has its scorecard and figures, and the tables say in numbers what figures show."""
    html = render_audit(audit_of(), MANIFEST)
    charts = charts_of(html)
    assert {"peeking", "alarms-0", "alarms-1", "coverage-0", "power-1", "uniform-0-0", "uniform-1-1"} <= set(charts)
    text = unescape(re.sub(r"<[^>]+>", " ", html.replace(get_plotlyjs(), "")))
    for part in ("Every promise holds", "3.9 to 6.8%", "at least 95.0%", "bounds like Pocock", "log-rank test"):
        assert part in text
    assert "new against base" in text
    assert render_audit(audit_of(), MANIFEST) == html


def test_figures_hold_the_rates(audit_of: Maker) -> None:
    """Dots are rates, bars reach to their exact intervals, the line is the promise, a defect has its own sign."""
    found = audit_of(alarms=110)
    row = next(each for each in found["findings"] if each["check"] == "false_alarms" and each["trials"])
    figure = charts_of(render_audit(found, MANIFEST))["alarms-0"]
    thin, thick = figure["data"]
    assert thick["x"] == [0.11]
    assert thick["x"][0] + thick["error_x"]["array"][0] == pytest.approx(row["interval"][1])
    assert thin["x"][0] - thin["error_x"]["arrayminus"][0] == pytest.approx(row["interval_corrected"][0])
    assert thick["marker"]["symbol"] == ["x"]
    assert figure["layout"]["shapes"][0]["x0"] == 0.05
    peeking = charts_of(render_audit(found, MANIFEST))["peeking"]
    assert [each["y"][-1] for each in peeking["data"]] == [0.21, 0.049, 0.21, 0.049]


def test_without_effects_no_coverage(audit_of: Maker) -> None:
    """Where no effect is known there is neither coverage nor power, in tables and figures."""
    html = render_audit(audit_of(effects=False), MANIFEST)
    assert not any(name.startswith(("coverage", "power")) for name in charts_of(html))
    page = html.replace(get_plotlyjs(), "")
    assert "their outcomes as observed" in page
    assert "users drawn" not in page.lower()


def test_hostile_names_stay_text(audit_of: Maker) -> None:
    """Whatever a title or an arm is called, it is text on the page and in the figures."""
    html = render_audit(audit_of(title=HOSTILE, arm=HOSTILE, alarms=110), MANIFEST).replace(get_plotlyjs(), "")
    assert "<img" not in html
    figures = json.dumps(charts_of(html))
    assert "<img" not in figures
    assert "&%{y}" not in figures


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_a_browser_draws_the_figures(tmp_path: Path, audit_of: Maker) -> None:
    """Opened from a file every figure is drawn, the console stays silent and no attack is an element."""
    assert BROWSER is not None
    page = tmp_path / "audit.html"
    page.write_text(render_audit(audit_of(title=HOSTILE), MANIFEST), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=10000 "
        "--dump-dom"
    )
    command = [BROWSER, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)  # noqa: S603 - fixed
    assert "CONSOLE" not in done.stderr
    drawn = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
    assert len(re.findall(r'class="[^"]*\bjs-plotly-plot\b', drawn)) == 9
    assert drawn.count('<path class="point"') >= 12
    assert "<img" not in drawn
