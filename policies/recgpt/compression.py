"""Hybrid representations: the entities of a catalogue as soft tokens of a language model's input space.

An item's title goes through the embedder and the model's adaptor (RecGPT-V2 report, section on hybrid representation
inference); what comes out stands among the word tokens of a prompt. Trains nothing.
"""

from pathlib import Path
from typing import Final

from policies.language.embedder import make_embedder
from policies.language.model import Language, LanguageError, LanguageSettings
from policies.language.soft_tokens import SoftVocabulary, load_adaptor, soft_vocabulary
from simulator.batches import ObservedCatalog

ADAPTOR: Final = "adaptor.safetensors"


def entity_tokens(language: Language, catalog: ObservedCatalog, settings: LanguageSettings) -> SoftVocabulary:
    """One soft token for every item.

    Args:
        language: the model, whose folder holds the adaptor.
        catalog: titles.
        settings: names the embedder that the adaptor was trained with.

    Raises:
        LanguageError: the model has no adaptor, or the adaptor was trained for another embedder or model.
    """
    path = Path(language.folder) / ADAPTOR
    if not path.exists():
        raise LanguageError(
            f"language.model: {settings.model!r} has no {ADAPTOR} (train one with `testbed train adaptor --model "
            f"{settings.model} --out DIR`, or set compression: false)"
        )
    embedder = make_embedder(settings.embedder, Path(language.folder))
    adaptor = load_adaptor(path)
    widths = adaptor.first.in_features, adaptor.second.out_features
    if widths != (embedder.width, language.shape.width):
        raise LanguageError(
            f"language.embedder: {settings.embedder!r} gives vectors of {embedder.width} for a model of width "
            f"{language.shape.width}, the adaptor maps {widths[0]} to {widths[1]} (train it again)"
        )
    return soft_vocabulary(adaptor, embedder.embed(list(catalog.titles)))
