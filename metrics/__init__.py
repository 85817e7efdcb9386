"""What happened, and whether it is real: metric definitions, effects, their corrections and their truth."""
