"""The table of operators: lookup by key, method and slug; parameters and citations."""

from mergekit_finance.operators import BY_METHOD, BY_SLUG, OPERATORS, PARAMETER_SYMBOLS


def test_operators_are_ordered_from_simple_to_complex():
    assert list(OPERATORS) == ["task_arithmetic", "ties", "dare_ties"]


def test_each_operator_is_found_by_key_method_and_slug():
    for operator in OPERATORS.values():
        assert OPERATORS[operator.key] is BY_METHOD[operator.method] is BY_SLUG[operator.slug] is operator
        assert operator.method == f"cpt_{operator.key}" and operator.slug == operator.short.lower()


def test_swept_parameters_are_those_of_the_papers():
    assert {key: operator.parameters for key, operator in OPERATORS.items()} == {
        "task_arithmetic": ("lambda", "weight"),
        "ties": ("density", "lambda", "weight"),
        "dare_ties": ("density", "lambda", "weight", "seed"),
    }
    assert {name for operator in OPERATORS.values() for name in operator.parameters} == set(PARAMETER_SYMBOLS)


def test_citations_name_the_papers():
    identifiers = {"task_arithmetic": "2212.04089", "ties": "2306.01708", "dare_ties": "2311.03099"}
    assert all(f"arXiv {number}" in OPERATORS[key].citation for key, number in identifiers.items())
