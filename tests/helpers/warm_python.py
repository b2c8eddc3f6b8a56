"""Run programs in children forked from one process that has the hosts' dependencies imported, but no host.

Importing a host takes 7 seconds, nearly all of them for torch, transformers and other dependencies. A child then
becomes the Python of an environment: it calls `site.addsitedir` for its site-packages, as the interpreter does at its
start, which runs the .pth files in there. Without a folder of site-packages it is the Python of the running
environment, and puts our start-up hook in place. The program that it runs imports the hosts, and with them this
package. `helpers.commands` is the client.
"""

import importlib
import os
import runpy
import site
import sys

from fork_server import become, exit_status, serve

PRELOADED = (
    "accelerate",
    "datasets",
    "peft",
    "sacrebleu",
    "scipy.optimize",
    "torch",
    "transformers.models.auto.modeling_auto",
)
HOSTS = ("mergekit", "lm_eval", "mergekit_finance")


def run(request):
    """In the child: become the environment's Python, and never return."""
    become(request)
    if request["site"]:
        site.addsitedir(request["site"])
    else:
        importlib.import_module("_mergekit_finance_autoload").install()  # all that our .pth file does
    status = 1
    try:
        status = exit_status(lambda: _run_program(request["argv"]))
    finally:
        os._exit(status)


def _run_program(argv):
    """Run `-c CODE`, `-m MODULE` or a file, as `python` does."""
    if argv[1] == "-c":
        sys.argv = ["-c", *argv[3:]]
        exec(compile(argv[2], "<string>", "exec"), {"__name__": "__main__"})
    elif argv[1] == "-m":
        sys.argv = argv[2:]
        runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv[1:]
        runpy.run_path(argv[1], run_name="__main__")


def preload():
    for name in PRELOADED:
        importlib.import_module(name)
    assert not set(HOSTS) & set(sys.modules), "a host is imported before its time"


if __name__ == "__main__":
    serve(preload, run)
