"""The command `mergekit-finance`, one module a command.

A module is called like its command, also where the module below it that does the work has the same name
(cli/run.py and study/run.py). Modules here import click and little else, so that --help is quick.
"""

import click

from mergekit_finance._version import __version__
from mergekit_finance.cli import (
    card,
    check,
    data,
    demo,
    import_results,
    info,
    lab,
    leaderboard,
    recipes,
    report,
    run,
    share,
    similarity,
    study,
)
from mergekit_finance.cli.common import OneLineErrors


@click.group(
    cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="mergekit-finance")
def main() -> None:
    """Merge continually pre-trained LLMs and measure the effect of merging.

    \b
    mergekit-finance demo                      a whole study of tiny models, offline
    mergekit-finance check study.yml           find errors in a recipe, a study or models
    mergekit-finance run recipe.yml -o out     merge, evaluate, print Gain and Outperform Gap
    mergekit-finance study study.yml -o out    the three-stage study: sweep, select, decide
    mergekit-finance report out                figures and one page from a study's results
    mergekit-finance card out -o card          write a model card for one merge, ready for the Hub
    mergekit-finance share card --repo me/it   upload that card; --dry-run only lists the files
    mergekit-finance leaderboard out card      rank models of several studies and cards
    mergekit-finance import runs --study out   add results of other lm-eval runs to a study
    mergekit-finance recipes copy lab .        copy bundled recipes and studies
    mergekit-finance similarity --base B M1 M2 distances between checkpoints
    mergekit-finance data adopt FOLDER         make a mirror from raw dataset files
    mergekit-finance data pull                 or download the datasets

    The merge methods and tasks also work in plain `mergekit-yaml recipe.yml out` and
    `lm_eval --tasks finance_bench_fpb`, without a flag.
    """


for command in (
    check.check,
    run.run,
    demo.demo,
    study.study,
    report.report,
    similarity.similarity,
    data.data,
    card.card,
    share.share,
    leaderboard.leaderboard,
    import_results.import_results,
    lab.lab,
    info.tasks,
    recipes.recipes,
    info.plugins,
):
    main.add_command(command)
