"""The benchmark's tasks on its own sample rows, loaded once."""

import pytest


@pytest.fixture(scope="session")
def manager():
    """lm-eval's task manager with our tasks only, reading the sample rows."""
    from lm_eval.tasks import TaskManager

    from mergekit_finance import registration

    registration.register()
    return TaskManager(include_defaults=False, metadata={"source": "sample"})


@pytest.fixture(scope="session")
def prompt(manager):
    """A function that returns the prompt that a task's YAML makes of a row."""
    loaded = {}

    def render(task, row):
        name = f"finance_bench_{task}"
        if name not in loaded:
            loaded[name] = manager.load([name])["tasks"][name]
        return loaded[name].doc_to_text(row)

    return render
