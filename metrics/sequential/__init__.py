"""Tests that may be read before the end: group-sequential bounds, always-valid ones, and the path of an experiment."""
