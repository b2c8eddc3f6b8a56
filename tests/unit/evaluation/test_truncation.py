"""Prompts longer than the context."""

import pytest

from mergekit_finance.evaluation.truncation import PromptLengths, tokens_needed


@pytest.fixture(scope="module")
def tokenizer(tiny):
    from mergekit_finance.models.loading import load_tokenizer

    return load_tokenizer(str(tiny / "base"))


def test_a_generation_needs_room_for_what_it_writes(tokenizer):
    prompt = "Question: how much? " * 20
    size = len(tokenizer(prompt)["input_ids"])
    assert tokens_needed((prompt, {"max_gen_toks": 10}), tokenizer) == size + 10
    assert tokens_needed((prompt, {}), tokenizer) == size + 256


def test_a_choice_needs_room_for_its_option_less_one(tokenizer):
    size = len(tokenizer("Sales rose . positive")["input_ids"])
    assert tokens_needed(("Sales rose .", " positive"), tokenizer) == size - 1


def test_a_rolling_log_likelihood_is_never_cut(tokenizer):
    assert tokens_needed(("Sales rose . " * 500,), tokenizer) == 0


def test_prompts_are_counted_once_per_tokenizer_content_not_per_name(tiny, tokenizer):
    """A merge's tokenizer has the name of the base's, and can have other tokens."""
    from helpers.tiny_models import make_tokenizer

    from mergekit_finance.models.loading import load_tokenizer

    other = make_tokenizer(300)
    other.name_or_path = tokenizer.name_or_path
    lengths = PromptLengths()
    first, changed, same = map(lengths.of_tokenizer, (tokenizer, other, load_tokenizer(str(tiny / "math"))))
    assert first is same and first is not changed


def test_items_whose_prompt_does_not_fit_are_counted_by_task(tiny, tokenizer):
    """Several requests of one item are one item; a context of 16 tokens holds no prompt of these tasks."""
    from functools import partial

    from mergekit_finance.evaluation.answering import AnsweringModel
    from mergekit_finance.evaluation.evaluator import Evaluator

    names = ["finance_bench_fpb", "finance_bench_docmath_ss"]
    evaluator = Evaluator(names, metadata={"source": "lab"}, quiet=True, max_gen_toks=4)

    def make(length):
        lm = evaluator.live_models.load(str(tiny / "base"))
        lm._max_length = length
        return lm

    cut, whole = (
        evaluator.measure(AnsweringModel(partial(make, length)), "base", 2)[0]["truncated_prompts"]
        for length in (16, 4096)
    )
    assert cut == dict.fromkeys(names, 2) and whole == {}


@pytest.mark.parametrize(
    "name", ["finance_bench_docmath_cs_cot", "finance_bench_fpb", "finance_bench_jfinqa_numerical"]
)
def test_the_part_of_a_long_prompt_that_the_host_keeps_ends_with_the_question(tiny, tokenizer, name):
    """Looks at the tokens that reach the model if the context is too short for the prompt."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from mergekit_finance.models.loading import load_model

    task = TaskManager(include_defaults=False, metadata={"source": "sample"}).load([name])["tasks"][name]
    doc = task.test_docs()[0]
    task.config.generation_kwargs = {"until": ["\n"], "max_gen_toks": 4}
    task.build_all_requests(limit=1)
    model = load_model(str(tiny / "base"), "float32")
    prompts = []
    model.register_forward_pre_hook(
        lambda m, args, kwargs: prompts.append(kwargs.get("input_ids", *args[:1])), with_kwargs=True
    )
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=48)
    getattr(lm, task.instances[0].request_type)(task.instances[:1])
    prompt_end = tokenizer.decode(prompts[0][0])
    question = (doc.get("question") or doc["text"])[-20:]
    assert question in prompt_end and task.doc_to_text(doc)[-7:] in prompt_end
    assert len(tokenizer(task.doc_to_text(doc))["input_ids"]) > prompts[0].shape[1]
