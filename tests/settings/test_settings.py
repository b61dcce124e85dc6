"""Settings: who wins, and how each mistake is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.disk import config_path
from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.request.sampling import decide
from tulu_cli.settings import KEYS, Setting, Settings, read_settings
from tulu_cli.settings.merge import merge

NONE: Mapping[str, Any] = {}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(config: Path, text: str | None = None, flags: Mapping[str, Any] = NONE, **env: str) -> Any:
    """The settings with this config file, these flags and these variables."""
    if text is not None:
        config.write_text(text, encoding="utf-8")
    environ = {"TULU_CONFIG": str(config)} if text is not None else {}
    return read_settings(flags, environ | env)


@pytest.mark.parametrize(
    ("flag", "variable", "file", "model", "expected"),
    [
        (0.1, "0.2", "0.3", 0.4, (0.1, "flag")),
        (None, "0.2", "0.3", 0.4, (0.2, "TULU_TEMPERATURE")),
        (None, "", "0.3", 0.4, (0.3, "file")),
        (None, None, "0.3", 0.4, (0.3, "file")),
        (None, None, None, 0.4, (0.4, None)),
        (None, None, None, None, (1.0, None)),
        (0.0, "0.2", "0.3", 0.4, (0.0, "flag")),
    ],
)
def test_flag_over_environment_over_file_over_model_over_default(
    config: Path,
    flag: float | None,
    variable: str | None,
    file: str | None,
    model: float | None,
    expected: tuple[float, str | None],
) -> None:
    env = {} if variable is None else {"TULU_TEMPERATURE": variable}
    text = "" if file is None else f"[sampling]\ntemperature = {file}\n"
    settings = read(config, text, {"temperature": flag}, **env)
    generation_config = {} if model is None else {"temperature": model}
    value, origin = expected
    assert decide(settings, generation_config).temperature == value
    found = settings.values.get("temperature")
    if origin is None:
        assert found is None
    else:
        assert found == Setting(value, str(config) if origin == "file" else origin)
    assert settings.is_flag("temperature") == (origin == "flag")


def test_each_setting_has_its_own_winner() -> None:
    merged = merge([{"a": Setting(1, "flag")}, {"a": Setting(2, "x"), "b": Setting(3, "x")}])
    assert merged == {"a": Setting(1, "flag"), "b": Setting(3, "x")}


def test_every_key_can_be_set_in_every_way(config: Path) -> None:
    of_kind: dict[type, Any] = {str: "auto", int: 1, float: 0.5, list: ["./a", "org/b"]}
    samples = {key.name: of_kind[key.kind] for key in KEYS} | {"editing_mode": "vi"}
    lines: dict[str, list[str]] = {}
    for key in KEYS:
        value = repr(samples[key.name]).replace("'", '"')
        lines.setdefault(key.table, []).append(f"{key.name} = {value}")
    text = "\n".join(
        "\n".join([f"[{table}]" if table else "", *entries]) for table, entries in lines.items()
    )
    wanted = {key.name: samples[key.name] for key in KEYS}
    in_file = read(config, text)
    variables = {f"TULU_{key.name.upper()}": str(wanted[key.name]) for key in KEYS}
    variables["TULU_ADAPTER"] = variables["TULU_SERVER"] = "./a, org/b"
    in_environment = read_settings({}, variables)
    for settings in (in_file, in_environment, read(config, flags=wanted)):
        assert {name: setting.value for name, setting in settings.values.items()} == wanted


def test_one_text_serves_as_a_list_of_one(config: Path) -> None:
    settings = read(config, '[server]\nserver = "http://a:8000"\n')
    assert settings.get("server") == ["http://a:8000"]


def test_a_whole_number_serves_as_a_number(config: Path) -> None:
    value = read(config, "[sampling]\ntemperature = 1\n").get("temperature")
    assert (value, type(value)) == (1.0, float)


def test_there_need_not_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read_settings({}, {}) == Settings({})


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.toml"
    with pytest.raises(BadInput, match=r"nowhere\.toml \(from TULU_CONFIG\) does not exist"):
        read_settings({}, {"TULU_CONFIG": str(missing)})


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert config_path({"TULU_CONFIG": "/etc/tulu.toml"}) == Path("/etc/tulu.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path({}) == config_path({"TULU_CONFIG": ""}) == tmp_path / "tulu" / "config.toml"


BAD_FILES = {
    "[sampling]\ntemprature = 1\n": r"unknown key sampling\.temprature\. Is sampling\.temperature",
    "temperature = 1\n": r"unknown key temperature\. Is sampling\.temperature meant\?",
    "[engine]\nmodel = '8b'\n": r"unknown key engine\.model\. Is model meant\?",
    "[zzz]\nqqq = 1\n": r"unknown key zzz\.qqq\.$",
    "[sampling]\ntemperature = 'warm'\n": r"sampling\.temperature takes a number, not 'warm'",
    "[sampling]\nmax_tokens = true\n": r"sampling\.max_tokens takes a whole number, not True",
    "[sampling]\nmax_tokens = 1.5\n": r"sampling\.max_tokens takes a whole number, not 1\.5",
    "model = 8\n": r"model takes a text, not 8",
    "sampling = 3\n": r"unknown key sampling\.",
    "[sampling]\ntop_p = 0\n": r"sampling\.top_p takes over 0 and up to 1, not 0\.0",
    "[sampling]\ntemperature = nan\n": r"sampling\.temperature takes 0 or more, not nan",
    "[sampling]\ntemperature = inf\n": r"sampling\.temperature takes 0 or more, not inf",
    "[engine]\ndtype = 'int4'\n": r"engine\.dtype takes auto, bfloat16, float16, float32, not int4",
    "model = \n": r"is not TOML: .*line 1, column 9",
    "a = 1\n[b\n": r"is not TOML: .*line 2, column 3",
    "alias = 3\n": r"\[alias\] takes names with texts",
    "[prompts]\nbrief = 3\n": r"\[prompts\] takes names with texts",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_file_is_bad_input_and_says_where(config: Path, text: str) -> None:
    with pytest.raises(BadInput, match=BAD_FILES[text]) as caught:
        read(config, text)
    assert str(config) in str(caught.value)


def test_a_file_that_is_not_text_is_bad_input(config: Path) -> None:
    config.write_bytes(b"model = '\xff'\n")
    with pytest.raises(BadInput, match="is not UTF-8: byte 9"):
        read_settings({}, {"TULU_CONFIG": str(config)})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_settings({}, {"TULU_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("temperature", "-1", "takes 0 or more, not -1.0"),
        ("temperature", "warm", "takes a number, not 'warm'"),
        ("temperature", "inf", "takes 0 or more, not inf"),
        ("top_k", "1.5", "takes a whole number, not '1.5'"),
        ("top_p", "1.1", "takes over 0 and up to 1, not 1.1"),
        ("min_p", "2", "takes from 0 to 1, not 2.0"),
        ("seed", str(2**63), f"takes from 0 to 2^63 - 1, not {2**63}"),
        ("max_tokens", "0", "takes 1 or more, not 0"),
        ("gpu_memory_utilization", "0", "takes over 0, up to 1, not 0.0"),
        ("dtype", "int4", "takes auto, bfloat16, float16, float32, not int4"),
    ],
)
def test_a_bad_value_names_the_flag_or_the_variable(name: str, text: str, complaint: str) -> None:
    variable = f"TULU_{name.upper()}"
    with pytest.raises(UsageError) as from_environment:
        read_settings({}, {variable: text})
    assert str(from_environment.value) == f"{variable} {complaint}."
    kind = next(key.kind for key in KEYS if key.name == name)
    try:
        value = kind(text)
    except ValueError:
        return  # Typer refuses such a flag
    with pytest.raises(UsageError) as from_flag:
        read_settings({name: value}, {})
    assert str(from_flag.value) == f"--{name.replace('_', '-')} {complaint}."


def test_a_bad_value_is_refused_where_a_flag_covers_it(config: Path) -> None:
    with pytest.raises(TuluError, match="TULU_TEMPERATURE"):
        read(config, "", {"temperature": 1.0}, TULU_TEMPERATURE="-1")


def test_aliases_and_prompts_are_texts_by_name(config: Path) -> None:
    text = "[alias]\nmine = '8b'\n[prompts]\nbrief = 'Be brief.'\n"
    settings = read(config, text)
    assert settings.aliases == {"mine": "8b"}
    assert settings.prompts == {"brief": "Be brief."}
    assert settings.values == {}


def test_a_setting_that_nobody_set_is_absent() -> None:
    settings = read_settings({"model": None}, {})
    assert settings.get("model") is None
    assert settings.get("model", "demo") == "demo"
