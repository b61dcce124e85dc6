"""What programs ask of a server, through the real OpenAI client and through lm-eval.

Each of `FEATURES` is asked of a server of each engine, and docs/servers.md has a table of what came
of it.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"
SKY = [{"role": "user", "content": "Why is the sky blue?"}]
SCHEMA = {"enum": ["blue", "grey"]}
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}


class Asker:
    """Asks a server at a URL, greedily and for few tokens, unless something else is said."""

    def __init__(self, url: str, key: str, model: str, alias: str) -> None:
        self.client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self.url, self.key, self.model, self.alias = url, key, model, alias

    def chat(self, **fields: Any) -> Any:
        made = {"model": self.model, "messages": SKY, "max_tokens": 6, "temperature": 0, **fields}
        return self.client.chat.completions.create(**made)

    def text(self, prompt: Any, **fields: Any) -> Any:
        made = {"model": self.model, "prompt": prompt, "max_tokens": 4, "temperature": 0, **fields}
        return self.client.completions.create(**made)

    def said(self, **fields: Any) -> str:
        return str(self.chat(**fields).choices[0].message.content)


def names(ask: Asker) -> None:
    assert {ask.model, ask.alias} <= {model.id for model in ask.client.models.list()}
    assert ask.said(model=ask.alias) == ask.said()


def several(ask: Asker) -> None:
    drawn = [ask.chat(n=2, temperature=1.0, seed=5) for _ in range(2)]
    texts = [[choice.message.content for choice in one.choices] for one in drawn]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 2
    whole = ask.said(max_tokens=8)
    word = whole.split()[2]
    assert ask.said(max_tokens=8, stop=[word]) == whole.partition(word)[0]
    assert ask.said(max_tokens=None, max_completion_tokens=8) == whole


def stream(ask: Asker) -> None:
    chunks = list(ask.chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 6
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert "".join(delta.role or "" for delta in deltas) == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == ask.said()


def logprobs(ask: Asker) -> None:
    answer = ask.chat(logprobs=True, top_logprobs=3).choices[0]
    assert len(answer.logprobs.content) == 6
    told = b"".join(bytes(token.bytes) for token in answer.logprobs.content)
    assert told.decode() == answer.message.content
    for token in answer.logprobs.content:
        assert [token.token, token.logprob] == [
            token.top_logprobs[0].token,
            token.top_logprobs[0].logprob,
        ]
        assert len(token.top_logprobs) == 3


def penalties(ask: Asker) -> None:
    the, a = 260, 253
    prompt = [33, 28, 216]
    asked: dict[str, Any] = {"logit_bias": {str(the): 100, str(a): 60}}
    assert ask.text(prompt, **asked).choices[0].text == " the" * 4
    lowered = {"frequency_penalty": 2.0, "presence_penalty": 2.0}
    asked = {"logit_bias": {str(the): 50, str(a): 49}}
    assert " a" in ask.text(prompt, **asked, **lowered, max_tokens=8).choices[0].text
    with pytest.raises(openai.BadRequestError):
        ask.text(prompt, frequency_penalty=3.0)


def json_object(ask: Asker) -> None:
    assert ask.said(response_format={"type": "json_object"}).startswith("{")


def json_schema(ask: Asker) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "sky", "schema": SCHEMA}}
    assert json.loads(ask.said(response_format=wanted)) in SCHEMA["enum"]


def prompts(ask: Asker) -> None:
    ids = [[33, 28, 216, 34, 28], [504, 6376]]
    one = [ask.text(each).choices[0].text for each in ids]
    assert [choice.text for choice in ask.text(ids).choices] == one
    told = ask.text(["1, 2,", "the sky"], n=2, temperature=1.0, seed=1)
    assert [choice.index for choice in told.choices] == [0, 1, 2, 3]
    assert ask.text("1, 2,").choices[0].text == ask.text(["1, 2,"]).choices[0].text


def echo(ask: Asker) -> None:
    (plain,) = ask.text("One two three", echo=True).choices
    assert plain.text.startswith("One two three")
    (choice,) = ask.text("One two three", echo=True, logprobs=2, max_tokens=1).choices
    told = choice.logprobs
    assert (len(told.tokens), told.tokens[:3]) == (4, ["One", " two", " three"])
    assert told.token_logprobs[0] is None
    assert all(math.isfinite(value) and value <= 0 for value in told.token_logprobs[1:])
    assert all(len(top) >= 2 for top in told.top_logprobs[1:])
    assert told.text_offset == [0, 3, 7, 13]


def harmless(ask: Asker) -> None:
    fields = {"user": "ana", "metadata": {"a": "b"}, "store": False}
    assert ask.said(**fields, extra_body={"no_such_field": 1}) == ask.said()


def variables(ask: Asker) -> None:
    told = [
        ask.chat(extra_body={"chat_template_kwargs": {"enable_thinking": value}}).usage
        for value in (True, False)
    ]
    assert told[0].prompt_tokens != told[1].prompt_tokens


def tools(ask: Asker) -> None:
    with_tool, without = (ask.chat(tools=told).usage for told in ([TOOL], openai.omit))
    assert with_tool.prompt_tokens > without.prompt_tokens


def unread(ask: Asker) -> str:
    told = ask.said(extra_body={"chat_template_kwargs": {"no_such_variable": True}})
    assert told == ask.said()
    return "ignored"


def effort(ask: Asker) -> str:
    assert ask.said(reasoning_effort="low") == ask.said()
    return "ignored"


def error_shape(ask: Asker) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask.chat(model="gpt-9")
    assert caught.value.param == "model"
    assert isinstance(caught.value.body, dict)
    assert {"message", "type", "param", "code"} <= caught.value.body.keys()
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        ask.chat(top_logprobs=99, logprobs=True)


def lm_eval_chats(ask: Asker) -> None:
    from lm_eval.models.openai_completions import LocalChatCompletion

    with told_key(ask):
        model = LocalChatCompletion(
            base_url=f"{ask.url}/v1/chat/completions", model=ask.model, tokenizer_backend=None
        )
        chats = [json.dumps(SKY), json.dumps([{"role": "user", "content": "What is 2+2?"}])]
        found = model.generate_until([generation(model, chat, chat=True) for chat in chats])
    assert found == [ask.said(messages=json.loads(chat)) for chat in chats]


def lm_eval_texts(ask: Asker, directory: Path) -> None:
    from lm_eval.api.instance import Instance

    with told_key(ask):
        model = completions_of(ask, directory)
        texts = ["1, 2, 3,", "The sky is"]
        found = model.generate_until([generation(model, text) for text in texts])
        assert found == [ask.text(text, max_tokens=6).choices[0].text for text in texts]
        asked = [("The capital of France is", " Paris"), ("The capital of France is", " Rome")]
        instances = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(asked)]
        (paris, _), (rome, greedy) = model.loglikelihood(instances)
    assert paris > rome
    assert not greedy


def completions_of(ask: Asker, directory: Path, batch_size: int = 2) -> Any:
    """lm-eval's model for completions, which makes the token ids itself."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        base_url=f"{ask.url}/v1/completions",
        model=ask.model,
        tokenizer=str(directory),
        tokenizer_backend="huggingface",
        batch_size=batch_size,
    )


def generation(model: Any, prompt: str, *, chat: bool = False) -> Any:
    """One request of an evaluation that generates."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.api_models import JsonChatStr

    told = JsonChatStr(prompt) if chat else prompt
    return Instance("generate_until", {}, (told, {"until": ["@@"], "max_gen_toks": 6}), 0)


@contextmanager
def told_key(ask: Asker) -> Iterator[None]:
    """lm-eval reads the key from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", ask.key)
        yield


Check = Callable[[Asker], str | None]
FEATURES: dict[str, Check] = {
    "`model`: the alias and the full name; `GET /v1/models`": names,
    "`n`, `seed`, `stop`, `max_tokens`, `max_completion_tokens`": several,
    "`stream`, `stream_options.include_usage`": stream,
    "`logprobs`, `top_logprobs` of chats": logprobs,
    "`frequency_penalty`, `presence_penalty`, `logit_bias`": penalties,
    "`response_format`: `json_object`": json_object,
    "`response_format`: `json_schema`": json_schema,
    "`prompt`: a text, texts, token ids, lists of token ids": prompts,
    "`echo`, with `logprobs`": echo,
    "`user`, `metadata`, `store`, and unknown fields": harmless,
    "`chat_template_kwargs`": variables,
    "`tools`, into the chat template": tools,
    "`chat_template_kwargs` that the template does not read": unread,
    "`reasoning_effort`": effort,
    "errors with `message`, `type`, `param` and `code`": error_shape,
    "lm-eval, `local-chat-completions`": lm_eval_chats,
}
LM_EVAL_TEXTS = "lm-eval, `local-completions`: generation and log-likelihoods"


def outcome(check: Check, ask: Asker) -> str:
    """What comes of a feature: `yes`, `ignored`, or the status of the refusal."""
    try:
        return check(ask) or "yes"
    except openai.BadRequestError as error:
        return str(error.status_code)


def told_outcomes(engine: str) -> dict[str, str]:
    """What the page says of an engine."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if re.match(r"\|.*\|$", line)
    ]
    head = next(place for place, row in enumerate(rows) if "transformers" in row)
    column = rows[head].index(engine)
    return {row[0]: row[column] for row in rows[head + 2 :] if len(row) == len(rows[head])}


if __name__ == "__main__":  # lm-eval in a process of its own: it loads what vLLM must not fork with
    import os
    import sys

    lm_eval_texts(Asker(sys.argv[1], os.environ["KEY"], sys.argv[2], ""), Path(sys.argv[3]))
