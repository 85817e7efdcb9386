"""A cluster that serves a language model, simulated: what jobs wait for, how busy its accelerators are, what it costs.

Knows the arithmetic of a transformer, data sheets and queues; knows no weights, no texts, no policy and no arm. Import
from the modules: ``cluster`` serves a ``workload``, ``figures`` says how that went, ``planner`` finds the least cluster
that is fast enough. What an iteration takes (``steptime``) is fitted to measurements or assumed, and says which.
"""
