"""The wheel contains the lab's weights and world, and not the code that trained them."""

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder
from helpers.lab_training import LAB


def test_the_wheel_has_the_labs_weights_and_recipes_and_not_its_training_code():
    root = LAB.parents[1]
    builder = WheelBuilder(str(root))
    with builder.config.set_build_data({"artifacts": [], "force_include": {}, "build_hooks": ()}):
        wheel = {Path(file.distribution_path).as_posix() for file in builder.recurse_included_files()}
    package = {path.relative_to(root).as_posix() for path in (root / "mergekit_finance/lab").rglob("*.py")}
    assert package and package <= wheel
    assert "mergekit_finance/lab/weights/base/model.safetensors" in wheel
    assert "mergekit_finance/lab/world.yml" in wheel and "mergekit_finance/recipes/lab/study.yml" in wheel
    assert [name for name in wheel if "training" in name or "tiny" in name or "smollm2/" in name] == []
    for code in (LAB / "training", LAB.parent / "smollm2-135m" / "smollm2"):
        assert (code / "train.py").is_file()  # a file that the check above must not find
