"""The Distributed Experts of RecGPT-V2: in parallel, each predicts tags for its persona and for nothing else."""

from collections.abc import Sequence

import numpy as np

from policies.language.asking import Prompt
from policies.recgpt.planner import Words
from policies.recgpt.wording import expert_task
from simulator.batches import Ints


def expert_prompts(
    profiles: Sequence[str], personas: Sequence[Sequence[str]], encoder: Words
) -> tuple[list[Prompt], Ints]:
    """What the experts of all users are asked, and the user of each call, int64 [calls].

    An expert sees who the shopper is and its persona; the history stays with the planner.
    """
    prompts, rows = [], []
    for row, (profile, found) in enumerate(zip(profiles, personas, strict=True)):
        for persona in found:
            prompts.append(Prompt((), encoder.words(expert_task(profile, persona))))
            rows.append(row)
    return prompts, np.array(rows, np.int64)
