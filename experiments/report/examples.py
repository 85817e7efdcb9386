"""Pages that some users were shown, arm beside arm.

Made from the results alone, and computes no statistic. Knows nothing of the page around it.
"""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import words
from experiments.report.drawing import Figure

ANSWERS: Final = {
    "clicked": "clicked",
    "favourited": "made a favourite",
    "carted": "put into the cart",
    "bought": "bought",
}


def present(results: Mapping[str, Any]) -> bool:
    """Whether any page was written down."""
    return bool(results.get("pages"))


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """None: pages are words."""
    return {}


def everywhere(results: Mapping[str, Any]) -> bool:
    """Whether every user has a page under every arm."""
    return all(len(user["arms"]) == len(results["arms"]) for user in results["pages"])


def heading(user: Mapping[str, Any]) -> str:
    """Who came, when, and where."""
    return f"{user['profile']}; {words.place(user['city'])}, {words.day(user['date'])}, {user['hour']}"


def amount(results: Mapping[str, Any], price: float) -> str:
    """A price with its currency."""
    return f"{price:,.2f} {results['currency']}"


def common(user: Mapping[str, Any]) -> int:
    """How many items all arms showed."""
    shown = [{item["title"] for item in page} for page in user["arms"].values()]
    return len(set.intersection(*shown))
