"""From a model's name to an engine that answers: in this process, warm, or a server."""
