"""The inner loop of the transformers engine. It imports torch, so nothing else comes here."""
