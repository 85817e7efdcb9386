"""Small models on a processor in a card's place, shared by the tests of measuring on a card."""

from collections.abc import Iterator

import pytest
import torch

from policies.language.gpu.cards import Card
from policies.language.gpu.engine import Engine
from policies.language.gpu.presets import random_model
from simulator.serving.transformer import ModelShape

SMALL = ModelShape(layers=2, width=32, heads=4, kv_heads=2, head_dim=16, ffn=48, vocabulary=200, tied=True)


@pytest.fixture
def engine(processor_card: Card) -> Iterator[Engine]:
    """A small model with random weights, ready."""
    made = Engine(random_model(SMALL, processor_card.device, torch.float32, 1), processor_card, 2)
    with made.ready():
        yield made


@pytest.fixture
def card(processor_card: Card) -> Card:
    """A processor in a card's place."""
    return processor_card
