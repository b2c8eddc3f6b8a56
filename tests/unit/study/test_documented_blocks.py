"""Every part of a study.yml that the documentation shows is accepted, and the grids in it can be planned."""

import re
from pathlib import Path

import pytest
import yaml
from helpers import study as helpers

from mergekit_finance.study.config import Study, parse_study
from mergekit_finance.study.cost import plan_study
from mergekit_finance.study.run import StudyRun

DOCS = Path(__file__).parents[3] / "docs"
KEYS = {*Study.model_fields} - {"base", "name"}
EXPERTS = ("finance", "math", "japanese")


def blocks():
    """The YAML blocks whose keys are keys of study.yml."""
    for path in sorted(DOCS.rglob("*.md")):
        for k, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.M | re.S)):
            content = yaml.load(text.replace("!function ", ""), yaml.SafeLoader)
            if path.stem == "extend":  # its merge method is one of a plugin that does not exist
                continue
            if isinstance(content, dict) and KEYS & {*content} and "merge_method" not in content:
                yield pytest.param(content, id=f"{path.stem}-{k}")


@pytest.mark.parametrize("content", blocks())
def test_a_documented_block_is_part_of_a_valid_study(content):
    experts = {name: {"model": f"./{name}"} for name in EXPERTS}
    study = {"base": "./base", "experts": experts, "operators": {"task_arithmetic": {"lambda": 0.5}}}
    parse_study({**study, **content}, "study.yml")


@pytest.mark.parametrize("content", [block for block in blocks() if "operators" in block.values[0]])
def test_documented_grids_are_planned(content, tiny, tmp_path):
    kept = {key: content[key] for key in ("operators", "search", "stages") if key in content}
    experts = tuple(content["experts"]) if "experts" in content else EXPERTS
    models = {name: f"{tiny}/{model}" for name, model in zip(experts, EXPERTS, strict=False)}
    study = parse_study(helpers.content(tiny, models, tasks=helpers.TASKS[:1], **kept), "study.yml")
    run = StudyRun(study, tmp_path / "out", "cpu", 4, quiet=True, say=lambda text: None)
    plan = plan_study(run, sample=False)
    assert sum(plan.points.values()) > 0 and not (tmp_path / "out").exists()
