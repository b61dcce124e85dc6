"""Many prompts from a file, each answered once: rows in, an engine kept full, records out."""
