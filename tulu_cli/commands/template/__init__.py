"""Show, render, tokenize, check and compare chat templates, without a GPU."""

EXAMPLES = (
    ("See the prompt that a model is given", "tulu template render 'How are you?'"),
    ("See it as tokens", "tulu template tokens -m demo 'How are you?'"),
    ("Check a dataset for texts that pretend to be turns", "tulu template lint data.jsonl"),
)
