"""Adapters to training frameworks: none yet; `milepost.Loop` serves loops of your own."""
