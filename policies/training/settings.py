"""What can be set about training: sizes, steps, shares. Light to import: no model, no tensor."""

from typing import Annotated

from pydantic import Field

from simulator.parameters import Parameters, Positive, Share


class TinyModelParams(Parameters):
    """Size of the model that is trained from nothing: a Qwen3 architecture (Yang et al. 2025)."""

    vocabulary: Annotated[int, Field(ge=300, description="tokens of the tokenizer, at most")] = 4096
    width: Annotated[int, Field(ge=8, description="hidden size")] = 192
    layers: Annotated[int, Field(ge=1, description="decoder layers")] = 3
    heads: Annotated[int, Field(ge=1, description="query heads")] = 6
    kv_heads: Annotated[int, Field(ge=1, description="key-value heads")] = 3
    head_dim: Annotated[int, Field(ge=2, description="width of a head, decoupled from the hidden size")] = 32
    ffn: Annotated[int, Field(ge=8, description="width of the SwiGLU")] = 512
    window: Annotated[int, Field(ge=64, description="positions")] = 2048


class SftParams(Parameters):
    """How long and how fast to train."""

    steps: Annotated[int, Field(ge=1, description="optimiser steps")] = 2600
    rows: Annotated[int, Field(ge=1, description="rows of tokens a step")] = 6
    length: Annotated[int, Field(ge=32, description="tokens of a row")] = 512
    learning_rate: Positive = Field(default=3e-3, description="peak of AdamW's, for embeddings, norms and biases")
    matrix_rate: Positive = Field(default=0.015, description="peak of Muon's, for the matrices of the layers")
    warm_up: Share = Field(default=0.04, description="share of the steps in which the rate rises")
    weight_decay: Annotated[float, Field(ge=0, description="of Muon")] = 0.01
    bfloat16: bool = Field(default=True, description="matrix products in bfloat16, weights and sums in float32")
    clip: Positive = Field(default=1.0, description="largest norm of the gradient")


class FurtherSftParams(SftParams):
    """As ``SftParams``, gentler: the model knows something already."""

    steps: Annotated[int, Field(ge=1, description="optimiser steps")] = 900
    learning_rate: Positive = Field(default=1.5e-3, description="peak of AdamW's, for embeddings, norms and biases")
    matrix_rate: Positive = Field(default=0.005, description="peak of Muon's, for the matrices of the layers")


class AdaptorSftParams(SftParams):
    """As ``SftParams``, for two small layers."""

    steps: Annotated[int, Field(ge=1, description="optimiser steps")] = 1500
    rows: Annotated[int, Field(ge=1, description="rows of tokens a step")] = 4
    length: Annotated[int, Field(ge=32, description="tokens of a row")] = 384
    learning_rate: Positive = Field(default=2e-3, description="peak of AdamW's, for biases")
    matrix_rate: Positive = Field(default=0.02, description="peak of Muon's, for the matrices of the two layers")
    weight_decay: Annotated[float, Field(ge=0, description="of Muon")] = 0.0


class CorpusParams(Parameters):
    """What the documents are about. The rest are lessons from logs."""

    primer: Annotated[int, Field(ge=0, description="first documents: what does a history tell of habits?")] = 12000
    primer_entities: Share = Field(default=0.2, description="share of the first documents that ask about single items")
    knowledge: Share = Field(default=0.2, description="share of documents that are questions of general knowledge")
    sentences: Share = Field(default=0.1, description="share of documents that are general sentences")
    entities: Share = Field(default=0.1, description="share of documents that ask about single items")
    short_names: Share = Field(
        default=0.5, description="share of lessons in which items, and tags, are called by their category's name"
    )
    signals_a_document: Annotated[int, Field(ge=1, description="questions or sentences of one document")] = 6


class AdaptorParams(Parameters):
    """How the adaptor is trained."""

    hidden: Annotated[int, Field(ge=8, description="width of its hidden layer")] = 256
    lessons: Annotated[int, Field(ge=8, description="lessons whose answers are aligned")] = 1000
    perception: Share = Field(default=0.3, description="share of documents that ask about one entity")
    sft: AdaptorSftParams = AdaptorSftParams()


class SchoolParams(Parameters):
    """Everything about training a small language model from nothing."""

    model: TinyModelParams = TinyModelParams()
    corpus: CorpusParams = CorpusParams()
    sft: SftParams = SftParams()
    adaptor: AdaptorParams = AdaptorParams()
    tokenizer_lessons: Annotated[int, Field(ge=1, description="lessons whose words make the tokenizer")] = 2000
    embedding_width: Annotated[int, Field(ge=4, description="dimensions of title embeddings")] = 128
    judged: Annotated[int, Field(ge=0, description="held-out shoppers on whom the result is scored")] = 200


class TrainOnLog(Parameters):
    """How a language model is taught on the log of the shop that it will serve."""

    sft: FurtherSftParams = FurtherSftParams()
    adaptor: AdaptorParams = AdaptorParams(lessons=200, sft=AdaptorSftParams(steps=500))
    short_names: Annotated[
        float,
        Field(ge=0, le=1, description="share of lessons in which items, and tags, are called by their category's name"),
    ] = 0.25
    embedding_width: Annotated[int, Field(ge=4, description="dimensions of title embeddings")] = 128
