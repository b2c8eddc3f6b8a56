"""The command `mergekit-finance`. Modules here import click and little else, so that --help is quick."""

import click

from mergekit_finance import __version__
from mergekit_finance.cli import data, info, lab, run, similarity, study


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mergekit-finance")
def main() -> None:
    """Merge continually pre-trained LLMs and measure what merging did.

    \b
    mergekit-finance demo                      the whole path on tiny models, offline
    mergekit-finance run recipe.yml -o out     merge, evaluate, print Gain and Outperform Gap
    mergekit-finance similarity --base B M1 M2 how far apart checkpoints are
    mergekit-finance data adopt FOLDER         make a mirror from raw dataset files
    mergekit-finance data pull                 or fetch them

    The plain `mergekit-yaml recipe.yml out` and `lm_eval --tasks finance_bench_fpb` know this
    package's methods and tasks too, with no flag.
    """


for command in (
    run.run,
    run.demo,
    study.study,
    similarity.similarity,
    data.data,
    lab.lab,
    info.tasks,
    info.recipes,
    info.plugins,
):
    main.add_command(command)
