"""The memory of a draft model on vLLM, and what is refused."""

import re
from dataclasses import replace

import pytest

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.read import built_in_config, model_of
from tulu_cli.plan.report import report
from tulu_cli.plan.search import fewest_gpus, plan_of
from tulu_cli.plan.shape import Keys, State
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.text import explanation, plan_text, ready_commands
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Drafting, Estimate, Model, Run, estimate

RULES = rules_of(NEWEST)


def tulu(size: str) -> Model:
    config = built_in_config(size, "RLVR")
    assert config is not None
    return model_of(size, config)


LARGE, SMALL = tulu("70B"), tulu("8B")
FOUR = Layout(4)


def planned(model: Model, drafting: Drafting | None, layout: Layout = FOUR) -> Estimate:
    run = Run(8192, layout=layout, eager=True, drafting=drafting)
    return estimate(model, parse_gpu("h100")[0], run, RULES)


def test_a_draft_is_cut_as_the_model_is_and_shares_its_blocks() -> None:
    alone, small = planned(LARGE, None), planned(SMALL, None)
    both = planned(LARGE, Drafting(5, SMALL))
    rank = both.tightest
    assert rank.draft == small.tightest.weights
    assert alone.tightest.kv.expected - rank.kv.expected == rank.draft
    # 2 KV heads a GPU, keys and values of 128 numbers in bfloat16, 16 tokens, 80 + 32 layers.
    assert both.caches[0].block_bytes == 2 * 2 * 128 * 2 * 16 * (80 + 32)
    assert both.request_blocks == alone.request_blocks == 8192 // 16
    assert both.parts(rank)["draft"] == rank.draft
    assert planned(LARGE, Drafting(5)).tightest == alone.tightest


def test_a_draft_of_another_width_has_pages_of_its_own() -> None:
    narrow = [
        layer._replace(kept=tuple(Keys(4, 64, 64) for _ in layer.kept))
        for layer in SMALL.shape.decoder
    ]
    draft = replace(SMALL, shape=SMALL.shape._replace(decoder=tuple(narrow)))
    found = planned(LARGE, Drafting(5, draft)).caches[0].block_bytes
    assert found == 16 * 2 * 2 * (2 * 128 * 80 + 1 * 64 * 32)


def test_the_runner_of_a_release_depends_on_the_draft() -> None:
    """Runner 2 keeps counters for penalties, which the plan counts with the activations."""

    def peak(release: tuple[int, int, int], drafting: Drafting | None) -> int:
        run = Run(8192, layout=Layout(4), eager=True, drafting=drafting)
        found = estimate(LARGE, parse_gpu("h100")[0], run, rules_of(release))
        return found.tightest.activation.expected

    model, ngrams = Drafting(4, SMALL), Drafting(4)
    for release, alike in (
        ((0, 30, 0), (False, False)),
        ((0, 31, 0), (True, False)),
        ((0, 32, 0), (True, True)),
    ):
        without = peak(release, None)
        assert tuple(peak(release, one) == without for one in (model, ngrams)) == alike


def test_what_is_shown() -> None:
    found = planned(LARGE, Drafting(5, SMALL))
    plan = plan_of(found)
    text = plan_text(plan, NEWEST, bars=False)
    assert "draft 3.77 GiB" in text
    assert "8B drafts up to 5 tokens ahead: its layers take 29% of the KV cache" in text
    assert "every drafted token accepted" in text
    alone = plan_of(planned(LARGE, None)).speed.decode
    assert alone is not None
    assert plan.speed.decode is not None
    assert 3 * alone < plan.speed.decode < 6 * alone
    assert report(plan)["draft"] == {"model": "8B", "tokens": 5}
    assert report(plan)["ranks"][0]["draft"] == found.tightest.draft
    steps = "\n".join(explanation(found, NEWEST))
    assert "draft = 32 layers' tensors of 8B, cut in the same way = 3.77 GiB" in steps
    assert "1,024 bytes x 16 tokens x 112 layers" in steps
    serve, vllm, complete = ready_commands(found, "org/70b", draft="org/8b")
    for line in (serve, complete):
        assert "--draft org/8b --draft-tokens 5" in line
    assert '"model": "org/8b", "num_speculative_tokens": 5}' in vllm
    ngrams = ready_commands(planned(LARGE, Drafting(3)), "org/70b")
    assert "--draft ngram --draft-tokens 3" in ngrams[0]
    assert '"method": "ngram"' in ngrams[1]


def test_the_fewest_gpus_are_such_that_a_draft_can_share_them() -> None:
    few = replace(SMALL, shape=SMALL.shape._replace(heads=2, kv_heads=2))
    run = Run(8192, eager=True)
    gpu = parse_gpu("24GiB")[0]
    assert fewest_gpus(LARGE, gpu, run, RULES) is not None
    assert fewest_gpus(LARGE, gpu, run._replace(drafting=Drafting(4, few)), RULES) is None


@pytest.mark.parametrize(
    ("layers", "layout", "sentence"),
    [
        ((), Layout(2, 2), "cannot be divided among 2 pipeline stages"),
        ((Keys(8, 128, 128, window=512),), Layout(4), "8B has layers with a window, with which"),
        ((State(4, 128),), Layout(4), "8B has recurrent layers, with which vLLM does not"),
    ],
)
def test_what_a_draft_cannot_be(
    layers: tuple[Keys | State, ...], layout: Layout, sentence: str
) -> None:
    draft = SMALL
    if layers:
        decoder = [layer._replace(kept=layers) for layer in SMALL.shape.decoder]
        draft = replace(SMALL, shape=SMALL.shape._replace(decoder=tuple(decoder)))
    with pytest.raises(UsageError, match=sentence):
        planned(LARGE, Drafting(4, draft), layout)
    if layers:
        with pytest.raises(UsageError, match=r"give --draft ngram|leave --draft out"):
            planned(replace(draft, name="7B"), Drafting(4, SMALL), layout)


def test_another_vocabulary_cannot_draft() -> None:
    draft = replace(SMALL, shape=SMALL.shape._replace(vocabulary=128256))
    said = re.escape("8B cannot draft for 70B: it has 128,256 tokens, and 70B has 128,264.")
    with pytest.raises(UsageError, match=said):
        planned(LARGE, Drafting(4, draft))
