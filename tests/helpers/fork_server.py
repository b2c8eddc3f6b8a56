"""Run console commands in children forked from one process that has the hosts imported.

Importing lm-eval, mergekit and transformers takes about 7 seconds of CPU time. This program imports them once
and then forks a child per command, which starts in milliseconds. A child runs the command's own entry point with
its own arguments, environment, working directory, standard output and standard error, and ends as an interpreter
would. `helpers.commands` is the client: one JSON request a line on standard input, one reply a line on standard
output: the exit code; the child's id, if the request says `"wait": false`; or the exit code of that child, null
while it runs, if a request asks for its `status_of`. The program ends when its standard input is closed. Its argument
is a folder for what all workers of a test run share.

Torch may be imported before the fork, but must not compute: its threads do not survive a fork.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pickle
import random
import signal
import sys
import threading
import warnings
from importlib.metadata import entry_points
from pathlib import Path

PRELOADED = (
    "lm_eval.__main__",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "mergekit.merge",
    "mergekit.scripts.run_yaml",
    "transformers.models.llama.modeling_llama",
    "matplotlib.pyplot",
    "scipy.stats",
    "datasets",
)


def preload():
    """Import the hosts, and of this package what its commands import when they run."""
    warnings.simplefilter("ignore")
    for name in PRELOADED:
        importlib.import_module(name)
    package = Path(importlib.import_module("mergekit_finance").__file__).parent
    for folder in (
        "cli",
        "study",
        "evaluation",
        "merging",
        "report",
        "share",
        "recipe",
        "data",
        "similarity",
    ):
        for path in sorted((package / folder).rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            importlib.import_module(".".join(part for part in parts if part != "__init__"))
    warnings.resetwarnings()
    hash_sources()


def hash_sources():
    """Hash the code that answers and scores depend on: 0.6 s of CPU time in every command that evaluates."""
    keys = sys.modules["mergekit_finance.evaluation.keys"]
    keys.code_key(keys.source())
    keys.answer_code(keys.source())
    keys.merge_code(keys.source())


def read_task_files():
    """Parse lm-eval's own task files once a test run: 5.6 s of CPU time that every `lm_eval` pays, `ls` twice."""
    from lm_eval.tasks import _index, manager

    original = _index.load_yaml
    parsed = parsed_task_files(_index, *map(Path, sys.argv[1:]))

    def load_yaml(path, **options):
        content = parsed.get(str(path)) if options == AS_THE_INDEX_ASKS else None
        return original(path, **options) if content is None else pickle.loads(content)

    _index.load_yaml = manager.load_yaml = load_yaml


def parsed_task_files(index, folder=None):
    """Return path -> pickled content of lm-eval's task files, from a file that all workers of a run share."""
    if folder is None:
        return parse_task_files(index)
    stored = folder / "task files of lm-eval.pickle"
    with stored.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker parses while the others wait
        if not stored.exists():
            stored.write_bytes(pickle.dumps(parse_task_files(index)))
        return pickle.loads(stored.read_bytes())


def parse_task_files(index):
    """Return path -> pickled content; files that cannot be parsed are left out: the index skips them."""
    parsed = {}
    for path in index.TaskIndex._iter_yaml_files(Path(index.__file__).parent):
        with contextlib.suppress(Exception):
            parsed[str(path)] = pickle.dumps(index.load_yaml(path, **AS_THE_INDEX_ASKS))
    return parsed


def describe_environment():
    """Make lm-eval's text on the machine once: 1 s of CPU time in `pip list`, after every evaluation.

    In a child, because the text names the GPUs, and CUDA must not start before a fork.
    """
    from torch.utils import collect_env

    reader, writer = os.pipe()
    if not os.fork():
        with os.fdopen(writer, "w") as pipe:
            pipe.write(collect_env.get_pretty_env_info())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    collect_env.get_pretty_env_info = lambda: text


AS_THE_INDEX_ASKS = {"resolve_func": False, "recursive": True}


def become(request):
    """Take a request's files, environment, folder and arguments."""
    for number, path, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_APPEND),
        (2, request["stderr"], os.O_WRONLY | os.O_APPEND),
    ):
        opened = os.open(path, mode)
        os.dup2(opened, number)
        os.close(opened)
    before = _hub_variables()
    os.environ.clear()
    os.environ.update(request["env"])
    if _hub_variables() != before:
        # These two modules read the variables at import; everything else reads these two when it needs them.
        importlib.reload(sys.modules["huggingface_hub.constants"])
        importlib.reload(sys.modules["datasets.config"])
    if not request.get("wait", True):
        os.setsid()  # a test may end its whole process group
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    os.chdir(request["cwd"])
    sys.argv = request["argv"]


def run(request):
    """In the child: become the command, and never return."""
    become(request)
    # The start-up hook did this when the hosts were imported, but under this program's name.
    importlib.import_module("mergekit_finance.hosts.programs").report_mistakes()
    random.seed()
    sys.modules["numpy"].random.seed()
    status = 1
    try:
        status = exit_status(_entry_point(request["argv"]))
    finally:
        os._exit(status)


def _hub_variables():
    return {name: value for name, value in os.environ.items() if name.startswith(("HF_", "HUGGINGFACE_"))}


def _entry_point(argv):
    if argv[1:2] == ["-c"]:
        sys.argv = ["-c", *argv[3:]]
        return lambda: exec(compile(argv[2], "<string>", "exec"), {"__name__": "__main__"})
    (entry_point,) = entry_points(group="console_scripts", name=Path(argv[0]).name)
    return entry_point.load()


def exit_status(function):
    """Call it as a console script does, end threads and exit handlers, and return the exit code."""
    status = 0
    try:
        sys.exit(function())
    except SystemExit as ended:
        if isinstance(ended.code, int):
            status = ended.code
        elif ended.code is not None:
            print(ended.code, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def prepare(request):
    """In the server, before the first command that starts lm-eval: what every such command would do again."""
    if any("lm_eval" in argument for argument in request["argv"]) and not PREPARED:
        PREPARED.append("lm_eval")
        read_task_files()
        describe_environment()


PREPARED = []


def serve(preload, run, prepare=lambda request: None):
    """Import, then answer requests until standard input is closed, each by a child that runs it."""
    sys.path.pop(0)  # this folder, whose modules must not be importable by commands
    with os.fdopen(os.dup(1), "wb") as replies:
        os.set_inheritable(replies.fileno(), False)
        os.dup2(2, 1)  # output of imports must not be read as a reply
        preload()
        gc.collect()
        for line in sys.stdin.buffer:
            request = json.loads(line)
            replies.write(json.dumps(reply_to(request, run, prepare)).encode() + b"\n")
            replies.flush()


def reply_to(request, run, prepare):
    """Start a command, or look at one that was started before; return the reply."""
    if "status_of" in request:
        ended, status = os.waitpid(request["status_of"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    prepare(request)
    gc.freeze()  # a child's collections would visit, and so copy, every object of this process
    child = os.fork()
    if not child:
        run(request)
    if not request.get("wait", True):
        return child
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    serve(preload, run, prepare)
