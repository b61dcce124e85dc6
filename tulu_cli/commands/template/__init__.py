"""Show, render, tokenize, explain, check and compare chat templates, without a GPU."""
