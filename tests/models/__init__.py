"""Tests of what a model name means and where its files are."""
