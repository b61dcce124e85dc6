"""The processes that hold a model loaded and answer HTTP. Heavy: nothing light imports this."""
