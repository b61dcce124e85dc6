"""The rows of the model card's tables, measured on a model of yours, and set beside the card."""
