"""How many prompts of how many templates were the same as transformers', text and ids.

    python -m tests.benchmarks.template_sameness

A conversation that a template refuses counts where both refuse it.
"""

import tempfile
from pathlib import Path

from tests.prompt import llama3, published
from tests.prompt.pairs import Pair
from tests.prompt.test_sameness_published import CORPUS, assert_same
from tulu_cli.models import locate, resolve
from tulu_cli.prompt.builtin import tulu_template


def main() -> None:
    """One line a template; ends with an AssertionError where anything differs."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        directories = {
            "Llama 3": llama3.llama3_directory(cache),
            "demo": locate(resolve("demo"), weights=False).directory,
        }
        pairs = {name: Pair.load(directory) for name, directory in directories.items()}
        demo = pairs["demo"].ours.chat_template or ""
        sources = {"tulu3": tulu_template(), "demo": demo, **published.published_templates(cache)}
    total = 0
    for name, source in sources.items():
        rendered = [
            assert_same(pair, messages, add_generation_prompt=asked, template=source)
            for pair in pairs.values()
            for messages in CORPUS.values()
            for asked in (True, False)
        ]
        total += len(rendered)
        print(f"{name:32} {sum(rendered):4} the same, {len(rendered) - sum(rendered):3} refused")
    print(f"{len(sources)} templates, {total:,} prompts, {', '.join(directories)} tokenizers")


if __name__ == "__main__":
    main()
