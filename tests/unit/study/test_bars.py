"""The bars of lm-eval beside a study's."""

import io

from lm_eval.api import model, task
from lm_eval.models import huggingface

from mergekit_finance.hosts.lm_eval import progress_bars
from mergekit_finance.study import executors


def test_lm_evals_bars_go_below_the_studys_and_leave():
    before = task.tqdm, model.tqdm, huggingface.tqdm
    with progress_bars():
        assert task.tqdm([1]).disable
        for module in (model, huggingface):
            shown = module.tqdm(total=3, file=io.StringIO())
            assert (shown.pos, shown.leave) == (-1, False)
            shown.close()
    assert (task.tqdm, model.tqdm, huggingface.tqdm) == before


def test_what_was_stored_before_is_no_speed_of_this_run(monkeypatch):
    """198 of 214 are there: the first model that is done must not look like 199 in its time."""
    monkeypatch.setattr("tqdm.std.tqdm.display", lambda *_, **__: None)
    with executors.progress_bar(214, 198, quiet=False) as shown:
        assert shown.n == shown.initial == shown.last_print_n == 198
