"""The card's commands: load the merge, make its weights, and repeat the study."""

from collections.abc import Iterator
from shlex import quote

from mergekit_finance.share.choice import SharedPoint
from mergekit_finance.share.facts import CardFacts
from mergekit_finance.share.source_models import is_hub_id

RECIPE = "mergekit_config.yml"


def use(choice: SharedPoint, facts: CardFacts) -> Iterator[str]:
    """Yield how to load the weights, and where there are none how to make them."""
    yield "## How to use"
    yield ""
    if facts.has_weights:
        if "/" not in choice.name:
            yield "In a clone of this repository:"
            yield ""
        yield from _load(choice.name if "/" in choice.name else ".")
        return
    yield f"This repository has no weights. `{RECIPE}` makes them from the source models:"
    yield ""
    yield "```sh"
    yield facts.install
    if "/" in choice.name:
        yield f"hf download {choice.name} {RECIPE} --local-dir ."
    yield f"mergekit-yaml {RECIPE} merged"
    yield "```"
    yield ""
    yield from _package_note(facts)
    yield from _folders_note(choice)
    yield from _load("./merged")


def _load(model: str) -> Iterator[str]:
    """Yield Python that loads a model and continues a text."""
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield f'model = AutoModelForCausalLM.from_pretrained("{model}")'
    yield f'tokenizer = AutoTokenizer.from_pretrained("{model}")'
    yield 'inputs = tokenizer("The first step is", return_tensors="pt")'
    yield "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0], skip_special_tokens=True))"
    yield "```"


def _package_note(facts: CardFacts) -> Iterator[str]:
    if not facts.has_address:
        yield (
            f"mergekit-finance {facts.versions.get('mergekit-finance', '')} must be installed as well: it "
            "was installed from a local folder, so this card cannot give its address.".replace("  ", " ")
        )
        yield ""


def _folders_note(choice: SharedPoint) -> Iterator[str]:
    """Yield what to do about models that are folders on the author's machine."""
    recipe = choice.entry.recipe
    references = [*filter(None, [recipe.base_model]), *(entry.model for entry in recipe.models)]
    folders = dict.fromkeys(reference for reference in references if not is_hub_id(reference))
    if not folders:
        return
    on_hub = {model.reference for model in choice.models if model.hub_id}
    listed = ", ".join(f"`{folder}`" for folder in folders)
    if on_hub & set(folders):
        yield f"In the recipe, put the models on the Hub, which comments name, in place of {listed}."
    else:
        yield f"Models that are folders must be where the recipe says: {listed}."
    yield ""


def reproduce(choice: SharedPoint, facts: CardFacts) -> Iterator[str]:
    """Yield the commands that make the weights, the study and this card again."""
    yield "## How to reproduce"
    yield ""
    yield "```sh"
    yield facts.install
    yield f"mergekit-yaml {RECIPE} merged          # the weights, bit for bit on the CPU"
    yield "mergekit-finance study study.yml -o out           # the study that compared the merges"
    name = f" --name {choice.name}" if choice.name else ""
    yield f"mergekit-finance card out --point {quote(choice.point)}{name} -o card --weights"
    yield "```"
    yield ""
    if choice.results.study.include_path:
        yield (
            "The author's own tasks are not in this repository, because task files may run Python code: "
            "get them from the author, and name their folder as `include_path` in `study.yml`."
        )
        yield ""
    if facts.has_weights:
        yield from _package_note(facts)
        yield from _folders_note(choice)
