"""The lab: four tiny trained Llamas and a generated world with test rows for every dataset.

One base model and a finance, a math and a Japanese expert (continual pre-training of the base) are shipped
under weights/. With the generated rows, a whole study runs anywhere, without a download, on models
with different skills.

    world.yml -> world.py (tables, facts, held-out items) -> draw.py (random streams limited to a part of them)
              -> arithmetic.py, *_cases.py (dataset records and their questions)
              -> generated_rows.py (test rows in the datasets' raw layouts)
    copy_models.py copies the models to where recipes name them.

The code that trained the models is in recipes/lab/training/ of the repository, outside the wheel.
"""

ROLES = ("base", "finance", "math", "japanese")
