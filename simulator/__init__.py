"""The world and its clock: users, items, contexts, and how people respond.

Imports none of the other packages: the world does not know who recommends, who splits the traffic,
what is measured, or which arm a user is in.
"""
