"""A shop fitted to the first part of a purchase log, and what its customers do from then on, drawn.

Knows logs in their general form and nothing of worlds, policies or arms. ``shop_hours`` is when it is open and busy,
``customers`` who comes back and how soon, ``assortment`` what is bought, ``levels`` how much, ``repeats`` what again,
``shop`` all of it together, ``continuation`` what follows from it. Nothing here sees a purchase or a refund of the days
it draws; but titles, categories and countries are those that the log's reader found, who reads all of it.
"""
