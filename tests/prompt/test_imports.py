"""The package is light to import, and never loads torch or transformers."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "transformers", "tokenizers", "jinja2")


def loaded(code: str, *arguments: str) -> str:
    """Run `code` in a fresh interpreter; the heavy modules that it loaded."""
    report = f"print([name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", f"import sys\n{code}\n{report}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_import_loads_the_standard_library_only() -> None:
    assert loaded("import tulu_cli.prompt") == "[]"


def test_prompting_needs_neither_torch_nor_transformers(llama3_directory: Path) -> None:
    code = """
from pathlib import Path
from tulu_cli.core import Message
from tulu_cli.prompt import TextStream, Tokenizer, encode_chat
tokenizer = Tokenizer.load(Path(sys.argv[1]))
stream = TextStream(tokenizer)
assert [stream.push(i) for i in encode_chat(tokenizer, [Message("user", "<|eot_id|>")])]
"""
    assert loaded(code, str(llama3_directory)) == "['tokenizers', 'jinja2']"
