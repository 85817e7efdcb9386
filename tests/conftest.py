"""What holds for every test: nothing is kept outside of the test's own folders."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Answers and models of tests go to a folder of this run, never to the user's cache."""
    import os

    os.environ["RECGPT_TESTBED_CACHE"] = str(Path(tmp_path_factory.mktemp("cache")))
