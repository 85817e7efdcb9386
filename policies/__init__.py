"""Who recommends: baselines and agents, each trained on what a platform would have logged."""
