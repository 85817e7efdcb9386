"""The language layer: models, soft tokens, generation, caching and counting."""
