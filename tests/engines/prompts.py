"""Twenty prompts of different kinds, for comparing engines."""

PROMPTS = (
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "What is the capital of France?",
    "Explain recursion to a child.",
    "List five fruits.",
    "Translate 'good morning' to Spanish.",
    "What is 17 times 23?",
    "Write a Python function that reverses a string.",
    "Summarise the plot of Romeo and Juliet in two sentences.",
    "Give me three tips for sleeping better.",
    "What does HTTP stand for?",
    "Write a short email to a colleague about a delayed meeting.",
    "Name the planets of the solar system.",
    "Wie heißt die Hauptstadt von Österreich?",
    "Describe the taste of an apple.",
    "What is the difference between a list and a tuple?",
    "Tell me a joke about cats 🐈.",
    "Continue the sequence: 2, 4, 8, 16,",
    "Who wrote Pride and Prejudice?",
    "Write one sentence that uses the word 'serendipity'.",
)
