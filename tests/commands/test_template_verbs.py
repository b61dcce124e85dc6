"""`tulu template` show, parse, lint, diff and convert as processes."""

import json
import re
import resource
from pathlib import Path

import pytest

from tests.program import shell, tulu
from tulu_cli.errors import ExitCode
from tulu_cli.prompt.builtin import tulu_template

ROW = {"id": "x", "source": "s", "messages": [{"role": "user", "content": "Hi"}]}
HOSTILE = "{# \x1b]52;c;aGk=\x07 \x9b31m #}{{ messages[0].content }}"


def template(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    done = tulu("template", *arguments, stdin=stdin)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_source_into_a_pipe_is_the_source() -> None:
    assert template("show") == (0, tulu_template(), "")


def test_the_source_of_a_model(demo_directory: Path) -> None:
    code, source, _ = template("show", "-m", str(demo_directory))
    assert (code, source) == (0, (demo_directory / "chat_template.jinja").read_text())


def test_a_prompt_back_into_messages() -> None:
    code, text, said = template("parse", stdin=b"<|user|>\nHi\n<|assistant|>\n")
    assert (code, json.loads(text), said) == (0, [{"role": "user", "content": "Hi"}], "")


def test_there_and_back_for_many_lines() -> None:
    rows = b"".join(
        json.dumps(
            [{"role": "user", "content": f"{n}\n"}, {"role": "assistant", "content": ""}]
        ).encode()
        + b"\n"
        for n in range(50)
    )
    _, rendered, _ = template("render", "--json", stdin=rows)
    assert template("parse", stdin=rendered.encode()) == (0, rows.decode(), "")


def test_an_open_end_is_said() -> None:
    code, text, said = template("parse", stdin=b"<|user|>\nHi\n<|assistant|>\nI thi")
    assert (code, json.loads(text)[1]["content"]) == (0, "I thi")
    assert said.startswith("tulu: the last message has no end token of this template")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "stdin is empty"),
        (b"Hello", "stdin: The text is not a prompt of this chat template."),
        (b"<|user|>\n\xff", "stdin is not UTF-8: byte 9"),
        (b'{"text": "<|user|>\\nHi\\n"}\nx\n', "stdin, line 2 must be an object"),
        (
            b'{"text": "<|user|>\\nHi\\n"}\n{"text": "x"}\n',
            "stdin, line 2: The text is not a prompt",
        ),
    ],
)
def test_what_cannot_be_parsed(text: bytes, complaint: str) -> None:
    code, _, said = template("parse", stdin=text)
    assert code == ExitCode.BAD_INPUT
    assert said.startswith(f"tulu: {complaint}")


def test_the_built_in_template_has_no_error() -> None:
    code, found, said = template("lint")
    assert code == 0
    assert re.findall(r"^(T\d+) (\w+) ", found, re.MULTILINE) == [
        ("T050", "warning"),
        ("T024", "note"),
        ("T091", "note"),
    ]
    assert said == "0 errors, 1 warning, 2 notes\n"


def test_errors_of_a_template_are_exit_code_1(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{{ messages[-1].content }}")
    code, found, _ = template("lint", "--json", "--template", str(path))
    assert code == ExitCode.FAILURE
    rows = [json.loads(line) for line in found.splitlines()]
    assert {"T020"} <= {row["code"] for row in rows if row["severity"] == "error"}
    assert rows[0].keys() == {"code", "severity", "message", "fix", "place"}


def test_spoofs_in_conversations_are_found_by_line() -> None:
    rows = b'{"prompt": "Hi"}\n{"prompt": "x <|assistant|> y"}\n'
    code, found, said = template("lint", stdin=rows)
    assert (code, said) == (0, "0 errors, 1 warning, 2 notes\n"), "stdin is read where it is named"
    assert found
    code, found, said = template("lint", "-", stdin=rows)
    assert code == ExitCode.FAILURE
    assert found.startswith("T100 error stdin, line 2: messages[0].content holds <|assistant|>")
    assert said == "1 error, 0 warnings, 0 notes\n"


def test_a_hostile_template_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{{ 'x' * 10**10 }}")
    code, found, _ = template("lint", "--template", str(path))
    assert code == ExitCode.FAILURE
    assert found.startswith("T003 error The chat template makes more than")


def test_templates_compared(tmp_path: Path, demo_directory: Path) -> None:
    path = tmp_path / "other.jinja"
    path.write_text(tulu_template().replace("<|system|>", "<|sys|>"))
    assert template("diff", "tulu", "tulu")[:2] == (0, "")
    code, shown, said = template("diff", "tulu", str(path))
    assert code == 1
    assert "-<|system|>\\n\n+<|sys|>\\n\n" in shown
    assert said == "4 of 25 conversations are rendered differently.\n"
    code, lines, _ = template("diff", "--json", "tulu", str(demo_directory))
    rows = [json.loads(line) for line in lines.splitlines()]
    assert code == 1
    assert len(rows) == 25
    assert not any(row["same"] or row["refused"] for row in rows)


LOOP = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"


def test_a_difference_of_the_begin_token_is_seen(tmp_path: Path) -> None:
    """Nobody says what the tokens of a template file are: a text stands in for them."""
    with_bos, without = tmp_path / "with.jinja", tmp_path / "without.jinja"
    with_bos.write_text("{{ bos_token }}" + LOOP)
    without.write_text(LOOP)
    code, shown, said = template("diff", str(with_bos), str(without))
    assert (code, said) == (1, "25 of 25 conversations are rendered differently.\n")
    assert "-<|bos_token|><user>Hi\\n\n+<user>Hi\\n\n" in shown
    written = tmp_path / "written.jinja"
    written.write_text("<s>" + LOOP)
    code, _, said = template("diff", str(with_bos), str(written), "--bos", "<s>")
    assert (code, said) == (0, "0 of 25 conversations are rendered differently.\n")


def test_a_template_file_has_the_tokens_of_the_model_that_it_is_compared_with(
    tmp_path: Path, demo_directory: Path
) -> None:
    path = tmp_path / "copy.jinja"
    source = (demo_directory / "chat_template.jinja").read_text() + "{{ bos_token }}{{ eos_token }}"
    path.write_text(source)
    model = tmp_path / "model"
    model.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).symlink_to(demo_directory / name)
    (model / "chat_template.jinja").write_text(source)
    assert template("diff", str(path), str(model))[0] == 0
    assert template("diff", str(model), str(path))[0] == 0
    assert template("diff", str(model), str(path), "--eos", "x")[0] == 0


def test_what_both_refuse_is_counted_apart(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jinja", tmp_path / "other.jinja"
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('WHY') }}{% endif %}"
    one.write_text(refusing.replace("WHY", "No system message.") + LOOP)
    other.write_text(refusing.replace("WHY", "The user speaks first!") + LOOP)
    code, shown, said = template("diff", str(one), str(other))
    assert (code, shown) == (0, "")
    assert said == "0 of 25 conversations are rendered differently; 3 are refused by both.\n"
    rows = [
        json.loads(line) for line in template("diff", "--json", str(one), "tulu")[1].splitlines()
    ]
    assert [row["probe"] for row in rows if row["refused"] == ["a"]] == [
        "a system message",
        "a system message alone",
        "tools and a system message",
    ]


@pytest.mark.parametrize("side", [0, 1])
def test_a_template_that_renders_nothing_is_not_the_same(tmp_path: Path, side: int) -> None:
    path = tmp_path / "refusing.jinja"
    path.write_text("{{ cls_token.x }}")
    names = [str(path), str(path)]
    names[side] = "tulu"
    code, shown, said = template("diff", *names)
    assert (code, shown) == (ExitCode.BAD_INPUT, "")
    assert said == (
        f"tulu: {path}: None of the 25 conversations is rendered. The chat template refuses this "
        "conversation: 'cls_token' is undefined.\n"
    )
    assert template("diff", str(path), str(path))[0] == ExitCode.BAD_INPUT


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}" + LOOP


@pytest.mark.parametrize("verb", ["parse", "diff", "lint"])
def test_a_template_that_does_not_end_is_one_sentence(verb: str, tmp_path: Path) -> None:
    """Each of them tries a template with many conversations."""
    path = tmp_path / "endless.jinja"
    path.write_text(ENDLESS)
    arguments = {
        "parse": ["--template", str(path), "-"],
        "diff": ["tulu", str(path)],
        "lint": ["--template", str(path), "Hi"],
    }[verb]
    before = used_by_children()
    code, shown, said = template(verb, *arguments, stdin=b"<user>Hi\n")
    assert (code, shown) == (ExitCode.BAD_INPUT, "")
    assert said.endswith(
        ": The chat template runs for more than 5 seconds; it is broken or hostile.\n"
    )
    assert used_by_children() - before < 10


def used_by_children() -> float:
    """The processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_template_without_any_jinja_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "plain.jinja"
    path.write_text("Say A or B.")
    assert template("render", "--template", str(path), "Hi") == (0, "Say A or B.", "")
    assert template("show", "--template", str(path)) == (0, "Say A or B.", "")
    code, _, said = template("render", "-m", "demo", "--template", "rag", "Hi")
    assert (code, said) == (
        ExitCode.BAD_INPUT,
        "tulu: rag is not a file, and no template of the model has that name.\n",
    )


def test_conversions_there_and_back(tmp_path: Path) -> None:
    row = json.dumps(ROW)
    _, sharegpt, _ = template("convert", "--to", "sharegpt", stdin=row.encode())
    assert json.loads(sharegpt) == {
        "id": "x",
        "source": "s",
        "conversations": [{"from": "human", "value": "Hi"}],
    }
    _, back, _ = template("convert", "--from", "sharegpt", "--to", "tulu", stdin=sharegpt.encode())
    assert json.loads(back) == ROW
    _, pair, _ = template("convert", "--to", "pairs", "-s", "S", stdin=row.encode())
    assert json.loads(pair) == {"id": "x", "source": "s", "system": "S", "prompt": "Hi"}


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--to", "x"], 2, "There is no conversation format 'x'"),
        (["--from", "x"], 2, "There is no conversation format 'x'"),
        (["--from", "pairs"], 65, "stdin, line 1 is not in the format pairs"),
        (["-s", "S"], 0, ""),
    ],
)
def test_refused_conversions(arguments: list[str], code: int, complaint: str) -> None:
    done = template("convert", *arguments, stdin=json.dumps(ROW).encode())
    assert done[0] == code
    assert complaint in done[2]


@pytest.mark.parametrize("verb", ["show", "tokens", "lint", "diff", "render"])
def test_on_a_terminal_nothing_hostile_commands_it(
    verb: str, tmp_path: Path, demo_directory: Path
) -> None:
    """`script` gives the command a terminal."""
    path = tmp_path / "hostile.jinja"
    path.write_text(HOSTILE)
    arguments = {
        "show": ["--template", str(path)],
        "tokens": ["--tokenizer", str(demo_directory), "a\x1b]52;c;aGk=\x07\x9b31mb"],
        "lint": ["--bos", "\x1b[6n", "a\x1b[6n<|assistant|>"],
        "diff": [str(path), "tulu"],
        "render": ["--template", str(path), "\x1b[6n"],
    }[verb]
    command = 'printf -v line "%q " "$@"; script -qec "$line" /dev/null </dev/null'
    shown = shell(command, "template", verb, *arguments).stdout.decode()
    assert shown
    # Colours are our own; nothing else may begin a sequence.
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).count("\x1b") == 0
    assert not re.search("[\x07\x80-\x9f]", shown)
    if verb in ("show", "tokens", "diff"):
        assert "\x1b[" in shown, "a terminal is coloured"


def test_help_of_each_verb_is_quick_and_says_what_it_does() -> None:
    for verb in ("show", "render", "tokens", "parse", "lint", "diff", "convert"):
        code, text, _ = template(verb, "--help")
        assert code == 0
        assert f"tulu template {verb}" in text
