"""`tulu config set`, `unset`, `init` and `edit`: what is written, and what never is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.config.conftest import Run
from tests.program import DEADLINE_SECONDS, environment, tulu
from tulu_cli.cli import router
from tulu_cli.commands.config._template import template
from tulu_cli.settings import KEYS, Setting, read_settings
from tulu_cli.settings.check import all_problems

COMMENTED = """\
# mine
model = "8b"   # the small one

[sampling]   # all of it
temperature = 0.5  # warm
# the end

[engine]
device = "cpu"
"""


def written(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def test_comments_and_order_stay(run: Run, file: Path) -> None:
    written(file, COMMENTED)
    file.chmod(0o640)
    assert run("set", "temperature", "0.75") == ("", "", 0)
    assert file.read_text() == COMMENTED.replace("0.5", "0.75")
    run("set", "sampling.top_k", "7")
    run("set", "system", "none")
    assert '# the small one\nsystem = "none"\n' in file.read_text()
    assert run("unset", "top_k") == run("unset", "system") == ("", "", 0)
    assert file.read_text() == COMMENTED.replace("0.5", "0.75")
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(file.parent) == ["config.toml"]


def test_a_new_file_is_the_users_alone(run: Run, file: Path) -> None:
    run("set", "alias.my.model", "/models/ours")
    run("set", "prompts.brief", 'Be "brief".\n\x1bÜ')
    run("set", "--profile", "work", "temperature", "1")
    assert file.stat().st_mode & 0o777 == 0o600
    settings = read_settings({"profile": "work"})
    assert settings.aliases == {"my.model": "/models/ours"}
    assert settings.prompts == {"brief": 'Be "brief".\n\x1bÜ'}
    assert settings.values["temperature"] == Setting(1.0, f"{file} [profile.work]")
    assert run("unset", "profile.work")[2] == 0
    assert all_problems(dict(os.environ)) == []


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
@pytest.mark.parametrize("text", ["", "profile.w.x = 1\n[sampling]\n", "engine = {}\n"])
def test_every_setting_can_be_written_and_removed(
    run: Run, file: Path, key: object, text: str
) -> None:
    written(file, text.replace("profile.w.x = 1", "profile.w.model = 'x'"))
    assert isinstance(key, type(KEYS[0]))
    value = next(v for v in (*re.split(", | or ", key.wanted), "1", "auto") if _takes(key, v))
    assert run("set", key.name, value) == ("", "", 0)
    assert run("get", key.name) == (f"{read_settings({}).get(key.name)}\n", "", 0)
    assert run("unset", key.name) == ("", "", 0)
    assert run("get", key.name)[2] == 1


def _takes(key: object, text: str) -> bool:
    from tulu_cli.settings import Key, parsed

    assert isinstance(key, Key)
    return key.problem(parsed(key.kind, text)) is None


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        (["temprature", "1"], "no setting 'temprature'. Is sampling.temperature meant?", 2),
        (["engine.temperature", "1"], "Is sampling.temperature meant?", 2),
        (["alias.", "x"], "There is no setting 'alias.'", 2),
        (["top_p", "3"], "sampling.top_p takes over 0 and up to 1, not 3.0.", 2),
        (["top_k", "some"], "sampling.top_k takes a whole number, not 'some'.", 2),
        (["model", "\udcff"], "The value of model is not UTF-8.", 2),
        (["--profile", "", "model", "8b"], "--profile takes a name.", 2),
    ],
)
def test_what_is_not_written(
    run: Run, file: Path, arguments: list[str], complaint: str, code: int
) -> None:
    written(file, COMMENTED)
    out, err, exit_code = run("set", *arguments)
    assert (out, exit_code) == ("", code)
    assert complaint in err
    assert file.read_text() == COMMENTED


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"model = \n", "is not TOML: Invalid value (line 1, column 9)"),
        (b"[a\n", "(line 1, column 3)"),
        (b"x = 1\nmodel = '\xff'\n", "is not UTF-8: byte 15, on line 2, is wrong"),
    ],
)
@pytest.mark.parametrize("verb", [["set", "model", "8b"], ["unset", "model"], ["get", "model"]])
def test_a_broken_file_stays_as_it_is(
    run: Run, file: Path, content: bytes, complaint: str, verb: list[str]
) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    out, err, code = run(*verb)
    assert (out, code) == ("", 65)
    assert complaint in err
    assert file.read_bytes() == content


def test_what_does_not_belong_can_be_removed(run: Run, file: Path) -> None:
    written(file, "modle = 1\n[sampling]\ntemprature = 1\ntop_k = 2\n")
    assert run("unset", "sampling.temprature")[2] == run("unset", "modle")[2] == 0
    assert file.read_text() == "[sampling]\ntop_k = 2\n"
    out, err, code = run("unset", "modle")
    assert (out, code) == ("", 1)
    assert "modle is not set in" in err


def test_a_value_where_a_table_should_be(run: Run, file: Path) -> None:
    written(file, "\nsampling = 3\n")
    err, code = run("set", "top_k", "2")[1:]
    assert (code, "line 2: sampling is not a table" in err) == (1, True)


def test_a_link_stays_a_link(run: Run, file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    file.symlink_to(tmp_path / "dotfiles.toml")
    run("set", "model", "demo")
    assert file.is_symlink()
    assert (tmp_path / "dotfiles.toml").read_text() == 'model = "demo"\n'


@pytest.mark.parametrize("target", [os.devnull, "a directory", "a pipe"])
def test_what_is_no_plain_file_is_left_alone(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    if target == "a directory":
        file.mkdir(parents=True)
    elif target == "a pipe":
        file.parent.mkdir()
        os.mkfifo(file)
    else:
        monkeypatch.setenv("TULU_CONFIG", target)
    err, code = run("set", "model", "demo")[1:]
    assert (code, "is not a regular file" in err) == (1, True)


def test_a_disk_that_fails_changes_nothing(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(file, COMMENTED)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    err, code = run("set", "model", "demo")[1:]
    assert (code, "cannot be written: No space left on device." in err) == (1, True)
    assert file.read_text() == COMMENTED
    assert os.listdir(file.parent) == ["config.toml"]


def test_of_many_at_once_none_is_lost(file: Path) -> None:
    script = (
        "import sys; from tulu_cli.cli import main\n"
        "for n in range(8): main.run(['config', 'set', f'alias.{sys.argv[1]}{n}', 'x'])"
    )
    variables = environment({"TULU_CONFIG": str(file)})
    both = [
        subprocess.Popen([sys.executable, "-c", script, name], env=variables) for name in ("a", "b")
    ]
    assert [process.wait(DEADLINE_SECONDS) for process in both] == [0, 0]
    assert len(read_settings({}).aliases) == 16


def test_a_kill_at_the_last_moment_changes_nothing(file: Path) -> None:
    written(file, COMMENTED)
    script = (
        "import os, signal; from tulu_cli.cli import main\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "main.run(['config', 'set', 'seed', '7'])"
    )
    variables = environment({"TULU_CONFIG": str(file)})
    done = subprocess.run([sys.executable, "-c", script], env=variables, check=False)
    assert (done.returncode, file.read_text()) == (-9, COMMENTED)
    assert tulu("config", "set", "seed", "7", env=variables).returncode == 0  # the lock is free
    assert read_settings({}).get("seed") == 7


def test_init_writes_every_setting_in_a_comment(run: Run, file: Path) -> None:
    assert run("init")[2] == 0
    assert read_settings({}).values == {}
    assert all(f"# {key.name} = " in file.read_text() for key in KEYS)
    err, code = run("init")[1:]
    assert (code, "exists already" in err) == (1, True)


def test_what_init_suggests_is_sound(file: Path) -> None:
    lines = template().split("\n")
    written(file, "\n".join(line[2:] if _is_setting(line) else line for line in lines))
    assert all_problems(dict(os.environ)) == []
    settings = read_settings({"profile": "work"})
    assert set(settings.values) == {key.name for key in KEYS}
    assert settings.get("temperature") == 0.2


def _is_setting(line: str) -> bool:
    return line.startswith("# [profile") or (line.startswith("# ") and " = " in line)


def editor(tmp_path: Path, body: str) -> str:
    script = tmp_path / "editor.py"
    script.write_text(f"import sys; from pathlib import Path; p = Path(sys.argv[1])\n{body}\n")
    return f"{sys.executable} '{script}'"


@pytest.mark.parametrize(
    ("body", "code", "said", "after"),
    [
        ("p.write_text('model = \"70b\"')", 0, "wrote", 'model = "70b"'),
        ("pass", 0, "nothing was changed", "model = "),
        ("sys.exit(3)", 1, "failed (3): nothing was changed", "model = "),
        ("p.write_text('modle = 1')", 65, "line 1: unknown key modle", "model = "),
        ("p.write_text('[')", 65, "Your text is kept there", "model = "),
        ("Path({!r}).write_text('x'); p.write_text('')", 1, "changed in the meantime", "x"),
    ],
    ids=range(6),
)
def test_edit_mends_a_file_and_never_breaks_one(
    run: Run,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    code: int,
    said: str,
    after: str,
) -> None:
    written(file, "model = ")  # broken, so that an editor is needed
    monkeypatch.setenv("EDITOR", editor(tmp_path, body.replace("{!r}", repr(str(file)))))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out, err, exit_code = run("edit")
    assert bool(list(tmp_path.glob("tulu-config-*"))) == ("kept" in err or "meantime" in err)
    assert (out, exit_code, said in err) == ("", code, True)
    assert file.read_text() == after


def test_edit_begins_with_what_init_writes(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "p.write_text(p.read_text().replace('# seed', 'seed'))"
    monkeypatch.setenv("VISUAL", editor(tmp_path, body))
    assert run("edit")[2] == 0
    assert read_settings({}).get("seed") == 1


def test_an_editor_that_is_not_there(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("/nowhere/editor", "'"):
        monkeypatch.setenv("EDITOR", command)
        err, code = run("edit")[1:]
        assert (code, "cannot be started: set EDITOR" in err) == (1, True)
    assert not file.exists()


def test_from_the_shell(file: Path) -> None:
    variables = {"TULU_CONFIG": str(file)}
    assert tulu("config", "set", "seed", "7", env=variables).returncode == 0
    assert tulu("config", "get", "seed", env=variables).stdout == b"7\n"
    assert tulu("config", "set", "temperature", "--", "-1", env=variables).returncode == 2
    assert "config" in router.command_names()
