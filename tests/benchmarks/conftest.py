"""What the tests of benchmarks share."""

import pytest

from experiments.progress import SilentProgress


@pytest.fixture
def silent() -> SilentProgress:
    """Nobody waits."""
    return SilentProgress()
