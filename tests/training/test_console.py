"""What a line about an evaluation says."""

from mmkit.training.console import main_figures


def test_a_line_has_few_figures_of_each_metric_and_those_that_decide() -> None:
    linking = {f"linking.{name}": 0.5 for name in ("a", "b", "c", "d", "e", "f", "g", "h")}
    figures = {**linking, "spans.f1": 0.25, "spans.f1.PER": 0.75}
    first = [f"linking.{name}" for name in "abcdef"]
    assert list(main_figures(figures)) == [*first, "spans.f1"]
    assert list(main_figures(figures, {"linking.h", "spans.f1.PER"})) == [
        *first,
        "linking.h",
        "spans.f1",
        "spans.f1.PER",
    ]
