"""Prompts in chat format: those of lm-eval's `hf`, each model by its own template, in study, plan and card."""

import json
import shutil

import lm_eval
import pytest
import yaml
from click.testing import CliRunner
from helpers import study as helpers
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from mergekit_finance.checks.model_checks import examine_models
from mergekit_finance.cli import main
from mergekit_finance.errors import DataError, MergekitFinanceError, ModelError, RecipeError
from mergekit_finance.evaluation.chat import ChatSettings, chat_template_of
from mergekit_finance.evaluation.mergekit_lm import MergekitLM
from mergekit_finance.models.facts import FactsReader
from mergekit_finance.registration import register
from mergekit_finance.share.body import _chat
from mergekit_finance.study.config import parse_study
from mergekit_finance.study.cost import plan_study
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import StudyRun
from mergekit_finance.study.schema import ChatUsed

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
TEMPLATE = f"{{{{ bos_token }}}}{TURNS}{{% if add_generation_prompt %}}<assistant>{{% endif %}}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
CHAT = {
    "apply_chat_template": True, "system_instruction": "Answer as an analyst.", "fewshot_as_multiturn": True
}  # fmt: skip
TASK = {
    "task": "counting", "dataset_path": "json", "test_split": "test", "fewshot_split": "test", "num_fewshot": 2,
    "output_type": "multiple_choice", "doc_to_text": "Row {{number}} holds", "doc_to_target": "{{number % 2}}",
    "doc_to_choice": ["nothing", "one thing"],
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip


def set_template(folder, template):
    path = folder / "chat_template.jinja"
    path.write_text(template) if template else path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def models(tiny, tmp_path_factory):
    """Models with a chat template each; that of `math` is another one."""
    folder = tmp_path_factory.mktemp("chat") / "models"
    shutil.copytree(tiny, folder)
    for name in ("base", "finance"):
        set_template(folder / name, TEMPLATE)
    set_template(folder / "math", TEMPLATE.replace("<assistant>", "<reply>"))
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"number": number}) + "\n" for number in range(12)))
    files = {"dataset_kwargs": {"data_files": {"test": str(rows)}}}
    (folder / "counting.yaml").write_text(yaml.safe_dump(TASK | files))
    return folder


@pytest.fixture(scope="module")
def finished(models, tasks, tmp_path_factory):
    """A study of two experts with prompts in chat format, and what it printed."""
    out = tmp_path_factory.mktemp("study") / "out"
    _, printed = helpers.go(models, out, **of_study(tasks))
    return out, printed


def of_study(tasks, **chat):
    return {
        "tasks": ["counting"], "include_path": str(tasks), "stages": [2], "selection": {"same_items": True}, "limit": 4,
        "evaluation": {"batch_size": 32, "max_gen_toks": 4, **(chat or CHAT)},
    }  # fmt: skip


def prompts(samples):
    return [[argument[0] for argument in sample["arguments"]] for sample in samples]


def sample_lines(folder, task):
    return [json.loads(line) for line in (folder / f"samples_{task}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "settings", [CHAT, {**CHAT, "fewshot_as_multiturn": False}, {"system_instruction": "Be brief."}]
)
def test_the_requests_are_those_of_hf_in_lm_eval(models, tasks, settings):
    from mergekit_finance.evaluation.answering import AnsweringModel
    from mergekit_finance.evaluation.evaluator import Evaluator

    names = ["counting", *(["finance_bench_docmath_ss"] if settings == CHAT else [])]
    evaluator = Evaluator(
        names, include_paths=[tasks], metadata={"source": "lab"}, max_gen_toks=4, quiet=True
    )
    evaluator.chat = ChatSettings(**settings)
    lm = evaluator.live_models.load(str(models / "math"))
    ours = evaluator.measure(AnsweringModel(lambda: lm), "math", 4)[0]
    folders = [str(folder) for folder in (*evaluator.task_folders, tasks)]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata={"source": "lab"})
    theirs = lm_eval.simple_evaluate(
        lm, tasks=names, limit=4, bootstrap_iters=0, task_manager=manager, gen_kwargs="max_gen_toks=4",
        **{"fewshot_as_multiturn": False, **settings},
    )  # fmt: skip
    for name in names:
        assert prompts(ours["samples"][name]) == prompts(theirs["samples"][name])
        assert [one["resps"] for one in ours["samples"][name]] == [
            one["resps"] for one in theirs["samples"][name]
        ]
    text = prompts(ours["samples"]["counting"])[0][0]
    assert text.endswith("<reply>") == ("apply_chat_template" in settings)  # the template of `math` itself
    turns = text.count("<user>")
    assert turns == {True: 3, False: 1, None: 0}[settings.get("fewshot_as_multiturn")]


def test_each_model_of_a_study_gets_its_prompts_by_its_own_template_and_a_merge_by_the_bases(
    finished, models
):
    out, printed = finished
    results = load_results(out)
    point = next(iter(results.points))
    generation = {"base": "<assistant>", "finance": "<assistant>", "math": "<reply>", point: "<assistant>"}
    for name, end in generation.items():
        for sample in sample_lines(results.place(name), "counting"):
            text = sample["arguments"]["gen_args_0"]["arg_0"]
            assert text.startswith("<s><system>Answer as an analyst.</s>") and text.endswith(end)
        content = results.host_results(name)
        assert (
            content["chat_template"]
            == (models / ("math" if name == "math" else "base") / "chat_template.jinja").read_text()
        )
        assert (
            content["system_instruction"] == CHAT["system_instruction"]
            and content["fewshot_as_multiturn"] is True
        )
        assert results.key(name).chat == CHAT and "chat" not in content
    warnings = [line for line in printed if "[model.chat-templates-differ]" in line]
    assert len(warnings) == 1 and "math and " in warnings[0]
    assert list(_chat(results)) == [
        "- Prompts were rendered by each model's chat template, few-shot examples as turns of their own, after the "
        'system instruction "Answer as an analyst." (`apply_chat_template`, `system_instruction`, '
        "`fewshot_as_multiturn` of lm-eval). Other prompts give other scores."
    ]  # fmt: skip


def test_stored_answers_are_used_for_the_same_prompts_only(finished, models, tasks, asked):
    out, _ = finished
    before = helpers.stamps(out)
    helpers.go(models, out, **of_study(tasks))
    assert helpers.stamps(out) == before and not asked
    study = parse_study(helpers.content(models, **of_study(tasks)), "study.yml")
    run = StudyRun(study, out, "cpu", study.limit, quiet=True, say=lambda text: None)
    assert plan_study(run, sample=False).answers.missing == {}
    helpers.go(models, out, **of_study(tasks, apply_chat_template=True))
    assert {request.args[0][:3] for request in asked} == {"<s>"} and not any(
        "analyst" in request.args[0] for request in asked
    )


@pytest.mark.parametrize(
    ("name", "template", "message"),
    [
        ("base", None, "base' has no chat template. Copy the chat_template.jinja"),
        ("finance", "{{ messages[0].content / 0 }}", "its chat template fails"),
        ("finance", "always the same", "leaves out what the user says"),
        ("finance", "{{ ().__class__.__base__.__subclasses__() }}", "its chat template fails .*unsafe"),
    ],
)
def test_a_template_that_is_missing_or_fails_ends_a_study_in_one_line(
    models, tasks, tmp_path, name, template, message
):
    shutil.copytree(models, tmp_path / "models")
    set_template(tmp_path / "models" / name, template)
    helpers.refused(tmp_path / "models", tmp_path / "out", ModelError, message, **of_study(tasks))


def test_a_template_that_refuses_system_messages_is_reported_once(models, tasks, tmp_path):
    shutil.copytree(models, tmp_path / "models")
    set_template(tmp_path / "models" / "finance", NO_SYSTEM)
    study = parse_study(helpers.content(tmp_path / "models", **of_study(tasks)), "study.yml")
    printed = []
    StudyRun(study, tmp_path / "out", "cpu", 4, quiet=True, say=printed.append).check()
    assert [line.partition(" refuses")[0] for line in printed if "[model.chat-system]" in line] == [
        f"warning: the chat template of {tmp_path}/models/finance"
    ]


def test_a_name_for_models_with_one_template_is_a_warning(models, tasks, tmp_path):
    of_chat = of_study(tasks)
    of_chat["evaluation"] |= {"apply_chat_template": "rag"}
    study = parse_study(helpers.content(models, **of_chat), "study.yml")
    printed = []
    StudyRun(study, tmp_path / "out", "cpu", 4, quiet=True, say=printed.append).check()
    (line,) = [line for line in printed if "[model.chat-template-name]" in line]
    assert (
        f"{models}/base" in line
        and "each has one chat template without a name, which is used for 'rag'" in line
    )


def test_a_tokenizer_with_several_templates_needs_a_name_that_it_has(models):
    tokenizer = AutoTokenizer.from_pretrained(models / "base")
    assert chat_template_of(tokenizer, "any", "m") == chat_template_of(tokenizer, True, "other")
    tokenizer.chat_template = {"default": TEMPLATE, "rag": "{{ messages[0].content }}"}
    assert chat_template_of(tokenizer, True, "m").template == TEMPLATE
    assert chat_template_of(tokenizer, "rag", "m")([{"role": "user", "content": "profit"}]) == "profit"
    with pytest.raises(ModelError, match="no chat template 'rga'. .*Did you mean 'rag'"):
        chat_template_of(tokenizer, "rga", "m")


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ({"fewshot_as_multiturn": True}, "fewshot_as_multiturn: needs apply_chat_template: true"),
        ({"system_instruction": ""}, "system_instruction"),
        ({"apply_chat_templates": True}, "Did you mean 'apply_chat_template'"),
    ],
)
def test_settings_that_have_no_meaning_are_refused(models, tasks, chat, message):
    with pytest.raises(RecipeError, match=message):
        parse_study(helpers.content(models, **of_study(tasks, **chat)), "study.yml")


def test_check_names_models_without_a_template(models, tiny):
    evaluated = frozenset([f"{models}/base", f"{tiny}/math"])
    findings, _ = examine_models(
        sorted(evaluated), "study.yml", FactsReader(), evaluated=evaluated, chat=True
    )
    assert [(one.id, "math" in one.message) for one in findings.errors] == [("model.no-chat-template", True)]


def test_run_takes_the_options_of_lm_eval(models, tmp_path, monkeypatch):
    from mergekit_finance.study import single

    settings = []
    monkeypatch.setattr(
        single.SingleRun, "run", lambda run: settings.append(run.evaluator.chat) or pytest.skip
    )
    monkeypatch.setattr("mergekit_finance.report.console.run_text", lambda result: "")
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(yaml.safe_dump({
        "merge_method": "cpt_task_arithmetic", "base_model": f"{models}/base",
        "models": [{"model": f"{models}/finance"}], "parameters": {"lambda": 0.5}, "dtype": "float32",
    }))  # fmt: skip
    arguments = ["run", str(recipe), "-o", str(tmp_path / "out")]
    for more in (
        ["--apply_chat_template", "--system_instruction", "Be brief."],
        ["--apply-chat-template", "rag", "--fewshot_as_multiturn", "false"],
    ):
        assert CliRunner().invoke(main, [*arguments, *more]).exit_code == 0
    assert settings == [ChatSettings(True, "Be brief."), ChatSettings("rag", None, False)]
    result = CliRunner().invoke(main, [*arguments, "--fewshot-as-multiturn"])
    assert result.exit_code == 1 and "needs --apply-chat-template" in result.output


def test_run_names_the_settings():
    content = {
        "apply_chat_template": "rag",
        "system_instruction": "Be\nbrief.",
        "fewshot_as_multiturn": False,
    }
    assert ChatSettings("rag", "Be\nbrief.", False).as_json() == content
    assert ChatUsed.model_validate(content).words == (
        "by each model's chat template 'rag', few-shot examples as one turn with the question, after the system "
        'instruction "Be brief."'
    )


def test_lm_eval_gives_a_merge_prompts_by_its_template_or_one_line(models, tasks, tiny, recipe):
    register()
    manager = TaskManager(include_path=[str(tasks)], include_defaults=False)
    options = dict(tasks=["counting"], limit=2, bootstrap_iters=0, task_manager=manager, device="cpu", **CHAT)
    path = str(recipe((f"base_model: {tiny}", f"base_model: {models}")))
    results = lm_eval.simple_evaluate("mergekit", {"recipe": path}, **options)
    assert all(
        text.endswith("</s><assistant>")
        for texts in prompts(results["samples"]["counting"])
        for text in texts
    )
    with pytest.raises(MergekitFinanceError, match="base' has no chat template"):
        lm_eval.simple_evaluate("mergekit", {"recipe": str(recipe())}, **options)
    model = MergekitLM(recipe=str(recipe()), device="cpu")
    with pytest.raises((ModelError, DataError), match="the merged model has no chat template"):
        model.apply_chat_template([{"role": "user", "content": "question"}])
