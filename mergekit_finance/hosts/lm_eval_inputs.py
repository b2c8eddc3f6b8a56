"""Tasks that compare one continuation after several contexts, in lm-eval 0.5.

In lm-eval 0.4 `doc_to_text` gives the number of the correct context, `doc_to_choice` the contexts, and
`doc_to_target` the continuation. Since 0.5.0.dev1 they give the contexts, a list with the continuation, and
the number, if the task sets `multiple_inputs`, a key that 0.4 refuses.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

NUMBER, CONTEXTS, CONTINUATION = "gold_index", "options", "continuation"  # fields of our rows
FLAG = "_multiple_inputs"  # of lm-eval 0.5


def use_contexts_as_texts(task: "ConfigurableTask") -> None:
    """Change a task that is written for lm-eval 0.4 as lm-eval 0.5 expects it; leave others alone."""
    config = task.config
    if not hasattr(task, FLAG) or config.doc_to_text != NUMBER:
        return
    vars(task)[FLAG] = True
    for settings in (config, getattr(task, "_fewshot_cfg", None)):
        if settings is not None and settings.doc_to_text == NUMBER:
            settings.doc_to_text = CONTEXTS
            settings.doc_to_choice = [f"{{{{{CONTINUATION}}}}}"]
            settings.doc_to_target = NUMBER
