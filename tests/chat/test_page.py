"""The HTML page: whatever a model says in it, it is text, and nothing is fetched or run."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.chat.sessions import INFO, RECORD, answered, chat, done, stamp
from tulu_cli.chat.export.page import write
from tulu_cli.core import Message

HOSTILE = """\
<script>alert(1)</script> </script> <img src="http://evil/x"> <b onclick=x>b</b>
![i](http://evil/i.png) [l](javascript:alert(1)) [d](data:text/html,x) <http://good/?a=1&b=2>

```python"><script>
x = "<script>"
```

```
</code></pre><script>alert(2)</script>
```

&lt;script&gt; \x1b[2J \u202e \x00
"""
MARKDOWN = """\
# Title

| a | b |
|---|--:|
| 1 | 2 |

```python
def f(): pass
```

~~no~~ **yes** [link](https://example.org)
"""
LOADING = {"src", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Every element with its attributes, and the text of those that are seen."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> list[str]:
        return [tag for tag, _ in self.tags]


@pytest.mark.parametrize("place", ["user", "assistant", "system", "name", "role", "model"])
def test_nothing_of_a_message_is_markup(place: str) -> None:
    session = chat(
        HOSTILE if place == "user" else "q", system=HOSTILE if place == "system" else "s"
    )
    model = HOSTILE if place == "model" else "m"
    session = session.answer(replace(RECORD, engine=replace(INFO, model=model)), stamp())
    answer = HOSTILE if place == "assistant" else "a"
    session = session.extend(session.head or "", answer, done())
    session = session.add(Message(HOSTILE if place == "role" else "tool", "x"), stamp())
    session = replace(session, name=HOSTILE if place == "name" else None)
    page = Page(write([session]))
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "conversation"}]
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "link", "object", "base", "form", "svg")
        assert not LOADING & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        target = attributes.get("href") or ""
        assert target.partition(":")[0] in ("", "http", "https")
    assert "<script>alert(1)</script>" in page.text, "it is there, as text"
    assert not {"\x1b", "\0", "\u202e"} & set(page.text)


def test_a_page_hyphenates_and_joins_as_the_text_says() -> None:
    text = "Donau\u00addampf\u200bschiff \u200fשלום"
    assert text in Page(write([chat(text)])).text


def test_the_policy_forbids_the_rest() -> None:
    page = Page(write([chat("x")]))
    policies = [a for tag, a in page.tags if "http-equiv" in a]
    assert [policy["content"] for policy in policies] == [
        "default-src 'none'; style-src 'unsafe-inline'"
    ]


def test_an_answers_markdown_is_rendered_and_a_users_text_is_not() -> None:
    page = Page(write([chat(MARKDOWN, MARKDOWN)]))
    for tag in ("table", "pre", "s", "strong"):
        assert page.names().count(tag) == 1
    assert "| 1 | 2 |" in page.text
    assert ("span", {"class": "k"}) in page.tags, "the code is coloured"


def test_it_is_dark_where_the_reader_wants_it_dark() -> None:
    page = write([chat("x")])
    assert "color-scheme: light dark" in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert "url(" not in page
    assert "@import" not in page


def test_what_is_known_of_an_answer_is_below_it() -> None:
    session = answered(chat("Why is the sky blue?"), "Be", "interrupted")
    page = Page(write([session]))
    assert "demo · 5 tokens · [interrupted]" in page.text
    assert page.text.count("Why is the sky blue?") == 4, "title, heading, turn, data"
