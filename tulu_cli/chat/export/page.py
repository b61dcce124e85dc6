"""One self-contained HTML file: the conversation to look at, with its data inside.

Nothing in it runs and nothing is fetched: raw HTML of a message is shown as text, images are
links, and the page's own policy forbids the rest.
"""

import json
import re
import time
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from tulu_cli.chat.session import Node, Session, session_of
from tulu_cli.chat.store.base import title_of
from tulu_cli.chat.tree import marks
from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt import decode_utf8, parse_messages
from tulu_cli.prompt.inspect.formats import write_messages
from tulu_cli.text import command_free, plural

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_PAGE = """\
<!doctype html>
<html lang="">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="generator" content="tulu">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{about}</p></header>
<main>
{turns}
</main>
<script type="application/json" id="conversation">{data}</script>
</body>
</html>
"""
_TURN = """\
<article class="{kind}">
<h2>{role}</h2>
{thought}<div class="text">{text}</div>
{note}</article>"""
_THOUGHT = """\
<details>
<summary>Thought</summary>
<div class="thought">{text}</div>
</details>
"""
_DATA = re.compile(r'<script type="application/json" id="conversation">(.*?)</script>', re.DOTALL)
_KINDS = ("system", "user", "assistant")


def write(sessions: Sequence[Session]) -> str:
    """Return one session's path as a page."""
    (session,) = sessions
    messages = session.conversation()
    nodes: list[Node | None] = [None] * (len(messages) - len(session.path())) + [*session.path()]
    markdown = _markdown()
    turns = [_turn(message, node, markdown) for message, node in zip(messages, nodes, strict=True)]
    return _PAGE.format(
        title=_text(_title(session)),
        style=_style(),
        about=_text(_about(session)),
        turns="\n".join(turns),
        data=_data(session),
    )


def read(data: bytes, source: str) -> list[Session]:
    """Return the session in a page that `write` made. Raise BadInput for any other."""
    found = _DATA.search(decode_utf8(data, source))
    if found is None:
        raise BadInput(f"{source} is not a page that tulu wrote: there is no conversation in it.")
    return [session_of(parse_messages(found[1].encode(), source))]


def _title(session: Session) -> str:
    first = next((node.content for node in session.path() if node.role == "user"), "")
    return session.name or title_of(first) or "Conversation"


def _about(session: Session) -> str:
    models = dict.fromkeys(n.record.model for n in session.path() if n.record is not None)
    day = time.strftime("%Y-%m-%d", time.localtime(session.created))
    return ", ".join((day, *models))


def _turn(message: Message, node: Node | None, markdown: "MarkdownIt") -> str:
    role, content = message.role, message.content
    kind = role if role in _KINDS else "other"
    # People write as they type; models write Markdown.
    text = markdown.render(command_free(content)) if role == "assistant" else _text(content)
    note = _note(node) if node is not None else ""
    thought = node.thought if node is not None else ""
    folded = _THOUGHT.format(text=_text(thought)) if thought else ""
    return _TURN.format(kind=kind, role=_text(role), thought=folded, text=text, note=note)


def _note(node: Node) -> str:
    if node.record is None:
        return ""
    done, words = node.record.done, [node.record.model]
    if done is not None and done.usage is not None:
        words.append(plural(done.usage.completion_tokens, "token"))
    return f"<footer>{_text(' · '.join([*words, *filter(None, [marks(node)])]))}</footer>\n"


def _markdown() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False, "highlight": _highlighted})
    return markdown.enable(["table", "strikethrough"]).disable("image")


def _highlighted(code: str, language: str, _attributes: str) -> str:
    """Return the code with its tokens in spans; "" for an unknown language leaves it as it is."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))


def _style() -> str:
    from pygments.formatters import HtmlFormatter

    own = (files("tulu_cli.chat.export") / "page.css").read_text(encoding="utf-8")
    light = HtmlFormatter(style="default").get_style_defs(".text code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".text code")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}"


def _data(session: Session) -> str:
    """Return the messages as JSON in which nothing can end the element around it."""
    value = {"messages": write_messages(session.conversation())}
    text = json.dumps(value)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _text(text: str) -> str:
    return escape(command_free(text))
