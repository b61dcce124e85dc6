"""Engines in another process: a warm engine of ours, `vllm serve`, or any OpenAI server."""
