"""The line below the prompt: what answers, in which session, and how full the context is."""

from dataclasses import dataclass, field

from tulu_cli.chat.chat import Chat
from tulu_cli.errors import TuluError
from tulu_cli.text import plural, terminal_safe

_BETWEEN = " · "


@dataclass
class Toolbar:
    """Counts the tokens of the conversation only when it has changed: it is drawn at every key."""

    chat: Chat
    _counted: tuple[object, ...] = field(default=(), init=False)
    _tokens: str = field(default="", init=False)

    def __call__(self, width: int) -> str:
        """Return the line, without the parts that matter least if it would be too long."""
        chat = self.chat
        speed = chat.last.tokens_per_second if chat.last else 0.0
        # In the order in which they are shown, each with the order in which it gives way.
        parts = [
            (3, chat.model.name),
            (2, chat.model.engine_name),
            (1, chat.title),
            (6, self._context()),
            (5, f"{plural(chat.left_out, 'turn')} left out" if chat.left_out else ""),
            (4, f"{plural(len(chat.attached), 'text')} attached" if chat.attached else ""),
            (0, f"{speed:.1f} tok/s" if speed else ""),
        ]
        shown = [part for part in parts if part[1]]
        while len(shown) > 1 and len(joined(shown)) > width:
            shown.remove(min(shown))
        return terminal_safe(joined(shown))[:width]

    def _context(self) -> str:
        session, model = self.chat.session, self.chat.model
        if model.tokens is None:
            return self._told()
        end = session.nodes.get(session.head or "")
        state = (session.head, len(end.content) if end else 0, session.system, model.name)
        if state != self._counted:
            self._counted = state
            self._tokens = f"{self._count():,}/{model.max_model_len:,} tokens"
        return self._tokens

    def _told(self) -> str:
        """Return what the server counted for the last answer."""
        path = reversed(self.chat.session.path())
        done = next((node.record.done for node in path if node.record), None)
        if done is None or done.usage is None:
            return ""
        return f"{done.usage.prompt_tokens + done.usage.completion_tokens:,} tokens"

    def _count(self) -> int:
        messages = self.chat.session.conversation()
        try:
            ids = self.chat.requests.token_ids(messages, generation_prompt=False)
            return len(ids) if messages else 0
        except TuluError:  # a template that refuses says so when something is sent
            return 0


def joined(parts: list[tuple[int, str]]) -> str:
    """Return the parts as one line."""
    return _BETWEEN.join(text for _, text in parts)
