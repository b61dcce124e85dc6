"""The memory of adapters: the slots of vLLM on each GPU, and what transformers loads."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.adapters import make_adapter
from tests.engines.loading import load_engine
from tulu_cli.errors import UsageError
from tulu_cli.models import resolve
from tulu_cli.models.adapter import Adapter, check_name, read_adapter
from tulu_cli.plan.adapters import Slots, adapter_tensors, slot_blocks, slots_for
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.read import plan_model
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.tensors import tensors_of
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Run, estimate

TULU_8B = plan_model(resolve("8b"))
HIDDEN, KV, VOCABULARY, LAYERS = 4096, 1024, 128264, 32
QKV = 3 * HIDDEN + HIDDEN + 2 * KV  # three halves A, and the outputs of the three


def slot_bytes(slots: Slots, layout: Layout, stage: int = 0) -> int:
    shape = TULU_8B.shape
    return sum(slot_blocks(slots, tensors_of(shape), shape, layout, stage))


@pytest.mark.parametrize(
    ("targets", "layout", "numbers"),
    [
        (("o_proj",), Layout(), LAYERS * 2 * HIDDEN),
        # vLLM fuses the three, and the slots are for all of them.
        (("q_proj",), Layout(), LAYERS * QKV),
        (("q_proj", "v_proj"), Layout(), LAYERS * QKV),
        (("q_proj",), Layout(tensor=2), LAYERS * (3 * HIDDEN + (HIDDEN + 2 * KV) // 2)),
        (("o_proj",), Layout(tensor=4), LAYERS * (HIDDEN // 4 + HIDDEN)),
        (("o_proj",), Layout(pipeline=2), LAYERS // 2 * 2 * HIDDEN),
        (("lm_head",), Layout(tensor=4), HIDDEN + VOCABULARY),
        (("nothing",), Layout(), 0),
    ],
)
def test_slots_take_rank_times_inputs_and_outputs(
    targets: tuple[str, ...], layout: Layout, numbers: int
) -> None:
    assert slot_bytes(Slots(3, 16, targets), layout) == 3 * 16 * numbers * 2  # bytes of bfloat16


def test_slots_are_taken_from_the_cache_and_have_graphs_of_their_own() -> None:
    gpu = Gpu("24 GiB", 24 * GIB, 24 * GIB)
    slots = Slots(4, 64, ("q_proj", "o_proj", "down_proj"))
    plain, adapted = (
        estimate(TULU_8B, gpu, Run(8192, eager=eager, adapters=used), rules_of(NEWEST)).tightest
        for eager, used in ((True, None), (True, slots))
    )
    assert slot_bytes(slots, Layout()) <= adapted.adapters < 1.1 * slot_bytes(slots, Layout())
    assert plain.kv.expected - adapted.kv.expected == adapted.adapters
    assert (plain.adapters, plain.weights) == (0, adapted.weights)
    with_graphs = [
        estimate(TULU_8B, gpu, Run(8192, adapters=used), rules_of(NEWEST)).tightest.graphs.expected
        for used in (None, slots)
    ]
    assert with_graphs[1] > 1.5 * with_graphs[0]


@pytest.mark.parametrize(
    ("rank", "expected"), [(1, 1), (2, 8), (16, 16), (257, 320), (512, 512), (513, None)]
)
def test_vllm_has_slots_of_some_ranks(rank: int, expected: int | None) -> None:
    adapter = Adapter("a", Path("a"), rank, shapes={"layers.0.q_proj": (8, 8)})
    if expected is None:
        with pytest.raises(UsageError, match="a has rank 513, and vLLM takes 512 at most"):
            slots_for([adapter])
    else:
        assert slots_for([adapter, adapter]) == Slots(2, expected, ("q_proj",))


def test_transformers_loads_them_in_the_data_type_of_the_model(
    small_directory: Path, tmp_path: Path
) -> None:
    adapter = read_adapter(make_adapter(tmp_path / "a", small_directory, rank=4), "a")
    with closing(
        load_engine("transformers", small_directory, dtype="bfloat16", adapters=(adapter,))
    ) as engine:
        model = engine.model  # type: ignore[attr-defined]
        held = [one for name, one in model.named_parameters() if ".lora_" in name]
        loaded = sum(one.nbytes for one in held)
    assert loaded == sum(tensor.size for tensor in adapter_tensors(adapter, 16)) > 0


def test_names_are_those_that_an_engine_takes(small_directory: Path, tmp_path: Path) -> None:
    path = make_adapter(tmp_path / "a", small_directory, rank=4)
    with pytest.raises(UsageError, match="Two adapters are called a: give it another name"):
        check_name(read_adapter(path, "a"), str(path), [read_adapter(path, "a")])
    with pytest.raises(UsageError, match="An adapter cannot be called 8b, as its model is"):
        check_name(read_adapter(path, "8b"), str(path), [], ("8b", None))
