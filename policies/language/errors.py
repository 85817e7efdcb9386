"""What goes wrong with language models that a user can put right; light to import."""


class LanguageError(ValueError):
    """A language model, or what it was asked, is not as needed: one line ``field: value (remedy)``."""
