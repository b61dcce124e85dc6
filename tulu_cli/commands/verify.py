"""`tulu verify`: the rewards of RLVR for answers that are there already."""

from typing import Annotated

import typer

from tulu_cli.commands import _options

EXAMPLES = (
    (
        "Verify answers to rows of RLVR-GSM-MATH-IF-Mixed-Constraints",
        "tulu verify answers.jsonl -o verified.jsonl --resume",
    ),
    ("See why a row has its verdict, then and now", "tulu verify answers.jsonl --explain 17"),
    (
        "List the answers that math-verify judges otherwise",
        "tulu verify answers.jsonl --rule math --against math-verify",
    ),
)
EXIT_CODES = {
    0: "Every row has a verdict, right or wrong.",
    1: "It failed, or a library is missing; stderr says why.",
    2: "The command line is not understood or contradicts itself.",
    65: "The input cannot be read, or some rows have no verdict; stderr says where.",
    130: "Interrupted by Ctrl-C; the output has whole lines.",
    141: "The reader of stdout, or of a pipe that -o names, went away.",
}
RULE = "Rule"
RULES = (
    "gsm8k, math, strict_math, ifeval (each also with -2024), choice, regex:PATTERN, "
    "json-schema:FILE, python:FILE or math-verify"
)


def verify(
    source: Annotated[
        str,
        typer.Argument(
            help="The answers, as JSON Lines; read from stdin if it is - or left out.",
            metavar="FILE|-",
            show_default=False,
        ),
    ] = "-",
    rule: Annotated[
        str,
        typer.Option(
            help=f"The rule: {RULES}.  [default: the one that the row's dataset names]",
            metavar="RULE",
            show_default=False,
            rich_help_panel=RULE,
        ),
    ] = "auto",
    era: Annotated[
        str,
        typer.Option(
            help="The definitions of the rules: those of open-instruct now, or those that Tülu 3 "
            "was trained with in 2024.",
            metavar="now|2024",
            rich_help_panel=RULE,
        ),
    ] = "now",
    label: Annotated[
        str,
        typer.Option(
            help="The column that answers are compared with.",
            metavar="COLUMN",
            rich_help_panel=RULE,
        ),
    ] = "ground_truth",
    explain: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tell why the row on line N has its verdict, and write no rows.",
            metavar="N",
            rich_help_panel=RULE,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Write only the answers on which the rule and another one disagree: now or 2024 "
            "for the same rule then, math-verify, or any rule.",
            metavar="RULE",
            rich_help_panel=RULE,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Write the rows to FILE instead of stdout.",
            metavar="FILE|-",
            show_default=False,
            rich_help_panel=_options.OUTPUT,
        ),
    ] = "-",
    summary: Annotated[
        str | None,
        typer.Option(
            help="Write the summary to FILE as JSON.",
            metavar="FILE",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an unfinished output; start it if there is none.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an existing output.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Use N processes; the order stays.  [default: one a processor]",
            metavar="N",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    debug: _options.Debug = False,
) -> None:
    """Verify answers by the rules that Tülu 3 was rewarded by, without a model.

    A row is what tulu batch writes, or has its answer in response, completion, output or text, or
    as the last of its messages; several are in choices, responses or completions. It comes back
    with rule, verified, reward, extracted and why, or with error: columns of these names are
    replaced. The reward is 10 for a verified answer, else 0, and -10 for one without its end token.
    """
    del debug  # cli/main.py looks for it
    from tulu_cli.errors import UsageError
    from tulu_cli.streams import Streams
    from tulu_cli.verify.session import VerifyOptions, run

    if era not in ("now", "2024"):
        raise UsageError(f"--era takes now or 2024, not {era}.")
    chosen = VerifyOptions(
        source=source,
        rule=rule,
        era="2024" if era == "2024" else "now",
        label=label,
        output=output,
        resume=resume,
        overwrite=overwrite,
        jobs=jobs,
        explain=explain,
        against=against,
        summary=summary,
    )
    run(chosen, Streams.standard())
