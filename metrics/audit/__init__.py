"""Is the verdict true? The tests of an experiment, held against tables in which the truth is known."""
