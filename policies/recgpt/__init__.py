"""The RecGPT policies: routes, planner, experts, arbiter, retrieval and explanation."""
