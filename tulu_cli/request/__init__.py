"""From options and inputs to a request: what `complete`, `chat` and `batch` have in common."""
