"""Progress bars beside those of lm-eval, and Ctrl-C while workers start."""

import io
import signal

from lm_eval.api import model, task
from lm_eval.models import huggingface

from mergekit_finance.hosts.lm_eval_output import progress_bars
from mergekit_finance.study import local_pool


def test_lm_evals_progress_bars_are_shown_below_the_studys_and_removed():
    before = task.tqdm, model.tqdm, huggingface.tqdm
    with progress_bars():
        assert task.tqdm([1]).disable
        for module in (model, huggingface):
            bar = module.tqdm(total=3, file=io.StringIO())
            assert (bar.pos, bar.leave) == (-1, False)
            bar.close()
    assert (task.tqdm, model.tqdm, huggingface.tqdm) == before


def test_processes_start_with_ctrl_c_ignored_and_the_parent_handles_it_again():
    before = signal.getsignal(signal.SIGINT)
    with local_pool._ignore_sigint():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
