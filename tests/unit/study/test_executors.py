"""Progress bars beside those of lm-eval, and Ctrl-C while workers start."""

import io
import signal

from lm_eval.api import model, task
from lm_eval.models import huggingface

from mergekit_finance.hosts.lm_eval_output import progress_bars
from mergekit_finance.study import local_pool


def test_lm_evals_progress_bars_are_shown_below_the_studys_and_removed():
    modules = [one for one in (task, model, huggingface) if hasattr(one, "tqdm")]  # lm-eval 0.5: not task
    before = [one.tqdm for one in modules]
    with progress_bars():
        assert not hasattr(task, "tqdm") or task.tqdm([1]).disable
        for module in (model, huggingface):
            bar = module.tqdm(total=3, file=io.StringIO())
            assert (bar.pos, bar.leave) == (-1, False)
            bar.close()
    assert [one.tqdm for one in modules] == before and len(modules) > 1


def test_processes_start_with_ctrl_c_ignored_and_the_parent_handles_it_again():
    before = signal.getsignal(signal.SIGINT)
    with local_pool._ignore_sigint():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
