"""Readers of real logs: each brings one public data set to the general form a world can be built from.

Knows files and their flaws; knows nothing of the simulated world, of policies or of arms. Import from the
modules: ``interactions`` is the general form, ``online_retail`` a reader, ``title_categories`` the step
from titles to categories, ``download`` the only place that ever touches a network.
"""
