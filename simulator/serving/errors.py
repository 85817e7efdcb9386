"""What a user can put right about a simulated cluster."""


class ServingError(ValueError):
    """A field that a serving cluster cannot work with: one line with the field, its value and the remedy."""
