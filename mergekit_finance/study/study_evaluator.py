"""The evaluator of a study: its tasks and the settings of its file."""

from pathlib import Path

from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.task_measures import choices_of
from mergekit_finance.models.spread import Spread
from mergekit_finance.study.config import Study


def study_evaluator(study: Study, device: str, quiet: bool = False) -> Evaluator:
    """Return the evaluator that measures every model of a study."""
    metadata = {
        key: value for key, value in (("source", study.source), ("data_dir", study.data_dir)) if value
    }
    settings = study.evaluation
    return Evaluator(
        names=[*study.tasks, *study.retention, *study.probes],
        include_paths=[Path(folder) for folder in study.include_path],
        choices=choices_of(study.task_settings or {}),
        batch_size=settings.batch_size or "auto",
        engine="hf" if settings.engine == "hf" else "compiled",
        device=device,
        dtype=settings.dtype,
        metadata=metadata | {"tokenizer": study.base},
        max_gen_toks=settings.max_gen_toks,
        chat=settings.chat,
        quiet=quiet,
        spread=Spread.over(device, settings.max_memory_per_gpu) if settings.parallelize else None,
    )
