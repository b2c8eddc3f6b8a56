"""The tasks' prompts, as the YAML files of lm_eval_tasks render them for the lab's rows.

They are repeated in Python so that training does not need lm-eval. The models were trained with exactly these
prompts, so a test compares each prompt with its YAML file.
"""

from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]  # columns differ by task


def _fpb(row: Row) -> str:
    return f"{row['text']}\nQuestion: what is the sentiment?\nAnswer:"


def _fiqa_sa(row: Row) -> str:
    return f"{row['text']}\nQuestion: what is the sentiment on {row['target']}?\nAnswer:"


def _headline(row: Row) -> str:
    return f"Headline: {row['text']}\nQuestion: {row['question']}\nAnswer:"


def _fin_ner(row: Row) -> str:
    return f"{row['text']}\nExtract named entity:"


def _convfinqa(row: Row) -> str:
    turns = "".join(f"Question: {t['question']}\nAnswer: {t['answer']}\n\n" for t in row["history"])
    page = f"{row['before']}\n{row['table']}\n{row['after']}"
    return f"{page}\n\n{turns}Question: {row['question']}\nAnswer:"


def _document(row: Row) -> str:
    return "Document:\n" + "".join(f"{paragraph}\n" for paragraph in row["paragraphs"])


def _docmath(row: Row) -> str:
    return f"{_document(row)}\nQuestion: {row['question']}\nGive the final number only.\nAnswer:"


def _docmath_cot(row: Row) -> str:
    return (
        f"{_document(row)}\n"
        "Work out the question below step by step from the document, "
        "then close with one sentence of the form:\n"
        f"The final answer is <number>.\n\nQuestion: {row['question']}\nReasoning:"
    )


def _chabsa(row: Row) -> str:
    return (
        "次の文における対象への評価を positive か negative で答えよ。\n\n"
        f"文：{row['sentence']}\n対象：{row['target']}\n答え："
    )


def _choices(row: Row) -> str:
    pairs = zip(row["options"], row["choices"], strict=True)
    return "選択肢：\n" + "".join(f"{letter}. {choice}\n" for letter, choice in pairs)


def _exam(row: Row) -> str:
    context = f"\n{row['context']}" if row["context"] else ""
    return (
        "次の問題の正しい答えを選択肢から一つ選び、その記号を答えよ。\n\n"
        f"問題：{row['question']}{context}\n\n{_choices(row)}\n答え："
    )


def _cpa_audit(row: Row) -> str:
    statements = "".join(f"{s['label']}．{s['text']}\n" for s in row["statements"])
    return (
        "次の問題の正しい組合せを選択肢から一つ選び、その記号を答えよ。\n\n"
        f"問題：{row['question']}\n{statements}\n{_choices(row)}\n答え："
    )


def _fp2(row: Row) -> str:
    head = "次の問題の正しい答えを一つ選び、その番号（１～４）を答えよ。"
    return f"{head}\n\n問題：{row['question']}\n{row['context']}\n\n答え："


def _fp2_cot(row: Row) -> str:
    head = "次の問題について順を追って考え、最後に「最終回答：」に続けて正しい答えの番号（１～４）を書け。"
    return f"{head}\n\n問題：{row['question']}\n{row['context']}\n\n考え："


def _jfinqa(row: Row) -> str:
    lines = [row["table_headers"], ["---"] * len(row["table_headers"]), *row["table_rows"]]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\nQuestion: {row['question']}\nAnswer:"


def _probe_m(row: Row) -> str:
    return (
        f"Question: {row['question']}\n"
        "Work it out step by step and close with: The final answer is <number>.\nReasoning:"
    )


def _probe_j(row: Row) -> str:
    return f"問題：{row['question']}\n答え："


def _probe_mj(row: Row) -> str:
    return f"問題：{row['question']}\n順を追って考え、最後に「最終回答：」に続けて数を書け。\n考え："


def _arc(row: Row) -> str:
    return f"Question: {row['question']}\nAnswer:"


def _hellaswag(row: Row) -> str:
    return row["question"]


PROMPTS: dict[str, Callable[[Row], str]] = {
    "fpb": _fpb,
    "fiqa_sa": _fiqa_sa,
    "headline": _headline,
    "fin_ner": _fin_ner,
    "convfinqa": _convfinqa,
    "docmath_ss": _docmath,
    "docmath_cs": _docmath,
    "docmath_ss_cot": _docmath_cot,
    "docmath_cs_cot": _docmath_cot,
    "chabsa": _chabsa,
    "cma_basics": _exam,
    "security_sales_1": _exam,
    "cpa_audit": _cpa_audit,
    "fp2": _fp2,
    "fp2_cot": _fp2_cot,
    "jfinqa_numerical": _jfinqa,
    "jfinqa_consistency": _jfinqa,
    "jfinqa_temporal": _jfinqa,
    "probe_m": _probe_m,
    "probe_j": _probe_j,
    "probe_mj": _probe_mj,
    "retention_arc": _arc,
    "retention_hellaswag": _hellaswag,
}


def prompt(task: str, row: Row) -> str:
    """Return the prompt of a task, filled with a row."""
    return PROMPTS[task](row)
