"""`tasks`, `plugins`: what is installed."""

import click


@click.command()
@click.option(
    "--path",
    is_flag=True,
    help='Print the folder, for lm_eval --include_path "$(mergekit-finance tasks --path)".',
)
def tasks(path: bool) -> None:
    """The lm-eval tasks of this package, or the folder they are in."""
    from mergekit_finance.files import bundled

    folder = bundled("lm_eval_tasks")
    if path:
        click.echo(folder)
        return
    for file in sorted(folder.rglob("*.yaml")):
        click.echo(f"{file.stem.lstrip('_'):40} {file}")


@click.command()
def plugins() -> None:
    """Plugins that were found, the hooks each uses, and what went wrong with those left out."""
    import warnings

    from mergekit_finance.plugins.manager import manager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fault is in the list below
        found = manager().loaded
    for plugin in found:
        click.echo(f"{plugin.name:20} {plugin.distribution:28} {plugin.fault or ', '.join(plugin.hooks)}")
