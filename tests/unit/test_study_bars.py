"""The bars of lm-eval beside a study's."""

import io

from lm_eval.api import model, task
from lm_eval.models import huggingface

from mergekit_finance.study import measure


def test_lm_evals_bars_go_below_the_studys_and_leave():
    before = task.tqdm, model.tqdm, huggingface.tqdm
    with measure._bars():
        assert task.tqdm([1]).disable
        for module in (model, huggingface):
            shown = module.tqdm(total=3, file=io.StringIO())
            assert (shown.pos, shown.leave) == (-1, False)
            shown.close()
    assert (task.tqdm, model.tqdm, huggingface.tqdm) == before
