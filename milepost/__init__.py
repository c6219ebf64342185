"""Milepost examines a model at every milepost of its training."""
