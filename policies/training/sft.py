"""Supervised training of a small causal language model on packed lessons.

Muon for the matrices of the layers (Jordan et al. 2024; torch.optim.Muon), AdamW for embeddings, norms and biases
(Loshchilov and Hutter 2019), warm-up and a cosine to a fiftieth, loss on the learned tokens only. Steps decide when it
ends, so that a run repeats; a time limit may end it earlier, which is then not repeatable to the bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from policies.training.packing import Batch
from policies.training.settings import SftParams, TinyModelParams


@dataclass(frozen=True)
class TrainingLog:
    """What happened: steps done, tokens read, seconds, and the mean loss of each hundredth part."""

    steps: int
    tokens: int
    seconds: float
    loss: tuple[float, ...]


def new_model(params: TinyModelParams, vocabulary: int, pad: int, end: int, seed: int) -> Any:
    """A Qwen3 with random weights drawn from ``seed``; input and output embeddings are tied."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=params.width,
        intermediate_size=params.ffn,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.kv_heads,
        head_dim=params.head_dim,
        max_position_embeddings=params.window,
        tie_word_embeddings=True,
        pad_token_id=pad,
        eos_token_id=end,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def loss_of(model: Any, batch: Batch, embed: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
    """Mean cross-entropy of a batch's learned tokens.

    Args:
        model: a causal LM of transformers with ``.model`` and ``.lm_head``.
        batch: packed rows.
        embed: ids to input embeddings where some ids are entities.
    """
    inputs = {"input_ids": batch.ids} if embed is None else {"inputs_embeds": embed(batch.ids)}
    hidden = model.model(**inputs, attention_mask=batch.mask, position_ids=batch.position, use_cache=False)
    logits = model.lm_head(hidden.last_hidden_state[batch.rows, batch.columns])
    return torch.nn.functional.cross_entropy(logits.float(), batch.target)


def train(
    model: Any,
    batches: Iterator[Batch],
    params: SftParams,
    *,
    parameters: list[torch.nn.Parameter] | None = None,
    embed: Callable[[torch.Tensor], torch.Tensor] | None = None,
    minutes: float | None = None,
    tick: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Train in place.

    Args:
        model: the language model.
        batches: as many as there are steps, or more.
        params: how.
        parameters: what is trained; all of the model's if left out.
        embed: see ``loss_of``.
        minutes: stop after so many, even if steps are left; the rate follows the clock then.
        tick: told the step and its loss.
    """
    trained = list(model.parameters()) if parameters is None else parameters
    optimizers = optimizers_of(model, trained, params)
    started = time.monotonic()
    losses: list[float] = []
    tokens = 0
    for step, batch in zip(range(params.steps), batches, strict=False):
        done = step / params.steps
        if minutes is not None:
            done = max(done, (time.monotonic() - started) / (60 * minutes))
            if done >= 1.0:
                break
        share = rate_at(done, params.warm_up)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=params.bfloat16):
            loss = loss_of(model, batch, embed)
        for parameter in trained:
            parameter.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, params.clip)
        for optimizer, _ in optimizers:
            optimizer.step()
        losses.append(float(loss.detach()))
        tokens += batch.ids.numel()
        if tick is not None:
            tick(step, losses[-1])
    part = max(len(losses) // 100, 1)
    means = tuple(sum(losses[k : k + part]) / len(losses[k : k + part]) for k in range(0, len(losses), part))
    return TrainingLog(len(losses), tokens, time.monotonic() - started, means)


def optimizers_of(
    model: Any, trained: list[torch.nn.Parameter], params: SftParams
) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for matrices of layers, AdamW for the rest, each with its peak learning rate; empty ones are left out."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    matrices = [p for p in trained if p.ndim == 2 and id(p) not in tables]
    rest = [p for p in trained if p.ndim != 2 or id(p) in tables]
    found: list[tuple[torch.optim.Optimizer, float]] = []
    if matrices:
        muon = torch.optim.Muon(
            matrices, lr=params.matrix_rate, momentum=0.95, weight_decay=params.weight_decay, adjust_lr_fn="original"
        )
        found.append((muon, params.matrix_rate))
    if rest:
        adam = torch.optim.AdamW(rest, lr=params.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        found.append((adam, params.learning_rate))
    return found


def rate_at(done: float, warm_up: float) -> float:
    """Share of the peak learning rate at a share of the training done: linear up, cosine down to a fiftieth."""
    if done < warm_up:
        return (done + 1e-3) / (warm_up + 1e-3)
    return 0.51 + 0.49 * math.cos(math.pi * (done - warm_up) / max(1.0 - warm_up, 1e-9))
