"""5. The three-stage study: plan it, run and resume it, analyze its results.

config, config_blocks, operator_grids  study.yml, checked
json_schema, new_file                  its JSON schema, and the text of a new one
points           the merges of a study, and the recipe of each
methods          merge methods of mergekit as operators
task_info, task_findings         what a study must know of its tasks, with and without loading them
task_checks      checks of what a study asks of its tasks
objective_tasks  the tasks that `select` is about
split            which items select hyperparameters, and which are reported
subsets, race    which of them a search asks for first, and which settings it drops
cost, cost_plan  an estimate of points, disk and hours; `--budget`
cost_sample, cost_estimate, cost_text  the timed sample behind it, hours from its rates, what is printed
stored_answers   which answers are stored, for that estimate
refusals         what is refused before anything is evaluated
run              `mergekit-finance study`: from study.yml to summary.json
single           `mergekit-finance run`: one merge and its constituents
study_evaluator, worker, executors, local_pool, worker_count, worker_memory
                 evaluate models in one or several processes
selected_merges  the merges that `chain: best` writes for the next stage
times            where the time of every process went
schedule, claims which process evaluates which model
finished, progress               what is finished, and the progress bar
store            the results of each model on disk
schema/          every file of a study as a typed model
read_files, results              the only reader of a study folder
analysis/        from stored scores to summary.json
similarity_step  how far the models are apart, measured or reused
unfinished       the finished part of an interrupted study
imported, import_results         results of other lm-eval runs beside those of a study
imported_scores                  which scores an imported model can have
analyzed         whether summary.json is that of the stored scores
export           a plain recipe for each point
"""
