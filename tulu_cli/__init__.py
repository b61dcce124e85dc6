"""tulu: the terminal suite for the Tülu 3 models and any other chat model on Hugging Face."""

__version__ = "0.1.0"
