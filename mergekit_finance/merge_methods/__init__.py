"""Our merge methods: `cpt_task_arithmetic`, `cpt_ties`, `cpt_dare_ties`.

mergekit is imported here, first of all: whichever of these modules a program asks for, mergekit is
then complete, and the start-up hook can register them, before one of them is half imported.
"""

import mergekit.merge_methods  # noqa: F401
