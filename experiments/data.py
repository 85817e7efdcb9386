"""What ``testbed data`` does: fetch a public data set, read it once, and say what it holds.

Does not know how files are fetched or parsed; ``simulator.datasets`` does.
"""

from pathlib import Path

from experiments.progress import Progress
from simulator.datasets.download import download_online_retail
from simulator.datasets.online_retail import read_online_retail


def fetch_online_retail(to: Path, progress: Progress) -> str:
    """Put the UCI Online Retail log into a folder and describe it in a line.

    Raises:
        DatasetError: if it cannot be fetched, converted, written or read.
    """
    with progress.stage("download", 1) as stage:
        path = download_online_retail(to)
        stage.advance()
    with progress.stage("read", 1) as stage:
        log = read_online_retail(path)
        stage.advance()
    return (
        f"{path}: {len(log.time)} purchases of {len(log.user_codes)} customers, {len(log.item_codes)} items, "
        f"{log.days} days from {log.start}"
    )
