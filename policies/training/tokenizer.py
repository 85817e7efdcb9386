"""A byte-level BPE tokenizer trained on the texts that the model will read (Sennrich et al. 2016).

Byte level, so that no text is unreadable; words of the shop become one or two tokens. Knows no model.
"""

from collections.abc import Iterable
from typing import Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD: Final = "<|pad|>"
END: Final = "<|end|>"


def train_tokenizer(texts: Iterable[str], size: int, words: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``size`` tokens and a few words; the same texts give the same tokens.

    Args:
        texts: what it is trained on.
        size: of the vocabulary, the 256 bytes and two special tokens included.
        words: texts that are one token each behind a space, beside those: the names of what the shop sells.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)
    whole.add_tokens([AddedToken(f" {word}", normalized=False) for word in words])
    return whole
